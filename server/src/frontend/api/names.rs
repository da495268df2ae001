//! Lockspace names of one stream or call, checked once.
//!
//! A stream names the same one or two lockspaces in all its requests. Remembering the last one saves a check and an
//! allocation per request.

use sixpin_core::name::{Lockspace, ResourceId, ResourceName};

use super::Checked;
use super::errors::bad_name;

/// The lockspace seen last.
#[derive(Debug, Default)]
pub struct Names {
    last: Option<Lockspace>,
}

impl Names {
    /// Checks a lockspace; empty means `default`.
    pub fn lockspace(&mut self, text: &str) -> Checked<Lockspace> {
        let text = if text.is_empty() { "default" } else { text };
        match &self.last {
            Some(last) if last.as_str() == text => Ok(last.clone()),
            _ => {
                let lockspace = Lockspace::new(text).map_err(|error| bad_name("lockspace", &error))?;
                self.last = Some(lockspace.clone());
                Ok(lockspace)
            }
        }
    }

    /// Checks a resource.
    pub fn resource(&mut self, lockspace: &str, name: &str) -> Checked<ResourceId> {
        let lockspace = self.lockspace(lockspace)?;
        let name = ResourceName::new(name).map_err(|error| bad_name("resource.name", &error))?;
        Ok(ResourceId { lockspace, name })
    }
}
