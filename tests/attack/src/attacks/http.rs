//! JSON over HTTP/1.1 and HTTP/2.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tokio::io::AsyncReadExt as _;

use super::{Until, again, on_each};
use crate::target::Target;
use crate::wire::{self, flag, kind};

const LEASES: &str = "/v1/leases";
const LEASE: &str = r#"{"resource":"attacked","mode":"EX","ttl":"60s"}"#;
/// Calls of one connection of HTTP/2: nearly as many as it may have.
const CALLS: u32 = 126;
/// Listeners of one connection: as many as it may have.
const LISTENERS: usize = 32;
/// Connections that open sessions to listen to: more than one client may have listeners.
const OPENERS: usize = 25;
/// The longest answer that says how a session is called.
const ANSWER_MAX: usize = 4_096;
/// What is sent of a request a second, to keep hope alive.
const TRICKLE: Duration = Duration::from_secs(1);

/// Says it, and reads what comes until the connection ends.
async fn ask(target: Target, bytes: &[u8]) -> io::Result<()> {
    let stream = target.connect_for_http1().await?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let reading = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
    let said = wire::say(&mut writer, bytes).await;
    // A peer that takes nothing more has answered, or ends the connection.
    let ended = reading.await;
    said.and(ended.map_err(io::Error::other)?.map(drop))
}

/// Sends these requests without end on 20 connections, while what comes back is read and forgotten.
async fn flood(target: Target, until: Until, requests: &[u8]) {
    on_each(20, until, async || {
        let stream = target.connect_for_http1().await?;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let reading = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
        let mut sent = Ok(());
        while sent.is_ok() && !until.over() {
            sent = wire::say(&mut writer, requests).await;
        }
        reading.abort();
        sent
    })
    .await;
}

/// Begins a request, and says a bit more of it now and then.
async fn slowly(target: Target, until: Until, begin: &[u8]) {
    on_each(300, until, async || {
        let mut stream = target.connect_for_http1().await?;
        wire::say(&mut stream, begin).await?;
        while !until.over() {
            tokio::time::sleep(TRICKLE).await;
            wire::say(&mut stream, b"x").await?;
        }
        Ok(())
    })
    .await;
}

pub(super) async fn slow_heads(target: Target, until: Until) {
    slowly(target, until, format!("{}x-slow: ", target.head("GET", "/v1/status")).as_bytes()).await;
}

pub(super) async fn slow_bodies(target: Target, until: Until) {
    let head =
        format!("{}content-type: application/json\r\ncontent-length: 60000\r\n\r\n", target.head("POST", LEASES));
    slowly(target, until, &[head.as_bytes(), " ".repeat(50_000).as_bytes()].concat()).await;
}

pub(super) async fn slow_streams(target: Target, until: Until) {
    let begun: Vec<u8> = (0..CALLS)
        .flat_map(|call| {
            let stream = 2 * call + 1;
            let head = wire::frame(kind::HEADERS, flag::END_HEADERS, stream, &target.json_headers("POST", LEASES));
            [head, wire::frame(kind::DATA, 0, stream, &[b' '; 9_000])].concat()
        })
        .collect();
    on_each(200, until, async || {
        let mut stream = target.greet(65_535).await?;
        wire::say(&mut stream, &begun).await?;
        wire::listen(&mut stream).await;
        Ok(())
    })
    .await;
}

pub(super) async fn large(target: Target, until: Until) {
    let much = "x".repeat(1 << 20);
    let chunk = format!("{:x}\r\n{much}\r\n", much.len());
    let head = target.head("POST", LEASES);
    let requests = [
        format!("{head}content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{}", chunk.repeat(8)),
        format!("{head}x-much: {much}\r\n\r\n"),
        format!("{head}{}\r\n", "x-many: y\r\n".repeat(10_000)),
        target.head("POST", &format!("/v1/{much}")) + "\r\n",
    ];
    on_each(20, until, async || ask(target, requests[fastrand::usize(..requests.len())].as_bytes()).await).await;
}

