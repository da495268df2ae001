//! What clients are told of the end of a claim, held against what happened: nothing is lost without a cause, and nothing
//! stays of what its client was told is over, or of what nobody was told that it began.

use sixpin_client::{Error, Loss, Mode};
use sixpin_core::backend::Key;
use sixpin_core::broker::api::{DoneStatus, Reply, RequestError};
use sixpin_core::command::Status;
use sixpin_core::name::{ClaimId, ClaimNumber, ResourceId, SessionId};
use sixpin_core::resource::Resource;
use sixpin_proto::v1;
use v1::session_response::Body as Down;

use crate::check::{self, Check};
use crate::plan::{SECOND, Time};
use crate::unary::Ask;
use crate::world::World;

/// How long a claim whose caller walked away may stay when nothing is wrong any more: one that was given up in a move is
/// found by a sweep.
const STAYS_AT_MOST: Time = 4 * SECOND;

impl Check {
    /// A broker said that a claim is granted.
    fn say_granted(&mut self, claim: ClaimId, grant_seq: u32, fence: u64) {
        let said = self.said_granted.entry(claim).or_default();
        *said = (grant_seq, fence).max(*said);
    }

    /// A caller may have been told of a grant, or that nobody knows: then it is for the caller to find out.
    fn may_have_been_told(&self, claim: ClaimId) -> bool {
        self.said_granted.contains_key(&claim) || self.said_unknown.contains(&claim)
    }

    /// Something of a claim may be lost: an administrator took from its session, the session is over, its client gave the
    /// number up when it moved.
    pub(crate) fn may_lose(&self, session: SessionId, claim: u64) -> bool {
        self.forced.contains(&session) || self.is_over(session) || self.is_void(session, claim)
    }
}

impl World {
    /// Somebody is told that a claim is lost.
    pub(crate) fn told_lost(&mut self, who: &str, session: SessionId, claim: u64) {
        // What the store forgot is lost, and what somebody took out of it.
        // Nor can anybody say how a release ended, or a lock that nobody was told of, that was on its way when its record was
        // damaged.
        let id = ClaimId { session, number: ClaimNumber(claim) };
        let untold = !self.check.said_granted.contains_key(&id);
        let in_doubt = self.check.tally.damaged > 0 && (untold || self.check.is_let_go(session, claim));
        if !self.may_miss() && !self.check.may_lose(session, claim) && !self.is_touched(session, claim) && !in_doubt {
            let text = format!("{who} was told that claim {claim} is lost, although nobody took anything from it");
            self.check.fail(text);
        }
    }

    /// What a broker says of claims on the newest stream of a client.
    pub(crate) fn check_told(&mut self, client: usize, stream: u64, message: &v1::SessionResponse) {
        let Some(session) = self.clients[client].session else { return };
        if self.newest_stream(client) != Some(stream) {
            return;
        }
        if let Some(Down::Completion(done)) = &message.body
            && done.mode() == v1::Mode::Unspecified
            && !matches!(done.status(), v1::Status::Lost | v1::Status::Gone)
        {
            let (who, why) = (format!("c{client}"), format!("{:?}", done.status()));
            self.told_over(&who, session, done.claim, &why);
        }
        if let Some(Down::Completion(done)) = &message.body
            && done.status() == v1::Status::Gone
            && !self.may_miss()
            && !self.check.moved.contains(&session)
            && !self.check.is_let_go(session, done.claim)
            && !self.check.may_lose(session, done.claim)
            // Where a record was damaged nobody can say how a wait there ended.
            && self.check.tally.damaged == 0
            && !self.is_touched(session, done.claim)
        {
            self.check.fail(format!("c{client} asked once for claim {} and was told that it is gone", done.claim));
        }
        let lost = match &message.body {
            Some(Down::Completion(done)) if done.status() == v1::Status::Lost => vec![done.claim],
            Some(Down::Lost(lost)) if matches!(lost.reason(), v1::LostReason::Forced | v1::LostReason::Amnesia) => {
                lost.claims.clone()
            }
            _ => return,
        };
        for claim in lost {
            let id = ClaimId { session, number: ClaimNumber(claim) };
            // A broker that did not see the first copy of a release cannot know; the client does.
            if !self.check.released.contains(&id) {
                self.told_lost(&format!("c{client}"), session, claim);
            }
        }
    }

