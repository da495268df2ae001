//! Who may do what, on a live broker: every method of the API, asked by everybody who might ask.
//!
//! The list of methods is made from the descriptors of the proto files, so that a new one without a row here fails.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use prost::Message;
use prost_types::FileDescriptorSet;
use sixpin_proto::v1;
use sixpin_server::access::token::Token;
use tonic::Code;
use v1::list_claims_request::Whose;
use v1::purge_orphans_request::Which;
use v1::session_request::Body as Ask;
use v1::session_response::Body;

use crate::support::door::Way;
use crate::support::store::Reason;
use crate::support::{Broker, door, raw, reason, soon};

/// Everybody who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    Nobody,
    WrongToken,
    ExpiredToken,
    /// Known, without any role.
    WithoutRole,
    /// Its rules are about names that begin with `b/`.
    OtherPrefix,
    /// Its rules are about names that begin with `a/`, and it asks about `ab`.
    PrefixEdge,
    Right,
}

const ASKERS: [Asker; 7] = [
    Asker::Nobody,
    Asker::WrongToken,
    Asker::ExpiredToken,
    Asker::WithoutRole,
    Asker::OtherPrefix,
    Asker::PrefixEdge,
    Asker::Right,
];

/// What a method needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Some rule that allows some lock.
    SomeLock,
    /// The session that is named is the asker's own.
    OwnSession,
    /// A rule about the resource, or the whole, that is asked for.
    Rule,
    /// What the asker may not inspect is left out.
    Filter,
}

/// What is asked with: a session of the asker, or of somebody else where it can have none, and the resource.
struct With<'a> {
    token: &'a str,
    session: &'a str,
    resource: v1::Resource,
}

