//! The language of the scripts.
//!
//! Time is in milliseconds and starts at 0. Every command prints what the logic wants done, one output a line, with the
//! time if it passed meanwhile.
//!
//! | command | |
//! |---|---|
//! | `new [endpoints=a/b] [ttl=MS] [queued=N] [seed=N] [pause=MS] [bound]` | a session that is not open yet |
//! | `open [...] [max=N]` | the same, opened at its first endpoint at time 0 on link 1 |
//! | `until MS` | time passes; the logic is called whenever it asks for it |
//! | `jump MS` | time passes and nobody calls: a freeze |
//! | `lock ID NAME MODE [wait=MS] [try] [owner=TEXT]` | the program asks |
//! | `convert ID CLAIM MODE [wait=MS] [try] [queue=yes\|no] [head] [order]` | `order`: without order |
//! | `unlock ID CLAIM`, `drop CLAIM`, `leave CLAIM`, `unlock_all ID [owner=TEXT]` | the program lets go |
//! | `abandon ID`, `cancel ID`, `close`, `expired` | |
//! | `connected L`, `cut L` | a link opens, ends |
//! | `opened L R [ttl=MS] [max=N]` | a broker answers request R on link L; 0 makes it an event |
//! | `resumed L R MOVE [CLAIM.MODE] [CLAIM.wait] [CLAIM.gone] [CLAIM.OP.STATUS.MODE]` | |
//! | `kept L R MOVE [lost=N/N]`, `closed L R` | |
//! | `granted L R CLAIM OP MODE [seq=N] [demoted] [alternate]` | |
//! | `done L R CLAIM OP STATUS [mode=MODE] [demoted]` | |
//! | `queued L R CLAIM OP`, `withdrawn L R CLAIM RESULT` | |
//! | `refused L R REASON [address=A]` | |
//! | `blocking L CLAIM SEQ MODE [own]`, `lost L REASON [CLAIM…]`, `move L [ADDRESS…]` | events |
//! | `state` | the state, the end of validity, the claims |

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use sixpin_client::Mode;
use sixpin_client::logic::{Config, Input, LinkId, Machine, OperationId, Output};
use sixpin_client::proto as v1;
use sixpin_client::proto::session_response::Body;

use super::show::shown;

pub(crate) type Failure = Box<dyn Error>;

/// Runs scripts.
pub(crate) struct World {
    machine: Machine,
    now: Duration,
    out: Vec<Output>,
    lines: Vec<String>,
}

impl Default for World {
    fn default() -> Self {
        Self { machine: Machine::new(Config::default()), now: Duration::ZERO, out: Vec::new(), lines: Vec::new() }
    }
}

impl goldenscript::Runner for World {
    type Command = goldenscript::Command;

    fn run(&mut self, command: &goldenscript::Command, _: &goldenscript::Context) -> Result<String, Failure> {
        let mut arguments = Arguments::new(command);
        self.command(&command.name, &mut arguments)?;
        arguments.finish()?;
        self.drain(None);
        Ok(std::mem::take(&mut self.lines).join("\n"))
    }
}

impl World {
    fn command(&mut self, name: &str, arguments: &mut Arguments) -> Result<(), Failure> {
        match name {
            "new" => self.start(arguments)?,
            "open" => self.open(arguments)?,
            "until" => self.until(milliseconds(arguments.number()?))?,
            "jump" => self.now = milliseconds(arguments.number()?),
            "state" => self.state(),
            "connected" | "cut" => {
                let link = LinkId(arguments.number()?);
                let detail = "cut".to_owned();
                self.input(if name == "cut" {
                    Input::Disconnected { link, detail }
                } else {
                    Input::Connected { link }
                });
            }
            _ => {
                let input = if let Some(input) = program(name, arguments)? {
                    input
                } else {
                    let link = LinkId(arguments.number()?);
                    let message = Box::new(said(name, arguments)?);
                    Input::Received { link, message }
                };
                self.input(input);
            }
        }
        Ok(())
    }

