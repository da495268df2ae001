//! The session stream over WebSocket.

use std::net::SocketAddr;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use sixpin_proto::prost::Message as _;
use sixpin_proto::v1;
use sixpin_server::access::token::Token;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::broker;
use crate::support::{Broker, soon, until};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(address: SocketAddr, headers: &[(&'static str, &str)]) -> Result<Socket, tungstenite::Error> {
    let mut request = format!("ws://{address}/v1/stream").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    soon("a connection", connect_async(request)).await.map(|(socket, _)| socket)
}

async fn json_to(broker: &Broker) -> Socket {
    connect(broker.server.address, &[("sec-websocket-protocol", "sixpin.v1.json")]).await.unwrap()
}

async fn say(socket: &mut Socket, message: Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

/// The next message; none once the connection is closed, and with which code.
async fn next(socket: &mut Socket) -> Result<Value, u16> {
    loop {
        match soon("a message", socket.next()).await {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(text.as_str()).unwrap()),
            Some(Ok(Message::Close(frame))) => return Err(frame.map_or(0, |frame| frame.code.into())),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(0),
        }
    }
}

fn lock(request: u64, claim: u64, name: &str) -> Value {
    json!({ "request": request, "lock": { "claim": claim, "operation": 1, "resource": { "name": name }, "mode": "EX" } })
}

#[tokio::test]
async fn a_session_in_texts() {
    let (broker, _) = broker().await;
    let mut first = json_to(&broker).await;
    say(&mut first, json!({ "request": 1, "open": { "ttl": "30s" } })).await;
    let opened = next(&mut first).await.unwrap();
    assert_eq!((&opened["request"], &opened["opened"]["ttlMs"]), (&json!("1"), &json!(30_000)));
    say(&mut first, lock(2, 1, "r")).await;
    assert_eq!(next(&mut first).await.unwrap()["completion"]["status"], "GRANTED");

    let mut second = json_to(&broker).await;
    say(&mut second, json!({ "request": 1, "open": {} })).await;
    say(&mut second, lock(2, 1, "r")).await;
    assert!(next(&mut second).await.unwrap().get("opened").is_some());
    assert_eq!(next(&mut second).await.unwrap()["queued"]["position"], 0);
    say(&mut first, json!({ "request": 3, "unlock": { "claim": 1, "operation": 2 } })).await;
    assert_eq!(next(&mut first).await.unwrap()["completion"]["status"], "RELEASED");
    let event = next(&mut second).await.unwrap();
    assert_eq!((&event["request"], &event["completion"]["status"]), (&json!("0"), &json!("GRANTED")));

    say(&mut second, json!({ "request": 3, "close": {} })).await;
    assert!(next(&mut second).await.unwrap().get("closed").is_some());
    assert_eq!(next(&mut second).await, Err(1_000));
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_answered_and_the_stream_goes_on() {
    let (broker, _) = broker().await;
    let mut socket = json_to(&broker).await;
    for (request, message, text) in [
        (1, json!({ "open": { "ttl": "18446744073709551615s 1000ms" } }), "a time with a unit"),
        (2, json!({ "resume": { "tokn": "" } }), "`resume.tokn` is not known"),
        (3, json!({ "lock": { "claim": 1 } }), "the stream has no session"),
        (4, json!({ "open": {} }), ""),
        (5, json!({ "lock": { "claim": 1 } }), "`mode` is missing"),
        (6, json!({ "lock": { "claim": 1, "mod": "EX" } }), "`lock.mod` is not known"),
        (7, json!({ "lok": {} }), "`lok` is not known"),
        (8, json!({ "convert": { "mode": "XX" } }), "`convert.mode` must be one of"),
    ] {
        let mut message = message;
        message["request"] = request.into();
        say(&mut socket, message).await;
        let said = next(&mut socket).await.unwrap();
        assert_eq!(said["request"], request.to_string(), "{said}");
        let error = said["error"]["message"].as_str().unwrap_or_default();
        assert!(error.contains(text) && error.is_empty() == text.is_empty(), "{said}");
    }
    say(&mut socket, lock(9, 1, "r")).await;
    assert_eq!(next(&mut socket).await.unwrap()["completion"]["status"], "GRANTED");
}

#[tokio::test]
async fn a_session_in_the_messages_of_grpc() {
    let (broker, _) = broker().await;
    let mut socket = connect(broker.server.address, &[("sec-websocket-protocol", "sixpin.v1.proto")]).await.unwrap();
    let open = v1::SessionRequest { request: 1, body: Some(v1::session_request::Body::Open(v1::Open::default())) };
    socket.send(Message::binary(open.encode_to_vec())).await.unwrap();
    let Some(Ok(Message::Binary(bytes))) = soon("an answer", socket.next()).await else { panic!("no answer") };
    let answer = v1::SessionResponse::decode(bytes).unwrap();
    assert!(matches!(answer.body, Some(v1::session_response::Body::Opened(_))));
}

#[tokio::test]
async fn the_lock_lives_as_long_as_the_connection_if_the_session_is_bound_to_it() {
    let (broker, _) = broker().await;
    let mut socket = json_to(&broker).await;
    say(&mut socket, json!({ "request": 1, "open": { "ttl": "1s", "connectionBound": true } })).await;
    next(&mut socket).await.unwrap();
    say(&mut socket, lock(2, 1, "r")).await;
    next(&mut socket).await.unwrap();
    drop(socket);
    until("the end of the session", async || broker.state("r").await.claims.is_empty()).await;
}

#[tokio::test]
async fn a_session_is_resumed_on_another_connection() {
    let (broker, _) = broker().await;
    let mut socket = json_to(&broker).await;
    say(&mut socket, json!({ "request": 1, "open": { "ttl": "30s" } })).await;
    let token = next(&mut socket).await.unwrap()["opened"]["token"].clone();
    say(&mut socket, lock(2, 1, "r")).await;
    next(&mut socket).await.unwrap();
    drop(socket);
    let mut socket = json_to(&broker).await;
    let claim = json!({ "claim": 1, "resource": { "name": "r" }, "lastOperation": 1, "mode": "EX" });
    let resume = json!({ "token": token, "moveNumber": 1, "nextClaim": 2, "claims": [claim] });
    say(&mut socket, json!({ "request": 1, "resume": resume })).await;
    let resumed = next(&mut socket).await.unwrap();
    assert_eq!(resumed["resumed"]["claims"][0]["mode"], "EX", "{resumed}");
}

#[tokio::test]
async fn what_is_no_session_is_told_why_and_closed() {
    let (broker, http) = broker().await;
    http.get("/v1/stream").await.is(400);
    let address = broker.server.address;
    assert!(connect(address, &[]).await.is_err(), "no subprotocol");
    assert!(connect(address, &[("sec-websocket-protocol", "other")]).await.is_err());
    let foreign = [("sec-websocket-protocol", "sixpin.v1.json"), ("origin", "http://evil.example")];
    assert!(connect(address, &foreign).await.is_err());
    for (message, text) in [
        (json!({ "request": 1, "lock": {} }), "first message"),
        (json!({ "request": 0, "open": {} }), "numbered from 1"),
        (json!({ "requst": 1 }), "`requst` is not known"),
        (json!([]), "an object of JSON"),
        (json!({ "request": 1, "open": { "label": "x".repeat(100_000) } }), "cannot be decoded"),
    ] {
        let mut socket = json_to(&broker).await;
        say(&mut socket, message.clone()).await;
        match next(&mut socket).await {
            Ok(said) => {
                assert!(said["error"]["message"].as_str().unwrap().contains(text), "{message}: {said}");
                assert_eq!(next(&mut socket).await, Err(1_008));
            }
            // Whoever sends too much may lose what was said.
            Err(_) => assert!(message.to_string().len() > 65_536),
        }
    }
    let mut socket = json_to(&broker).await;
    socket.send(Message::binary(vec![1, 2])).await.unwrap();
    assert!(next(&mut socket).await.unwrap()["error"]["message"].as_str().unwrap().contains("texts"));
}

#[tokio::test]
async fn who_asks_is_said_by_a_header_or_first() {
    let token = Token::new("a").unwrap();
    let settings = format!(
        "[access.roles.all]\nrules = [{{ lockspace = \"*\", prefix = \"\", allow = [\"lock\"] }}]\n\
         [access.tokens.a]\nsha256 = \"{}\"\nroles = [\"all\"]\n",
        token.digest()
    );
    let broker = Broker::configured(&settings).await;
    broker.use_sockets();
    let open = json!({ "request": 1, "open": {} });
    let bearer = format!("Bearer {}", token.reveal());
    let headers = [("sec-websocket-protocol", "sixpin.v1.json"), ("authorization", bearer.as_str())];
    let mut socket = connect(broker.server.address, &headers).await.unwrap();
    say(&mut socket, open.clone()).await;
    assert!(next(&mut socket).await.unwrap().get("opened").is_some());

    let mut socket = json_to(&broker).await;
    say(&mut socket, json!({ "request": 0, "authenticate": { "token": token.reveal() } })).await;
    say(&mut socket, open.clone()).await;
    assert!(next(&mut socket).await.unwrap().get("opened").is_some());

    for first in [open, json!({ "request": 0, "authenticate": { "token": "sxp_a_wrong" } })] {
        let mut socket = json_to(&broker).await;
        say(&mut socket, first).await;
        assert_eq!(next(&mut socket).await.unwrap()["error"]["reason"], "UNAUTHENTICATED");
        assert_eq!(next(&mut socket).await, Err(1_008));
    }
}
