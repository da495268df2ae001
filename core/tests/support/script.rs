//! The language of the transcripts.
//!
//! One resource, claims by name. Unless told otherwise each claim belongs to a session of its own with the same name
//! and wants blocking notifications. Each command is one step; after it come its outcomes, one a line, and the three
//! queues. Every step also goes through bytes: the machine that answers next was decoded from the record.
//!
//! | command | |
//! |---|---|
//! | `lock A EX [options] [session=S] [owner=T]` | a new request |
//! | `convert A PR [options] [deadlock=error\|demote\|wait]` | a conversion |
//! | `release A [value=TEXT] [invalidate] [force]` | a release |
//! | `cancel A`, `timeout A` | withdraw the pending operation |
//! | `end S` | the session ends |
//! | `remove A…` | claims are taken away |
//! | `release_all S [owner=T]` | all claims of a session |
//! | `adopt X EX [value] [persistent]` | take over an orphan |
//! | `purge [A] [session=S] [owner=T]` | remove orphans |
//! | `queues` | the three queues |
//! | `value` | the value block |
//! | `show A` | all that is stored of a claim |
//! | `limit [queued=N] [record=N] [value=N]` | set limits |
//!
//! A command in parentheses is silent: it only sets the scene.
//!
//! Options: `try notify queue expedite head noorder altpr altcw invalidate persistent quiet`; `value` reads and
//! `value=TEXT` also gives bytes; `notices=yes|no` on conversions; `op=N` repeats or skips operation numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sixpin_core::command::{
    CancelReason, Command, Completion, ConvertCommand, LockCommand, Outcome, PurgeScope, Status,
};
use sixpin_core::mode::Mode;
use sixpin_core::name::{ClaimId, ClaimNumber, OperationNumber, SessionId, Stamp, Version};
use sixpin_core::resource::{ClaimView, Context, Queue, Resource};

use super::arguments::{Arguments, Failure};

/// Runs transcripts.
pub struct World {
    resource: Resource,
    context: Context,
    /// Counts the writes; each command is one.
    version: u64,
    sessions: BTreeMap<String, SessionId>,
    claims: BTreeMap<String, ClaimId>,
    names: BTreeMap<ClaimId, String>,
    operations: BTreeMap<ClaimId, u32>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            resource: Resource::new(),
            context: super::context(0),
            version: 0,
            sessions: BTreeMap::new(),
            claims: BTreeMap::new(),
            names: BTreeMap::new(),
            operations: BTreeMap::new(),
        }
    }
}

impl goldenscript::Runner for World {
    type Command = goldenscript::Command;

    fn run(&mut self, command: &goldenscript::Command, context: &goldenscript::Context) -> Result<String, Failure> {
        let mut arguments = Arguments::new(command);
        let output = match command.name.as_str() {
            "queues" => format!("{}\n", self.queues()),
            "value" => self.value(),
            "show" => self.show(&arguments.name()?)?,
            "limit" => self.limit(&mut arguments)?,
            name => {
                let command = self.command(name, &mut arguments)?;
                self.step(&command)
            }
        };
        arguments.finish()?;
        if context.silent && output.contains("refused") {
            return Err(format!("the scene was not set: {output}").into());
        }
        Ok(output)
    }
}

/// Commands.
impl World {
    fn command(&mut self, name: &str, arguments: &mut Arguments) -> Result<Command, Failure> {
        Ok(match name {
            "lock" => Command::Lock(self.lock(arguments)?),
            "convert" => Command::Convert(self.convert(arguments)?),
            "release" => {
                let claim = self.claim(&arguments.name()?, arguments);
                let operation = self.operation(claim, arguments)?;
                let force = arguments.word("force");
                let (options, value) = arguments.options();
                Command::Unlock { claim, operation, options, value, force }
            }
            "cancel" | "timeout" => {
                let claim = self.claim(&arguments.name()?, arguments);
                let operation = arguments.number("op")?.map(|number| OperationNumber(number as u32));
                let reason = if name == "cancel" { CancelReason::Cancelled } else { CancelReason::TimedOut };
                Command::Cancel { claim, operation, reason }
            }
            "end" => Command::Bury { session: self.session(&arguments.name()?) },
            "remove" => {
                let mut claims = Vec::new();
                while let Ok(name) = arguments.name() {
                    claims.push(self.claim(&name, arguments));
                }
                Command::Remove { claims }
            }
            "release_all" => {
                let session = self.session(&arguments.name()?);
                Command::UnlockAll { session, owner: arguments.label("owner")? }
            }
            "adopt" => {
                let claim = self.claim(&arguments.name()?, arguments);
                let mode = arguments.mode()?;
                let operation = self.operation(claim, arguments)?;
                let (owner, label) = (arguments.label("owner")?, arguments.label("label")?);
                let (options, _) = arguments.options();
                let (owner, label) = (owner.unwrap_or_default(), label.unwrap_or_default());
                Command::Adopt { claim, operation, mode, options, blocking: true, owner, label }
            }
            "purge" => Command::Purge { scope: self.scope(arguments)? },
            other => return Err(format!("no command {other}").into()),
        })
    }

