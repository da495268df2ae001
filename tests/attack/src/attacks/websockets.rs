//! Session streams over WebSocket.

use std::io;

use futures::future::join_all;
use tokio::io::AsyncWrite;

use super::{Until, on_each, reading_along};
use crate::http::{frame, frame_head, opcode};
use crate::target::Target;
use crate::wire;

const OPEN: &str = r#"{"request":1,"open":{"ttl":"60s"}}"#;

fn text(text: &str) -> Vec<u8> {
    frame(opcode::LAST | opcode::TEXT, text.as_bytes())
}

/// As many as come, each with this said; nothing is ever read.
async fn hoard(target: Target, until: Until, say: &[u8]) {
    const CONNECTIONS: usize = 12_000;
    let mut open = Vec::new();
    while open.len() < CONNECTIONS && !until.over() {
        for socket in join_all((0..100).map(|_| target.websocket())).await {
            let Ok(mut socket) = socket else { continue };
            drop(wire::say(&mut socket, say).await);
            open.push(socket);
        }
    }
    until.wait().await;
}

pub(super) async fn silent(target: Target, until: Until) {
    hoard(target, until, &[]).await;
}

pub(super) async fn open(target: Target, until: Until) {
    hoard(target, until, &text(OPEN)).await;
}

/// Says `first`, and then `next` without end, while what comes back is read and forgotten.
async fn flood(target: Target, until: Until, first: &[u8], next: &[u8]) {
    on_each(20, until, async || {
        let stream = target.websocket().await?;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let reading = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
        let sent = endlessly(&mut writer, until, first, next).await;
        reading.abort();
        sent
    })
    .await;
}

async fn endlessly(writer: &mut (impl AsyncWrite + Unpin), until: Until, first: &[u8], next: &[u8]) -> io::Result<()> {
    wire::say(writer, first).await?;
    while !until.over() {
        wire::say(writer, next).await?;
    }
    Ok(())
}

pub(super) async fn pings(target: Target, until: Until) {
    flood(target, until, &text(OPEN), &frame(opcode::LAST | opcode::PING, b"ping").repeat(1_000)).await;
}

pub(super) async fn empties(target: Target, until: Until) {
    let begun = [text(OPEN), frame(opcode::TEXT, b"")].concat();
    flood(target, until, &begun, &frame(opcode::MORE, b"").repeat(10_000)).await;
}

pub(super) async fn splinters(target: Target, until: Until) {
    // Of one byte each, up to nearly the longest message.
    let mut message = frame(opcode::TEXT, b" ");
    message.extend(frame(opcode::MORE, b" ").repeat(60_000));
    message.extend(frame(opcode::LAST | opcode::MORE, br#"{"request":2,"keepAlive":{}}"#));
    flood(target, until, &text(OPEN), &message).await;
}

pub(super) async fn keepalives(target: Target, until: Until) {
    on_each(20, until, async || {
        let stream = target.websocket().await?;
        reading_along(stream, async |writer| send_keepalives(writer, until).await).await
    })
    .await;
}

pub(super) async fn deaf(target: Target, until: Until) {
    on_each(200, until, async || {
        let mut stream = target.websocket().await?;
        send_keepalives(&mut stream, until).await
    })
    .await;
}

async fn send_keepalives(writer: &mut (impl AsyncWrite + Unpin), until: Until) -> io::Result<()> {
    wire::say(writer, &text(OPEN)).await?;
    let mut next = 2;
    while !until.over() {
        let keepalive = |number| text(&format!(r#"{{"request":{number},"keepAlive":{{}}}}"#));
        let many: Vec<u8> = (next..next + 100).flat_map(keepalive).collect();
        next += 100;
        wire::say(writer, &many).await?;
    }
    Ok(())
}

pub(super) async fn huge(target: Target, until: Until) {
    let part = vec![b' '; 1 << 20];
    on_each(100, until, async || {
        let mut stream = target.websocket().await?;
        let announced = [100_000, 1 << 30, u64::MAX][fastrand::usize(..3)];
        wire::say(&mut stream, &frame_head(opcode::LAST | opcode::TEXT, announced)).await?;
        while !until.over() {
            wire::say(&mut stream, &part).await?;
        }
        Ok(())
    })
    .await;
}
