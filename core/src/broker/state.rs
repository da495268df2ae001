//! The state of a record, as an entry has it: *warm*, to be worked with, or *cold*, as it would be stored.
//!
//! A warm state is quick and large; most locks are held for long and rest. So a state that was not used for a while cools down
//! (`idle`), and the next command warms it up again. Who only looks at a cold one decodes it for that.
//!
//! Invariants: only a state that agrees with what is stored at a known version cools down; it says the same cold and warm, which
//! a record does in any case, because other brokers know nothing else.

use std::borrow::Cow;

use crate::name::Version;
use crate::resource::Resource;

/// See the module.
#[derive(Debug)]
pub(super) enum State {
    Warm(Box<Resource>),
    Cold { bytes: Box<[u8]>, version: Version },
}

impl Default for State {
    fn default() -> Self {
        Self::of(Resource::new())
    }
}

impl State {
    pub(super) fn of(resource: Resource) -> Self {
        Self::Warm(Box::new(resource))
    }

    /// To look at. A cold one that cannot be understood, which never happens, shows nothing.
    pub(super) fn view(&self) -> Cow<'_, Resource> {
        match self {
            Self::Warm(resource) => Cow::Borrowed(resource),
            Self::Cold { bytes, version } => Cow::Owned(Resource::decode(bytes, *version).unwrap_or_default()),
        }
    }

    /// To work with, unless it is cold.
    pub(super) fn warm(&mut self) -> Option<&mut Resource> {
        match self {
            Self::Warm(resource) => Some(resource),
            Self::Cold { .. } => None,
        }
    }

    pub(super) fn is_warm(&self) -> bool {
        matches!(self, Self::Warm(_))
    }

    /// Nobody has a claim.
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Self::Warm(resource) => resource.is_idle(),
            // Such a one does not cool down.
            Self::Cold { .. } => false,
        }
    }

    /// Warms it up. False if it cannot be understood: then it has to be read.
    pub(super) fn warm_up(&mut self) -> bool {
        let Self::Cold { bytes, version } = self else { return true };
        let decoded = Resource::decode(bytes, *version);
        let understood = decoded.is_ok();
        *self = Self::of(decoded.unwrap_or_default());
        understood
    }

    /// Cools down what is stored at this version.
    pub(super) fn cool_down(&mut self, version: Version) {
        if let Self::Warm(resource) = self
            && !resource.is_idle()
        {
            *self = Self::Cold { bytes: Vec::from(resource.encode()).into_boxed_slice(), version };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, LockCommand, Options};
    use crate::mode::Mode;
    use crate::name::{ClaimId, ClaimNumber, Incarnation, Label, OperationNumber, SessionId};
    use crate::resource::Context;

    fn held() -> Resource {
        let session = SessionId { opener: Incarnation(1), serial: 1, ttl_ms: 10_000 };
        let command = Command::Lock(LockCommand {
            claim: ClaimId { session, number: ClaimNumber(1) },
            operation: OperationNumber(1),
            mode: Mode::PW,
            options: Options::empty(),
            conversion_deadlock: None,
            blocking: true,
            owner: Label::new("task").unwrap_or_default(),
            label: Label::default(),
        });
        let context = Context { index: 0, wall_ms: 5, value_bytes: 32, queued_max: 10, record_bytes_max: 4096 };
        let mut resource = Resource::new();
        assert!(resource.apply(&command, &context, &mut Vec::new()));
        resource.committed(Version(7));
        resource
    }

    #[test]
    fn a_cold_state_says_what_it_said() {
        let mut state = State::of(held());
        let before = state.view().encode();
        state.cool_down(Version(7));
        assert!(!state.is_warm() && state.warm().is_none() && !state.is_idle());
        assert_eq!(state.view().encode(), before);
        assert!(state.warm_up());
        assert_eq!(state.warm().map(|resource| resource.encode()), Some(before));
    }

    #[test]
    fn nothing_is_worked_with_that_cannot_be_understood() {
        let mut state = State::Cold { bytes: vec![0; 3].into(), version: Version(7) };
        assert!(!state.warm_up());
    }

    #[test]
    fn an_empty_state_stays_warm() {
        let mut state = State::default();
        state.cool_down(Version(7));
        assert!(state.is_warm() && state.is_idle());
    }
}
