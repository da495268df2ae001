//! The table of sessions that this broker vouches for, and what it knows of their claims.
//!
//! The table is memory, not truth: what a claim holds is decided by the record of its resource. The table knows whom to
//! tell, and which claim numbers were used, so that a claim is created at most once.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::api::{ClientInfo, ConnectionId, Done, DoneStatus, Event, LiveClaim, LostReason, ReplyTo};
use super::mark::Mark;
use super::shares::Counts;
use crate::access::Principal;
use crate::limits::{CLAIM_NUMBER_GAP_MAX, VOID_CLAIMS_MAX};
use crate::mode::Mode;
use crate::name::{ClaimNumber, Fence, Incarnation, OperationNumber, ResourceId, Version};
use crate::small::Map;

/// Void claims that a session remembers: those of its last sixteen moves at least.
const VOID_KEPT: usize = 16 * VOID_CLAIMS_MAX;
/// Answers of finished claims that a session keeps for repeats.
const FINISHED_KEPT: usize = 64;

/// Where a session is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Taken over, but the mark does not say so yet. Nothing is answered.
    Moving,
    /// This broker vouches.
    Vouching,
    /// An administrator ended it. This broker vouches on until the client has confirmed that or had its time, but no
    /// keepalive lets the client believe otherwise.
    Ending,
    /// The burial may have been sent: the session is never answered again.
    Burying {
        /// It is over for certain. Otherwise it may turn out to live elsewhere, as long as its mark is not known to be
        /// written, and nobody is told that it is over.
        decided: bool,
    },
    /// The client closed it; its claims are being removed.
    Closing,
}

impl Life {
    /// Its client is answered here.
    pub(super) fn is_vouched_for(self) -> bool {
        matches!(self, Self::Vouching | Self::Ending)
    }

    pub(super) fn is_burying(self) -> bool {
        matches!(self, Self::Burying { .. })
    }
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: ClientInfo,
    /// Whose it is, with the rules that were in force when it was last heard.
    pub(super) principal: Principal,
    /// Who is at its connection: what comes there says so only when that has changed, and calls beside it are of whoever they say.
    pub(super) attached: Principal,
    /// When it was opened or came here, monotonic.
    pub(super) since: Duration,
    pub(super) bound: bool,
    /// Its client said beforehand that the end of its connection is its goodbye.
    pub(super) release_on_end: bool,
    pub(super) life: Life,
    /// Why it is lost, until that is certain and counted.
    pub(super) lost: Option<LostReason>,
    /// The client was heard since it opened the session.
    pub(super) came_back: bool,
    /// The client's newest move number; 0 before the first.
    pub(super) move_number: u32,
    /// Another broker vouched for it before.
    pub(super) from_elsewhere: bool,
    /// The version of the session's mark, as this broker wrote or saw it.
    pub(super) mark: Version,
    /// When the client was heard, monotonic.
    pub(super) heard: Duration,
    pub(super) connection: Option<ConnectionId>,
    /// That connection is no stream: its client only listens there.
    pub(super) listens: bool,
    /// Boxed: they come and go with every lock, and a map would move them about. They come by [`Session::claim`] and go by
    /// [`Session::drop_claim`].
    pub(super) claims: Map<ClaimNumber, Box<Claim>>,
    pub(super) numbers: Numbers,
    /// Claims that count as dead wherever they are met.
    pub(super) void: BTreeSet<ClaimNumber>,
    /// Claims that an administrator takes away, as the mark says.
    pub(super) taken: BTreeSet<ClaimNumber>,
    /// How many claims it has, and how many wait.
    pub(super) counts: Counts,
    pub(super) finished: Finished,
    /// Who is told when the session is closed.
    pub(super) closers: Vec<ReplyTo>,
    /// The resume that is under way.
    pub(super) resuming: Option<Box<Resuming>>,
    /// Events that wait for the answer to the resume, so that they are not taken for those of the stream before.
    pub(super) held_back: Vec<Event>,
}

/// A resume that is not answered yet.
#[derive(Debug)]
pub(super) struct Resuming {
    pub(super) to: ReplyTo,
    /// Claims whose resources must be read before the answer.
    pub(super) unread: BTreeSet<ClaimNumber>,
    /// What the client said that it has.
    pub(super) claims: Vec<LiveClaim>,
}

impl Session {
    /// The session came here without this claim and is done with it: what stands of it was released in a write that the
    /// store lost.
    pub(super) fn has_no_more(&self, number: ClaimNumber) -> bool {
        self.from_elsewhere
            && self.life.is_vouched_for()
            && self.resuming.is_none()
            && self.numbers.is_used(number)
            && !self.claims.contains_key(&number)
    }

