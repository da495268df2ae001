//! The language of the broker transcripts.
//!
//! Each line says who does what; below stands what brokers and store did and said until nobody had anything to do any
//! more. Brokers have upper-case names, clients lower-case ones; `admin` is an administrator. `a#1` is claim 1 of
//! client `a`. A fence is shown as the version of its write and the place in it. A line in parentheses is silent: it only
//! sets the scene.
//!
//! | line | |
//! |---|---|
//! | `A starts [inside] [lanes=N] [depth=N] [reuses=N] [hold_back=T] [lock_delay=T] [waiting=N] [notes]`, `A stops` | a broker starts; one is killed |
//! | `A allows [claims=N] [waiting=N]` | its limits are changed; what is not named has its default |
//! | `A is suspended`, `A wakes` | its machine stands still, and goes on |
//! | `a opens A [bound] [calls]` | a client opens a session at a broker; it may be bound to its stream, or have none and ask by calls |
//! | `a locks r EX [options] [wait=T]` | a new claim |
//! | `a converts r PR [options] [deadlock=error\|demote\|wait]` | a conversion |
//! | `a releases r`, `a cancels r`, `a confirms r` | the claim's end; its wait's end; it stopped using what was taken |
//! | `a repeats`, `a hangs_up` | a copy of what it asked last is sent; the oldest call that waits is given up |
//! | `a listens` | it hears of its session by a connection where it asks nothing else |
//! | `a closes`, `a dies`, `a disconnects` | session, client or stream ends |
//! | `a freezes`, `a thaws` | it does nothing, and its stream stays; it says that it lives |
//! | `a moves B` | the session goes to a broker, perhaps to the one where it was, on a new stream |
//! | `admin takes r a A [now] [no_wait]`, `admin ends a A`, `admin drains A` | what administrators ask of a broker |
//! | `admin notifies r a A` | the client of a session is asked once more to let go of what it holds |
//! | `admin looks A [after=a] [looks=N]` | who waits, of A's sessions, as in one part of its table |
//! | `store like etcd\|redis\|nats\|memory` | the contract of the store, before brokers start |
//! | `store holds A` | what A writes from now on stays on its way to the store |
//! | `store passes A` | what A writes from now on goes through again; what is on its way stays there |
//! | `store takes A` | what is on its way arrives, and the answers are on theirs |
//! | `store answers A` | the answers arrive; nothing is held any more |
//! | `store loses A` | A hears nothing of what is on its way: it cannot know whether that happened |
//! | `store answers A first`, `store loses A first` | the same of the oldest batch alone; the others stay as they are |
//! | `store refuses A` | the oldest batch on its way does not arrive, and A is told so |
//! | `store hears A late` | what A sent, and of which it heard nothing, arrives after all |
//! | `store shows A nothing`, `store shows A everything` | what A reads is from before anything was written; it is not |
//! | `store loses_sight A`, `store sees A` | the network between them is cut; it is whole again |
//! | `store loses_hints` | brokers are not told any more that a record has changed |
//! | `store forgets` | everything that was stored is gone |
//! | `store copies`, `store fails_over` | its replica has everything by now; the replica takes over, without what came later |
//! | `wait 10s` | time passes |
//! | `show r`, `show a` | a record as it is stored; a session's mark |
//!
//! A broker that starts `inside` is in a program, and tells no address; `waiting=N` is its limit of waiting claims of a session, and `claims=N`
//! that of all its claims. With `notes` it notes what becomes of locks.
//!
//! `claim=N` names one of several claims on a resource. Options are those of the transcripts of the lock machine.
//!
//! All sessions have a TTL of 10 s, which makes 10.4 s with tolerance, and clients that live say so every 3 s. A broker's
//! own TTL is 6 s, or 6.24 s. Not shown, because it goes on all the time: beats and what is read of others' beats,
//! keepalives, watches, the pages of a sweep, and reads that bring nothing new.

use std::sync::Arc;
use std::time::Duration;

use sixpin_core::access::{Names, Principal, Quotas, Rule, Rules, Verbs};
use sixpin_core::backend::Key;
use sixpin_core::broker::api::{AdminRequest, ConvertRequest, Input, LockRequest, Query, Request, UnlockRequest};
use sixpin_core::command::Options;
use sixpin_core::format;
use sixpin_core::limits::{self, Limits};
use sixpin_core::name::{ClaimNumber, Lockspace, ResourceId, ResourceName};

