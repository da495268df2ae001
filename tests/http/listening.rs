//! The events of a session whose client has calls alone.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};
use sixpin_proto::v1;
use sixpin_server::access::token::Token;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use v1::session_request::Body as Ask;
use v1::session_response::Body;

use super::{broker, lock, session};
use crate::support::http::{Events, Http};
use crate::support::store::{Place, Reason};
use crate::support::stream::Session;
use crate::support::{Broker, config, resume_request, soon, until};

/// What is told, by its name.
type Told = (String, Value);

async fn next(events: &mut Events) -> Option<Told> {
    soon("an event", events.next()).await.map(|(name, _, data)| (name, data))
}

/// What is told next, if it is called so.
async fn told(events: &mut Events, name: &str) -> Value {
    let (said, data) = next(events).await.expect("the events go on");
    assert_eq!(said, name, "{data}");
    data
}

/// Listens, and is told first how the session stands.
async fn listen(http: &Http, path: &str) -> (Events, Value) {
    let mut events = Events::new(http.begin(Method::GET, &format!("{path}/events"), None, Bytes::new()).await);
    let standing = told(&mut events, "listening").await;
    (events, standing)
}

/// Asks for a lock, and does not wait for it.
async fn queue(http: &Http, path: &str, lock: Value) {
    http.with("prefer", "wait=0").post(&format!("{path}/claims"), lock).await.is(202);
}

/// The path of a session of somebody who holds `r` and hears of who waits, and who asks for it.
async fn holder(http: &Http) -> (String, Http) {
    let (path, holder) = session(http).await;
    let mut wanted = lock(1, "r", "EX");
    wanted["blocking"] = true.into();
    holder.post(&format!("{path}/claims"), wanted).await.is(200);
    (path, holder)
}

#[tokio::test]
async fn a_lock_that_waits_is_granted_and_others_end() {
    let (_broker, http) = broker().await;
    let (holder_path, holder) = holder(&http).await;
    let (path, mine) = session(&http).await;
    let (mut events, standing) = listen(&mine, &path).await;
    assert_eq!(standing, json!({ "lost": [], "waiting": [] }));
    for claim in 1..=3 {
        let mut wanted = lock(claim, "r", "EX");
        if claim == 2 {
            wanted["timeout"] = "300ms".into();
        }
        queue(&mine, &path, wanted).await;
    }
    let ended = told(&mut events, "ended").await;
    assert_eq!((&ended["claim"], &ended["status"]), (&json!("2"), &json!("TIMED_OUT")));
    mine.post(&format!("{path}/claims/3:cancel"), json!({})).await.is(200);
    let ended = told(&mut events, "ended").await;
    assert_eq!((&ended["claim"], &ended["status"]), (&json!("3"), &json!("CANCELLED")));
    holder.delete(&format!("{holder_path}/claims/1?operation=2")).await.is(200);
    let granted = told(&mut events, "granted").await;
    assert_eq!(
        (&granted["claim"], &granted["mode"], &granted["immediate"]),
        (&json!("1"), &json!("EX"), &json!(false))
    );
    // The same request says the same.
    let again = mine.post(&format!("{path}/claims"), lock(1, "r", "EX")).await.is(200);
    assert_eq!(again["fence"], granted["fence"]);
}

#[tokio::test]
async fn what_a_request_is_answered_with_is_no_event() {
    let (broker, http) = broker().await;
    let (holder_path, holder) = holder(&http).await;
    let (path, mine) = session(&http).await;
    let (mut events, _) = listen(&mine, &path).await;
    let waits = tokio::spawn({
        let (mine, path) = (mine.clone(), path.clone());
        async move { mine.post(&format!("{path}/claims"), lock(1, "r", "EX")).await }
    });
    until("the wait", async || broker.state("r").await.claims.len() == 2).await;
    let unlocked = holder.delete(&format!("{holder_path}/claims/1?operation=2")).await.is(200);
    assert_eq!(unlocked["status"], "RELEASED");
    assert_eq!(waits.await.unwrap().is(200)["status"], "GRANTED");
    mine.post(&format!("{path}:close"), json!({})).await.is(200);
    assert_eq!(next(&mut events).await, None, "the session is over, and nothing was left to be said");
    mine.get(&format!("{path}/events")).await.is(410);
}