    pub(super) fn new(client: ClientInfo, bound: bool, life: Life, heard: Duration) -> Self {
        Self {
            client,
            principal: Principal::default(),
            attached: Principal::default(),
            since: heard,
            bound,
            release_on_end: false,
            life,
            lost: None,
            came_back: false,
            move_number: 0,
            from_elsewhere: false,
            mark: Version::ABSENT,
            heard,
            connection: None,
            listens: false,
            claims: Map::default(),
            numbers: Numbers::default(),
            void: BTreeSet::new(),
            taken: BTreeSet::new(),
            counts: Counts::default(),
            finished: Finished::default(),
            closers: Vec::new(),
            resuming: None,
            held_back: Vec::new(),
        }
    }

    /// A claim, made if it is new.
    pub(super) fn claim(&mut self, number: ClaimNumber, new: impl FnOnce() -> Claim) -> &mut Claim {
        let counts = &mut self.counts;
        self.claims.get_or_insert_with(number, || {
            counts.claims(1);
            Box::new(new())
        })
    }

    /// Removes a claim, and nothing else.
    pub(super) fn drop_claim(&mut self, number: ClaimNumber) -> Option<Box<Claim>> {
        let claim = self.claims.remove(&number)?;
        self.counts.claims(-1);
        Some(claim)
    }

    /// Removes a claim and keeps its last answer for repeats.
    pub(super) fn finish(&mut self, number: ClaimNumber, done: Option<Done>) -> Option<Claim> {
        let claim = self.drop_claim(number)?;
        if claim.pending.is_some() {
            self.counts.waiting(-1);
        }
        if let Some(done) = done {
            // Its end is told: no late copy of a request creates it again.
            self.numbers.mark_once(number);
            self.finished.push(done);
        }
        Some(*claim)
    }

    /// The mark that its broker writes while the session lives there. The newest void numbers matter, because older ones
    /// were removed by sweeps that a move begins.
    pub(super) fn own_mark(&self, own: Incarnation) -> Mark {
        let newest = |numbers: &BTreeSet<ClaimNumber>| numbers.iter().rev().take(VOID_CLAIMS_MAX).copied().collect();
        Mark::Moved {
            to: own,
            number: self.move_number,
            void: newest(&self.void),
            taken: newest(&self.taken),
            ending: self.life == Life::Ending || self.life.is_burying(),
        }
    }

    /// Notes what people are told of the client that resumes. What it does not name stays as it was.
    pub(super) fn meet(&mut self, client: &ClientInfo) {
        self.client.address = client.address.clone();
        if !client.label.is_empty() {
            self.client.label = client.label.clone();
        }
        if !client.program.is_empty() {
            self.client.program = client.program.clone();
        }
    }

    /// Its client lets go of a claim that is not known: a copy of its request that is still on its way comes too late.
    pub(super) fn never_create(&mut self, number: ClaimNumber) {
        if !self.numbers.is_too_far(number) {
            self.numbers.mark_once(number);
        }
    }

    /// Nothing will be heard of its client any more, and nothing is left that the client may believe to hold.
    pub(super) fn is_abandoned(&self) -> bool {
        self.bound && self.connection.is_none() && self.claims.is_empty() && self.life.is_vouched_for()
    }

    /// Claims that were given up. The oldest are forgotten in time: sweeps have removed them long since.
    pub(super) fn note_void(&mut self, numbers: impl IntoIterator<Item = ClaimNumber>) {
        self.void.extend(numbers);
        while self.void.len() > VOID_KEPT {
            self.void.pop_first();
        }
    }

    /// Claims that were taken away and not confirmed yet. They are told again with every keepalive, because a client without a
    /// stream hears of it in no other way.
    pub(super) fn taken_away(&self) -> Vec<ClaimNumber> {
        self.claims.iter().filter(|(_, claim)| claim.forced).map(|(number, _)| *number).collect()
    }

    /// Every resource on which the session has a claim.
    pub(super) fn resources(&self) -> BTreeSet<ResourceId> {
        self.claims.values().map(|claim| claim.resource.clone()).collect()
    }

    /// Counts what people want to see.
    pub(super) fn held(&self) -> usize {
        self.claims.values().filter(|claim| claim.granted.is_some()).count()
    }

    /// The last answer of a finished claim.
    pub(super) fn finished(&self, number: ClaimNumber) -> Option<&Done> {
        self.finished.find(number)
    }
}

/// Last answers of finished claims, oldest first. Their numbers stand beside them, because every new claim looks for its
/// own, in vain.
#[derive(Debug, Default)]
pub(super) struct Finished {
    numbers: VecDeque<ClaimNumber>,
    answers: VecDeque<Done>,
}

