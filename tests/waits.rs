//! The longest waits, who is at the root of each, and what most wait for.

use std::fmt::Write as _;

use sixpin_proto::v1;
use sixpin_server::access::token::Token;
use tonic::Request;
use v1::session_request::Body as Ask;
use v1::session_response::Body;

use crate::support::store::{Place, Reason};
use crate::support::stream::Session;
use crate::support::{Broker, convert, try_lock, until, wait_lock};

/// A session whose claims have this label.
struct Program {
    session: Session,
    label: &'static str,
    claims: u64,
}

impl Program {
    async fn at(broker: &Broker, label: &'static str) -> Self {
        Self { session: broker.session().await, label, claims: 0 }
    }

    fn lock(&mut self, lock: v1::Lock) -> Ask {
        self.claims += 1;
        Ask::Lock(v1::Lock { claim: self.claims, label: self.label.into(), ..lock })
    }

    async fn holds(&mut self, name: &str, mode: v1::Mode) {
        let lock = self.lock(try_lock(1, name, mode));
        assert_eq!(self.session.complete(lock).await.status(), v1::Status::Granted);
    }

    async fn waits(&mut self, name: &str, mode: v1::Mode) {
        let lock = self.lock(wait_lock(1, name, mode));
        assert!(matches!(self.session.ask(lock).await, Body::Queued(_)));
    }
}

async fn waits(broker: &Broker, request: v1::ListWaitsRequest) -> Vec<v1::WaitInfo> {
    broker.inspect().await.list_waits(request).await.unwrap().into_inner().waits
}

/// `a>r: b>s c`: a waits for r, which b holds, who waits for s, which c holds. At the end stands how it ends.
fn told(wait: &v1::WaitInfo) -> String {
    let name = |claim: &v1::ClaimInfo| claim.resource.clone().unwrap().name;
    let claim = wait.claim.as_ref().unwrap();
    let mut text = format!("{}>{}:", claim.label, name(claim));
    for link in &wait.chain {
        let _ = write!(text, " {} has {}", link.label, name(link));
    }
    let end = wait.end().as_str_name().trim_start_matches("CHAIN_END_").to_lowercase();
    format!("{text}, {end}")
}

async fn all(broker: &Broker) -> Vec<String> {
    let mut told: Vec<String> = waits(broker, v1::ListWaitsRequest::default()).await.iter().map(told).collect();
    told.sort();
    told
}

#[tokio::test]
async fn the_root_of_a_chain_is_a_holder_who_waits_for_nothing() {
    let broker = Broker::alone(Reason::OwnReport, "").await;
    let (mut a, mut b, mut c) =
        (Program::at(&broker, "a").await, Program::at(&broker, "b").await, Program::at(&broker, "c").await);
    assert_eq!(all(&broker).await, [""; 0]);
    b.holds("r", v1::Mode::Ex).await;
    c.holds("s", v1::Mode::Pr).await;
    b.waits("s", v1::Mode::Ex).await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    a.waits("r", v1::Mode::Cr).await;
    // The longest first.
    let shown = waits(&broker, v1::ListWaitsRequest::default()).await;
    let lines: Vec<String> = shown.iter().map(told).collect();
    assert_eq!(lines, ["b>s: c has s, holder", "a>r: b has r c has s, holder"]);
    let root = shown[1].chain.last().unwrap();
    assert_eq!(
        (&root.session, root.granted(), root.queue()),
        (&c.session.opened.session, v1::Mode::Pr, v1::Queue::Granted)
    );

    // What is asked for, and no more.
    let lines = async |request| waits(&broker, request).await.iter().map(told).collect::<Vec<_>>().len();
    assert_eq!(lines(v1::ListWaitsRequest { min_ms: 3_600_000, ..Default::default() }).await, 0);
    assert_eq!(lines(v1::ListWaitsRequest { lockspace: "other".into(), ..Default::default() }).await, 0);
    assert_eq!(lines(v1::ListWaitsRequest { lockspace: "default".into(), ..Default::default() }).await, 2);
    assert_eq!(lines(v1::ListWaitsRequest { prefix: "s".into(), ..Default::default() }).await, 1);
    let of_a = v1::ListWaitsRequest { sessions: vec![a.session.opened.session.clone()], ..Default::default() };
    assert_eq!(waits(&broker, of_a).await.iter().map(told).collect::<Vec<_>>(), ["a>r: b has r c has s, holder"]);
    let one = waits(&broker, v1::ListWaitsRequest { limit: 1, ..Default::default() }).await;
    assert_eq!(one.iter().map(told).collect::<Vec<_>>(), ["b>s: c has s, holder"]);

    c.session.unlock(1, 2).await;
    until("the grant", async || all(&broker).await == ["a>r: b has r, holder"]).await;
}