#[tokio::test]
async fn whoever_is_in_the_way_hears_it_and_hears_it_again() {
    let (_broker, http) = broker().await;
    let (holder_path, holder) = holder(&http).await;
    let (mut events, _) = listen(&holder, &holder_path).await;
    let (path, mine) = session(&http).await;
    queue(&mine, &path, lock(1, "r", "PR")).await;
    let blocking = told(&mut events, "blocking").await;
    assert_eq!((&blocking["claim"], &blocking["wanted"]), (&json!("1"), &json!("PR")));
    drop(events);
    let (mut events, _) = listen(&holder, &holder_path).await;
    assert_eq!(told(&mut events, "blocking").await, blocking);
}

#[tokio::test]
async fn what_is_taken_away_is_told_and_told_again_until_it_is_released() {
    let (broker, http) = broker().await;
    let admin = Http::administrators_of(&broker);
    let (path, mine) = holder(&http).await;
    let (waiter_path, waiter) = session(&http).await;
    queue(&waiter, &waiter_path, lock(1, "r", "EX")).await;
    let (mut waiting, standing) = listen(&waiter, &waiter_path).await;
    assert_eq!(standing, json!({ "lost": [], "waiting": ["1"] }));

    let (mut events, _) = listen(&mine, &path).await;
    told(&mut events, "blocking").await;
    let name = path.rsplit('/').next().unwrap();
    let force = json!({ "session": name, "noWait": true });
    assert_eq!(admin.post("/v1/resources/r:forceUnlock", force).await.is(200)["free"], false);
    let lost = told(&mut events, "lost").await;
    assert_eq!(lost, json!({ "reason": "FORCED", "claims": ["1"] }));
    drop(events);
    let (mut events, standing) = listen(&mine, &path).await;
    assert_eq!(standing["lost"], json!(["1"]));
    mine.delete(&format!("{path}/claims/1?operation=2")).await.is(200);
    assert_eq!(told(&mut waiting, "granted").await["claim"], "1");

    admin.post(&format!("/v1/sessions/{name}:expire"), json!({ "now": true })).await.is(200);
    while let Some((name, said)) = next(&mut events).await {
        // Whom it blocked may have been said before it was released.
        assert!(name == "blocking" || said == json!({ "reason": "FORCED", "claims": [] }), "{name}: {said}");
    }
}

#[tokio::test]
async fn listening_keeps_no_session_alive() {
    let (broker, http) = broker().await;
    let opened = http.post("/v1/sessions", json!({ "ttl": "1s" })).await.is(200);
    let path = format!("/v1/sessions/{}", opened["session"].as_str().unwrap());
    let (mut events, _) = listen(&http.of(opened["token"].as_str().unwrap()), &path).await;
    // Where brokers share the store the session may have moved by a call: then nothing is said.
    while let Some((name, said)) = next(&mut events).await {
        assert_eq!((name.as_str(), said), ("lost", json!({ "reason": "EXPIRED", "claims": [] })));
    }
    until("the end of the session", async || broker.sessions().await == 0).await;
}

#[tokio::test]
async fn a_broker_that_goes_says_where_to_move_and_the_events_come_there() {
    let place = Place::new();
    let (going, staying) = (Broker::on(&place, "").await, Broker::on(&place, "").await);
    going.use_sockets();
    staying.use_sockets();
    until("the brokers know each other", async || {
        let brokers = going.inspect().await.list_brokers(v1::ListBrokersRequest {}).await.unwrap().into_inner();
        brokers.brokers.len() == 2
    })
    .await;
    let (path, mine) = holder(&Http::clients_of(&going)).await;
    let (other_path, other) = session(&Http::clients_of(&going)).await;
    let (mut events, _) = listen(&mine, &path).await;
    let admin = Http::administrators_of(&going);
    let drained = tokio::spawn(async move { admin.post("/v1/broker:drain", json!({ "timeout": "10s" })).await });
    let address = staying.server.address.to_string();
    assert_eq!(told(&mut events, "move").await, json!({ "addresses": [address] }));
    let refused = other.get(&format!("{other_path}/events")).await.is(503);
    assert_eq!((&refused["reason"], &refused["address"]), (&json!("DRAINING"), &json!(address)));

    let there = Http::clients_of(&staying).of(&mine.header("sixpin-token"));
    there.get(&format!("{path}/events")).await.is(421);
    let claim = json!({ "claim": 1, "resource": { "name": "r" }, "lastOperation": 1, "mode": "EX" });
    let resume = json!({ "moveNumber": 1, "nextClaim": 2, "claims": [claim] });
    assert_eq!(there.post(&format!("{path}:resume"), resume).await.is(200)["claims"][0]["mode"], "EX");
    soon("the end here", async { while next(&mut events).await.is_some() {} }).await;
    let (mut events, _) = listen(&there, &path).await;
    let (waiter_path, waiter) = session(&Http::clients_of(&staying)).await;
    queue(&waiter, &waiter_path, lock(1, "r", "EX")).await;
    assert_eq!(told(&mut events, "blocking").await["claim"], "1");
    soon("the end of the drain", drained).await.unwrap().is(200);
}