pub(super) async fn deep(target: Target, until: Until) {
    let keys: Vec<String> = (0..6_000).map(|key| format!("\"{key}\":0")).collect();
    let bodies = [
        "[".repeat(60_000),
        "{\"resource\":".repeat(5_000),
        format!("{{\"resource\":[{}0]}}", "0,".repeat(30_000)),
        format!("{{{}}}", keys.join(",")),
        format!("{{\"value\":\"{}\"}}", "\\u0000".repeat(10_000)),
    ];
    let requests: Vec<u8> = bodies.iter().flat_map(|body| target.post("/v1/sessions", body)).collect();
    flood(target, until, &requests).await;
}

pub(super) async fn floods(target: Target, until: Until) {
    let mut requests = Vec::new();
    for _ in 0..10 {
        requests.extend(target.get("/v1/resources/attacked"));
        requests.extend(target.post(LEASES, LEASE));
        requests.extend(target.post("/v1/sessions", r#"{"ttl":"60s"}"#));
        requests.extend(target.get("/livez"));
        requests.extend(target.get("/v1/nothing"));
    }
    flood(target, until, &requests).await;
}

pub(super) async fn keys(target: Target, until: Until) {
    let waits = r#"{"resource":"attacked","mode":"EX","ttl":"60s","wait":"55s"}"#;
    again(200, Duration::ZERO, until, async || {
        // Each caller goes away at once; what it asked for goes on.
        let mut stream = target.connect_for_http1().await?;
        let requests: Vec<u8> = (0..10)
            .flat_map(|_| target.post_with(LEASES, &format!("idempotency-key: {}\r\n", fastrand::u64(..)), waits))
            .collect();
        wire::say(&mut stream, &requests).await
    })
    .await;
}

pub(super) async fn polls(target: Target, until: Until) {
    let poll = target.json_headers("GET", "/v1/resources/attacked:watch?version=0&wait=55s");
    let polls: Vec<u8> = (0..CALLS)
        .flat_map(|call| wire::frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 2 * call + 1, &poll))
        .collect();
    let one = target.get("/v1/resources/attacked:watch?version=0&wait=55s");
    let over_http1 = on_each(2_000, until, async || ask(target, &one).await);
    let over_http2 = on_each(100, until, async || {
        let mut stream = target.greet(65_535).await?;
        wire::say(&mut stream, &polls).await?;
        wire::listen(&mut stream).await;
        Ok(())
    });
    futures::join!(over_http1, over_http2);
}

pub(super) async fn events(target: Target, until: Until) {
    // One that changes all the time, with many that hold it: each event is long.
    let Some(_crowd) = crowd(target).await else { return };
    let changes = async {
        let Ok(client) = target.client() else { return };
        let Ok(session) = client.session().open().await else { return };
        while !until.over() {
            let _ = session.lock("crowded", sixpin_client::Mode::CR).await;
        }
    };
    let watch = target.get("/v1/resources/crowded:watch");
    let watching = on_each(300, until, async || {
        let mut stream = target.connect_for_http1().await?;
        wire::say(&mut stream, &watch).await?;
        // Nobody reads them.
        until.wait().await;
        Ok(())
    });
    futures::join!(changes, watching);
}

pub(super) async fn listeners(target: Target, until: Until) {
    let opened = join_all((0..OPENERS).map(async |_| sessions(target).await)).await;
    let sessions: Vec<Own> = opened.into_iter().flatten().flatten().collect();
    let Some(one) = sessions.first() else { return };
    let (at_once, next): (Vec<&[Own]>, _) = (sessions.chunks(LISTENERS).collect(), AtomicUsize::new(0));
    let silent = on_each(at_once.len(), until, async || {
        let own = at_once[next.fetch_add(1, Ordering::Relaxed) % at_once.len()];
        let listen: Vec<u8> = (0..).zip(own).flat_map(|(call, own)| own.listen(target, 2 * call + 1)).collect();
        let mut stream = target.greet(65_535).await?;
        wire::say(&mut stream, &listen).await?;
        wire::listen(&mut stream).await;
        Ok(())
    });
    // Each takes the place of the one before.
    let head = target.head("GET", &one.path);
    let request = format!("{head}sixpin-token: {}\r\n\r\n", one.token);
    let in_turn = on_each(100, until, async || ask(target, request.as_bytes()).await);
    futures::join!(silent, in_turn);
}

/// A session that can be listened to.
struct Own {
    path: String,
    token: String,
}

impl Own {
    /// The session of which an answer tells.
    fn of(answer: &str) -> Option<Self> {
        let said = |field: &str| answer.split_once(&format!("\"{field}\":\""))?.1.split('"').next();
        Some(Self { path: format!("/v1/sessions/{}/events", said("session")?), token: said("token")?.to_owned() })
    }

    fn listen(&self, target: Target, stream: u32) -> Vec<u8> {
        let headers = target.json_headers_with("GET", &self.path, &[("sixpin-token", &self.token)]);
        wire::frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, &headers)
    }
}

