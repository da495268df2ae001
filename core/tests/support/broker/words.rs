//! What brokers and stores do and say, in words that need no Rust.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use sixpin_core::backend::{Change, Key, Slot, Write, WriteOutcome};
use sixpin_core::broker::api::{
    CancelResult, ClaimState, Done, DoneStatus, Ending, Event, Happened, LogLine, LostReason, Note, Reply,
    RequestError, WaitView,
};
use sixpin_core::broker::mark::Mark;
use sixpin_core::command::{Blocker, Status};
use sixpin_core::mode::Mode;
use sixpin_core::name::{ClaimId, ClaimNumber, FENCE_PLACES, Fence, Incarnation, ResourceId, SessionId, Version};
use sixpin_core::resource::{ClaimView, Resource};

/// What wall clocks show when everything begins.
pub const WALL_MS: u64 = 1_700_000_000_000;

/// What brokers and sessions are called in the script.
#[derive(Debug, Default)]
pub struct Names {
    pub brokers: BTreeMap<Incarnation, String>,
    pub sessions: BTreeMap<SessionId, String>,
}

impl Names {
    pub fn broker(&self, id: Incarnation) -> String {
        self.brokers.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    pub fn session(&self, id: SessionId) -> String {
        self.sessions.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    fn claim(&self, id: ClaimId) -> String {
        format!("{}#{}", self.session(id.session), id.number)
    }

    pub fn key(&self, key: &Key) -> String {
        match key {
            Key::Resource(id) => resource(id),
            Key::Session(id) => format!("{}'s mark", self.session(*id)),
        }
    }

    /// A text of the machine, with names instead of numbers.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.replace("default/", "");
        for (id, name) in &self.sessions {
            text = text.replace(&id.to_string(), name);
        }
        for (id, name) in &self.brokers {
            text = text.replace(&id.to_string(), name);
        }
        text
    }
}

pub fn resource(id: &ResourceId) -> String {
    id.name.to_string()
}

/// Seconds, to the millisecond.
pub fn seconds(time: Duration) -> String {
    format!("{} s", Duration::from_millis(time.as_millis() as u64).as_secs_f64())
}

/// Writes, and what stands in the store.
impl Names {
    pub fn write(&self, write: &Write) -> String {
        let key = self.key(&write.key);
        let expected = if write.expected.is_absent() {
            "nothing expected".into()
        } else {
            format!("version {} expected", write.expected)
        };
        match &write.change {
            Change::Put(bytes) => {
                format!("writes {key}, {expected}: {}", self.bytes(&write.key, bytes, write.expected))
            }
            Change::Delete => format!("deletes {key}, {expected}"),
            Change::Compare => format!("compares {key}, {expected}"),
        }
    }

    pub fn outcome(&self, write: &Write, outcome: &WriteOutcome) -> String {
        let key = self.key(&write.key);
        match outcome {
            WriteOutcome::Committed(_) if write.change == Change::Compare => format!("{key} is as expected"),
            WriteOutcome::Committed(version) if write.change == Change::Delete && version.is_absent() => {
                format!("{key} is not there")
            }
            WriteOutcome::Committed(_) if write.change == Change::Delete => format!("{key} is deleted"),
            WriteOutcome::Committed(version) => format!("{key} is at version {version}"),
            WriteOutcome::Conflict(slot) => format!("refused, {}", self.slot(&write.key, slot)),
            WriteOutcome::ConflictUnread => "refused, something else stands there".into(),
            WriteOutcome::Stale => "refused, the generation has moved since".into(),
            WriteOutcome::Evicted => "refused, this broker is gone".into(),
            WriteOutcome::Unavailable(text) => format!("refused, {text}"),
            WriteOutcome::Unknown(_) => "no answer".into(),
        }
    }

    pub fn slot(&self, key: &Key, slot: &Slot) -> String {
        let name = self.key(key);
        match &slot.bytes {
            Some(bytes) => format!("{name} is at version {}: {}", slot.version, self.bytes(key, bytes, slot.version)),
            None if slot.version.is_absent() => format!("{name} is not there"),
            None => format!("{name} was deleted at version {}", slot.version),
        }
    }

    fn bytes(&self, key: &Key, bytes: &[u8], version: Version) -> String {
        match key {
            Key::Resource(_) => self.record(&Resource::decode(bytes, version).unwrap()),
            Key::Session(_) => self.mark(&Mark::decode(bytes).unwrap()),
        }
    }

    fn record(&self, resource: &Resource) -> String {
        // The granted queue has no order, so it is shown by name.
        let mut claims: Vec<String> = resource.granted().map(|view| self.holder(&view)).collect();
        claims.sort();
        claims.extend(resource.converting().map(|view| self.holder(&view)));
        claims.extend(resource.waiting().map(|view| self.holder(&view)));
        if claims.is_empty() { "nobody has a claim".into() } else { claims.join(", ") }
    }