#[tokio::test]
async fn whoever_listens_last_hears_and_a_stream_comes_before_all() {
    let broker = Broker::alone(Reason::OwnReport, "").await;
    broker.use_sockets();
    let http = Http::clients_of(&broker);
    let (path, mine) = holder(&http).await;
    let (mut first, _) = listen(&mine, &path).await;
    let (mut second, _) = listen(&mine, &path).await;
    assert_eq!(next(&mut first).await, None);
    let (waiter_path, waiter) = session(&http).await;
    queue(&waiter, &waiter_path, lock(1, "r", "PR")).await;
    assert_eq!(told(&mut second, "blocking").await["wanted"], "PR");

    let opened = v1::Opened { token: mine.header("sixpin-token"), ..Default::default() };
    let live = v1::LiveClaim {
        held: Some(v1::live_claim::Held::Mode(v1::Mode::Ex.into())),
        ..crate::support::live_claim(1, "r")
    };
    let mut stream = Session::silent(&broker).await;
    assert!(matches!(stream.ask(Ask::Resume(resume_request(&opened, 1, vec![live]))).await, Body::Resumed(_)));
    assert_eq!(next(&mut second).await, None);
    assert!(matches!(stream.event().await, Body::Blocking(_)));
    let refused = mine.get(&format!("{path}/events")).await.is(409);
    assert_eq!((&refused["reason"], &refused["mayHaveHappened"]), (&json!("BUSY"), &json!(false)));
    drop(stream);
    let mut third = soon("the end of the stream", async {
        loop {
            let response = mine.begin(Method::GET, &format!("{path}/events"), None, Bytes::new()).await;
            if response.status() == 200 {
                break Events::new(response);
            }
        }
    })
    .await;
    assert_eq!(told(&mut third, "listening").await, json!({ "lost": [], "waiting": [] }));
    told(&mut third, "blocking").await;
}

#[tokio::test]
async fn who_may_not_listen_is_told_why() {
    let broker = Broker::alone(Reason::OwnReport, "").await;
    broker.use_sockets();
    let http = Http::clients_of(&broker);
    let (path, mine) = session(&http).await;
    let events = format!("{path}/events");
    http.get(&events).await.is(400);
    mine.get(&format!("{events}?x=1")).await.is(400);
    mine.get(&format!("{events}?token=x")).await.is(400);
    mine.post(&events, json!({})).await.is(405);
    let (other_path, _) = session(&http).await;
    mine.get(&format!("{other_path}/events")).await.is(400);
    let mut forged = mine.header("sixpin-token");
    let last = if forged.pop() == Some('0') { '1' } else { '0' };
    forged.push(last);
    assert_eq!(http.of(&forged).get(&events).await.is(403)["reason"], "WRONG_TOKEN");

    let bound = Session::open(&broker, v1::Open { connection_bound: true, ..Default::default() }).await;
    let path = format!("/v1/sessions/{}/events", bound.opened.session);
    let refused = http.of(&bound.opened.token).get(&path).await.is(400);
    assert!(refused["detail"].as_str().unwrap().contains("bound"), "{refused}");
}

fn with_token(token: &Token, more: &str) -> String {
    format!(
        "[access.roles.all]\nrules = [{{ lockspace = \"*\", prefix = \"\", allow = [\"lock\"] }}]\n\
         [access.tokens.a]\nsha256 = \"{}\"\nroles = [\"all\"]\n{more}",
        token.digest()
    )
}

