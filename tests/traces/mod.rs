//! Traces, as a collector gets them: one that speaks OTLP over gRPC stands in for all others.

mod collector;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::json;
use sixpin_client::{Client, Mode};
use sixpin_proto::v1;
use sixpin_server::access::token::Token;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tonic::Request;
use v1::session_request::Body as Ask;
use v1::session_response::Body;

use self::collector::{Came, Collector, Seen, to};
use crate::support::http::Http;
use crate::support::store::{Place, Reason};
use crate::support::{Broker, open, resource, soon, token, try_lock, unlock, until, wait_lock};

/// A trace that a client began.
struct Trace(u64);

impl Trace {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn id(&self) -> String {
        format!("{:032x}", 0xabcd_0000_0000_0000_0000_0000_0000_0000 + u128::from(self.0))
    }

    fn span(&self) -> String {
        format!("{:016x}", 0x1234_0000_0000_0000 + self.0)
    }

    fn parent(&self) -> String {
        format!("00-{}-{}-01", self.id(), self.span())
    }

    fn not_kept(&self) -> String {
        format!("00-{}-{}-00", self.id(), self.span())
    }

    /// A request that names it where gRPC has headers.
    fn names<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("traceparent", self.parent().parse().unwrap());
        request
    }
}

fn lock_in(trace: &Trace, claim: u64, name: &str) -> v1::Lock {
    v1::Lock { traceparent: trace.parent(), ..wait_lock(claim, name, v1::Mode::Ex) }
}