    fn lock(&mut self, arguments: &mut Arguments) -> Result<LockCommand, Failure> {
        let claim = self.claim(&arguments.name()?, arguments);
        let mode = arguments.mode()?;
        let operation = self.operation(claim, arguments)?;
        let conversion_deadlock = arguments.deadlock()?;
        let blocking = !arguments.word("quiet");
        let (owner, label) = (arguments.label("owner")?, arguments.label("label")?);
        let (options, _) = arguments.options();
        Ok(LockCommand {
            claim,
            operation,
            mode,
            options,
            conversion_deadlock,
            blocking,
            owner: owner.unwrap_or_default(),
            label: label.unwrap_or_default(),
        })
    }

    fn convert(&mut self, arguments: &mut Arguments) -> Result<ConvertCommand, Failure> {
        let claim = self.claim(&arguments.name()?, arguments);
        let mode = arguments.mode()?;
        let operation = self.operation(claim, arguments)?;
        let conversion_deadlock = arguments.deadlock()?;
        let blocking = arguments.text("notices").map(|text| text == "yes");
        let (options, value) = arguments.options();
        Ok(ConvertCommand { claim, operation, mode, options, conversion_deadlock, blocking, value })
    }

    fn scope(&mut self, arguments: &mut Arguments) -> Result<PurgeScope, Failure> {
        if let Some(session) = arguments.text("session") {
            return Ok(PurgeScope::Session(self.session(&session)));
        }
        if let Some(owner) = arguments.label("owner")? {
            return Ok(PurgeScope::Owner(owner));
        }
        match arguments.name() {
            Ok(name) => Ok(PurgeScope::Claim(self.claim(&name, arguments))),
            Err(_) => Ok(PurgeScope::All),
        }
    }

    fn limit(&mut self, arguments: &mut Arguments) -> Result<String, Failure> {
        let set = |limit: &mut usize, value: Option<u64>| {
            *limit = value.map_or(*limit, |value| value as usize);
        };
        set(&mut self.context.queued_max, arguments.number("queued")?);
        set(&mut self.context.record_bytes_max, arguments.number("record")?);
        set(&mut self.context.value_bytes, arguments.number("value")?);
        Ok(String::new())
    }

    fn session(&mut self, name: &str) -> SessionId {
        let next = super::session(self.sessions.len() as u32 + 1);
        *self.sessions.entry(name.to_owned()).or_insert(next)
    }

    /// The claim of this name. A new one gets the next number of its session.
    fn claim(&mut self, name: &str, arguments: &mut Arguments) -> ClaimId {
        let session = arguments.text("session");
        if let Some(claim) = self.claims.get(name) {
            return *claim;
        }
        let session = self.session(session.as_deref().unwrap_or(name));
        let number = self.claims.values().filter(|claim| claim.session == session).count() as u64 + 1;
        let claim = ClaimId { session, number: ClaimNumber(number) };
        self.claims.insert(name.to_owned(), claim);
        self.names.insert(claim, name.to_owned());
        claim
    }

    /// The next operation number of the claim, or the one given.
    fn operation(&mut self, claim: ClaimId, arguments: &mut Arguments) -> Result<OperationNumber, Failure> {
        let last = self.operations.entry(claim).or_default();
        let number = match arguments.number("op")? {
            Some(number) => number as u32,
            None => *last + 1,
        };
        *last = number.max(*last);
        Ok(OperationNumber(number))
    }
}

/// Steps.
impl World {
    /// Applies one command as one write, and lets it go through bytes.
    fn step(&mut self, command: &Command) -> String {
        self.version += 1;
        let version = Version(self.version);
        let before = self.resource.encode();
        let mut outcomes = Vec::new();
        let changed = self.resource.apply(command, &self.context, &mut outcomes);
        let written = self.resource.encode();
        assert_eq!(changed, before != written, "the step says whether it changed the state");
        assert!(written.len() <= self.resource.encoded_len_max(), "the estimate is an upper one");
        self.resource.committed(version);
        let read = Resource::decode(&written, version).unwrap();
        assert_eq!(read.encode(), self.resource.encode(), "a reader sees what the writer has");
        self.resource = read;

        let mut output = String::new();
        for outcome in &outcomes {
            let _ = writeln!(output, "{}", self.outcome(outcome));
        }
        let _ = writeln!(output, "{}", self.queues());
        output
    }

    fn name(&self, claim: ClaimId) -> &str {
        self.names.get(&claim).map_or("?", String::as_str)
    }