#[tokio::test]
async fn nothing_is_told_to_whoever_is_not_known_any_more() {
    let token = Token::new("a").unwrap();
    let moment = humantime::format_rfc3339(SystemTime::now() + Duration::from_secs(2));
    let broker = Broker::alone(Reason::OwnReport, &with_token(&token, &format!("expires = \"{moment}\"\n"))).await;
    broker.use_sockets();
    let http = Http::clients_of(&broker).with("authorization", &format!("Bearer {}", token.reveal()));
    let (path, mine) = session(&http).await;
    let (mut events, _) = listen(&mine, &path).await;
    assert_eq!(told(&mut events, "error").await["reason"], "UNAUTHENTICATED");
    assert_eq!(next(&mut events).await, None);

    broker.server.reload(config(&with_token(&token, ""))).await.unwrap();
    let (path, mine) = holder(&http).await;
    let (waiter_path, waiter) = session(&http).await;
    let (mut events, _) = listen(&mine, &path).await;
    let other = Token::new("a").unwrap();
    broker.server.reload(config(&with_token(&other, ""))).await.unwrap();
    let waiter = waiter.with("authorization", &format!("Bearer {}", other.reveal()));
    queue(&waiter, &waiter_path, lock(1, "r", "EX")).await;
    assert_eq!(told(&mut events, "error").await["reason"], "UNAUTHENTICATED");
    assert_eq!(next(&mut events).await, None);
}

#[tokio::test]
async fn listeners_count_as_those_who_watch() {
    let token = Token::new("a").unwrap();
    let broker = Broker::alone(Reason::OwnLimits, &with_token(&token, "[access.quotas]\nwatches = 2\n")).await;
    broker.use_sockets();
    let http = Http::clients_of(&broker).with("authorization", &format!("Bearer {}", token.reveal()));
    let mut listening = Vec::new();
    for _ in 0..2 {
        let (path, mine) = session(&http).await;
        listening.push(listen(&mine, &path).await);
    }
    let (path, mine) = session(&http).await;
    let refused = mine.get(&format!("{path}/events")).await.is(429);
    assert!(refused["detail"].as_str().unwrap().contains("access.quotas.watches"), "{refused}");
    drop(listening);
    until("a place", async || {
        mine.begin(Method::GET, &format!("{path}/events"), None, Bytes::new()).await.status() == 200
    })
    .await;
}

/// The claims of which a deaf listener is told at once, each with a value block that takes long to say.
const DEAF_CLAIMS: u64 = 300;

#[tokio::test]
async fn a_listener_that_reads_nothing_holds_up_nobody() {
    let broker = Broker::configured("[lockspaces.default]\nvalue_block_bytes = 1024\n").await;
    broker.use_sockets();
    let http = Http::clients_of(&broker);
    let (holder_path, holder) = holder(&http).await;
    let (path, mine) = session(&http).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut deaf = socket.connect(broker.server.address).await.unwrap();
    let token = mine.header("sixpin-token");
    let request = format!("GET {path}/events HTTP/1.1\r\nhost: localhost\r\nsixpin-token: {token}\r\n\r\n");
    deaf.write_all(request.as_bytes()).await.unwrap();
    deaf.readable().await.unwrap();
    let claims = (1..=DEAF_CLAIMS).map(async |claim| {
        let mut wanted = lock(claim, "r", "CR");
        wanted["valueBlock"] = true.into();
        queue(&mine, &path, wanted).await;
    });
    join_all(claims).await;
    let unlock = format!("{holder_path}/claims/1?operation=2&valueBlock=true&value={}", "AAAA".repeat(341));
    holder.delete(&unlock).await.is(200);
    until("all grants", async || broker.state("r").await.claims.iter().all(|claim| claim.fence > 0)).await;
    holder.post(&format!("{holder_path}/claims"), lock(2, "s", "EX")).await.is(200);
    mine.post(&format!("{path}:keepAlive"), json!({})).await.is(200);
    assert_eq!(mine.post(&format!("{path}:unlockAll"), json!({})).await.is(200)["released"], DEAF_CLAIMS);
    drop(deaf);
    let (_, standing) = listen(&mine, &path).await;
    assert_eq!(standing, json!({ "lost": [], "waiting": [] }));
}
