//! An attack on a broker with honest sessions beside it, and the verdict.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use sixpin_client::Credentials;
use tokio::process::Command;

use crate::attacks::Attack;
use crate::broker::Broker;
use crate::honest::{Honest, Times};
use crate::secrets::Secrets;

/// Memory that an attack may cost while it goes on.
pub const GROWTH_MAX: u64 = 256 << 20;
/// Memory that may be left of that once [`CALM`] has passed.
pub const LEFT_MAX: u64 = 64 << 20;
/// How long memory may take to come back.
pub const CALM: Duration = Duration::from_secs(10);
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How much longer than its time an attacker may take to end by itself.
const OVERTIME: Duration = Duration::from_secs(15);

/// What a run has.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How long each attack lasts; as long is looked at what honest locks take without it.
    pub time: Duration,
    /// Honest sessions.
    pub sessions: usize,
    /// Their TTL.
    pub ttl: Duration,
    /// The broker's settings.
    pub settings: String,
    /// With TLS and access control.
    pub tls: bool,
    /// Attackers leave the processors to everybody else.
    pub yielding: bool,
}

/// What was seen of one attack.
#[derive(Debug)]
pub struct Seen {
    /// The attack.
    pub name: &'static str,
    /// Memory before, at most, and left after, in bytes.
    pub memory: [u64; 3],
    /// Of one processor, while the attack went on.
    pub busy: f64,
    /// What honest locks took without the attack, and with it.
    pub times: [Times; 2],
    /// What does not hold.
    pub violations: Vec<String>,
}

/// A broker with honest sessions, for one attack after the other.
pub struct Trial {
    plan: Plan,
    secrets: Option<Secrets>,
    broker: Broker,
    honest: Honest,
    failures: u64,
    attacks: u8,
}

impl Trial {
    /// Starts the broker, which logs to `log`, and the sessions.
    pub async fn start(plan: Plan, log: &Path) -> io::Result<Self> {
        let secrets = if plan.tls { Some(Secrets::new()?) } else { None };
        let secure = secrets.as_ref().map(Secrets::settings).unwrap_or_default();
        let broker = Broker::start(&format!("{}\n{secure}", plan.settings), log).await?;
        let credentials = secrets.as_ref().map_or_else(Credentials::new, Secrets::honest);
        let honest = Honest::start(broker.address, credentials, plan.sessions, plan.ttl).await;
        let honest = honest.map_err(io::Error::other)?;
        Ok(Self { plan, secrets, broker, honest, failures: 0, attacks: 0 })
    }

    /// Lets one attack loose, and looks.
    pub async fn attack(&mut self, attack: &'static Attack) -> io::Result<Seen> {
        let calm = self.calm().await;
        let before = self.broker.resident();
        let (ticks, begun) = (self.broker.ticks(), Instant::now());
        self.attacks += 1;
        let folder = self.secrets.as_ref().map(Secrets::folder);
        let mut attacker = Command::new(std::env::current_exe()?)
            .args(["attack", attack.name, "--broker", &self.broker.address.to_string()])
            .args(["--from", &Ipv4Addr::new(127, 0, 66, self.attacks).to_string()])
            .args(["--time", &humantime::format_duration(self.plan.time).to_string()])
            .args(self.plan.yielding.then_some("--yielding"))
            .args(folder.iter().flat_map(|folder| [Path::new("--secrets"), *folder]))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut most = before;
        let status = loop {
            most = most.max(self.broker.resident());
            match attacker.try_wait()? {
                Some(status) => break Some(status),
                None if begun.elapsed() > self.plan.time + OVERTIME => break None,
                None => tokio::time::sleep(LOOK).await,
            }
        };
        let used = Duration::from_millis((self.broker.ticks() - ticks) * 10);
        let busy = used.as_secs_f64() / begun.elapsed().as_secs_f64();
        let times = [calm, self.honest.take_times()];
        if status.is_none() {
            attacker.kill().await?;
        }
        let left = self.settled(before).await;
        let mut seen = Seen { name: attack.name, memory: [before, most, left], busy, times, violations: Vec::new() };
        self.judge(&mut seen, status.is_some_and(|status| status.success()));
        Ok(seen)
    }

    /// What honest locks take when nothing happens.
    async fn calm(&self) -> Times {
        self.honest.take_times();
        tokio::time::sleep(self.plan.time).await;
        self.honest.take_times()
    }

    /// Memory once it is back, or when it should be.
    async fn settled(&self, before: u64) -> u64 {
        let begun = Instant::now();
        loop {
            let now = self.broker.resident();
            if now <= before + LEFT_MAX / 2 || begun.elapsed() >= CALM {
                return now;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn judge(&mut self, seen: &mut Seen, attacked: bool) {
        let [before, most, left] = seen.memory;
        let mut wrong = |text: String| seen.violations.push(text);
        if !attacked {
            wrong("the attacker did not end in good order".into());
        }
        if let Some(status) = self.broker.ended() {
            wrong(format!("the broker ended: {status}"));
        }
        let (failures, first) = self.honest.failures();
        if failures > self.failures {
            let count = failures - self.failures;
            wrong(format!(
                "honest sessions noticed: {count} failures; the first of all: {}",
                first.unwrap_or_default()
            ));
            self.failures = failures;
        }
        if most > before + GROWTH_MAX {
            wrong(format!("memory grew by {}, more than {}", mib(most - before), mib(GROWTH_MAX)));
        }
        if left > before + LEFT_MAX {
            wrong(format!("{} of memory did not come back within {CALM:?}", mib(left - before)));
        }
    }

    /// Ends everything; what does not hold then.
    pub async fn end(mut self) -> Vec<String> {
        self.honest.stop().await;
        match self.broker.terminate().await {
            Ok(status) if status.success() => Vec::new(),
            Ok(status) => vec![format!("told to end, the broker ended with {status}")],
            Err(error) => vec![format!("told to end, the broker did not: {error}")],
        }
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, most, left] = self.memory.map(|bytes| bytes >> 20);
        let [calm, attacked] = self.times;
        let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
        let slower = millis(attacked.p99) / millis(calm.p99).max(0.001);
        write!(
            f,
            "{:<20} MiB {before:>5} {most:>5} {left:>5}  CPU {:>4.0} %  p50 {:>7.2} {:>7.2} ms  p99 {:>7.2} {:>8.2} ms  x {slower:>5.1}  locks {:>6}",
            self.name,
            self.busy * 100.0,
            millis(calm.p50),
            millis(attacked.p50),
            millis(calm.p99),
            millis(attacked.p99),
            attacked.locks,
        )?;
        self.violations.iter().try_for_each(|text| write!(f, "\n    VIOLATION {text}"))
    }
}
