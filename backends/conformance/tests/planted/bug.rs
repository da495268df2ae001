//! The bugs that are planted.

/// What one store does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Whatever version is expected, the write goes through.
    IgnoresVersions,
    /// Reads the version, compares, and writes a moment later.
    ComparesThenSwaps,
    /// A delete does not look at the version.
    DeletesAnyVersion,
    /// One conflict refuses the whole batch.
    AllOrNothing,
    /// Outcomes come in the opposite order.
    ReversesOutcomes,
    /// Acknowledges more than 500 writes of a batch without storing them.
    DropsTheEndOfLargeBatches,
    /// Stores records larger than it says it can.
    StoresTooLarge,
    /// Stores batches larger than it says it can.
    StoresBatchesTooLarge,
    /// A record ends at its first zero byte.
    CutsBytesAtNul,
    /// A record without bytes is deleted.
    TakesEmptyForAbsent,
    /// A compare is always true.
    ComparesNothing,
    /// A conflict says that nothing is there.
    ConflictsTellTheWrongThing,
    /// Serves for ever what it read first.
    ServesOldReads,
    /// `A` and `a` are the same.
    FoldsCase,
    /// Spaces at the ends do not count.
    TrimsNames,
    /// Only the first 1,000 bytes count.
    CutsLongNames,
    /// `a` + `.b` and `a.` + `b` are the same.
    MixesLockspaces,
    /// A list ends after its first page.
    ListsOnePageOnly,
    /// A page that goes on loses its first key.
    SkipsAtPageEnds,
    /// A list does not look at the prefix.
    IgnoresPrefixes,
    /// A list that goes on from nowhere is at its end.
    GoesOnFromAnywhere,
    /// Two writes may get the same version.
    RepeatsVersions,
    /// After a delete a key begins anew.
    RestartsVersionsAfterDelete,
    /// The first version is 1, not the clock.
    CountsFromOne,
    /// Moving a lane does nothing.
    ForgetsGenerations,
    /// A lane moves to whatever generation is named.
    LetsLanesGoBack,
    /// All lanes are one.
    MovesAllLanes,
    /// Commits do not look at the registration.
    AcceptsTheEvicted,
    /// A beat that finds no living registration makes one.
    RevivesByBeat,
    /// A repeated beat is an error.
    RefusesRepeatedBeats,
    /// A beat does not look at the version.
    BeatsOnAnyVersion,
    /// A beat does not change the version.
    BeatsKeepTheVersion,
    /// An eviction does not look at the version.
    EvictsAnyVersion,
    /// An eviction of an absent broker stores nothing.
    EvictsNothingOfTheAbsent,
    /// A living broker can be forgotten.
    ForgetsTheLiving,
    /// Leaving does nothing.
    LeavesNothing,
    /// No hint ever comes.
    NeverHints,
    /// Only one watcher hears.
    WakesOneWatcher,
    /// A lost reply is answered as "not stored".
    CallsUnknownUnavailable,
    /// Sends again after a lost reply, and answers what the second copy got.
    SendsAgainByItself,
    /// What was sent before a lane moved is applied all the same.
    IgnoresMovedLanes,
    /// What arrives late is applied at whatever version is there.
    WritesLateUpdates,
    /// A beat that arrives late revives its broker.
    RevivesByLateBeat,
    /// A restart loses what was acknowledged.
    ForgetsOnRestart,
    /// A restart loses that a registration is gone.
    ForgetsTheGoneOnRestart,
    /// A timeout is answered as "not stored".
    CallsLateUnavailable,
    /// What was sent to a server that stood still is applied much later, whatever its lane did meanwhile.
    LateAfterFreeze,
    /// Says that it refuses, and stores.
    StoresWhatItRefuses,
    /// Hints never come again once they were lost.
    StaysDeaf,
    /// A changed root is not noticed.
    NoticesNoLoss,
    /// A broker that the store forgot registers again by itself.
    RegistersAfterLoss,
}

impl Bug {
    /// Whether the bug is one of a client, that is, before the network. The others are behind it.
    pub(crate) fn is_of_client(self) -> bool {
        matches!(
            self,
            Bug::CallsUnknownUnavailable
                | Bug::CallsLateUnavailable
                | Bug::SendsAgainByItself
                | Bug::RegistersAfterLoss
                | Bug::NoticesNoLoss
                | Bug::ServesOldReads
                | Bug::WakesOneWatcher
        )
    }
}