    fn start(&mut self, arguments: &mut Arguments) -> Result<(), Failure> {
        let endpoints = arguments.text("endpoints").unwrap_or_else(|| "a/b".to_owned());
        let config = Config {
            endpoints: endpoints.split('/').map(str::to_owned).collect(),
            ttl_ms: arguments.key("ttl")?.map(|ttl| ttl as u32),
            queued_max: arguments.key("queued")?.unwrap_or(1000) as usize,
            seed: arguments.key("seed")?.unwrap_or(1),
            open_pause: milliseconds(arguments.key("pause")?.unwrap_or(0)),
            connection_bound: arguments.word("bound"),
            ..Config::default()
        };
        self.now = Duration::ZERO;
        self.machine = Machine::new(config);
        self.machine.tick(self.now, &mut self.out);
        Ok(())
    }

    /// Opens without printing, because most scripts are about what comes then.
    fn open(&mut self, arguments: &mut Arguments) -> Result<(), Failure> {
        let ttl = arguments.keys.get("ttl").cloned().unwrap_or_else(|| "10000".to_owned());
        let max = arguments.key("max")?.unwrap_or(256) as u32;
        self.start(arguments)?;
        self.input(Input::Connected { link: LinkId(1) });
        let body = Some(opened(ttl.parse()?, max));
        let message = Box::new(v1::SessionResponse { request: 1, body });
        self.input(Input::Received { link: LinkId(1), message });
        self.out.clear();
        Ok(())
    }

    fn input(&mut self, input: Input) {
        self.machine.handle(self.now, input, &mut self.out);
    }

    fn until(&mut self, end: Duration) -> Result<(), Failure> {
        for _ in 0..1000 {
            let Some(due) = self.machine.deadline().filter(|due| *due <= end) else {
                self.now = end;
                return Ok(());
            };
            self.now = self.now.max(due);
            self.machine.tick(self.now, &mut self.out);
            self.drain(Some(self.now));
        }
        Err(format!("the logic asks to be called without end at {:?}", self.now).into())
    }

    fn state(&mut self) {
        let until = self.machine.valid_until().map_or("-".to_owned(), |until| format!("{}", until.as_millis()));
        let claims = self.machine.claims();
        self.lines.push(format!("{:?}, valid until {until}, {claims} claims", self.machine.state()));
    }

    fn drain(&mut self, at: Option<Duration>) {
        let prefix = at.map_or(String::new(), |at| format!("[{}] ", at.as_millis()));
        self.lines.extend(self.out.drain(..).map(|output| format!("{prefix}{}", shown(&output))));
    }
}

/// What the program does; absent for what brokers say.
fn program(name: &str, arguments: &mut Arguments) -> Result<Option<Input>, Failure> {
    let id = |arguments: &mut Arguments| Ok::<_, Failure>(OperationId(arguments.number()?));
    let unlock = |claim| Box::new(v1::Unlock { claim, ..v1::Unlock::default() });
    Ok(Some(match name {
        "lock" => {
            let id = id(arguments)?;
            let resource = Some(v1::Resource { lockspace: String::new(), name: arguments.next()? });
            let mode = arguments.mode()?;
            let owner = arguments.text("owner").unwrap_or_default();
            let timeout_ms = arguments.wait()?;
            Input::Lock {
                id,
                request: Box::new(v1::Lock {
                    resource,
                    what: Some(mode.into()),
                    owner,
                    timeout_ms,
                    ..v1::Lock::default()
                }),
            }
        }
        "convert" => {
            let id = id(arguments)?;
            let claim = arguments.number()?;
            let mode = arguments.mode()?;
            let queue = arguments.text("queue").map(|queue| queue == "yes");
            let (head_of_queue, no_order) = (arguments.word("head"), arguments.word("order"));
            let timeout_ms = arguments.wait()?;
            let request = v1::Convert {
                claim,
                what: Some(mode.into()),
                timeout_ms,
                head_of_queue,
                no_order,
                ..v1::Convert::default()
            };
            Input::Convert { id, request: Box::new(request), queue }
        }
        "unlock" => Input::Unlock { id: Some(id(arguments)?), request: unlock(arguments.number()?) },
        "drop" => Input::Unlock { id: None, request: unlock(arguments.number()?) },
        "leave" => Input::Leave { claim: arguments.number()? },
        "unlock_all" => Input::UnlockAll { id: id(arguments)?, owner: arguments.text("owner") },
        "abandon" => Input::Abandon { id: id(arguments)? },
        "cancel" => Input::Cancel { id: id(arguments)? },
        "close" => Input::Close,
        "expired" => Input::Expired,
        _ => return Ok(None),
    }))
}

