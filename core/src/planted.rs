//! Wrong versions of the rules, planted on purpose: a check that cannot fail is worth nothing.
//!
//! Each [`Bug`] leaves out one rule at the point where that rule stands. The simulation plants one in every broker of a
//! schedule and must then find a violation. Without the cargo feature `planted`, which only the simulation turns on,
//! [`Planted`] is nothing, no bug can be chosen, and the compiler removes every trace of them.

/// A rule of the broker machine that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A broker writes the newest format that it knows at once, whatever the others read.
    NewFormatAtOnce,
    /// A session of a broker that is gone is buried at once, not when its TTL has passed (rule 2).
    BurialWithoutWaiting,
    /// A session is dead because its mark was read, without a compare-and-swap (rule 1).
    BurialByRead,
    /// A broker that was silent counts as gone without a compare-and-swap on its registration (rule 2).
    EvictionByRead,
    /// An observer that was cut off itself goes on counting the silence of others (rule 3).
    ObserverGoesOnCounting,
    /// A broker that cannot prove its own life answers opens, resumes and keepalives (rule 4).
    SilentBrokerVouches,
    /// The age of a beat is measured on a clock that stands still during suspend (rule 4).
    BeatAgedWithoutSuspend,
    /// A broker takes a move whose number is not larger than that of a later one (rule 5).
    OldMoveAccepted,
    /// The write of a move is given up when its outcome is unknown, and the session dropped (rule 6).
    MoveGivenUpInDoubt,
    /// A broker ends its own session without a compare-and-swap on the mark (rule 1).
    OwnBurialWithoutMark,
    /// A burial of unknown outcome is not repeated (rule 1).
    BurialGivenUpInDoubt,
    /// A session is answered although its burial may have been sent (rule 2).
    AnsweredDuringBurial,
    /// Claims taken away by an administrator are free at once (rule 8).
    ForcedFreeAtOnce,
    /// What an administrator takes away is not written into the session's mark first (rule 8).
    ForcedWithoutMark,
    /// A resume whose last unread claim ends meanwhile is not answered.
    ResumeForgotten,
    /// A wait that has ended by its time still counts among those of its principal.
    QuotaNotGivenBack,
    /// Claims that a client gave up when it moved stay where they are (rule 9).
    VoidClaimsStay,
    /// Nobody looks for the claims of dead sessions (rule 10).
    NoSweep,
    /// A session that is bound to its connection is released as soon as its broker sees the connection end (rule 12).
    BoundReleasedOnCut,
    /// What a dead session held is free at once, whatever its lockspace's lock-delay (rule 13).
    LockDelayIgnored,
    /// A waiter loses its place when its session moves.
    WaiterDroppedOnMove,
    /// A write of unknown outcome is repeated while its first copy may still strike.
    RepeatWithoutGuard,
    /// A record that becomes idle is not written, because nobody needs what it says (rule 10).
    IdleAssumed,
    /// A record that was kept idle is never deleted (rule 10).
    KeptIdleStays,
    /// What cooled down is not decoded before it is worked with.
    ColdTakenForEmpty,
    /// A record that is in a batch in flight goes into another one.
    RecordInTwoBatches,
    /// A mark that is in a batch in flight goes into another one.
    MarkInTwoBatches,
    /// An answer that changes nothing is given from memory, without a compare.
    AnsweredFromMemory,
    /// What a read shows is told to clients without a compare.
    ReadTakenForTruth,
    /// Fences come from a counter in the broker's memory.
    FenceFromMemory,
    /// The value block of a holder that died in PW or EX stays valid (V9).
    ValueStaysValid,
    /// Waiters rely on hints: nobody looks again by themselves.
    HintsReliedUpon,
    /// After the store lost its memory a broker waits only for the sessions that it vouched for itself.
    GraceOfOwnSessions,
    /// A broker that starts takes the store for settled.
    EmptyStartGrants,
    /// A store in which another broker is registered is taken for settled.
    OldStoreTakenForSettled,
    /// Another history of the store is noticed, and nobody is waited for.
    HistoryNotAskedAbout,
    /// A session moves after its store lost a grant, and its client goes on believing in that.
    LostGrantBelieved,
    /// What a copy in doubt ended is not told when the copy after it finds nothing (rule 18).
    EndInDoubtForgotten,
    /// A further copy of a lock request creates the claim again that ended before it (rule 18).
    CopyCreatesAgain,
    /// When a wait ends, a further copy that was not sent counts as a request that never was (rule 18).
    CopyTakenForFirst,
    /// A lock that is granted when its caller is gone and was never told stays (rule 18).
    UntoldGrantKept,
    /// A copy of a lock request creates the claim that its client has let go of, because the first copy was refused (rule 18).
    RefusedCopyCreates,
    /// The end of a call withdraws what waits, although a newer copy took its place and was answered (rule 18).
    ReplacedCallWithdraws,
    /// What is held is not looked at again (rule 19).
    HeldRecordNotLookedAt,
    /// Where a damaged record was removed, grants begin at once (rule 20).
    DamagedRecordForgotten,
    /// A session that has more claims than its broker allows by now cannot move there.
    MoveWithinLimits,
    /// Whoever listens to a session that has a stream takes the place of the stream.
    ListenerTakesStream,
    /// Whoever listens is told that a session has ended here, although it may have moved (rule 1).
    ListenerToldInDoubt,
    /// A lock that is given back, because its caller is gone and was never told, is told to whoever listens (rule 18).
    GivenBackTold,
    /// An administrator's word to a holder goes to whatever waits as well.
    WaiterToldToLetGo,
}