impl Finished {
    fn push(&mut self, done: Done) {
        if self.answers.len() == FINISHED_KEPT {
            self.numbers.pop_front();
            self.answers.pop_front();
        }
        self.numbers.push_back(done.claim);
        self.answers.push_back(done);
    }

    fn find(&self, number: ClaimNumber) -> Option<&Done> {
        let place = self.numbers.iter().rposition(|known| *known == number)?;
        self.answers.get(place)
    }
}

/// One claim of a session of this broker.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) resource: ResourceId,
    /// The newest operation asked for.
    pub(super) operation: OperationNumber,
    /// The mode held, as last seen.
    pub(super) granted: Option<Mode>,
    /// Since when it holds something at this broker, monotonic.
    pub(super) held_since: Option<Duration>,
    pub(super) grant_seq: u32,
    /// The newest grant that the client knew of when it came with the claim.
    pub(super) believed_seq: u32,
    /// The highest blocking level that the client was told since the last grant.
    pub(super) blocking_told: Option<Mode>,
    /// The newest completion, for a client that resumes.
    pub(super) done: Option<Done>,
    /// Commands of this claim that are queued in the broker or under way to the store.
    pub(super) commands: u32,
    /// The operation that has no completion yet.
    pub(super) pending: Option<Operation>,
    /// An administrator took it away, or the store lost it; it goes when the holder confirms or the time has passed.
    pub(super) forced: bool,
    /// It was granted when nobody could be told, and is given back.
    pub(super) leaving: bool,
    /// The operation by which it was granted while this broker could not speak: whoever asked was told that the outcome is
    /// unknown.
    pub(super) untold: Option<OperationNumber>,
    /// Its client cancelled or released it: should nothing have come of its request, no later copy creates it.
    pub(super) let_go: bool,
    /// It came with a move, and its resource has not been looked at since.
    pub(super) unread: bool,
}

/// An operation that has no completion yet.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) number: OperationNumber,
    /// Who is answered; absent once a stream has been told `queued`.
    pub(super) reply: Option<ReplyTo>,
    /// A unary call that wants only the end.
    pub(super) until_done: bool,
    /// The mode asked for. Absent if that was at another broker.
    pub(super) mode: Option<Mode>,
    /// When it was asked for here, monotonic. Absent: it is a copy of one that has ended.
    pub(super) asked: Option<Duration>,
    /// When its wait ends, monotonic; absent: never.
    pub(super) deadline: Option<Duration>,
    /// Its place, once it is queued.
    pub(super) queued: Option<(u32, Fence)>,
    /// Nobody waits for it any more, and nobody can be told of it.
    pub(super) given_up: bool,
    /// By wall clocks, for people: when it was asked for, or came to its queue.
    pub(super) since_ms: u64,
}

impl Claim {
    pub(super) fn new(resource: ResourceId, operation: OperationNumber) -> Self {
        Self {
            resource,
            operation,
            granted: None,
            held_since: None,
            grant_seq: 0,
            believed_seq: 0,
            blocking_told: None,
            done: None,
            commands: 0,
            pending: None,
            forced: false,
            leaving: false,
            untold: None,
            let_go: false,
            unread: false,
        }
    }
}

impl Claim {
    /// It holds this now.
    pub(super) fn holds(&mut self, mode: Option<Mode>, now: Duration) {
        self.granted = mode;
        if mode.is_some() {
            self.held_since.get_or_insert(now);
        }
    }

    /// Whether what it held is lost if it ends so. What was taken away stays so, also if its holder lets go of it or closes its session.
    pub(super) fn is_lost_by(&self, end: DoneStatus, closing: bool) -> bool {
        self.forced || end == DoneStatus::Lost && !closing
    }

    /// It holds something, as far as this broker or its client knows.
    pub(super) fn is_held(&self) -> bool {
        self.granted.is_some() || self.believed_seq > 0
    }

    /// Its client was told of a later grant than this one.
    pub(super) fn was_granted_after(&self, grant_seq: u32) -> bool {
        grant_seq < self.grant_seq.max(self.believed_seq)
    }

    /// It stands in a queue, as far as is known. What is on its way to the store stands in none yet.
    pub(super) fn stands_in_a_queue(&self) -> bool {
        let stands = |pending: &Operation| !pending.given_up && (pending.queued.is_some() || self.commands == 0);
        self.pending.as_ref().is_some_and(stands)
    }