    /// How an operation ended for the program.
    pub(crate) fn check_loss<T>(&mut self, client: usize, result: &Result<T, Error>, claim: u64) {
        // A lock that ends so names no claim; its record may have been deleted or damaged before its client heard of a grant.
        if claim == 0 && self.check.tally.deleted + self.check.tally.damaged > 0 {
            return;
        }
        if let (Err(Error::Lost(Loss::Forced)), Some(session)) = (result, self.clients[client].session) {
            self.told_lost(&format!("the program of c{client}"), session, claim);
        }
    }

    /// A client is told that it has nothing under a number any more.
    pub(crate) fn told_over(&mut self, who: &str, session: SessionId, claim: u64, why: &str) {
        if self.check.is_void(session, claim) {
            return;
        }
        let id = ClaimId { session, number: ClaimNumber(claim) };
        self.check.told_over.insert(id, format!("{who} ({why})"));
        for resource in 0..self.plan.resources {
            let resource = self.plan.resource(resource);
            let stored = self.resource_now(&resource);
            self.check_ghosts(&resource, &stored);
        }
    }

    /// No record has a claim whose client was told that it is over, unless the store lost the end of it not long ago.
    pub(crate) fn check_ghosts(&mut self, resource: &ResourceId, stored: &Resource) {
        if self.may_miss() {
            return;
        }
        let all = stored.granted().chain(stored.converting()).chain(stored.waiting());
        let ghost = all.map(|view| view.id).find_map(|id| Some((id, self.check.told_over.get(&id)?)));
        if let Some((id, who)) = ghost
            && !self.check.is_void(id.session, id.number.0)
        {
            let text = format!("{resource} has a ghost: {id}, of which {who} was told that it is over");
            self.check.fail(text);
        }
    }

    fn resource_now(&self, id: &ResourceId) -> Resource {
        let slot = self.store.read(&[Key::Resource(id.clone())]).pop().unwrap_or_default();
        let stored = slot.bytes.as_ref().and_then(|bytes| Resource::decode(bytes, slot.version).ok());
        stored.unwrap_or_default()
    }

    /// A broker says something to a client.
    pub(crate) fn note_told(&mut self, client: usize, body: &Down) {
        let Some(session) = self.clients[client].session else { return };
        let granted: Vec<(u64, u32, u64)> = match body {
            Down::Completion(done) if done.mode() != v1::Mode::Unspecified => {
                vec![(done.claim, done.grant_seq, done.fence)]
            }
            Down::Resumed(resumed) => {
                let held = resumed.claims.iter().filter(|state| state.mode() != v1::Mode::Unspecified);
                let grant = |state: &v1::ClaimState| {
                    let (number, fence) = state.completion.as_ref().map_or((0, 0), |done| (done.grant_seq, done.fence));
                    (state.claim, number, fence)
                };
                held.map(grant).collect()
            }
            _ => return,
        };
        for (claim, grant_seq, fence) in granted {
            self.check.say_granted(ClaimId { session, number: ClaimNumber(claim) }, grant_seq, fence);
        }
    }

    /// A broker says something to a caller, whether or not the caller still listens.
    pub(crate) fn note_said(&mut self, caller: usize, ask: Ask, reply: &Reply) {
        let (Ask::Lock(number) | Ask::Look(number), Some(session)) = (ask, self.callers[caller].session()) else {
            return;
        };
        let id = ClaimId { session, number: ClaimNumber(number) };
        match reply {
            Reply::Done(done) if done.status == DoneStatus::Is(Status::Granted) => {
                self.check.say_granted(id, done.grant_seq, done.fence.map_or(0, |fence| fence.0));
            }
            // Another copy was answered instead.
            Reply::Error(RequestError::Busy(_)) => {}
            Reply::Error(_) => {
                self.check.said_unknown.insert(id);
            }
            _ => {}
        }
    }

    /// A caller asks for a lock, perhaps again: the answer to this copy counts.
    pub(crate) fn note_asked(&mut self, caller: usize, ask: Ask) {
        if matches!(ask, Ask::Cancel(_)) {
            self.note_given_up(caller, self.callers[caller].life, ask);
        }
        if let (Ask::Lock(number) | Ask::Look(number), Some(session)) = (ask, self.callers[caller].session()) {
            self.check.said_unknown.remove(&ClaimId { session, number: ClaimNumber(number) });
        }
    }