#[tokio::test]
async fn who_stands_behind_others_waits_for_the_first_of_them() {
    let broker = Broker::alone(Reason::OwnReport, "").await;
    let (mut a, mut b, mut c) =
        (Program::at(&broker, "a").await, Program::at(&broker, "b").await, Program::at(&broker, "c").await);
    a.holds("r", v1::Mode::Pr).await;
    b.waits("r", v1::Mode::Ex).await;
    c.waits("r", v1::Mode::Pr).await;
    assert_eq!(all(&broker).await, ["b>r: a has r, holder", "c>r: b has r a has r, holder"]);
}

#[tokio::test]
async fn a_conversion_waits_too() {
    let broker = Broker::alone(Reason::OwnReport, "").await;
    let (mut a, mut b) = (Program::at(&broker, "a").await, Program::at(&broker, "b").await);
    a.holds("r", v1::Mode::Pr).await;
    b.holds("r", v1::Mode::Pr).await;
    let up = v1::Convert { timeout_ms: None, ..convert(1, 2, v1::Mode::Ex) };
    assert!(matches!(a.session.ask(Ask::Convert(up)).await, Body::Queued(_)));
    let shown = waits(&broker, v1::ListWaitsRequest::default()).await;
    assert_eq!(shown.iter().map(told).collect::<Vec<_>>(), ["a>r: b has r, holder"]);
    let claim = shown[0].claim.as_ref().unwrap();
    assert_eq!(
        (claim.queue(), claim.granted(), claim.requested()),
        (v1::Queue::Converting, v1::Mode::Pr, v1::Mode::Ex)
    );
}

#[tokio::test]
async fn a_cycle_is_called_one() {
    let broker = Broker::alone(Reason::OwnReport, "").await;
    let (mut a, mut b, mut c) =
        (Program::at(&broker, "a").await, Program::at(&broker, "b").await, Program::at(&broker, "c").await);
    a.holds("r", v1::Mode::Ex).await;
    b.holds("s", v1::Mode::Ex).await;
    a.waits("s", v1::Mode::Ex).await;
    b.waits("r", v1::Mode::Ex).await;
    c.waits("r", v1::Mode::Ex).await;
    let cycles = ["a>s: b has s a has r, cycle", "b>r: a has r b has s, cycle", "c>r: a has r b has s a has r, cycle"];
    assert_eq!(all(&broker).await, cycles);
    // A session that waits for itself is the shortest of them.
    let mut alone = Program::at(&broker, "alone").await;
    alone.holds("t", v1::Mode::Pr).await;
    alone.waits("t", v1::Mode::Ex).await;
    assert_eq!(all(&broker).await[1], "alone>t: alone has t, cycle");
}

#[tokio::test]
async fn each_broker_tells_of_its_own_sessions() {
    let place = Place::new();
    let (near, far) = (Broker::on(&place, "").await, Broker::on(&place, "").await);
    let (mut a, mut b, mut c) =
        (Program::at(&near, "a").await, Program::at(&far, "b").await, Program::at(&far, "c").await);
    b.holds("r", v1::Mode::Ex).await;
    c.holds("s", v1::Mode::Ex).await;
    a.waits("r", v1::Mode::Ex).await;
    assert_eq!(all(&near).await, ["a>r: b has r, elsewhere"]);
    b.waits("s", v1::Mode::Ex).await;
    assert_eq!(all(&near).await, ["a>r: b has r, elsewhere"]);
    assert_eq!(all(&far).await, ["b>s: c has s, holder"]);
}

/// With the credential of somebody.
fn by<T>(token: &Token, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {}", token.reveal()).parse().unwrap());
    request
}

