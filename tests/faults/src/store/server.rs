//! The store's process: one state machine, its journal, and connections.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sixpin_core::backend::{self as core, StoreError};
use sixpin_core::name::{Incarnation, Version};
use sixpin_memory::Store;
use sixpin_memory::hints::{Changes, Hints};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::frame;
use super::journal::Journal;
use super::message::{Answer, Ask, Request, Response};
use super::wire::{self, Kind};

struct Shared {
    inner: Mutex<(Store, Journal)>,
    hints: Hints,
    kind: Kind,
}

/// Serves a store whose journal is in `folder`, until the process is killed.
pub async fn serve(listen: SocketAddr, folder: &Path, kind: Kind) -> io::Result<()> {
    let (store, journal) = Journal::open(&folder.join("journal"), kind)?;
    let shared = Arc::new(Shared { inner: Mutex::new((store, journal)), hints: Hints::default(), kind });
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(converse(stream, shared.clone()));
    }
}

/// One connection: requests are done in the order in which they come.
async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let (answers, answered) = mpsc::unbounded_channel();
    // The tasks of this connection end with it.
    let mut tasks = JoinSet::new();
    let mut watches: HashMap<u64, AbortHandle> = HashMap::new();
    tasks.spawn(write(writer, answered));
    while let Ok(Ask { number, identity, request }) = frame::take(&mut reader).await {
        match request {
            Request::Changed(key, seen) => {
                let (shared, answers) = (shared.clone(), answers.clone());
                watches.retain(|_, watch| !watch.is_finished());
                let watch = tasks.spawn(async move {
                    changed(&shared, &key, Version(seen)).await;
                    let _ = answers.send(Answer { number, response: Response::MayDiffer });
                });
                watches.insert(number, watch);
            }
            Request::GiveUp(number) => {
                if let Some(watch) = watches.remove(&number) {
                    watch.abort();
                }
            }
            request => {
                let Ok(response) = shared.answer(identity, request) else { return };
                if answers.send(Answer { number, response }).is_err() {
                    return;
                }
            }
        }
        while tasks.try_join_next().is_some() {}
    }
}

async fn write(mut writer: OwnedWriteHalf, mut answers: mpsc::UnboundedReceiver<Answer>) {
    let (mut batch, mut bytes) = (Vec::new(), Vec::new());
    while answers.recv_many(&mut batch, 256).await > 0 {
        bytes.clear();
        if batch.drain(..).any(|answer| frame::put(&mut bytes, &answer).is_err())
            || writer.write_all(&bytes).await.is_err()
        {
            return;
        }
    }
}

async fn changed(shared: &Shared, key: &wire::Key, seen: Version) {
    let Some(key) = key.to_core() else { return };
    let bell = shared.hints.bell(&key);
    loop {
        let mut ring = std::pin::pin!(bell.notified());
        ring.as_mut().enable();
        if shared.inner.lock().unwrap_or_else(PoisonError::into_inner).0.version(&key) != seen {
            return;
        }
        ring.await;
    }
}

impl Shared {
    /// Notes it, does it, and says how it ended. An error is one of the journal: nothing may be answered any more.
    fn answer(&self, identity: u64, request: Request) -> io::Result<Response> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (store, journal) = &mut *inner;
        if matches!(request, Request::Open) {
            return Ok(Response::Opened(wire::root_from(store.root()), self.kind));
        }
        if identity != store.root().identity
            && let Some(refusal) = amnesia(&request)
        {
            return Ok(refusal);
        }
        let now = now_10us();
        if request.changes() {
            journal.note(now, &request)?;
        }
        let changes = changes(&request);
        let response = apply(store, now, request);
        drop(inner);
        self.hints.ring(&changes);
        Ok(response)
    }
}

/// What a broker is told that opened a store which has lost its memory since. Commits need no check of their own: its
/// registration was lost with everything else.
fn amnesia(request: &Request) -> Option<Response> {
    let lost = || wire::StoreError::Amnesia("the root record changed".into());
    Some(match request {
        Request::Read(_) => Response::Slots(Err(lost())),
        Request::List(..) => Response::Page(Err(lost())),
        Request::Beat(_) => Response::Beaten(Err(lost())),
        Request::Pulses => Response::Pulses(Err(lost())),
        _ => return None,
    })
}

/// Who is told of a request.
fn changes(request: &Request) -> Changes {
    let mut changes = Changes::default();
    if let Request::Commit(_, writes) = request {
        for write in writes.iter().filter_map(wire::Write::to_core).filter(|write| write.notify) {
            changes.add(&write.key);
        }
    }
    changes
}

/// Does one request. The same requests at the same times give the same store, which is what the journal relies on.
pub(super) fn apply(store: &mut Store, now: u64, request: Request) -> Response {
    match request {
        Request::Read(keys) => match keys.iter().map(wire::Key::to_core).collect::<Option<Vec<_>>>() {
            Some(keys) => Response::Slots(Ok(store.read(&keys).into_iter().map(wire::slot_from).collect())),
            None => Response::Slots(Err(misspelt().into())),
        },
        Request::Commit(guard, writes) => {
            let outcomes = match writes.iter().map(wire::Write::to_core).collect::<Option<Vec<_>>>() {
                Some(writes) => store.commit(now, wire::guard_to(guard), writes),
                None => writes.iter().map(|_| core::WriteOutcome::Unavailable(misspelt().to_string())).collect(),
            };
            Response::Outcomes(outcomes.into_iter().map(Into::into).collect())
        }
        Request::Advance(guard) => Response::Done(store.advance(wire::guard_to(guard)).map_err(Into::into)),
        Request::List(family, after, limit) => {
            let page = match family.to_core() {
                Some(family) => store.list(&family, after.as_deref(), limit as usize),
                None => Err(misspelt()),
            };
            Response::Page(page.map(wire::page_from).map_err(Into::into))
        }
        Request::Beat(beat) => {
            let beaten = store.beat(now, beat.into());
            Response::Beaten(beaten.map(|version| version.0).map_err(Into::into))
        }
        Request::Leave(broker) => {
            store.leave(now, Incarnation(broker));
            Response::Done(Ok(()))
        }
        Request::Evict(guard, target, seen) => {
            let outcome = store.evict(now, wire::guard_to(guard), Incarnation(target), Version(seen));
            Response::Outcomes(vec![outcome.into()])
        }
        Request::Clear(guard, target, seen) => {
            let outcome = store.clear(wire::guard_to(guard), Incarnation(target), Version(seen));
            Response::Outcomes(vec![outcome.into()])
        }
        Request::Pulses => Response::Pulses(Ok(store.pulses().into_iter().map(Into::into).collect())),
        // Answered before they come here.
        Request::Open | Request::Changed(..) | Request::GiveUp(_) => Response::MayDiffer,
    }
}

fn misspelt() -> StoreError {
    StoreError::Unavailable("a key is misspelt".into())
}

/// The wall clock, in units of 10 µs. Only the floor of versions; nothing is measured with it.
fn now_10us() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since_epoch.as_micros() / 10).unwrap_or(u64::MAX)
}