use super::store::{Like, Store};
use super::world::{ADMIN, Start, World};
use crate::arguments::{Arguments, Failure};

impl goldenscript::Runner for World {
    type Command = goldenscript::Command;

    fn run(&mut self, command: &goldenscript::Command, context: &goldenscript::Context) -> Result<String, Failure> {
        let mut arguments = Arguments::new(command);
        match command.name.as_str() {
            "wait" => self.wait(time(&arguments.next()?)?),
            "show" => self.show(&arguments.next()?)?,
            "store" => self.at_the_store(&mut arguments)?,
            ADMIN => self.administer(&mut arguments)?,
            name if name.starts_with(char::is_uppercase) => self.broker(name, &mut arguments)?,
            name => self.client(name, &mut arguments)?,
        }
        arguments.finish()?;
        self.settle();
        let (output, refused) = self.take_output();
        if context.silent && refused {
            return Err(format!("the scene was not set: {output}").into());
        }
        Ok(output)
    }
}

/// Lines.
impl World {
    fn broker(&mut self, name: &str, arguments: &mut Arguments) -> Result<(), Failure> {
        match arguments.next()?.as_str() {
            "starts" => {
                let start = Start {
                    address: if arguments.word("inside") { "" } else { name },
                    lanes: arguments.number("lanes")?.unwrap_or(1) as u16,
                    depth: arguments.number("depth")?.unwrap_or(1) as u16,
                    reuses_kept: arguments.number("reuses")?.map_or(limits::REUSES_KEPT, |reuses| reuses as u8),
                    hold_back: time_of(arguments, "hold_back")?.unwrap_or_default(),
                    lock_delay: time_of(arguments, "lock_delay")?.unwrap_or_default(),
                    format_max: arguments.number("reads")?.map_or(format::NEWEST, |format| format as u8),
                    limits: self::limits(arguments)?,
                    notes: arguments.word("notes"),
                };
                self.start(name, &start);
            }
            "allows" => {
                let limits = self::limits(arguments)?;
                self.input(name, Input::Limits(limits));
            }
            "stops" => self.stop(name),
            "is" if arguments.word("suspended") => self.suspend(name),
            "wakes" => self.wake(name),
            other => return Err(format!("brokers do not do this: {other}").into()),
        }
        Ok(())
    }

    fn client(&mut self, name: &str, arguments: &mut Arguments) -> Result<(), Failure> {
        match arguments.next()?.as_str() {
            "opens" => {
                let broker = self.known_broker(arguments)?;
                let (bound, calls) = (arguments.word("bound"), arguments.word("calls"));
                let principal = match arguments.text("may") {
                    Some(verbs) => principal(name, &verbs, quotas(arguments)?)?,
                    None => Principal::default(),
                };
                self.open(name, &broker, principal, bound, calls);
            }
            // From now on it may do this and no more.
            "may" => {
                let principal = principal(name, &arguments.next()?, Quotas::default())?;
                self.clients.get_mut(name).ok_or("no such client")?.principal = principal;
            }
            // It shows what is another's.
            "is" => {
                let principal = self.clients[&arguments.next()?].principal.clone();
                self.clients.get_mut(name).ok_or("no such client")?.principal = principal;
            }
            "moves" => {
                let broker = self.known_broker(arguments)?;
                let wait = time_of(arguments, "wait")?;
                self.resume(name, &broker, wait);
            }
            "listens" => self.listen(name),
            "disconnects" => self.disconnect(name),
            "dies" => self.die(name),
            "freezes" => self.freeze(name),
            "thaws" => self.thaw(name),
            "hangs_up" => self.hang_up(name),
            "repeats" => {
                let last = self.clients[name].last.clone().ok_or("it asked nothing yet")?;
                self.ask(name, last);
            }
            what => {
                let request = self.request(name, what, arguments)?;
                self.clients.get_mut(name).unwrap().last = Some(request.clone());
                self.ask(name, request);
            }
        }
        Ok(())
    }

