//! What is said of something that is not allowed.

use std::fmt;

use super::{Place, Verb};
use crate::name::{Lockspace, ResourceId, ResourceName};

/// What is not allowed, and where. It says nothing of what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// Absent: to lock in whatever mode.
    pub verb: Option<Verb>,
    /// Absent: everywhere.
    pub lockspace: Option<Lockspace>,
    /// Absent: on all that is there.
    pub name: Option<ResourceName>,
}

impl Denied {
    /// This is not allowed there.
    pub fn at(verb: Verb, place: Place<'_>) -> Self {
        let (lockspace, name) = match place {
            Place::Resource(id) => (Some(id.lockspace.clone()), Some(id.name.clone())),
            Place::Lockspace(lockspace) => (Some(lockspace.clone()), None),
            Place::Everywhere => (None, None),
        };
        Self { verb: Some(verb), lockspace, name }
    }

    /// No lock is allowed anywhere.
    pub fn no_lock() -> Self {
        Self { verb: None, lockspace: None, name: None }
    }

    /// The verb, as it is written in a rule.
    pub fn verb(&self) -> String {
        self.verb.map_or_else(|| "lock".to_owned(), |verb| verb.to_string())
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(verb) = self.verb else {
            return f.write_str(
                "no rule of yours allows `lock` anywhere, so a session is of no use: ask who administers the broker",
            );
        };
        let resource = self.lockspace.clone().zip(self.name.clone());
        let resource = resource.map(|(lockspace, name)| ResourceId { lockspace, name });
        let place = match (&resource, &self.lockspace) {
            (Some(id), _) => Place::Resource(id),
            (None, Some(lockspace)) => Place::Lockspace(lockspace),
            (None, None) => Place::Everywhere,
        };
        write!(f, "no rule of yours allows `{verb}` on {place}: ask who administers the broker")
    }
}