    fn outcome(&self, outcome: &Outcome) -> String {
        match outcome {
            Outcome::Refused { refusal } => format!("refused: {refusal}"),
            Outcome::Queued { claim, position, repeated, .. } => {
                let again = if *repeated { ", repeated" } else { "" };
                format!("{} queued, {position} ahead{again}", self.name(*claim))
            }
            Outcome::Completed(completion) => self.completion(completion),
            Outcome::Blocking { claim, wanted, own, .. } => {
                let own = if *own { " (self)" } else { "" };
                format!("BAST {wanted} > {}{own}", self.name(*claim))
            }
            Outcome::Removed { claim, .. } => format!("{} removed", self.name(*claim)),
            Outcome::AlreadyGranted { claim } => {
                format!("{} is granted already", self.name(*claim))
            }
            Outcome::Gone { claim } => format!("{} is gone", self.name(*claim)),
            Outcome::Orphaned { claim } => format!("{} is an orphan", self.name(*claim)),
        }
    }

    fn completion(&self, completion: &Completion) -> String {
        let mode = completion.mode.map(|mode| mode.to_string()).unwrap_or_default();
        let status = match completion.status {
            Status::Granted => format!("OK {mode}"),
            Status::Released => "RELEASED".to_owned(),
            other => {
                let name = match other {
                    Status::WouldWait => "WOULD_WAIT",
                    Status::Deadlock => "DEADLOCK",
                    Status::TimedOut => "TIMED_OUT",
                    _ => "CANCELLED",
                };
                if mode.is_empty() { name.to_owned() } else { format!("{name}, keeps {mode}") }
            }
        };
        let mut text = format!("{} <- {status}", self.name(completion.claim));
        for (set, word) in
            [(completion.alternate, "alternate"), (completion.demoted, "demoted"), (completion.repeated, "repeated")]
        {
            if set {
                let _ = write!(text, ", {word}");
            }
        }
        if let Some(adopted) = completion.extras.adopted() {
            let _ = write!(text, ", was {}", self.name(adopted));
        }
        if let Some(value) = completion.extras.value() {
            if let Some(bytes) = &value.bytes {
                let _ = write!(text, ", value {}", shown(bytes));
            }
            let _ = write!(text, ", seq {}{}", value.seq, if value.invalid { " INVALID" } else { "" });
        }
        if !completion.extras.blockers().is_empty() {
            let names = completion.extras.blockers().iter().map(|blocker| {
                let modes = modes(blocker.granted, blocker.requested);
                format!("{}:{modes}", self.name(blocker.claim))
            });
            let _ = write!(text, "; met {}", names.collect::<Vec<_>>().join(" "));
        }
        text
    }

    /// The notation of the lock rules. The granted queue has no order, so it is shown by name.
    fn queues(&self) -> String {
        let mut granted: Vec<String> = self.resource.granted().map(|view| self.entry(&view)).collect();
        granted.sort();
        let converting: Vec<String> = self.resource.converting().map(|view| self.entry(&view)).collect();
        let waiting: Vec<String> = self.resource.waiting().map(|view| self.entry(&view)).collect();
        format!("G[{}] C[{}] W[{}]", granted.join(" "), converting.join(" "), waiting.join(" "))
    }

    fn entry(&self, view: &ClaimView<'_>) -> String {
        let modes = match view.queue {
            Queue::Waiting => view.requested.map(|mode| mode.to_string()).unwrap_or_default(),
            Queue::Granted | Queue::Converting => modes(view.granted, view.requested),
        };
        let orphan = if view.orphan { "(orphan)" } else { "" };
        format!("{}:{modes}{orphan}", self.name(view.id))
    }

    fn value(&self) -> String {
        let resource = &self.resource;
        let validity = if resource.value_invalid() { "INVALID" } else { "valid" };
        format!("value {}, seq {}, {validity}\n", shown(resource.value_bytes()), resource.value_seq())
    }

    fn show(&mut self, name: &str) -> Result<String, Failure> {
        let claim = self.claims.get(name).ok_or("no such claim")?;
        let view = self.resource.claim(*claim).ok_or("no such claim")?;
        let stamp = |stamp: Option<Stamp>| match stamp {
            None => "none".to_owned(),
            Some(Stamp::Known(fence)) => format!("{}.{}", fence.0 / 1024, fence.0 % 1024),
            Some(Stamp::ThisWrite(index)) => format!("this.{index}"),
        };
        let level = view.blocking_level.map_or("none".to_owned(), |mode| mode.to_string());
        Ok(format!(
            "{} grant {}, fence {}, ticket {}, told {level}, operation {}\n",
            self.entry(&view),
            view.grant_seq,
            stamp(view.fence),
            stamp(view.ticket),
            view.operation.0
        ))
    }
}

fn modes(granted: Option<Mode>, requested: Option<Mode>) -> String {
    let granted = granted.map(|mode| mode.to_string()).unwrap_or_default();
    requested.map_or(granted.clone(), |requested| format!("{granted}>{requested}"))
}

/// Value bytes as text, without the zeroes that fill them up.
fn shown(bytes: &[u8]) -> String {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if used == 0 { "zero".to_owned() } else { String::from_utf8_lossy(&bytes[..used]).into_owned() }
}