/// A session with calls, and what it locks.
async fn locks(broker: &Broker, token: &Token, names: &[&str]) -> String {
    let mut locks = broker.locks().await;
    let open = v1::OpenSessionRequest { open: Some(v1::Open::default()) };
    let session = locks.open_session(by(token, open)).await.unwrap().into_inner().opened.unwrap().token;
    for (claim, name) in (1..).zip(names) {
        lock(broker, token, &session, claim, name).await;
    }
    session
}

async fn lock(broker: &Broker, token: &Token, session: &str, claim: u64, name: &str) {
    let lock = v1::Lock { label: name[..1].into(), ..wait_lock(claim, name, v1::Mode::Ex) };
    let request = v1::LockRequest { token: session.into(), lock: Some(lock) };
    broker.locks().await.lock(by(token, request)).await.unwrap();
}

#[tokio::test]
async fn who_may_not_inspect_a_resource_does_not_learn_that_somebody_waits_for_it() {
    let tokens = ["part", "all"].map(|name| Token::new(name).unwrap());
    let [part, all] = &tokens;
    let mut settings = String::from(
        "[access.roles.part]\nrules = [{ lockspace = \"*\", prefix = \"a/\", allow = [\"inspect\"] }]\n\
         [access.roles.all]\nrules = [{ lockspace = \"*\", prefix = \"\", allow = [\"inspect\", \"lock\"] }]\n",
    );
    for token in &tokens {
        let (id, digest) = (token.id(), token.digest());
        let _ = write!(settings, "[access.tokens.{id}]\nsha256 = \"{digest}\"\nroles = [\"{id}\"]\n");
    }
    let broker = Broker::in_memory(Reason::Sockets, &settings).await;
    broker.use_sockets();
    let _root = locks(&broker, all, &["b/s"]).await;
    let middle = locks(&broker, all, &["a/r"]).await;
    let waiter = locks(&broker, all, &[]).await;
    let told_to = async |token: &Token| {
        let mut inspect = broker.inspect().await;
        let shown = inspect.list_waits(by(token, v1::ListWaitsRequest::default())).await.unwrap().into_inner().waits;
        let contended = inspect.list_contended(by(token, v1::ListContendedRequest::default())).await;
        let names = contended.unwrap().into_inner().resources.into_iter().map(|summary| summary.resource.unwrap().name);
        let (mut shown, mut names): (Vec<_>, Vec<_>) = (shown.iter().map(told).collect(), names.collect());
        shown.sort();
        names.sort();
        (shown, names.join(" "))
    };
    let waits = async {
        tokio::join!(lock(&broker, all, &middle, 2, "b/s"), lock(&broker, all, &waiter, 1, "a/r"));
    };
    let looks = async {
        until("both wait", async || told_to(all).await.0.len() == 2).await;
        let whole = ["a>a/r: a has a/r b has b/s, holder", "b>b/s: b has b/s, holder"].map(str::to_owned);
        assert_eq!(told_to(all).await, (whole.to_vec(), "a/r b/s".into()));
        assert_eq!(told_to(part).await, (vec!["a>a/r: a has a/r, holder".into()], "a/r".into()));
    };
    tokio::select! {
        () = waits => panic!("what is held was granted"),
        () = looks => {}
    }
}

#[tokio::test]
async fn what_most_wait_for_comes_first() {
    let broker = Broker::alone(Reason::OwnReport, "").await;
    let mut holder = Program::at(&broker, "holder").await;
    for name in ["few", "many", "none"] {
        holder.holds(name, v1::Mode::Ex).await;
    }
    let mut waiter = Program::at(&broker, "waiter").await;
    for name in ["many", "few", "many", "many"] {
        waiter.waits(name, v1::Mode::Pr).await;
    }
    let contended = async |request: v1::ListContendedRequest| {
        let resources =
            broker.inspect().await.list_contended(Request::new(request)).await.unwrap().into_inner().resources;
        let shown = resources.into_iter().map(|summary| (summary.resource.unwrap().name, summary.waiting));
        shown.collect::<Vec<_>>()
    };
    assert_eq!(contended(v1::ListContendedRequest::default()).await, [("many".into(), 3), ("few".into(), 1)]);
    assert_eq!(contended(v1::ListContendedRequest { limit: 1, ..Default::default() }).await, [("many".to_owned(), 3)]);
    assert_eq!(
        contended(v1::ListContendedRequest { prefix: "f".into(), ..Default::default() }).await,
        [("few".to_owned(), 1)]
    );
}
