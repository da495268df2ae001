//! Lockspace names of one stream or call, checked once.
//!
//! A stream names the same one or two lockspaces in all its requests. Remembering the last one saves a check and an
//! allocation per request.

use sixpin_core::broker::api::RequestError;
use sixpin_core::name::{Lockspace, ResourceId, ResourceName};
use sixpin_proto::v1;

use super::errors::{bad_name, invalid};

/// The lockspace seen last.
#[derive(Debug, Default)]
pub(super) struct Names {
    last: Option<Lockspace>,
}

impl Names {
    /// Checks a lockspace; empty means `default`.
    pub(super) fn lockspace(&mut self, text: &str) -> Result<Lockspace, RequestError> {
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
    pub(super) fn resource(&mut self, resource: Option<v1::Resource>) -> Result<ResourceId, RequestError> {
        let resource = resource.ok_or_else(|| invalid("`resource` is missing"))?;
        let lockspace = self.lockspace(&resource.lockspace)?;
        let name = ResourceName::new(&resource.name).map_err(|error| bad_name("resource.name", &error))?;
        Ok(ResourceId { lockspace, name })
    }
}