/// What a broker says.
fn said(name: &str, arguments: &mut Arguments) -> Result<v1::SessionResponse, Failure> {
    let request = if matches!(name, "blocking" | "lost" | "move") { 0 } else { arguments.number()? };
    let body = match name {
        "opened" => opened(arguments.key("ttl")?.unwrap_or(10_000) as u32, arguments.key("max")?.unwrap_or(256) as u32),
        "resumed" => Body::Resumed(v1::Resumed {
            api_level: 1,
            move_number: arguments.number()? as u32,
            broker: "B".to_owned(),
            keepalive_ms: 0,
            requests_max: 256,
            claims: arguments.words.drain(..).map(|word| found(&word)).collect::<Result<_, _>>()?,
        }),
        "kept" => Body::KeptAlive(v1::KeptAlive {
            move_number: arguments.number()? as u32,
            ttl_ms: 0,
            lost_claims: arguments.list("lost")?,
        }),
        "closed" => Body::Closed(v1::Closed {}),
        "granted" => {
            let (claim, operation) = (arguments.number()?, arguments.number()? as u32);
            let mode = arguments.mode()?;
            let grant_seq = arguments.key("seq")?.unwrap_or(u64::from(operation)) as u32;
            let (demoted, alternate) = (arguments.word("demoted"), arguments.word("alternate"));
            let status = v1::Status::Granted as i32;
            let fence = 1000 * claim + u64::from(grant_seq);
            Body::Completion(v1::Completion {
                claim,
                operation,
                status,
                held: mode.held(),
                fence,
                grant_seq,
                demoted,
                alternate,
                ..v1::Completion::default()
            })
        }
        "done" => {
            let (claim, operation) = (arguments.number()?, arguments.number()? as u32);
            let status = status(&arguments.next()?)?;
            let held = arguments.text("mode").map(|mode| mode_named(&mode)).transpose()?.and_then(v1::Mode::held);
            let demoted = arguments.word("demoted");
            Body::Completion(v1::Completion { claim, operation, status, held, demoted, ..v1::Completion::default() })
        }
        "queued" => {
            let (claim, operation) = (arguments.number()?, arguments.number()? as u32);
            Body::Queued(v1::Queued { claim, operation, position: 1, ticket: 7 })
        }
        "withdrawn" => {
            let claim = arguments.number()?;
            let result = format!("CANCEL_RESULT_{}", arguments.next()?.to_uppercase());
            let result = v1::CancelResult::from_str_name(&result).ok_or("no such result")? as i32;
            Body::Cancelled(v1::Cancelled { result, claim })
        }
        "refused" => {
            let reason = format!("REASON_{}", arguments.next()?.to_uppercase());
            let reason = v1::Reason::from_str_name(&reason).ok_or("no such reason")? as i32;
            let address = arguments.text("address").unwrap_or_default();
            Body::Error(v1::Error { reason, message: "refused".to_owned(), address, ..v1::Error::default() })
        }
        "blocking" => Body::Blocking(v1::Blocking {
            claim: arguments.number()?,
            grant_seq: arguments.number()? as u32,
            wanted: arguments.mode()?.into(),
            own: arguments.word("own"),
        }),
        "lost" => {
            let reason = format!("LOST_REASON_{}", arguments.next()?.to_uppercase());
            let reason = v1::LostReason::from_str_name(&reason).ok_or("no such reason")? as i32;
            let claims = arguments.words.drain(..).map(|word| word.parse()).collect::<Result<_, _>>()?;
            Body::Lost(v1::Lost { reason, claims })
        }
        "move" => Body::Move(v1::Move { addresses: arguments.words.drain(..).collect() }),
        other => return Err(format!("no command {other}").into()),
    };
    Ok(v1::SessionResponse { request, body: Some(body) })
}

