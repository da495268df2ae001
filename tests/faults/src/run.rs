//! Load on a world, and the check at the end.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use sixpin_client::proto;
use sixpin_testkit::ServerProcess;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::check::{self, Tally};
use crate::history::{History, Queue, Time};
use crate::load::{self, Lives, Load};
use crate::process::{ClientProcess, Job};
use crate::register::{Access, Registers};
use crate::world::{Broker, PATIENCE, Plan, World};

/// What a broker's log says when its store lacks what it acknowledged.
const FORGOT: &str = "the store lost its memory";

/// How much load, on what.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Store and brokers.
    pub plan: Plan,
    /// Sessions of this process.
    pub sessions: usize,
    /// Sessions in processes of their own.
    pub processes: usize,
    /// Locks that each session wants at once.
    pub workers: usize,
    /// Resources that all fight for.
    pub resources: usize,
    /// The TTL of all sessions.
    pub ttl: Duration,
    /// Where the randomness of the load begins.
    pub seed: u64,
}

/// A world under load.
pub struct Running {
    /// The processes.
    pub world: World,
    shape: Shape,
    history: History,
    registers: Registers,
    registers_at: SocketAddr,
    stop: watch::Sender<bool>,
    sessions: JoinSet<Lives>,
    observer: JoinSet<()>,
    processes: Vec<ClientProcess>,
    started: usize,
    struck: Vec<String>,
    // When the store could do nothing, or forgot.
    excused: Vec<(Time, Time)>,
}

/// What was seen.
#[derive(Debug)]
pub struct Report {
    /// How much happened.
    pub tally: Tally,
    /// The lives of the sessions of this process.
    pub lives: Lives,
    /// Updates of the registers.
    pub writes: u64,
    /// What was done to members of the store, and how soon brokers granted again.
    pub struck: Vec<String>,
    /// What must not have happened.
    pub violations: Vec<String>,
}

impl Running {
    /// Starts everything.
    pub async fn start(shape: Shape) -> Self {
        let world = World::start(&shape.plan).await;
        let history = History::default();
        let registers = Registers::new(shape.resources);
        let registers_at = registers.serve().await.expect("the registers are served");
        let stop = watch::Sender::new(false);
        let mut running = Self {
            world,
            history,
            registers,
            registers_at,
            stop,
            sessions: JoinSet::new(),
            observer: JoinSet::new(),
            processes: Vec::new(),
            started: 0,
            struck: Vec::new(),
            excused: Vec::new(),
            shape,
        };
        for _ in 0..running.shape.sessions {
            let load = running.next_load();
            let (registers, record) = (Access::Here(running.registers.clone()), running.history.recorder());
            running.sessions.spawn(load::work(load, registers, record, running.stop.subscribe()));
        }
        for _ in 0..running.shape.processes {
            running.start_process();
        }
        for broker in 0..running.world.brokers.len() {
            let endpoints = running.world.endpoints(broker);
            running.observer.spawn(observe(endpoints, running.shape.resources, running.history.clone()));
        }
        running
    }

    fn next_load(&mut self) -> Load {
        self.started += 1;
        Load {
            endpoints: self.world.endpoints(self.started),
            ttl: self.shape.ttl,
            resources: self.shape.resources,
            workers: self.shape.workers,
            seed: self.shape.seed.wrapping_add(self.started as u64),
        }
    }

    /// One more client process.
    pub fn start_process(&mut self) {
        let load = self.next_load();
        let process = ClientProcess::start(self.shape.plan.program, Job::Work, &load, self.registers_at, &self.history);
        self.processes.push(process);
    }

    /// A client process, by its place.
    pub fn process(&self, place: usize) -> &ClientProcess {
        &self.processes[place]
    }

    /// Takes a client process out, to kill it.
    pub fn take_process(&mut self, place: usize) -> ClientProcess {
        self.processes.swap_remove(place)
    }

    /// Members of the store were in trouble; and from when to when sessions could be lost by that, if they could.
    pub(crate) fn struck(&mut self, what: String, away: Option<(Time, Time)>) {
        self.struck.push(what);
        self.excused.extend(away);
    }

    /// How often brokers found that a store which may forget its last writes did so.
    pub(crate) fn amnesias(&self) -> usize {
        let said = |broker: &Broker| std::fs::read_to_string(broker.process.data_dir().join("server.log"));
        let counts = self.world.brokers.iter().map(|broker| said(broker).unwrap_or_default().matches(FORGOT).count());
        if self.shape.plan.store.may_forget() { counts.sum() } else { 0 }
    }