struct Row {
    method: &'static str,
    needs: Needs,
    /// The verbs, for people who look for them here.
    verb: &'static str,
    message: fn(&With<'_>) -> Vec<u8>,
}

const fn row(method: &'static str, needs: Needs, verb: &'static str, message: fn(&With<'_>) -> Vec<u8>) -> Row {
    Row { method, needs, verb, message }
}

const ROWS: [Row; 26] = [
    row("LockService/Session", Needs::SomeLock, "lock somewhere", |_| {
        v1::SessionRequest { request: 1, body: Some(Ask::Open(v1::Open::default())) }.encode_to_vec()
    }),
    row("LockService/Hold", Needs::Rule, "lock:ex", |with| {
        let hold = v1::HoldRequest {
            resource: Some(with.resource.clone()),
            what: Some(v1::hold_request::What::Mode(v1::Mode::Ex.into())),
            timeout_ms: Some(0),
            ..Default::default()
        };
        hold.encode_to_vec()
    }),
    row("LockService/OpenSession", Needs::SomeLock, "lock somewhere", |_| {
        v1::OpenSessionRequest { open: Some(v1::Open::default()) }.encode_to_vec()
    }),
    row("LockService/KeepAlive", Needs::OwnSession, "-", |with| {
        v1::KeepAliveRequest { token: with.token.into(), ..Default::default() }.encode_to_vec()
    }),
    row("LockService/CloseSession", Needs::OwnSession, "-", |with| {
        v1::CloseSessionRequest { token: with.token.into() }.encode_to_vec()
    }),
    row("LockService/Lock", Needs::Rule, "lock:MODE", |with| {
        let lock = v1::Lock {
            claim: 1,
            operation: 1,
            resource: Some(with.resource.clone()),
            what: Some(v1::Mode::Cr.into()),
            timeout_ms: Some(0),
            ..Default::default()
        };
        v1::LockRequest { token: with.token.into(), lock: Some(lock) }.encode_to_vec()
    }),
    row("LockService/Convert", Needs::OwnSession, "lock:MODE of both ends", |with| {
        let convert = v1::Convert { claim: 1, operation: 2, what: Some(v1::Mode::Nl.into()), ..Default::default() };
        v1::ConvertRequest { token: with.token.into(), convert: Some(convert) }.encode_to_vec()
    }),
    row("LockService/Unlock", Needs::OwnSession, "-; with a value, lock:MODE", |with| {
        let unlock = v1::Unlock { claim: 9, operation: 1, ..Default::default() };
        v1::UnlockRequest { token: with.token.into(), unlock: Some(unlock) }.encode_to_vec()
    }),
    row("LockService/UnlockAll", Needs::OwnSession, "-", |with| {
        v1::UnlockAllRequest { token: with.token.into(), unlock_all: Some(v1::UnlockAll::default()) }.encode_to_vec()
    }),
    row("LockService/Cancel", Needs::OwnSession, "-", |with| {
        let cancel = v1::Cancel { claim: 9, ..Default::default() };
        v1::CancelRequest { token: with.token.into(), cancel: Some(cancel) }.encode_to_vec()
    }),
    row("LockService/ResumeSession", Needs::OwnSession, "-", |with| {
        let resume = v1::Resume { token: with.token.into(), move_number: 1, next_claim: 2, ..Default::default() };
        v1::ResumeSessionRequest { resume: Some(resume) }.encode_to_vec()
    }),
    row("InspectService/GetResource", Needs::Rule, "inspect", |with| {
        v1::GetResourceRequest { resource: Some(with.resource.clone()) }.encode_to_vec()
    }),
    row("InspectService/ListResources", Needs::Filter, "inspect", |with| {
        v1::ListResourcesRequest { lockspace: with.resource.lockspace.clone(), ..Default::default() }.encode_to_vec()
    }),
    row("InspectService/ListClaims", Needs::Filter, "inspect", |with| {
        let whose = Some(Whose::Session(with.session.into()));
        let lockspace = with.resource.lockspace.clone();
        v1::ListClaimsRequest { lockspace, whose, ..Default::default() }.encode_to_vec()
    }),
    row("InspectService/WatchResource", Needs::Rule, "watch and inspect", |with| {
        v1::WatchResourceRequest { resource: Some(with.resource.clone()) }.encode_to_vec()
    }),
    row("InspectService/ListSessions", Needs::Rule, "inspect on *", |_| {
        v1::ListSessionsRequest::default().encode_to_vec()
    }),
    row("InspectService/ListBrokers", Needs::Rule, "inspect on *", |_| v1::ListBrokersRequest {}.encode_to_vec()),
    row("InspectService/GetStatus", Needs::Rule, "inspect on *", |_| v1::GetStatusRequest {}.encode_to_vec()),
    row("InspectService/ListWaits", Needs::Filter, "inspect", |with| {
        v1::ListWaitsRequest { lockspace: with.resource.lockspace.clone(), ..Default::default() }.encode_to_vec()
    }),
    row("InspectService/ListContended", Needs::Filter, "inspect", |with| {
        v1::ListContendedRequest { lockspace: with.resource.lockspace.clone(), ..Default::default() }.encode_to_vec()
    }),
    row("AdminService/ForceUnlock", Needs::Rule, "force", |with| {
        let (resource, session) = (Some(with.resource.clone()), with.session.into());
        v1::ForceUnlockRequest { resource, session, ..Default::default() }.encode_to_vec()
    }),
    row("AdminService/NotifyHolder", Needs::Rule, "notify", |with| {
        let (resource, session) = (Some(with.resource.clone()), with.session.into());
        v1::NotifyHolderRequest { resource, session, ..Default::default() }.encode_to_vec()
    }),
    row("AdminService/ExpireSession", Needs::Rule, "expire on *", |with| {
        let lockspace = with.resource.lockspace.clone();
        v1::ExpireSessionRequest { lockspace, session: "00000000000000ab-3-10000".into(), ..Default::default() }
            .encode_to_vec()
    }),
    row("AdminService/PurgeOrphans", Needs::Rule, "purge", |with| {
        let (resource, which) = (Some(with.resource.clone()), Some(Which::All(true)));
        v1::PurgeOrphansRequest { resource, which }.encode_to_vec()
    }),
    row("AdminService/RemoveDamaged", Needs::Rule, "force", |with| {
        v1::RemoveDamagedRequest { resource: Some(with.resource.clone()), version: 1, now: false }.encode_to_vec()
    }),
    // More than is allowed, so that who may drain does not.
    row("AdminService/DrainBroker", Needs::Rule, "drain on *", |_| {
        v1::DrainBrokerRequest { timeout_ms: Some(2 * 3_600_000) }.encode_to_vec()
    }),
];

/// A broker with access control, and everybody's credentials.
struct Scene {
    broker: Broker,
    clients: Way,
    admins: Way,
    tokens: Vec<Token>,
}

const RULES: &str = r#"
[access.roles.right]
rules = [
  { lockspace = "orders", prefix = "a/", allow = ["lock", "inspect", "watch", "notify", "force", "purge"] },
  { lockspace = "*", prefix = "", allow = ["inspect", "expire", "drain"] },
]
[access.roles.other]
rules = [{ lockspace = "orders", prefix = "b/", allow = ["lock", "inspect", "watch", "notify", "force", "purge", "expire", "drain"] }]
[access.roles.edge]
rules = [{ lockspace = "orders", prefix = "a/", allow = ["lock", "inspect", "watch", "notify", "force", "purge", "expire", "drain"] }]
"#;

impl Scene {
    async fn new() -> Self {
        let names = ["right", "other", "edge", "none", "old"];
        let tokens: Vec<Token> = names.iter().map(|name| Token::new(name).unwrap()).collect();
        let mut settings = RULES.to_owned();
        for token in &tokens {
            let roles =
                if token.id() == "none" { String::new() } else { format!("{:?}", token.id().replace("old", "right")) };
            let expires = if token.id() == "old" { "expires = 2001-01-01T00:00:00Z\n" } else { "" };
            let _ = write!(
                settings,
                "[access.tokens.{}]\nsha256 = \"{}\"\nroles = [{roles}]\n{expires}",
                token.id(),
                token.digest()
            );
        }
        let broker = Broker::in_memory(Reason::Sockets, &settings).await;
        broker.use_sockets();
        let (clients, admins) = (broker.channel().await, broker.admin_channel().await);
        Self { broker, clients, admins, tokens }
    }

    fn token(&self, asker: Asker) -> Option<String> {
        let of = |id: &str| self.tokens.iter().find(|token| token.id() == id).unwrap().reveal().to_owned();
        let token = match asker {
            Asker::Nobody => return None,
            Asker::WrongToken => Token::new("right").unwrap().reveal().to_owned(),
            Asker::ExpiredToken => of("old"),
            Asker::WithoutRole => of("none"),
            Asker::OtherPrefix => of("other"),
            Asker::PrefixEdge => of("edge"),
            Asker::Right => of("right"),
        };
        Some(token)
    }

    fn header(&self, asker: Asker) -> Option<String> {
        self.token(asker).map(|token| format!("Bearer {token}"))
    }

    async fn ask(&self, asker: Asker, method: &str, message: Vec<u8>) -> Result<Vec<u8>, (Code, v1::Reason)> {
        let channel = if method.starts_with("Admin") { &self.admins } else { &self.clients };
        let path = format!("/sixpin.v1.{method}");
        match raw::first(channel, self.header(asker).as_deref(), &path, message).await {
            Ok(answer) => Ok(answer.unwrap_or_default().to_vec()),
            Err(status) => Err(reason(&status)),
        }
    }

    /// A session of this asker.
    async fn open(&self, asker: Asker) -> v1::Opened {
        let open = v1::OpenSessionRequest { open: Some(v1::Open { lockspace: "orders".into(), ..Default::default() }) };
        let answer = self.ask(asker, "LockService/OpenSession", open.encode_to_vec()).await.unwrap();
        v1::OpenSessionResponse::decode(&answer[..]).unwrap().opened.unwrap()
    }
}

/// That it was refused, and how; none if it was not.
fn refusal(method: &str, answer: &Result<Vec<u8>, (Code, v1::Reason)>) -> Option<Code> {
    match answer {
        Err((code @ (Code::Unauthenticated | Code::PermissionDenied), _)) => Some(*code),
        // A session stream goes on after a refusal, which is an answer there.
        Ok(bytes) if method == "LockService/Session" => match v1::SessionResponse::decode(&bytes[..]).unwrap().body {
            Some(Body::Error(error)) if error.reason() == v1::Reason::Denied => Some(Code::PermissionDenied),
            _ => None,
        },
        _ => None,
    }
}

fn expected(asker: Asker, needs: Needs) -> Option<Code> {
    match (asker, needs) {
        (Asker::Nobody | Asker::WrongToken | Asker::ExpiredToken, _) => Some(Code::Unauthenticated),
        (Asker::Right, _) | (_, Needs::Filter) => None,
        (Asker::WithoutRole, _) | (_, Needs::Rule | Needs::OwnSession) => Some(Code::PermissionDenied),
        (Asker::OtherPrefix | Asker::PrefixEdge, Needs::SomeLock) => None,
    }
}

#[tokio::test]
async fn every_method_is_asked_by_everybody() {
    let set = FileDescriptorSet::decode(sixpin_proto::FILE_DESCRIPTOR_SET).unwrap();
    let services = set.file.iter().filter(|file| file.package() == "sixpin.v1").flat_map(|file| &file.service);
    // The floor of `bench` is another program's.
    let methods: BTreeSet<String> = services
        .filter(|service| service.name() != "EchoService")
        .flat_map(|service| service.method.iter().map(|method| format!("{}/{}", service.name(), method.name())))
        .collect();
    let rows: BTreeSet<String> = ROWS.iter().map(|row| row.method.to_owned()).collect();
    assert_eq!(methods, rows, "every method has a row");

    let scene = Scene::new().await;
    for row in &ROWS {
        for asker in ASKERS {
            // A session of its own, where the rule is to decide and not whose session it is.
            let own = row.needs != Needs::OwnSession && matches!(asker, Asker::OtherPrefix | Asker::PrefixEdge);
            let opened = scene.open(if own { asker } else { Asker::Right }).await;
            let name = if asker == Asker::PrefixEdge { "ab" } else { "a/x" };
            let resource = v1::Resource { lockspace: "orders".into(), name: name.into() };
            let with = With { token: &opened.token, session: &opened.session, resource };
            let answer = scene.ask(asker, row.method, (row.message)(&with)).await;
            let found = refusal(row.method, &answer);
            assert_eq!(found, expected(asker, row.needs), "{} ({}) by {asker:?}: {answer:?}", row.method, row.verb);
        }
    }
}

#[tokio::test]
async fn health_is_for_everybody() {
    let scene = Scene::new().await;
    let path = "/grpc.health.v1.Health/Check";
    assert!(raw::first(&scene.clients, None, path, Vec::new()).await.is_ok());
    assert!(raw::first(&scene.admins, Some("Bearer nonsense"), path, Vec::new()).await.is_ok());
}

#[tokio::test]
async fn lists_have_what_single_gets_would_show() {
    let scene = Scene::new().await;
    let opened = scene.open(Asker::Right).await;
    for (claim, name) in (1..).zip(["a/1", "a/2"]) {
        let lock = v1::Lock {
            claim,
            operation: 1,
            resource: Some(v1::Resource { lockspace: "orders".into(), name: name.into() }),
            what: Some(v1::Mode::Cr.into()),
            ..Default::default()
        };
        let request = v1::LockRequest { token: opened.token.clone(), lock: Some(lock) };
        scene.ask(Asker::Right, "LockService/Lock", request.encode_to_vec()).await.unwrap();
    }
    let names = async |asker| {
        let list = v1::ListResourcesRequest { lockspace: "orders".into(), ..Default::default() };
        let answer = scene.ask(asker, "InspectService/ListResources", list.encode_to_vec()).await.unwrap();
        v1::ListResourcesResponse::decode(&answer[..]).unwrap().resources.len()
    };
    assert_eq!((names(Asker::Right).await, names(Asker::PrefixEdge).await), (2, 2));
    assert_eq!((names(Asker::OtherPrefix).await, names(Asker::WithoutRole).await), (0, 0));
    drop(scene.broker);
}

/// On a connection without headers the first message says who asks.
#[tokio::test]
async fn frames_say_who_asks_in_their_first_message() {
    use futures::{SinkExt as _, StreamExt as _};

    let scene = Scene::new().await;
    let open = || v1::SessionRequest {
        request: 1,
        body: Some(Ask::Open(v1::Open { lockspace: "orders".into(), ..Default::default() })),
    };
    let authenticate =
        |token: String| v1::SessionRequest { request: 0, body: Some(Ask::Authenticate(v1::Authenticate { token })) };
    for asker in ASKERS {
        let mut wire = door::greeted(scene.broker.server.address).await;
        if let Some(token) = scene.token(asker) {
            wire.send(authenticate(token)).await.unwrap();
        }
        wire.send(open()).await.unwrap();
        let answer = wire.next().await.unwrap().unwrap();
        let found = match &answer.body {
            Some(Body::Opened(_)) => None,
            Some(Body::Error(error)) if error.reason() == v1::Reason::Unauthenticated => Some(Code::Unauthenticated),
            Some(Body::Error(error)) if error.reason() == v1::Reason::Denied => Some(Code::PermissionDenied),
            other => panic!("{asker:?}: {other:?}"),
        };
        assert_eq!(found, expected(asker, Needs::SomeLock), "{asker:?}");
    }
    // It comes first, and once.
    let mut wire = door::greeted(scene.broker.server.address).await;
    for message in [authenticate(scene.token(Asker::Right).unwrap()), open()] {
        wire.send(message).await.unwrap();
    }
    assert!(matches!(wire.next().await.unwrap().unwrap().body, Some(Body::Opened(_))));
    wire.send(authenticate("x".into())).await.unwrap();
    match wire.next().await.unwrap().unwrap().body {
        Some(Body::Error(error)) => assert_eq!(error.reason(), v1::Reason::Invalid),
        other => panic!("{other:?}"),
    }
}

/// A name or a prefix of few segments, so that rules and names meet at every edge.
fn random_name(random: &mut fastrand::Rng) -> String {
    let segments = ["a", "b", "ab", "a b", "ä"];
    let count = random.usize(1..=3);
    let name: Vec<&str> = (0..count).map(|_| segments[random.usize(..segments.len())]).collect();
    let ending = if random.u8(..4) == 0 { "/" } else { "" };
    name.join("/") + ending
}

fn random_rule(random: &mut fastrand::Rng) -> String {
    let lockspace = ["*", "orders", "other"][random.usize(..3)];
    let about = match random.u8(..8) {
        0 => "prefix = \"\"".to_owned(),
        1..4 => format!("name = {:?}", random_name(random)),
        _ => format!("prefix = \"{}/\"", random_name(random).trim_end_matches('/')),
    };
    let allow = ["\"inspect\"", "\"watch\", \"inspect\"", "\"watch\"", "\"lock\""][random.usize(..4)];
    format!("{{ lockspace = \"{lockspace}\", {about}, allow = [{allow}] }}")
}

/// 100 principals with random rules and 100 resources: what a list shows is what single gets show, and a watch shows no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_watches_are_the_sum_of_single_gets() {
    let mut random = fastrand::Rng::with_seed(15);
    let tokens: Vec<Token> = (0..100).map(|number| Token::new(&format!("p{number}")).unwrap()).collect();
    let holder = Token::new("holder").unwrap();
    let mut settings = String::from(
        "session_ttl_max = \"1h\"\n[access.roles.all]\nrules = [{ lockspace = \"*\", prefix = \"\", allow = [\"lock\"] }]\n",
    );
    let entry = |token: &Token, role: &str| {
        format!("[access.tokens.{}]\nsha256 = \"{}\"\nroles = [\"{role}\"]\n", token.id(), token.digest())
    };
    settings += &entry(&holder, "all");
    for token in &tokens {
        let rules: Vec<String> = (0..random.usize(1..=5)).map(|_| random_rule(&mut random)).collect();
        let _ = write!(
            settings,
            "[access.roles.{}]\nrules = [{}]\n{}",
            token.id(),
            rules.join(", "),
            entry(token, token.id())
        );
    }
    let broker = Broker::in_memory(Reason::Sockets, &settings).await;
    broker.use_sockets();
    let channel = broker.channel().await;
    let ask = async |token: &Token, method: &str, message: Vec<u8>| {
        let header = format!("Bearer {}", token.reveal());
        let answer = raw::first(&channel, Some(&header), &format!("/sixpin.v1.{method}"), message).await;
        answer.map(Option::unwrap_or_default)
    };
    // Nobody keeps it alive.
    let open = v1::Open { lockspace: "orders".into(), ttl_ms: Some(3_600_000), ..Default::default() };
    let open = v1::OpenSessionRequest { open: Some(open) };
    let opened = ask(&holder, "LockService/OpenSession", open.encode_to_vec()).await.unwrap();
    let session = v1::OpenSessionResponse::decode(opened).unwrap().opened.unwrap().token;
    let mut names = BTreeSet::new();
    while names.len() < 100 {
        names.insert(random_name(&mut random));
    }
    let resource = |name: &str| Some(v1::Resource { lockspace: "orders".into(), name: name.into() });
    for (claim, name) in (1..).zip(&names) {
        let what = Some(v1::Mode::Cr.into());
        let lock = v1::Lock { claim, operation: 1, resource: resource(name), what, ..Default::default() };
        let request = v1::LockRequest { token: session.clone(), lock: Some(lock) };
        ask(&holder, "LockService/Lock", request.encode_to_vec()).await.unwrap();
    }
    let (mut cases, mut shown) = (0, 0);
    for token in &tokens {
        let (mut got, mut listed, mut after) = (BTreeSet::new(), BTreeSet::new(), String::new());
        for name in &names {
            let request = v1::GetResourceRequest { resource: resource(name) };
            let get = ask(token, "InspectService/GetResource", request.encode_to_vec()).await;
            if let Err(status) = &get {
                assert_eq!(status.code(), Code::PermissionDenied, "{status}");
            } else {
                got.insert(name.clone());
            }
            cases += 1;
            if cases % 10 == 0 {
                let request = v1::WatchResourceRequest { resource: resource(name) };
                let watched = ask(token, "InspectService/WatchResource", request.encode_to_vec()).await;
                assert!(watched.is_err() || get.is_ok(), "{name} is watched and may not be seen");
            }
        }
        loop {
            let list = v1::ListResourcesRequest { lockspace: "orders".into(), after, limit: 7, ..Default::default() };
            let answer = ask(token, "InspectService/ListResources", list.encode_to_vec()).await.unwrap();
            let page = v1::ListResourcesResponse::decode(answer).unwrap();
            listed.extend(page.resources.into_iter().map(|summary| summary.resource.unwrap().name));
            after = page.next;
            // From where it goes on is a name, perhaps, but none that may not be seen.
            if let Some((_, name)) = after.split_once("orders/") {
                assert!(got.contains(name), "{} is told of {after}", token.id());
            }
            if after.is_empty() {
                break;
            }
        }
        assert_eq!(listed, got, "{}", token.id());
        shown += got.len();
    }
    assert_eq!(cases, 10_000);
    assert!((1_000..9_000).contains(&shown), "{shown} of them are shown: the rules say little");
}

/// Which operations were used on a claim is what its client says when it resumes: it gets no mode by it that it may not hold.
#[tokio::test]
async fn a_resume_that_lies_gives_no_right() {
    let reader = Token::new("reader").unwrap();
    let settings = format!(
        "[access.roles.r]\nrules = [{{ lockspace = \"*\", prefix = \"\", allow = [\"lock:nl,cr,pr\"] }}]\n\
         [access.tokens.reader]\nsha256 = \"{}\"\nroles = [\"r\"]\n",
        reader.digest()
    );
    let broker = Broker::in_memory(Reason::Sockets, &settings).await;
    broker.use_sockets();
    let channel = broker.channel().await;
    let header = format!("Bearer {}", reader.reveal());
    let ask = async |method: &str, message: Vec<u8>| {
        raw::first(&channel, Some(&header), &format!("/sixpin.v1.LockService/{method}"), message).await
    };
    let open = v1::OpenSessionRequest { open: Some(v1::Open::default()) };
    let opened = ask("OpenSession", open.encode_to_vec()).await.unwrap().unwrap();
    let token = v1::OpenSessionResponse::decode(opened).unwrap().opened.unwrap().token;
    let resource = Some(v1::Resource { lockspace: String::new(), name: "r".into() });
    let what = Some(v1::Mode::Nl.into());
    let lock = v1::Lock { claim: 1, operation: 1, resource: resource.clone(), what, ..Default::default() };
    ask("Lock", v1::LockRequest { token: token.clone(), lock: Some(lock) }.encode_to_vec()).await.unwrap();
    let live = v1::LiveClaim {
        claim: 1,
        resource,
        last_operation: 2,
        operation: 2,
        grant_seq: 1,
        wanted: Some(v1::live_claim::Wanted::WantedMode(v1::Mode::Ex.into())),
        ..Default::default()
    };
    let resume =
        v1::Resume { token: token.clone(), move_number: 1, next_claim: 2, claims: vec![live], ..Default::default() };
    ask("ResumeSession", v1::ResumeSessionRequest { resume: Some(resume) }.encode_to_vec()).await.unwrap();
    for operation in [2, 3] {
        let what = Some(v1::Mode::Ex.into());
        let convert = v1::Convert { claim: 1, operation, what, timeout_ms: Some(0), ..Default::default() };
        let refused =
            ask("Convert", v1::ConvertRequest { token: token.clone(), convert: Some(convert) }.encode_to_vec()).await;
        assert_eq!(
            reason(&refused.unwrap_err()),
            (Code::PermissionDenied, v1::Reason::Denied),
            "operation {operation}"
        );
    }
}

/// Who greets and says nothing, or half of a message, has no place for ever.
#[tokio::test]
async fn who_greets_and_says_nothing_is_cut() {
    use futures::StreamExt as _;

    let scene = Scene::new().await;
    let mut wire = door::greeted(scene.broker.server.address).await;
    let answer = soon("an answer", wire.next()).await.unwrap().unwrap();
    assert!(matches!(answer.body, Some(Body::Error(error)) if error.message.contains("nothing came")));
    assert!(soon("the end", wire.next()).await.is_none());
}
