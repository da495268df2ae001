//! What tests of the client library need around them: brokers as processes, brokers on one store, a network that cuts.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use sixpin_client::{Client, proto};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::store::{self, Place, Reason};
use crate::support::{self, door};

/// How long a test waits for something that should happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A broker on a store of its own: one, or several on one store that together do what one does. A process, or in this one
/// if the run says so.
pub(crate) struct Broker {
    at_work: AtWork,
    clients: AtomicU32,
    /// Those of the first.
    pub(crate) address: String,
    pub(crate) admin_address: String,
}

enum AtWork {
    Processes(Vec<BrokerProcess>),
    Inside(Box<support::Broker>),
}

struct BrokerProcess {
    child: Child,
    folder: PathBuf,
    address: String,
    admin_address: String,
}

static FOLDERS: AtomicU32 = AtomicU32::new(0);

impl Broker {
    /// As many as the run says, on the store that it says.
    pub(crate) async fn start() -> Self {
        if !door::inside() {
            return Self::processes().await;
        }
        let broker = support::Broker::start().await;
        let admin_address = broker.server.admin_address.unwrap();
        Self::of(broker.server.address.to_string(), admin_address.to_string(), AtWork::Inside(Box::new(broker)))
    }

    /// As processes, which can be frozen and have a network before them.
    pub(crate) async fn as_processes() -> Self {
        if door::inside() {
            Reason::Process.tell("processes");
        }
        Self::processes().await
    }

    async fn processes() -> Self {
        let place = Place::new();
        let mut processes = Vec::new();
        for _ in 0..store::processes() {
            processes.push(BrokerProcess::start(&place).await);
        }
        let (address, admin_address) = (processes[0].address.clone(), processes[0].admin_address.clone());
        Self::of(address, admin_address, AtWork::Processes(processes))
    }

    fn of(address: String, admin_address: String, at_work: AtWork) -> Self {
        Self { at_work, clients: AtomicU32::new(0), address, admin_address }
    }

    /// A client of the next of them; that of the first call is a client of the first.
    pub(crate) fn client(&self) -> Client {
        let number = self.clients.fetch_add(1, Ordering::Relaxed) as usize;
        match &self.at_work {
            AtWork::Processes(processes) => Client::new([&processes[number % processes.len()].address]).unwrap(),
            AtWork::Inside(broker) => Client::of_broker(broker.nth(number).broker()),
        }
    }

    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, with: Signal) {
        let AtWork::Processes(processes) = &self.at_work else { panic!("only processes are signalled") };
        for process in processes {
            signal(&process.child, with);
        }
    }
}

impl BrokerProcess {
    async fn start(place: &Place) -> Self {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("sixpin-client-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let ready = folder.join("ready");
        let child = Command::new(env!("CARGO_BIN_EXE_sixpin"))
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-level", "warn"])
            .arg("--ready-file")
            .arg(&ready)
            .envs(place.variables())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let text = eventually(|| std::fs::read_to_string(&ready).ok()).await;
        let mut lines = text.lines().map(str::to_owned);
        let (address, admin_address) = (lines.next().unwrap(), lines.next().unwrap());
        Self { child, folder, address, admin_address }
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Sends a signal to a process that the test started. One that is to stop has stopped when this returns: until then it goes on
/// for a moment, on another processor.
pub(crate) fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
    if signal == Signal::STOP {
        waitpid(Some(pid), WaitOptions::UNTRACED).unwrap();
    }
}

/// A network between a client and a broker.
pub(crate) struct Network {
    pub(crate) address: SocketAddr,
    /// Counts the cuts: a connection ends when it changes.
    cuts: watch::Sender<u64>,
    down: Arc<AtomicBool>,
}

impl Network {
    pub(crate) async fn to(target: impl Into<String>) -> Self {
        let target = target.into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cuts = watch::Sender::new(0);
        let down = Arc::new(AtomicBool::new(false));
        tokio::spawn(accept(listener, target, cuts.clone(), Arc::clone(&down)));
        Self { address, cuts, down }
    }

    /// Ends every connection. New ones are accepted.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Ends every connection, and accepts no new ones until [`Network::up`].
    pub(crate) fn down(&self) {
        self.down.store(true, Ordering::SeqCst);
        self.cut();
    }

    pub(crate) fn up(&self) {
        self.down.store(false, Ordering::SeqCst);
    }
}

async fn accept(listener: TcpListener, target: String, cuts: watch::Sender<u64>, down: Arc<AtomicBool>) {
    while let Ok((mut client, _)) = listener.accept().await {
        if down.load(Ordering::SeqCst) {
            continue;
        }
        let (target, mut cut) = (target.clone(), cuts.subscribe());
        tokio::spawn(async move {
            let Ok(mut broker) = TcpStream::connect(target).await else { return };
            let _ = (client.set_nodelay(true), broker.set_nodelay(true));
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut client, &mut broker) => {}
                _ = cut.changed() => {}
            }
        });
    }
}

/// Waits until `probe` gives something.
pub(crate) async fn eventually<T>(mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < SOON, "it does not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Every claim that a broker knows.
pub(crate) async fn all_claims(client: &Client) -> Vec<proto::ClaimInfo> {
    let inspection = client.inspection();
    let request = proto::ListResourcesRequest { limit: 1000, ..proto::ListResourcesRequest::default() };
    let resources = inspection.list_resources(request).await.unwrap().resources;
    let mut claims = Vec::new();
    for resource in resources {
        let request = proto::GetResourceRequest { resource: resource.resource };
        claims.extend(inspection.get_resource(request).await.unwrap().claims);
    }
    claims
}

/// Waits until no session is left.
pub(crate) async fn wait_until_no_session_is_left(client: &Client) {
    let inspection = client.inspection();
    let list = async || inspection.list_sessions(proto::ListSessionsRequest::default()).await.unwrap().sessions;
    wait_until_none_is_left(list).await;
}

/// Waits until no claim is left.
pub(crate) async fn wait_until_no_claim_is_left(client: &Client) {
    wait_until_none_is_left(async || all_claims(client).await).await;
}

async fn wait_until_none_is_left<T: Debug>(list: impl AsyncFn() -> Vec<T>) {
    let start = Instant::now();
    loop {
        let left = list().await;
        if left.is_empty() {
            return;
        }
        assert!(start.elapsed() < SOON, "this is left: {left:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