    /// While one member of several is away, no client that lives loses a session of ten seconds or more; not counting the
    /// times in which nothing can be promised.
    fn check_sessions(&self, lives: &Lives, violations: &mut Vec<String>) {
        const PROMISED: Duration = Duration::from_secs(10);
        let plan = &self.shape.plan;
        if !plan.store.has_members() || self.shape.ttl < PROMISED {
            return;
        }
        // What was lost shows when its time has passed.
        let after = u64::try_from((self.shape.ttl + PROMISED).as_nanos()).unwrap_or(u64::MAX);
        let excused = |at: &&Time| !self.excused.iter().any(|(from, to)| (*from..*to + after).contains(at));
        let lost = lives.losses.iter().filter(excused).count();
        if lost > 0 {
            violations.push(format!("{lost} sessions were lost while at most one member of the store was away"));
        }
    }

    /// Lets everybody leave, and checks.
    pub async fn finish(mut self) -> Report {
        self.stop.send_replace(true);
        let mut lives = Lives::default();
        let mut violations = Vec::new();
        let all_left = async {
            while let Some(done) = self.sessions.join_next().await {
                lives.add(&done.expect("a client does not panic"));
            }
            for process in self.processes.drain(..) {
                process.leave().await;
            }
        };
        if timeout(PATIENCE, all_left).await.is_err() {
            violations.push("somebody waits for ever although everybody was told to leave".to_owned());
        }
        self.observer.abort_all();
        if let Err(left) = self.world.nothing_is_left().await {
            violations.push(left);
        }
        let (tally, found) = check::check(&self.history.seen());
        violations.extend(found);
        if self.amnesias() == 0 {
            violations.extend(check::taken(&self.history.seen()));
        }
        violations.extend(self.registers.violations());
        self.check_sessions(&lives, &mut violations);
        let wanted = !violations.is_empty() || std::env::var_os("SIXPIN_FAULTS_LOGS").is_some();
        let logs = wanted.then(|| self.logs());
        let report = Report { tally, lives, writes: self.registers.writes(), struck: self.struck, violations };
        if let Some(logs) = logs {
            show(&report, &logs);
        }
        report
    }

    /// What the processes said.
    fn logs(&self) -> String {
        let brokers = self.world.brokers.iter().map(|broker| &broker.process);
        let of_one = |process: &ServerProcess| {
            let log = std::fs::read_to_string(process.data_dir().join("server.log")).unwrap_or_default();
            format!("--- log of {} ---\n{log}\n", process.address())
        };
        brokers.chain(self.world.store.processes()).map(of_one).collect()
    }
}

/// For the person who looks at a failed test: what was found comes first, because long outputs are cut.
#[expect(clippy::print_stderr, reason = "it is for people")]
fn show(report: &Report, logs: &str) {
    eprintln!("{report}\n{logs}");
}

/// Looks at all queues again and again, each time through the first broker that answers.
async fn observe(endpoints: Vec<String>, resources: usize, history: History) {
    let Ok(client) = sixpin_client::Client::new(endpoints) else { return };
    loop {
        let Ok(inspection) = client.inspection().of_one().await else {
            sleep(Duration::from_millis(200)).await;
            continue;
        };
        for resource in (0..resources).cycle() {
            let name = proto::Resource { lockspace: String::new(), name: load::resource(resource) };
            let Ok(state) = inspection.get_resource(proto::GetResourceRequest { resource: Some(name) }).await else {
                break;
            };
            let claims = |waits: bool| {
                let chosen = state.claims.iter().filter(|claim| (claim.queue() == proto::Queue::Waiting) == waits);
                chosen.map(|claim| format!("{}#{}", claim.session, claim.claim)).collect()
            };
            // Of a queue that was not shown whole nothing can be said.
            if state.left_out == 0 && state.version > 0 {
                let (waiting, granted) = (claims(true), claims(false));
                history.saw(Queue { resource, version: state.version, waiting, granted });
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Report {
    /// Fails with what was found, and if too little happened to say anything.
    pub fn assert_good(&self, grants: usize) {
        assert!(self.violations.is_empty(), "{self}");
        assert!(self.tally.grants >= grants, "too little happened: {self}");
        assert!(self.writes > 0, "no register was written: {self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} grants to {} sessions, {} updates, {} looks at queues with waiters, {} claims lost, {} moves",
            self.tally.grants, self.tally.sessions, self.writes, self.tally.orders, self.tally.losses, self.lives.moves
        )?;
        for struck in &self.struck {
            writeln!(f, "  {struck}")?;
        }
        for (reason, count) in &self.lives.lost {
            writeln!(f, "  {count} sessions lost: {reason}")?;
        }
        for violation in self.violations.iter().take(20) {
            writeln!(f, "  VIOLATION: {violation}")?;
        }
        write!(f, "{} violations", self.violations.len())
    }
}