    /// What a client asks on its stream.
    fn request(&mut self, name: &str, what: &str, arguments: &mut Arguments) -> Result<Request, Failure> {
        if what == "closes" {
            return Ok(Request::Close);
        }
        let resource = resource(&arguments.next()?)?;
        if what == "locks" {
            return self.lock(name, resource, arguments);
        }
        let claim = self.claim_on(name, &resource, arguments)?;
        let client = self.clients.get_mut(name).ok_or("no such client")?;
        Ok(match what {
            "converts" => return self.convert(name, claim, arguments),
            "releases" => {
                let operation = client.next_operation(claim, false);
                let force = arguments.word("force");
                let (options, value) = arguments.options();
                Request::Unlock(UnlockRequest { claim, operation, options, value, force })
            }
            "cancels" => Request::Cancel { claim, operation: client.waiting(claim) },
            "confirms" => {
                client.confirm(claim);
                Request::ConfirmLost { claims: vec![claim] }
            }
            other => return Err(format!("clients do not do this: {other}").into()),
        })
    }

    fn lock(&mut self, name: &str, resource: ResourceId, arguments: &mut Arguments) -> Result<Request, Failure> {
        let client = self.clients.get_mut(name).ok_or("no such client")?;
        let until_done = client.calls.is_some();
        let (claim, operation) = client.new_claim(resource.clone());
        let mode = arguments.mode()?;
        let wait = time_of(arguments, "wait")?;
        let (options, _) = arguments.options();
        let lock = LockRequest {
            claim,
            operation,
            resource,
            mode,
            wait: wait.or(options.contains(Options::TRY).then_some(Duration::ZERO)),
            options,
            conversion_deadlock: None,
            blocking: true,
            owner: arguments.label("owner")?.unwrap_or_default(),
            label: arguments.label("label")?.unwrap_or_default(),
            orphan: arguments.word("orphan"),
        };
        Ok(Request::Lock { lock, until_done })
    }

    fn convert(&mut self, name: &str, claim: ClaimNumber, arguments: &mut Arguments) -> Result<Request, Failure> {
        let client = self.clients.get_mut(name).ok_or("no such client")?;
        let until_done = client.calls.is_some();
        let operation = client.next_operation(claim, true);
        let mode = arguments.mode()?;
        let conversion_deadlock = arguments.deadlock()?;
        let wait = time_of(arguments, "wait")?;
        let (options, value) = arguments.options();
        let convert = ConvertRequest {
            claim,
            operation,
            mode,
            wait: wait.or(options.contains(Options::TRY).then_some(Duration::ZERO)),
            options,
            conversion_deadlock,
            blocking: None,
            value,
        };
        Ok(Request::Convert { convert, until_done })
    }

    fn administer(&mut self, arguments: &mut Arguments) -> Result<(), Failure> {
        let what = arguments.next()?;
        let (now, no_wait) = (arguments.word("now"), arguments.word("no_wait"));
        let request = match what.as_str() {
            "looks" => return self.look_at_waits(arguments),
            "takes" => {
                let resource = resource(&arguments.next()?)?;
                let session = self.session(&arguments.next()?)?;
                AdminRequest::ForceUnlock { resource, session, claim: None, now, no_wait }
            }
            "notifies" => {
                let resource = resource(&arguments.next()?)?;
                AdminRequest::Notify { resource, session: self.session(&arguments.next()?)?, claim: None }
            }
            "ends" => AdminRequest::ExpireSession { session: self.session(&arguments.next()?)?, now, no_wait },
            "drains" => AdminRequest::Drain { timeout: Duration::from_secs(30) },
            other => return Err(format!("administrators do not do this: {other}").into()),
        };
        let broker = self.known_broker(arguments)?;
        self.admin_asks(&broker, request);
        Ok(())
    }

    fn look_at_waits(&mut self, arguments: &mut Arguments) -> Result<(), Failure> {
        let after = arguments.text("after").map(|client| self.session(&client)).transpose()?;
        let looks = arguments.number("looks")?.map_or(usize::MAX, |looks| looks as usize);
        let broker = self.known_broker(arguments)?;
        self.admin_looks(&broker, Query::Waits { after, looks });
        Ok(())
    }