    fn holder(&self, view: &ClaimView<'_>) -> String {
        let orphan = if view.orphan { " as an orphan" } else { "" };
        format!("{} {}{orphan}", self.claim(view.id), stands(view.granted, view.requested))
    }

    fn mark(&self, mark: &Mark) -> String {
        let Mark::Moved { to, number, void, taken, ending } = mark else { return "dead".into() };
        let mut text = format!("lives at {}, move {number}", self.broker(*to));
        for (claims, what) in [(void, "void"), (taken, "taken away")] {
            for claim in claims {
                let _ = write!(text, ", #{claim} {what}");
            }
        }
        text + if *ending { ", ending" } else { "" }
    }
}

/// Answers and events.
impl Names {
    pub fn reply(&self, client: &str, reply: &Reply) -> String {
        match reply {
            Reply::Opened { .. } => "your session is open".into(),
            Reply::Resumed { move_number, claims, .. } => {
                let mut text = format!("your session is here, move {move_number}");
                for state in claims {
                    let _ = write!(text, ", {}", state_of(client, state));
                }
                text
            }
            Reply::KeptAlive { lost, .. } => format!("you live, and lost {}", list(client, lost)),
            Reply::Listening { lost, waiting } => {
                let parts = [("lost", lost), ("waiting", waiting)];
                format!("you hear of your session here{}", lists(client, parts))
            }
            Reply::Done(done) => self.done(client, done),
            Reply::Queued { claim, position, .. } => format!("{client}#{claim} waits, {position} ahead"),
            Reply::UnlockedAll { released } => format!("{released} released"),
            Reply::Cancelled { claim, result } => {
                let result = match result {
                    CancelResult::Cancelled => "is withdrawn",
                    CancelResult::AlreadyGranted => "is granted already",
                    CancelResult::Gone => "is gone",
                };
                format!("{client}#{claim} {result}")
            }
            Reply::Confirmed => "noted".into(),
            Reply::Closed => "your session is closed".into(),
            Reply::Error(error) => self.error(error),
            Reply::Forced { free_in, .. } if free_in.is_zero() => "it is free".into(),
            Reply::Forced { free_in, .. } => format!("it is free in {}", seconds(*free_in)),
            Reply::DamagedRemoved { free_in } => format!("removed, free in {}", seconds(*free_in)),
            Reply::Notified { told, deaf } => format!("said{}", lists("", [("told", told), ("deaf", deaf)])),
            Reply::Purged { purged } => format!("{purged} purged"),
            Reply::Drained { sessions } => format!("drained, sessions told to move: {sessions}"),
            Reply::Waits { waits, next } => self.waits(waits, next.is_some()),
            Reply::Sessions { .. } | Reply::Claims(_) | Reply::Tally(_) | Reply::Brokers(_) | Reply::Status(_) => {
                "see there".into()
            }
        }
    }

    pub fn note(&self, note: &Note) -> String {
        let (claim, on) = (self.claim(note.claim), resource(&note.resource));
        let what = match note.happened {
            Happened::Granted => "is granted",
            Happened::Released => "is released",
            Happened::Lost => "is lost",
            Happened::Orphaned => "stays behind",
        };
        let mode = note.mode.map(|mode| format!(" {mode}")).unwrap_or_default();
        let whose = if note.whose.is_some() { "" } else { ", whosever it was" };
        format!("{claim} on {on} {what}{mode}{whose}")
    }

    pub fn event(&self, client: &str, event: &Event) -> String {
        match event {
            Event::Done(done) => self.done(client, done),
            Event::Blocking { claim, wanted, own: false, .. } => {
                format!("{client}#{claim} keeps somebody from {wanted}")
            }
            Event::Blocking { claim, wanted, .. } => format!("{client}#{claim} keeps itself from {wanted}"),
            Event::Lost { reason, claims } => {
                let what = if claims.is_empty() { "everything".into() } else { list(client, claims) };
                let reason = match reason {
                    LostReason::Expired => "you were silent",
                    LostReason::Forced => "an administrator took it",
                    LostReason::Amnesia => "store or broker lost its memory",
                    LostReason::Moved => "your session moved",
                    LostReason::Closed => "your session is closed",
                };
                format!("you lost {what}: {reason}")
            }
            Event::Move { addresses } if addresses.is_empty() => "move to another broker".into(),
            Event::Move { addresses } => format!("move to {}", addresses.join(" or ")),
        }
    }

