//! Wrong versions of the session logic's rules, planted on purpose: a check that cannot fail is worth nothing.
//!
//! The counterpart of the broker machine's. Without the cargo feature `planted`, which only the simulation turns on,
//! [`Planted`] is nothing, no bug can be chosen, and the compiler removes every trace of them.

/// A rule of the session logic that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The deadline counts from when an acknowledgement came, not from when the keepalive was sent (rule 7).
    DeadlineFromReply,
    /// The client does not stop using what a broker says was taken away (rule 8).
    LossIgnored,
    /// A move does not count up its number (rule 5).
    MoveNumberReused,
    /// Lock requests that were not answered keep their number over a move (rule 9).
    UnansweredKeepsNumber,
    /// A conversion whose wait ends without a broker counts as not granted, although a broker may have granted it.
    ConversionEndedAlone,
    /// A wait ends only when the attached broker says so, however long it is silent.
    WaitLeftToTheBroker,
    /// A release that was not answered before a move counts as done.
    ReleaseNotRepeated,
}

impl Bug {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::DeadlineFromReply,
        Self::LossIgnored,
        Self::MoveNumberReused,
        Self::UnansweredKeepsNumber,
        Self::ConversionEndedAlone,
        Self::WaitLeftToTheBroker,
        Self::ReleaseNotRepeated,
    ];
}

/// Which bug is planted, if any.
#[derive(Debug, Clone, Copy, Default)]
pub struct Planted {
    #[cfg(feature = "planted")]
    bug: Option<Bug>,
}

impl Planted {
    /// Chooses a bug.
    #[cfg(feature = "planted")]
    pub fn of(bug: Bug) -> Self {
        Self { bug: Some(bug) }
    }

    /// Whether this rule is left out. Always false in a program that is shipped.
    #[cfg(feature = "planted")]
    pub(super) fn has(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether this rule is left out. Always false in a program that is shipped.
    #[cfg(not(feature = "planted"))]
    pub(super) const fn has(self, _: Bug) -> bool {
        let Self {} = self;
        false
    }
}