    fn at_the_store(&mut self, arguments: &mut Arguments) -> Result<(), Failure> {
        let what = arguments.next()?;
        match what.as_str() {
            "like" => self.store = Store::new(like(&arguments.next()?)?),
            "forgets" => self.forget_everything(),
            "loses_hints" => self.hints_lost = true,
            "copies" => self.store.copy_to_replica(),
            "fails_over" => self.fail_over(),
            _ => {
                let broker = self.known_broker(arguments)?;
                match what.as_str() {
                    "holds" => self.hold(&broker, true),
                    "passes" => self.hold(&broker, false),
                    "takes" => self.take(&broker),
                    "answers" => self.answer(&broker, arguments.word("first")),
                    "loses" => self.lose(&broker, arguments.word("first")),
                    "refuses" => self.refuse(&broker),
                    "hears" if arguments.word("late") => self.arrive_late(&broker),
                    "shows" => self.station(&broker).reads_nothing = arguments.next()? == "nothing",
                    "loses_sight" => self.cut_off(&broker, true),
                    "sees" => self.cut_off(&broker, false),
                    other => return Err(format!("stores do not do this: {other}").into()),
                }
            }
        }
        Ok(())
    }

    fn show(&mut self, name: &str) -> Result<(), Failure> {
        let key = match self.session(name) {
            Ok(session) => Key::Session(session),
            Err(_) => Key::Resource(resource(name)?),
        };
        let words = self.names.slot(&key, &self.store.slot(&key));
        self.say(&words);
        Ok(())
    }
}

/// What lines name.
impl World {
    fn known_broker(&self, arguments: &mut Arguments) -> Result<String, Failure> {
        let name = arguments.name()?;
        if self.is_broker(&name) { Ok(name) } else { Err(format!("no broker {name}").into()) }
    }

    fn session(&self, client: &str) -> Result<sixpin_core::name::SessionId, Failure> {
        let session = self.clients.get(client).and_then(|client| client.session);
        Ok(session.ok_or_else(|| format!("{client} has no session"))?.0)
    }

    /// The newest claim of a client on a resource, or the one that is named.
    fn claim_on(&self, name: &str, resource: &ResourceId, arguments: &mut Arguments) -> Result<ClaimNumber, Failure> {
        if let Some(number) = arguments.number("claim")? {
            return Ok(ClaimNumber(number));
        }
        let client = self.clients.get(name).ok_or("no such client")?;
        let newest = client.claims.iter().rev().find(|(_, claim)| claim.resource == *resource);
        Ok(*newest.ok_or_else(|| format!("{name} has no claim on {resource}"))?.0)
    }
}

fn resource(name: &str) -> Result<ResourceId, Failure> {
    Ok(ResourceId { lockspace: Lockspace::default(), name: ResourceName::new(name)? })
}

fn like(name: &str) -> Result<Like, Failure> {
    match name {
        "etcd" => Ok(Like::Etcd),
        "nats" => Ok(Like::Nats),
        "memory" => Ok(Like::Memory),
        "redis" => Ok(Like::Redis),
        other => Err(format!("no contract {other}").into()),
    }
}

fn limits(arguments: &mut Arguments) -> Result<Limits, Failure> {
    let mut limits = Limits::default();
    for (key, limit) in [("claims", &mut limits.claims_per_session), ("waiting", &mut limits.waiting_per_session)] {
        if let Some(number) = arguments.number(key)? {
            *limit = number as usize;
        }
    }
    Ok(limits)
}

fn quotas(arguments: &mut Arguments) -> Result<Quotas, Failure> {
    let mut quotas = Quotas::default();
    for (key, quota) in
        [("sessions", &mut quotas.sessions), ("claims", &mut quotas.claims), ("waits", &mut quotas.waiting)]
    {
        if let Some(number) = arguments.number(key)? {
            *quota = number as usize;
        }
    }
    Ok(quotas)
}

/// Somebody with a rule about every resource: verbs as in a rule, with `+` between them.
fn principal(name: &str, verbs: &str, quotas: Quotas) -> Result<Principal, Failure> {
    let allow = verbs.split('+').map(str::parse::<Verbs>).collect::<Result<Vec<_>, _>>()?;
    let allow = allow.into_iter().fold(Verbs::default(), Verbs::and);
    let rule = Rule { role: "r".into(), number: 1, lockspace: None, names: Names::Under(String::new()), allow };
    Ok(Principal::new(name, vec![Arc::new(Rules::new(vec![rule]))], quotas))
}

fn time_of(arguments: &mut Arguments, key: &str) -> Result<Option<Duration>, Failure> {
    arguments.text(key).map(|text| time(&text)).transpose()
}

/// `10s` or `10.4s`.
fn time(text: &str) -> Result<Duration, Failure> {
    let seconds = text.strip_suffix('s').ok_or("a time looks like 10s")?;
    Ok(Duration::try_from_secs_f64(seconds.parse()?)?)
}