impl Bug {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::NewFormatAtOnce,
        Self::BurialWithoutWaiting,
        Self::BurialByRead,
        Self::EvictionByRead,
        Self::ObserverGoesOnCounting,
        Self::SilentBrokerVouches,
        Self::BeatAgedWithoutSuspend,
        Self::OldMoveAccepted,
        Self::MoveGivenUpInDoubt,
        Self::OwnBurialWithoutMark,
        Self::BurialGivenUpInDoubt,
        Self::AnsweredDuringBurial,
        Self::ForcedFreeAtOnce,
        Self::ForcedWithoutMark,
        Self::ResumeForgotten,
        Self::QuotaNotGivenBack,
        Self::VoidClaimsStay,
        Self::NoSweep,
        Self::BoundReleasedOnCut,
        Self::LockDelayIgnored,
        Self::WaiterDroppedOnMove,
        Self::RepeatWithoutGuard,
        Self::IdleAssumed,
        Self::KeptIdleStays,
        Self::ColdTakenForEmpty,
        Self::RecordInTwoBatches,
        Self::MarkInTwoBatches,
        Self::AnsweredFromMemory,
        Self::ReadTakenForTruth,
        Self::FenceFromMemory,
        Self::ValueStaysValid,
        Self::HintsReliedUpon,
        Self::GraceOfOwnSessions,
        Self::EmptyStartGrants,
        Self::OldStoreTakenForSettled,
        Self::HistoryNotAskedAbout,
        Self::LostGrantBelieved,
        Self::EndInDoubtForgotten,
        Self::CopyCreatesAgain,
        Self::CopyTakenForFirst,
        Self::UntoldGrantKept,
        Self::RefusedCopyCreates,
        Self::ReplacedCallWithdraws,
        Self::HeldRecordNotLookedAt,
        Self::DamagedRecordForgotten,
        Self::MoveWithinLimits,
        Self::ListenerTakesStream,
        Self::ListenerToldInDoubt,
        Self::GivenBackTold,
        Self::WaiterToldToLetGo,
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
    pub(crate) fn has(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether this rule is left out. Always false in a program that is shipped.
    #[cfg(not(feature = "planted"))]
    pub(crate) const fn has(self, _: Bug) -> bool {
        let Self {} = self;
        false
    }
}