    /// A caller forgets what it asked for, and cuts the calls.
    pub(crate) fn walks_away(&mut self, caller: usize, number: u64) {
        if let Some(session) = self.callers[caller].session() {
            self.trace(|| format!("u{caller} walks away from claim {number}"));
            self.check.tally.walked_away += 1;
            let id = ClaimId { session, number: ClaimNumber(number) };
            let now = self.now;
            self.check.walked_away.insert(id, now);
        }
    }

    /// Nothing stays of what a caller walked away from, unless it may have been told of a grant. False if it is too early
    /// to say so.
    pub(crate) fn nothing_stays(&mut self, caller: usize) -> bool {
        let Some(session) = self.callers[caller].session() else { return true };
        let mine: Vec<(ClaimId, Time)> = self
            .check
            .walked_away
            .iter()
            .filter(|(id, _)| id.session == session && !self.check.may_have_been_told(**id))
            // Sweeps rest after they met a damaged record; then what was given up in a move stays until somebody asks for
            // its resource, or its session ends.
            .filter(|(id, _)| self.check.tally.damaged == 0 || !self.check.is_void(session, id.number.0))
            .map(|(id, at)| (*id, *at))
            .collect();
        let Some(last) = mine.iter().map(|(_, at)| *at).max() else { return true };
        if self.now < last.max(self.well_from) + STAYS_AT_MOST || self.may_miss() {
            return false;
        }
        for resource in 0..self.plan.resources {
            let resource = self.plan.resource(resource);
            let stored = self.resource_now(&resource);
            if let Some((id, _)) = mine.iter().find(|(id, _)| stored.claim(*id).is_some()) {
                let text = format!("{resource} still has {id}, from which u{caller} walked away");
                self.check.fail(text);
            }
        }
        true
    }

    /// What a caller was granted excludes what others count valid at this moment.
    pub(crate) fn check_caller(&mut self, caller: usize, claim: u64, resource: usize, mode: Mode) {
        let who = format!("u{caller} claim {claim}");
        if self.callers[caller].session().is_some_and(|session| self.is_deleted(session, claim)) {
            return;
        }
        let now = self.now;
        let clients = self.clients.iter().flat_map(|node| {
            let own = node.held.iter().filter(|(_, held)| held.resource == resource);
            own.filter_map(|(number, _)| {
                let protected = node.session.is_none_or(|session| !self.is_deleted(session, *number));
                Some((format!("c{} claim {number}", node.number), node.valid_mode(*number, now).filter(|_| protected)?))
            })
        });
        let other = clients
            .chain(self.callers_on(resource))
            .find(|(name, other)| *name != who && !check::compatible(mode, *other));
        if let Some((name, other)) = other {
            self.check.fail(format!("r{resource} held twice: {who} has {mode:?}, {name} has {other:?}"));
        }
        let key = self.plan.resource(resource);
        let stored = self.resource_now(&key);
        self.check_callers(resource, &stored);
    }

    /// What callers count valid on a resource at this moment.
    pub(crate) fn callers_on(&self, resource: usize) -> impl Iterator<Item = (String, Mode)> {
        self.callers.iter().enumerate().flat_map(move |(caller, node)| {
            let own = node.believes(self.now).filter(move |(_, on, _)| *on == resource);
            let deleted = move |number| node.session().is_some_and(|session| self.is_deleted(session, number));
            let own = own.filter(move |(number, ..)| !deleted(*number));
            own.map(move |(number, _, mode)| (format!("u{caller} claim {number}"), mode))
        })
    }

    /// What callers believe to hold is in the record.
    pub(crate) fn check_callers(&mut self, resource: usize, stored: &Resource) {
        if self.may_miss() {
            return;
        }
        let wrong = self.callers.iter().enumerate().find_map(|(caller, node)| {
            let session = node.session()?;
            let mut own = node.believes(self.now).filter(|(_, on, _)| *on == resource);
            let mut own = own.by_ref().filter(|(number, ..)| !self.is_touched(session, *number));
            own.find_map(|(number, _, mode)| {
                let granted = stored.claim(ClaimId { session, number: ClaimNumber(number) }).and_then(|view| view.granted);
                let kept = granted.is_some_and(|granted| check::core(mode).at_most(granted));
                (!kept).then(|| format!("u{caller} believes to hold r{resource} in {mode:?} by claim {number}, but the record says {granted:?}"))
            })
        });
        if let Some(text) = wrong {
            self.check.fail(text);
        }
    }
}