fn opened(ttl_ms: u32, requests_max: u32) -> Body {
    Body::Opened(v1::Opened {
        api_level: 1,
        session: "S".to_owned(),
        token: "token".to_owned(),
        ttl_ms,
        keepalive_ms: ttl_ms / 3,
        broker: "A".to_owned(),
        value_block_bytes: 32,
        requests_max,
    })
}

/// What a resume found of one claim.
fn found(word: &str) -> Result<v1::ClaimState, Failure> {
    let parts: Vec<&str> = word.split('.').collect();
    let claim = parts.first().ok_or("a claim is missing")?.parse()?;
    Ok(match parts[1..] {
        ["wait"] => v1::ClaimState { claim, waiting: true, ..v1::ClaimState::default() },
        ["gone"] => v1::ClaimState { claim, ..v1::ClaimState::default() },
        [mode] => v1::ClaimState { claim, held: mode_named(mode)?.held(), ..v1::ClaimState::default() },
        [mode, "wait"] => {
            v1::ClaimState { claim, held: mode_named(mode)?.held(), waiting: true, ..v1::ClaimState::default() }
        }
        [operation, how, mode] => {
            let (operation, status) = (operation.parse()?, status(how)?);
            let mode = mode_named(mode).unwrap_or_default();
            let completion = v1::Completion {
                claim,
                operation,
                status,
                held: mode.held(),
                grant_seq: operation,
                ..v1::Completion::default()
            };
            v1::ClaimState { claim, held: mode.held(), waiting: false, completion: Some(completion) }
        }
        _ => return Err(format!("{word} says nothing of a claim").into()),
    })
}

fn status(word: &str) -> Result<i32, Failure> {
    let name = format!("STATUS_{}", word.to_uppercase());
    Ok(v1::Status::from_str_name(&name).ok_or_else(|| format!("no status {word}"))? as i32)
}

fn mode_named(word: &str) -> Result<v1::Mode, Failure> {
    Ok(word.parse::<Mode>()?.to_proto())
}

fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// The arguments of one command, taken one by one.
struct Arguments {
    words: Vec<String>,
    keys: BTreeMap<String, String>,
}

impl Arguments {
    fn new(command: &goldenscript::Command) -> Self {
        let mut arguments = command.consume_args();
        let mut keys = BTreeMap::new();
        while let Some((key, value)) = arguments.next_key() {
            keys.insert(key.to_owned(), value.to_owned());
        }
        let mut words = Vec::new();
        while let Some(word) = arguments.next_pos() {
            words.push(word.to_owned());
        }
        Self { words, keys }
    }

    fn next(&mut self) -> Result<String, Failure> {
        if self.words.is_empty() { Err("an argument is missing".into()) } else { Ok(self.words.remove(0)) }
    }

    fn number(&mut self) -> Result<u64, Failure> {
        Ok(self.next()?.parse()?)
    }

    fn mode(&mut self) -> Result<v1::Mode, Failure> {
        mode_named(&self.next()?)
    }

    fn word(&mut self, word: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|other| other != word);
        self.words.len() < before
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.keys.remove(key)
    }

    fn key(&mut self, key: &str) -> Result<Option<u64>, Failure> {
        Ok(self.text(key).map(|text| text.parse()).transpose()?)
    }

    fn list(&mut self, key: &str) -> Result<Vec<u64>, Failure> {
        let text = self.text(key).unwrap_or_default();
        let numbers = text.split('/').filter(|part| !part.is_empty()).map(str::parse);
        Ok(numbers.collect::<Result<_, _>>()?)
    }

    fn wait(&mut self) -> Result<Option<u64>, Failure> {
        Ok(if self.word("try") { Some(0) } else { self.key("wait")? })
    }

    fn finish(&self) -> Result<(), Failure> {
        match (self.words.first(), self.keys.keys().next()) {
            (None, None) => Ok(()),
            (word, key) => Err(format!("not understood: {}", word.or(key).map_or("", String::as_str)).into()),
        }
    }
}
