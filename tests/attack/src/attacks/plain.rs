//! Connections that greet: session streams without HTTP/2.

use std::io;
use std::time::Duration;

use futures::future::join_all;
use sixpin_proto::frames::GREETING;
use sixpin_proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWrite};
use v1::session_request::Body;

use super::{Until, on_each, reading_along};
use crate::socket::Socket;
use crate::target::{Target, framed, request};
use crate::wire;

/// Reads and forgets what comes.
async fn listen(stream: &mut Socket) {
    let _ = tokio::io::copy(stream, &mut tokio::io::sink()).await;
}

fn open() -> Vec<u8> {
    request(1, Body::Open(v1::Open { ttl_ms: Some(3_600_000), ..Default::default() }))
}

pub(super) async fn greetings(target: Target, until: Until) {
    const CONNECTIONS: usize = 12_000;
    let mut begun = Vec::new();
    while begun.len() < CONNECTIONS && !until.over() {
        for stream in join_all((0..100).map(|_| target.connect_for_frames())).await {
            let Ok(mut stream) = stream else { continue };
            let part = begun.len() % GREETING.len() + 1;
            drop(wire::say(&mut stream, &GREETING[..part]).await);
            begun.push(stream);
        }
    }
    until.wait().await;
}

pub(super) async fn noise(target: Target, until: Until) {
    on_each(20, until, async || {
        let mut stream = target.greet_with_frames().await?;
        if fastrand::bool() {
            wire::say(&mut stream, &open()).await?;
        }
        let mut bytes = vec![0; fastrand::usize(1..20_000)];
        fastrand::fill(&mut bytes);
        // Some of it has a length that may be.
        let bytes = if fastrand::bool() { framed(&bytes) } else { bytes };
        wire::say(&mut stream, &bytes).await?;
        listen(&mut stream).await;
        Ok(())
    })
    .await;
}

pub(super) async fn floods(target: Target, until: Until) {
    on_each(20, until, async || {
        let stream = target.greet_with_frames().await?;
        reading_along(stream, async |writer| send_keepalives(writer, until).await).await
    })
    .await;
}

pub(super) async fn deaf(target: Target, until: Until) {
    on_each(200, until, async || {
        let mut stream = target.greet_with_frames().await?;
        stream.read_exact(&mut [0; GREETING.len()]).await?;
        send_keepalives(&mut stream, until).await
    })
    .await;
}

/// Opens a session and says without end that it lives.
async fn send_keepalives(writer: &mut (impl AsyncWrite + Unpin), until: Until) -> io::Result<()> {
    wire::say(writer, &open()).await?;
    let mut next = 2;
    while !until.over() {
        let keepalive = |number| request(number, Body::KeepAlive(v1::KeepAlive { move_number: 0 }));
        let many: Vec<u8> = (next..next + 100).flat_map(keepalive).collect();
        next += 100;
        wire::say(writer, &many).await?;
    }
    Ok(())
}

pub(super) async fn halves(target: Target, until: Until) {
    let half = &framed(&vec![0; 60_000])[..50_000];
    on_each(300, until, async || {
        let mut stream = target.greet_with_frames().await?;
        if fastrand::bool() {
            wire::say(&mut stream, &open()).await?;
        }
        wire::say(&mut stream, half).await?;
        // A byte now and then keeps hope alive.
        while !until.over() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            wire::say(&mut stream, &[0]).await?;
        }
        Ok(())
    })
    .await;
}