/// Opens as many as one connection may listen to.
async fn sessions(target: Target) -> io::Result<Vec<Own>> {
    let mut stream = target.connect_for_http1().await?;
    let mut opened = Vec::new();
    for _ in 0..LISTENERS {
        wire::say(&mut stream, &target.post("/v1/sessions", r#"{"ttl":"60s"}"#)).await?;
        let mut answer = String::new();
        while !answer.ends_with('}') && answer.len() < ANSWER_MAX {
            answer.push(char::from(stream.read_u8().await?));
        }
        opened.extend(Own::of(&answer));
    }
    Ok(opened)
}

/// A resource that 500 hold, for as long as this lives.
async fn crowd(target: Target) -> Option<Vec<sixpin_client::Guard>> {
    let session = target.client().ok()?.session().ttl(Duration::from_secs(30)).label("crowd").open().await.ok()?;
    let locks = (0..500).map(async |_| session.lock("crowded", sixpin_client::Mode::CR).await);
    join_all(locks).await.into_iter().collect::<Result<_, _>>().ok()
}

pub(super) async fn resets(target: Target, until: Until) {
    let block = target.json_headers("POST", LEASES);
    on_each(20, until, async || {
        let stream = target.greet(65_535).await?;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let reading = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
        let (mut number, mut sent) = (1, Ok(()));
        while sent.is_ok() && !until.over() {
            let mut batch = Vec::new();
            for _ in 0..10 {
                batch.extend(wire::frame(kind::HEADERS, flag::END_HEADERS, number, &block));
                batch.extend(wire::frame(kind::DATA, flag::END_STREAM, number, LEASE.as_bytes()));
                batch.extend(wire::frame(kind::RST_STREAM, 0, number, &8_u32.to_be_bytes()));
                number += 2;
            }
            sent = wire::say(&mut writer, &batch).await;
        }
        reading.abort();
        sent
    })
    .await;
}

pub(super) async fn smuggling(target: Target, until: Until) {
    let head = target.head("POST", LEASES);
    let inner = String::from_utf8_lossy(&target.post(LEASES, LEASE)).into_owned();
    let shapes = [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "content-length: 4\r\ncontent-length: 5\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding: xchunked\r\n",
        "content-length: +4\r\n",
        "content-length: 99999999999999999999\r\n",
        "x: y\r\n transfer-encoding: chunked\r\n",
        "x: y\ntransfer-encoding: chunked\n",
    ];
    let bodies = ["0\r\n\r\n", "ffffffffffffffffff\r\n", "0;x=\"\n\"\r\n\r\n", "4\nabcd\n0\n\n", "-1\r\n\r\n"];
    on_each(100, until, async || {
        let (shape, body) = (shapes[fastrand::usize(..shapes.len())], bodies[fastrand::usize(..bodies.len())]);
        ask(target, format!("{head}{shape}\r\n{body}{inner}").as_bytes()).await
    })
    .await;
}