    /// It waits for an operation later than this one.
    pub(super) fn waits_for_more(&self, operation: OperationNumber) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.number > operation)
    }

    /// Nothing is known to be pending, or only an operation before this one.
    pub(super) fn waits_for_less(&self, operation: OperationNumber) -> bool {
        self.pending.as_ref().is_none_or(|pending| pending.number < operation)
    }
}

/// Which claim numbers were used: all below `floor`, and some above. Numbers may be left out for ever, as those of refused
/// tries are: one that is far behind the highest counts as used, so that a session can go on without end.
#[derive(Debug)]
pub(super) struct Numbers {
    floor: u64,
    above: BTreeSet<u64>,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { floor: 1, above: BTreeSet::new() }
    }
}

impl Numbers {
    /// All numbers below `next` count as used.
    pub(super) fn starting_at(next: ClaimNumber) -> Self {
        Self { floor: next.0.max(1), above: BTreeSet::new() }
    }

    /// All numbers below `next` count as used from now on.
    pub(super) fn use_all_below(&mut self, next: ClaimNumber) {
        self.floor = self.floor.max(next.0);
        self.above = self.above.split_off(&self.floor);
        while self.above.first() == Some(&self.floor) {
            self.above.pop_first();
            self.floor += 1;
        }
    }

    pub(super) fn is_used(&self, number: ClaimNumber) -> bool {
        number.0 < self.floor || self.above.contains(&number.0)
    }

    /// True if the number is so far ahead of the highest used that it is rather a mistake.
    pub(super) fn is_too_far(&self, number: ClaimNumber) -> bool {
        let next = self.above.last().map_or(self.floor, |highest| highest + 1);
        number.0 >= next.saturating_add(CLAIM_NUMBER_GAP_MAX)
    }

    /// Notes that the number was used.
    pub(super) fn mark_once(&mut self, number: ClaimNumber) {
        if self.is_used(number) {
            return;
        }
        if number.0 == self.floor {
            self.floor += 1;
        } else {
            self.above.insert(number.0);
        }
        let far_behind = number.0.saturating_sub(CLAIM_NUMBER_GAP_MAX);
        while self.above.first().is_some_and(|lowest| *lowest == self.floor || *lowest <= far_behind) {
            self.floor = self.above.pop_first().map_or(self.floor, |lowest| lowest + 1);
        }
        self.floor = self.floor.max(far_behind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_once_in_any_order() {
        let mut numbers = Numbers::default();
        for number in [1, 3, 2, 5] {
            assert!(!numbers.is_used(ClaimNumber(number)));
            numbers.mark_once(ClaimNumber(number));
            assert!(numbers.is_used(ClaimNumber(number)));
        }
        assert!(!numbers.is_used(ClaimNumber(4)));
        assert_eq!(numbers.floor, 4);
        assert!(!numbers.is_too_far(ClaimNumber(5 + CLAIM_NUMBER_GAP_MAX)));
        assert!(numbers.is_too_far(ClaimNumber(6 + CLAIM_NUMBER_GAP_MAX)));
    }

    #[test]
    fn numbers_below_one_are_used_all_at_once() {
        let mut numbers = Numbers::default();
        for number in [2, 5, 6, 9] {
            numbers.mark_once(ClaimNumber(number));
        }
        numbers.use_all_below(ClaimNumber(5));
        assert_eq!((numbers.floor, numbers.above.len()), (7, 1));
        numbers.use_all_below(ClaimNumber(3));
        assert!(numbers.is_used(ClaimNumber(9)) && !numbers.is_used(ClaimNumber(8)));
        assert_eq!(numbers.floor, 7);
    }

    #[test]
    fn a_session_forgets_its_oldest_void_claims() {
        let mut session = Session::new(ClientInfo::default(), false, Life::Vouching, Duration::ZERO);
        session.note_void((1..=VOID_KEPT as u64 + 1).map(ClaimNumber));
        assert_eq!(session.void.len(), VOID_KEPT);
        assert_eq!(session.void.first(), Some(&ClaimNumber(2)));
    }

    #[test]
    fn a_number_left_out_counts_as_used_when_it_is_far_behind() {
        let mut numbers = Numbers::default();
        for number in 2..=CLAIM_NUMBER_GAP_MAX + 1 {
            numbers.mark_once(ClaimNumber(number));
        }
        assert!(!numbers.is_used(ClaimNumber(1)));
        numbers.mark_once(ClaimNumber(CLAIM_NUMBER_GAP_MAX + 2));
        assert!(numbers.is_used(ClaimNumber(1)));
        assert!(numbers.above.is_empty(), "nothing is remembered of numbers that all were used");
        assert_eq!(numbers.floor, CLAIM_NUMBER_GAP_MAX + 3);
    }
}
