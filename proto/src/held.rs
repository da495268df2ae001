//! Modes where the API leaves room for other kinds of resources: a lock is asked for in a mode, and what is held is one.

use crate::v1;

macro_rules! can_be_a_mode {
    ($($kind:ty),*) => {
        $(impl From<v1::Mode> for $kind {
            fn from(mode: v1::Mode) -> Self {
                Self::Mode(mode.into())
            }
        })*
    };
}

can_be_a_mode!(
    v1::lock::What,
    v1::convert::What,
    v1::hold_request::What,
    v1::completion::Held,
    v1::claim_state::Held,
    v1::live_claim::Held
);

impl v1::Mode {
    /// What is held in this mode; nothing if it is unspecified.
    pub fn held<T: From<Self>>(self) -> Option<T> {
        (self != Self::Unspecified).then(|| self.into())
    }
}

impl v1::Lock {
    /// The mode that is asked for; unspecified if it is none that is known here.
    pub fn mode(&self) -> v1::Mode {
        match self.what {
            Some(v1::lock::What::Mode(mode)) => v1::Mode::try_from(mode).unwrap_or_default(),
            _ => v1::Mode::Unspecified,
        }
    }
}

impl v1::Convert {
    /// The mode that is wanted; unspecified if it is none that is known here.
    pub fn mode(&self) -> v1::Mode {
        match self.what {
            Some(v1::convert::What::Mode(mode)) => v1::Mode::try_from(mode).unwrap_or_default(),
            _ => v1::Mode::Unspecified,
        }
    }
}

impl v1::Completion {
    /// The mode now held; unspecified if it is none that is known here.
    pub fn mode(&self) -> v1::Mode {
        match self.held {
            Some(v1::completion::Held::Mode(mode)) => v1::Mode::try_from(mode).unwrap_or_default(),
            Some(v1::completion::Held::Permits(_)) | None => v1::Mode::Unspecified,
        }
    }
}

impl v1::ClaimState {
    /// The mode held; unspecified if it is none that is known here.
    pub fn mode(&self) -> v1::Mode {
        match self.held {
            Some(v1::claim_state::Held::Mode(mode)) => v1::Mode::try_from(mode).unwrap_or_default(),
            Some(v1::claim_state::Held::Permits(_)) | None => v1::Mode::Unspecified,
        }
    }
}