async fn metric(broker: &Broker, name: &str) -> u64 {
    let text = broker.server.broker().metrics().text().await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

#[tokio::test]
async fn one_lock_through_two_brokers_is_one_trace() {
    let (collector, place, trace) = (Collector::start().await, Place::new(), Trace::new());
    let here = Broker::on(&place, &collector.settings()).await;
    let there = Broker::on(&place, &collector.settings()).await;
    let (mut waiter, mut holder) = (here.session().await, there.session().await);
    let held = holder.lock(wait_lock(1, "one/lock", v1::Mode::Ex)).await;
    let asked = waiter.ask(Ask::Lock(lock_in(&trace, 1, "one/lock"))).await;
    let Body::Queued(queued) = asked else { panic!("{asked:?}") };
    let release = v1::Unlock { traceparent: trace.parent(), ..unlock(1, 2) };
    holder.complete(Ask::Unlock(release)).await;
    let granted = match waiter.event().await {
        Body::Completion(granted) => granted,
        other => panic!("{other:?}"),
    };
    assert!(granted.fence > held.fence);

    // A lock with the commits by which it was queued and found granted, and what let it in, at the other broker.
    let spans = collector.spans_of(&trace, 5).await;
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let (lock, unlock) = (named("lock"), named("unlock"));
    assert_eq!([&lock.parent, &unlock.parent], [&trace.span(), &trace.span()]);
    assert_ne!(lock.instance, unlock.instance);
    let commits =
        |of: &Seen| spans.iter().filter(|span| span.parent == of.span && span.instance == of.instance).count();
    assert_eq!((commits(lock), commits(unlock)), (2, 1), "{spans:#?}");
    let numbers: BTreeSet<_> = spans.iter().map(|span| &span.span).collect();
    assert_eq!(numbers.len(), 5, "each has its own");

    let says = ["lockspace", "resource", "mode", "outcome", "door", "claim", "queue.position"];
    let says = says.map(|key| lock.says(&format!("sixpin.{key}")));
    let door = if crate::support::door::frames() { "frames" } else { "grpc" };
    assert_eq!(says, ["default", "one/lock", "EX", "granted", door, "1", "0"]);
    assert_eq!(lock.says("sixpin.fence"), granted.fence.to_string());
    assert_eq!(lock.says("sixpin.ticket"), queued.ticket.to_string());
    assert_eq!(lock.says("sixpin.session"), waiter.opened.session);
    assert_eq!(lock.says("sixpin.wait_ms").parse::<u64>().unwrap(), lock.took / 1_000_000);
    assert_eq!([unlock.says("sixpin.outcome"), unlock.says("sixpin.session")], ["released", &holder.opened.session]);
    let commit = spans.iter().find(|span| span.parent == lock.span).unwrap();
    assert_eq!((commit.name.as_str(), commit.says("db.operation.name").as_str()), ("store commit", "commit"));
    assert!(!commit.says("db.system.name").is_empty() && commit.says("sixpin.backend") == "default");
    // The holder's lock is in no trace of a client, so it began one.
    let first = collector.all().into_iter().find(|span| span.name == "lock" && span.trace != trace.id()).unwrap();
    assert_eq!((first.parent.as_str(), first.says("sixpin.fence")), ("", held.fence.to_string()));
}

#[tokio::test]
async fn a_wait_that_moves_to_another_broker_goes_on_in_its_trace() {
    let (collector, place, trace) = (Collector::start().await, Place::new(), Trace::new());
    let first = Broker::on(&place, &collector.settings()).await;
    let second = Broker::on(&place, &collector.settings()).await;
    let holder = Client::new([second.server.address.to_string()]).unwrap().session().open().await.unwrap();
    let held = holder.lock("moves", Mode::EX).await.unwrap();
    let addresses = [first.server.address.to_string(), second.server.address.to_string()];
    let waiter = Client::new(addresses).unwrap().session().open().await.unwrap();
    let waiting = tokio::spawn(waiter.lock("moves", Mode::PR).traceparent(trace.parent()).into_future());
    until("it waits", async || second.state("moves").await.claims.len() == 2).await;
    first.server.drain().await;
    soon("the move", async {
        while waiter.move_number() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    held.release().await.unwrap();
    let granted = soon("the grant", waiting).await.unwrap().unwrap();

    until("both", async || {
        collector.all().iter().filter(|span| span.trace == trace.id() && span.name == "lock").count() == 2
    })
    .await;
    let spans = collector.all();
    let lock = |outcome: &str| {
        let found = spans
            .iter()
            .find(|span| span.name == "lock" && span.trace == trace.id() && span.says("sixpin.outcome") == outcome);
        found.unwrap_or_else(|| panic!("{spans:#?}"))
    };
    let (left, came) = (lock("queued"), lock("granted"));
    assert_eq!([&left.parent, &came.parent], [&trace.span(), &trace.span()]);
    assert_ne!(left.instance, came.instance);
    assert_eq!(left.says("sixpin.session"), came.says("sixpin.session"));
    assert_eq!((left.says("sixpin.resumed"), came.says("sixpin.resumed")), (String::new(), "true".into()));
    assert_eq!((came.says("sixpin.mode"), came.says("sixpin.fence")), ("PR".into(), granted.fence().to_string()));
}

#[tokio::test]
async fn calls_carry_their_trace_in_metadata_or_in_the_message() {
    let collector = Collector::start().await;
    let broker = Broker::alone(Reason::OwnReport, &collector.settings()).await;
    let mut locks = broker.locks().await;
    let opened = open(&mut locks).await;
    let [by_header, by_field, release] = [Trace::new(), Trace::new(), Trace::new()];
    let call = |lock| v1::LockRequest { token: token(&opened), lock: Some(lock) };
    locks.lock(by_header.names(call(wait_lock(1, "a", v1::Mode::Pw)))).await.unwrap();
    // What the message says itself counts more.
    locks.lock(by_header.names(call(lock_in(&by_field, 2, "b")))).await.unwrap();
    let call = v1::UnlockRequest { token: token(&opened), unlock: Some(unlock(1, 2)) };
    locks.unlock(release.names(call)).await.unwrap();
    let span = collector.one_of(&by_header).await;
    let says = ["resource", "mode", "outcome", "door", "session"].map(|key| span.says(&format!("sixpin.{key}")));
    assert_eq!(says, ["a", "PW", "granted", "grpc", &opened.session]);
    assert_eq!(span.says("rpc.system.name"), "grpc");
    assert_eq!(collector.one_of(&by_field).await.says("sixpin.resource"), "b");
    let released = collector.one_of(&release).await;
    assert_eq!((released.name.as_str(), released.says("sixpin.outcome").as_str()), ("unlock", "released"));
}

#[tokio::test]
async fn streams_carry_their_trace_from_their_beginning_or_with_each_message() {
    let collector = Collector::start().await;
    let broker = Broker::alone(Reason::OwnReport, &collector.settings()).await;
    let [of_stream, of_message, of_hold] = [Trace::new(), Trace::new(), Trace::new()];
    let (say, messages) = mpsc::channel(16);
    let mut locks = broker.locks().await;
    let mut heard = locks.session(of_stream.names(ReceiverStream::new(messages))).await.unwrap().into_inner();
    let convert = v1::Convert {
        claim: 1,
        operation: 2,
        what: Some(v1::Mode::Pr.into()),
        traceparent: of_message.parent(),
        ..Default::default()
    };
    let asked = [
        Ask::Open(v1::Open::default()),
        Ask::Lock(wait_lock(1, "a", v1::Mode::Ex)),
        Ask::Convert(convert),
        Ask::KeepAlive(v1::KeepAlive::default()),
    ];
    for (request, body) in (1..).zip(asked) {
        say.send(v1::SessionRequest { request, body: Some(body) }).await.unwrap();
        let answer = soon("an answer", heard.next()).await.unwrap().unwrap();
        assert!(answer.request == request && !matches!(answer.body, Some(Body::Error(_))), "{answer:?}");
    }
    let says = |span: &Seen| ["resource", "mode", "door"].map(|key| span.says(&format!("sixpin.{key}")));
    assert_eq!(says(&collector.one_of(&of_stream).await), ["a", "EX", "grpc"]);
    let converted = collector.one_of(&of_message).await;
    assert_eq!((converted.name.as_str(), says(&converted)), ("convert", ["a", "PR", "grpc"].map(Into::into)));

    let hold = v1::HoldRequest { resource: Some(resource("h")), what: Some(v1::Mode::Ex.into()), ..Default::default() };
    let mut holding = broker.locks().await.hold(of_hold.names(hold)).await.unwrap().into_inner();
    soon("the grant", holding.message()).await.unwrap().unwrap();
    assert_eq!(says(&collector.one_of(&of_hold).await), ["h", "EX", "grpc"]);
}

#[tokio::test]
async fn frames_and_websockets_carry_their_trace() {
    let collector = Collector::start().await;
    let broker = Broker::alone(Reason::OwnReport, &collector.settings()).await;
    broker.use_sockets();
    let [in_frame, of_socket, in_text] = [Trace::new(), Trace::new(), Trace::new()];
    let mut frames = broker.greeted().await;
    for (request, body) in [(1, Ask::Open(v1::Open::default())), (2, Ask::Lock(lock_in(&in_frame, 1, "f")))] {
        frames.send(v1::SessionRequest { request, body: Some(body) }).await.unwrap();
        soon("an answer", frames.next()).await.unwrap().unwrap();
    }
    let says = |span: &Seen| ["resource", "outcome", "door"].map(|key| span.says(&format!("sixpin.{key}")));
    assert_eq!(says(&collector.one_of(&in_frame).await), ["f", "granted", "frames"]);

    let mut request = format!("ws://{}/v1/stream", broker.server.address).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "sixpin.v1.json".parse().unwrap());
    request.headers_mut().insert("traceparent", of_socket.parent().parse().unwrap());
    let (mut socket, _) = soon("a connection", connect_async(request)).await.unwrap();
    let lock =
        |claim: u32, name: &str| json!({ "claim": claim, "operation": 1, "resource": { "name": name }, "mode": "EX" });
    let mut named = lock(2, "u");
    named["traceparent"] = in_text.parent().into();
    for message in [
        json!({ "request": 1, "open": {} }),
        json!({ "request": 2, "lock": lock(1, "w") }),
        json!({ "request": 3, "lock": named }),
    ] {
        socket.send(Message::text(message.to_string())).await.unwrap();
        soon("an answer", socket.next()).await.unwrap().unwrap();
    }
    assert_eq!(says(&collector.one_of(&of_socket).await), ["w", "granted", "websocket"]);
    assert_eq!(says(&collector.one_of(&in_text).await), ["u", "granted", "websocket"]);
}

#[tokio::test]
async fn json_carries_its_trace_in_a_header() {
    let collector = Collector::start().await;
    let broker = Broker::alone(Reason::OwnReport, &collector.settings()).await;
    broker.use_sockets();
    let http = Http::clients_of(&broker);
    let [lease, claim, waits, release] = [Trace::new(), Trace::new(), Trace::new(), Trace::new()];
    let in_trace = |http: &Http, trace: &Trace| http.with("traceparent", &trace.parent());
    let taken = in_trace(&http, &lease).post("/v1/leases", json!({ "resource": "l", "mode": "EX" })).await.is(200);
    let says = |span: &Seen| ["resource", "outcome", "door"].map(|key| span.says(&format!("sixpin.{key}")));
    assert_eq!(says(&collector.one_of(&lease).await), ["l", "granted", "http"]);
    // Whether it is still held is no further lock.
    let mine = http.of(taken["token"].as_str().unwrap());
    mine.get(&format!("/v1/leases/{}", taken["lease"].as_str().unwrap())).await.is(200);

    let opened = http.post("/v1/sessions", json!({ "ttl": "30s" })).await.is(200);
    let mine = http.of(opened["token"].as_str().unwrap());
    let claims = format!("/v1/sessions/{}/claims", opened["session"].as_str().unwrap());
    let lock =
        |claim: u32, name: &str| json!({ "claim": claim, "operation": 1, "resource": { "name": name }, "mode": "EX" });
    in_trace(&mine, &claim).post(&claims, lock(1, "c")).await.is(200);
    assert_eq!(says(&collector.one_of(&claim).await), ["c", "granted", "http"]);
    // One that is left at its place is one span, whatever the broker asks itself for it.
    in_trace(&mine, &waits).with("prefer", "wait=1").post(&claims, lock(2, "l")).await.is(202);
    assert_eq!(says(&collector.one_of(&waits).await), ["l", "queued", "http"]);
    in_trace(&mine, &release).delete(&format!("{claims}/1?operation=2")).await.is(200);
    assert_eq!(collector.one_of(&release).await.name, "unlock");
    let locks = collector.all().iter().filter(|span| span.name == "lock").count();
    assert_eq!(locks, 3);
}

#[tokio::test]
async fn what_names_no_trace_is_ignored_and_a_trace_begins() {
    let collector = Collector::start().await;
    let broker = Broker::alone(Reason::OwnReport, &collector.settings()).await;
    let mut locks = broker.locks().await;
    let opened = open(&mut locks).await;
    let wrong =
        ["", "nonsense", "00-00000000000000000000000000000000-1234000000000000-01", "ff-x-y-z", &"0".repeat(4_000)];
    for (claim, traceparent) in (1..).zip(wrong) {
        let lock = v1::Lock { traceparent: traceparent.into(), ..try_lock(claim, &format!("r{claim}"), v1::Mode::Ex) };
        let mut request = Request::new(v1::LockRequest { token: token(&opened), lock: Some(lock) });
        request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
        let done = locks.lock(request).await.unwrap().into_inner().completion.unwrap();
        assert_eq!(done.status(), v1::Status::Granted, "{traceparent}");
    }
    // Two names in one request are none.
    let mut twice =
        Request::new(v1::LockRequest { token: token(&opened), lock: Some(try_lock(9, "r9", v1::Mode::Ex)) });
    for trace in [Trace::new(), Trace::new()] {
        twice.metadata_mut().append("traceparent", trace.parent().parse().unwrap());
    }
    locks.lock(twice).await.unwrap();
    let requests = || collector.all().into_iter().filter(|span| span.name == "lock").collect::<Vec<_>>();
    until("all", async || requests().len() == wrong.len() + 1).await;
    let traces: BTreeSet<_> =
        requests().into_iter().inspect(|span| assert_eq!(span.parent, "")).map(|span| span.trace).collect();
    assert_eq!(traces.len(), wrong.len() + 1, "each begins its own");
    assert!(traces.iter().all(|trace| trace.len() == 32 && !trace.starts_with("abcd")), "{traces:?}");
}

#[tokio::test]
async fn who_began_a_trace_decides_whether_it_is_kept() {
    let collector = Collector::start().await;
    let none = Broker::alone(Reason::OwnReport, &(collector.settings() + "sample = 0\n")).await;
    let mut session = none.session().await;
    let [kept, not_kept] = [Trace::new(), Trace::new()];
    session.lock(try_lock(1, "a", v1::Mode::Ex)).await;
    let lock = v1::Lock { traceparent: not_kept.not_kept(), ..try_lock(2, "b", v1::Mode::Ex) };
    session.lock(lock).await;
    session.lock(lock_in(&kept, 3, "c")).await;
    collector.one_of(&kept).await;
    let all = Broker::alone(Reason::OwnReport, &collector.settings()).await;
    let mut session = all.session().await;
    let lock = v1::Lock { traceparent: not_kept.not_kept(), ..try_lock(1, "d", v1::Mode::Ex) };
    session.lock(lock).await;
    session.lock(try_lock(2, "e", v1::Mode::Ex)).await;
    // What a broker exports comes in order.
    until("the last", async || collector.all().iter().any(|span| span.says("sixpin.resource") == "e")).await;
    let locked: BTreeSet<_> = collector.all().iter().map(|span| span.says("sixpin.resource")).collect();
    assert_eq!(locked, ["", "c", "e"].map(Into::into).into(), "commits name none");
}

#[tokio::test]
async fn without_the_setting_nothing_is_exported() {
    let collector = Collector::start().await;
    let (silent, traced) = (Trace::new(), Trace::new());
    let off = Broker::start().await;
    off.session().await.lock(lock_in(&silent, 1, "r")).await;
    assert_eq!(metric(&off, "sixpin_spans_dropped_total").await, 0);
    let on = Broker::alone(Reason::OwnReport, &collector.settings()).await;
    on.session().await.lock(lock_in(&traced, 1, "r")).await;
    collector.one_of(&traced).await;
    assert!(collector.all().iter().all(|span| span.trace == traced.id()));
}

#[tokio::test]
async fn what_waits_for_the_collector_is_exported_when_the_broker_stops() {
    let (collector, trace) = (Collector::start().await, Trace::new());
    let broker = Broker::alone(Reason::OwnReport, &collector.settings()).await;
    let mut session = broker.session().await;
    session.lock(lock_in(&trace, 1, "r")).await;
    drop(session);
    soon("the stop", broker.server.stop()).await;
    assert_eq!(collector.all().iter().filter(|span| span.trace == trace.id()).count(), 2);
}

#[tokio::test]
async fn a_slow_collector_gets_everything_and_a_dead_one_holds_up_nobody() {
    let slow = Collector::that(Came { takes: Duration::from_millis(700), ..Came::default() }).await;
    // Nobody listens there.
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for address in [slow.address, dead] {
        let broker = Broker::alone(Reason::OwnReport, &to(address)).await;
        let mut session = broker.session().await;
        for claim in 1..=600 {
            let done = session.lock(try_lock(claim, &format!("r{claim}"), v1::Mode::Ex)).await;
            assert_eq!(done.status(), v1::Status::Granted);
        }
        if address == dead {
            until("drops", async || metric(&broker, "sixpin_spans_dropped_total").await == 600).await;
            assert_eq!(session.lock(try_lock(601, "r601", v1::Mode::Ex)).await.status(), v1::Status::Granted);
        } else {
            until("all", async || slow.all().iter().filter(|span| span.name == "lock").count() == 600).await;
            assert_eq!(metric(&broker, "sixpin_spans_dropped_total").await, 0);
        }
    }
}

#[tokio::test]
async fn what_a_collector_rejects_is_counted() {
    let collector = Collector::that(Came { rejects: 1, ..Came::default() }).await;
    let broker = Broker::alone(Reason::OwnReport, &collector.settings()).await;
    broker.session().await.lock(try_lock(1, "r", v1::Mode::Ex)).await;
    until("a drop", async || metric(&broker, "sixpin_spans_dropped_total").await == 1).await;
    assert_eq!(collector.all().len(), 2, "a request and its commit");
}

#[tokio::test]
async fn a_frozen_collector_holds_up_nobody() {
    // It accepts connections, as a process does that is stopped, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = Broker::alone(Reason::OwnReport, &to(listener.local_addr().unwrap())).await;
    let mut session = broker.session().await;
    let mut claim = 0;
    let mut lock = async || {
        claim += 1;
        let done = session.lock(try_lock(claim, &format!("r{claim}"), v1::Mode::Ex)).await;
        assert_eq!(done.status(), v1::Status::Granted);
    };
    for _ in 0..20 {
        lock().await;
    }
    until("drops", async || metric(&broker, "sixpin_spans_dropped_total").await == 20).await;
    lock().await;
}

#[tokio::test]
async fn no_secret_is_in_a_span() {
    let (collector, trace) = (Collector::start().await, Trace::new());
    let bearer = Token::new("me").unwrap();
    let access = format!(
        "{}[access.roles.all]\nrules = [{{ lockspace = \"*\", prefix = \"\", allow = [\"lock\"] }}]\n\
         [access.tokens.me]\nsha256 = \"{}\"\nroles = [\"all\"]\n",
        collector.settings(),
        bearer.digest()
    );
    let broker = Broker::alone(Reason::OwnReport, &access).await;
    broker.use_sockets();
    let http = Http::clients_of(&broker).with("authorization", &format!("Bearer {}", bearer.reveal()));
    let opened = http.post("/v1/sessions", json!({ "ttl": "30s" })).await.is(200);
    let token = opened["token"].as_str().unwrap();
    let mine = http.of(token);
    let claims = format!("/v1/sessions/{}/claims", opened["session"].as_str().unwrap());
    let lock = json!({ "claim": 1, "operation": 1, "resource": { "name": "known-name" }, "mode": "EX", "valueBlock": true, "owner": "an-owner", "label": "a-label" });
    mine.post(&claims, lock).await.is(200);
    let release = json!({ "operation": 2, "valueBlock": true, "value": { "text": "hidden-value" } });
    mine.with("traceparent", &trace.parent())
        .ask(http::Method::DELETE, &format!("{claims}/1"), Some(release))
        .await
        .is(200);
    // A refusal says why to who asked, and to nobody else.
    let wrong = mine
        .post(&claims, json!({ "claim": 1, "operation": 9, "resource": { "name": "other-name" }, "mode": "EX" }))
        .await;
    assert!(wrong.status.as_u16() >= 400);
    collector.one_of(&trace).await;
    until("the refusal", async || collector.all().iter().filter(|span| span.name == "lock").count() == 2).await;
    let came = collector.came.bytes.lock().unwrap().clone();
    let has = |text: &str| came.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(has("known-name") && has(opened["session"].as_str().unwrap()), "what is looked for would be found");
    let secret = token.rsplit_once('~').unwrap().1;
    for hidden in
        [token, secret, bearer.reveal(), &bearer.digest().to_string(), "hidden-value", "an-owner", "a-label", "Bearer"]
    {
        assert!(!has(hidden), "{hidden}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn sixpin_run_goes_on_in_the_trace_of_who_started_it() {
    let (collector, trace) = (Collector::start().await, Trace::new());
    let broker = Broker::alone(Reason::OwnReport, &collector.settings()).await;
    let address = broker.server.address.to_string();
    let mut run = tokio::process::Command::new(env!("CARGO_BIN_EXE_sixpin"));
    run.args(["run", "--endpoints", &address, "nightly", "--", "sh", "-c", "echo $TRACEPARENT"]);
    let said = soon("the end", run.env("TRACEPARENT", trace.parent()).kill_on_drop(true).output()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), format!("{}\n", trace.parent()), "{said:?}");
    let span = collector.one_of(&trace).await;
    assert_eq!((span.name.as_str(), span.says("sixpin.resource").as_str()), ("lock", "nightly"));
}
