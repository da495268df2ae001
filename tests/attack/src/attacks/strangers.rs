//! Who has no token, or a wrong one, or speaks without TLS.

use std::time::Duration;

use rustls::version::TLS13;
use sixpin_proto::frames::{ALPN, GREETING};
use sixpin_proto::v1;
use tokio::io::AsyncWriteExt as _;

use super::handshakes::listen;
use super::{Until, again, on_each, path};
use crate::hello;
use crate::target::{Target, authenticate};
use crate::wire::{self, PREFACE, flag, frame, header_block, kind};

const CONNECTIONS: usize = 100;
/// Calls of one connection.
const CALLS: u32 = 100;

pub(super) async fn plaintext(target: Target, until: Until) {
    let nobody = Target { stolen: None, ..target };
    let http2 = [PREFACE, &wire::window(65_535), &nobody.call(1, path::SESSION)].concat();
    again(CONNECTIONS, Duration::ZERO, until, async || {
        let mut stream = target.dial().await?;
        let mut noise = [0; 1_000];
        fastrand::fill(&mut noise);
        let said: [&[u8]; 5] = [&http2, PREFACE, b"GET / HTTP/1.1\r\n\r\n", &GREETING, &noise];
        stream.write_all(said[fastrand::usize(..said.len())]).await?;
        listen(stream).await
    })
    .await;
}

pub(super) async fn wrong_tokens(target: Target, until: Until) {
    let calls: Vec<u8> = (0..CALLS).flat_map(|call| called(2 * call + 1, &[("authorization", &bearer())])).collect();
    on_each(CONNECTIONS, until, async || call(target, &calls).await).await;
}

pub(super) async fn wrong_tokens_in_frames(target: Target, until: Until) {
    on_each(CONNECTIONS, until, async || {
        let bearer = bearer();
        let token = bearer.strip_prefix("Bearer ").unwrap_or_default();
        greet(target, &authenticate(token)).await
    })
    .await;
}

pub(super) async fn no_tokens(target: Target, until: Until) {
    let calls: Vec<u8> = (0..CALLS).flat_map(|call| called(2 * call + 1, &[])).collect();
    on_each(CONNECTIONS, until, async || {
        if fastrand::bool() { call(target, &calls).await } else { greet(target, &[0, 0, 0, 0]).await }
    })
    .await;
}

async fn call(target: Target, calls: &[u8]) -> std::io::Result<()> {
    let mut stream = target.greet(65_535).await?;
    wire::say(&mut stream, calls).await?;
    wire::listen(&mut stream).await;
    Ok(())
}

async fn greet(target: Target, first: &[u8]) -> std::io::Result<()> {
    let mut stream = target.shake_hands(hello::config(&TLS13, ALPN, None)?).await?;
    wire::say(&mut stream, &[&GREETING, first].concat()).await?;
    listen(stream).await
}

fn called(stream: u32, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = frame(kind::HEADERS, flag::END_HEADERS, stream, &header_block(path::STATUS, headers));
    let request = wire::message(&prost::Message::encode_to_vec(&v1::GetStatusRequest {}));
    bytes.extend(frame(kind::DATA, flag::END_STREAM, stream, &request));
    bytes
}

/// One in its right form: 32 bytes that nobody knows.
fn bearer() -> String {
    // The last of 43 characters has four bits.
    let secret: String = (0..42).map(|_| fastrand::alphanumeric()).collect();
    format!("Bearer sxp_attacker_{secret}A")
}