    fn waits(&self, waits: &[WaitView], more: bool) -> String {
        let wait = |wait: &WaitView| {
            let (claim, name, since) = (self.claim(wait.claim), &wait.resource.name, wait.since_ms);
            let held = wait.granted.map(|mode| format!(" with {mode}")).unwrap_or_default();
            format!("{claim} waits for {name}{held} since {}", seconds(Duration::from_millis(since - WALL_MS)))
        };
        let mut waits: Vec<String> = waits.iter().map(wait).collect();
        waits.extend(more.then(|| "and there may be more".to_owned()));
        if waits.is_empty() { "nobody waits".into() } else { waits.join(", ") }
    }

    fn error(&self, error: &RequestError) -> String {
        let text = self.text(&error.to_string());
        match error {
            RequestError::NotHere { address, .. } | RequestError::Draining { address } if !address.is_empty() => {
                format!("{text} ({address})")
            }
            _ => text,
        }
    }

    fn done(&self, client: &str, done: &Done) -> String {
        let mut text = format!("{client}#{} {}", done.claim, ended(done));
        if let Some(fence) = done.fence {
            let _ = write!(text, ", fence {}", fence_words(fence));
        }
        if let Some(value) = done.extras.value() {
            text += if value.invalid { ", value block not valid" } else { ", value block valid" };
        }
        for (set, word) in [(done.alternate, ", as the alternate"), (done.demoted, ", was NL in between")] {
            text += if set { word } else { "" };
        }
        if !done.extras.blockers().is_empty() {
            let met: Vec<String> = done.extras.blockers().iter().map(|blocker| self.blocker(blocker)).collect();
            let _ = write!(text, "; {}", met.join(", "));
        }
        text
    }

    fn blocker(&self, blocker: &Blocker) -> String {
        format!("{} {}", self.claim(blocker.claim), stands(blocker.granted, blocker.requested))
    }

    pub fn log(&self, line: &LogLine) -> String {
        let LogLine { step, subject, detail, .. } = line;
        let about = if detail.is_empty() { subject.clone() } else { format!("{subject}, {detail}") };
        self.text(&format!("{step}: {about}"))
    }
}

pub fn ending(ending: &Ending) -> String {
    match ending {
        Ending::Left => "it left".into(),
        Ending::Evicted => "others declared it dead".into(),
        Ending::Outdated { format } => format!("others write records in format {format}, which it cannot read"),
        Ending::Amnesia { text, hold_back } => {
            format!("the store lost its memory ({text}); its successor grants nothing for {}", seconds(*hold_back))
        }
    }
}

/// How a claim stands after a resume.
fn state_of(client: &str, state: &ClaimState) -> String {
    let stands = match (state.mode, state.waiting, &state.done) {
        (Some(mode), true, _) => format!("holds {mode} and waits"),
        (Some(mode), false, _) => format!("holds {mode}"),
        (None, true, _) => "waits".into(),
        (None, false, Some(done)) => ended(done),
        (None, false, None) => "is gone".into(),
    };
    format!("{client}#{} {stands}", state.claim)
}

/// How an operation ended, and what is held then.
fn ended(done: &Done) -> String {
    let status = match done.status {
        DoneStatus::Lost => "is lost",
        DoneStatus::Gone => "is gone",
        DoneStatus::Is(Status::Granted) => "is granted",
        DoneStatus::Is(Status::WouldWait) => "would have to wait",
        DoneStatus::Is(Status::Deadlock) => "would deadlock",
        DoneStatus::Is(Status::Cancelled) => "is cancelled",
        DoneStatus::Is(Status::TimedOut) => "timed out",
        DoneStatus::Is(Status::Released) => "is released",
    };
    match done.mode {
        None => status.into(),
        Some(mode) if done.status == DoneStatus::Is(Status::Granted) => format!("{status} {mode}"),
        Some(mode) => format!("{status}, keeps {mode}"),
    }
}

fn stands(granted: Option<Mode>, requested: Option<Mode>) -> String {
    match (granted, requested) {
        (Some(granted), Some(requested)) => format!("holds {granted} and wants {requested}"),
        (Some(granted), None) => format!("holds {granted}"),
        (None, Some(requested)) => format!("waits for {requested}"),
        (None, None) => "waits".into(),
    }
}

/// Version and place, as the lock rules write it.
fn fence_words(fence: Fence) -> String {
    format!("{}.{}", fence.0 / FENCE_PLACES, fence.0 % FENCE_PLACES)
}

/// Those that have something in them.
fn lists(client: &str, parts: [(&str, &Vec<ClaimNumber>); 2]) -> String {
    let some = parts.into_iter().filter(|(_, numbers)| !numbers.is_empty());
    some.fold(String::new(), |text, (what, numbers)| format!("{text}, {what} {}", list(client, numbers)))
}

fn list(client: &str, claims: &[ClaimNumber]) -> String {
    claims.iter().map(|claim| format!("{client}#{claim}")).collect::<Vec<_>>().join(" and ")
}
