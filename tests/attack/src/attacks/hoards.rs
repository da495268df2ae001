//! What is opened, asked for or begun, and then left.

use std::io;
use std::time::Duration;

use futures::future::join_all;
use sixpin_client::{Error, Guard, Mode};
use sixpin_proto::v1;

use super::{Until, on_each, path};
use crate::socket::{Socket, tcp};
use crate::target::Target;
use crate::wire::{self, flag, kind};

/// Names that are listed.
const NAMES: usize = 1_000;
/// How long each of them is.
const NAME_BYTES: usize = 1_000;
/// Calls of one connection that hoards: nearly as many as it may have.
const CALLS: u32 = 126;

/// Something to list: names of 1 kB, held in null mode by one session for as long as the guards live.
async fn names(target: Target) -> Option<Vec<Guard>> {
    let client = target.client().ok()?;
    let session = client.session().ttl(Duration::from_secs(30)).label("names").open().await.ok()?;
    let mut guards = Vec::new();
    for numbers in (0..NAMES).collect::<Vec<_>>().chunks(100) {
        let session = &session;
        let locks = numbers.iter().map(async |number| {
            let name = format!("{number:0>NAME_BYTES$}");
            session.lock(&name, Mode::NL).await
        });
        let locked: Result<Vec<Guard>, Error> = join_all(locks).await.into_iter().collect();
        guards.extend(locked.ok()?);
    }
    Some(guards)
}

fn number(call: u32) -> u32 {
    2 * call + 1
}

fn listings(target: Target) -> Vec<u8> {
    let list = v1::ListResourcesRequest { limit: NAMES as u32, ..Default::default() };
    (0..CALLS).flat_map(|call| target.unary(number(call), path::LIST, &list)).collect()
}

pub(super) async fn unread_listings(target: Target, until: Until) {
    let _names = names(target).await;
    let listings = listings(target);
    on_each(20, until, async || {
        let mut stream = target.greet(0).await?;
        wire::say(&mut stream, &listings).await?;
        wire::listen(&mut stream).await;
        Ok(())
    })
    .await;
}

pub(super) async fn slow_listings(target: Target, until: Until) {
    let _names = names(target).await;
    let listings = listings(target);
    let trickle: Vec<u8> =
        (0..CALLS).flat_map(|call| wire::frame(kind::WINDOW_UPDATE, 0, number(call), &1_u32.to_be_bytes())).collect();
    on_each(20, until, async || {
        let stream = target.greet(1).await?;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let reading = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
        wire::say(&mut writer, &listings).await?;
        let trickled = loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if let Err(error) = wire::say(&mut writer, &trickle).await {
                break Err(error);
            }
        };
        reading.abort();
        trickled
    })
    .await;
}

pub(super) async fn deaf_listings(target: Target, until: Until) {
    let _names = names(target).await;
    let listings = listings(target);
    on_each(20, until, async || {
        let mut stream = target.greet(i32::MAX.cast_unsigned()).await?;
        wire::say(&mut stream, &wire::frame(kind::WINDOW_UPDATE, 0, 0, &1_000_000_000_u32.to_be_bytes())).await?;
        wire::say(&mut stream, &listings).await?;
        until_closed(&stream, until).await
    })
    .await;
}

/// Waits without reading.
async fn until_closed(stream: &Socket, until: Until) -> io::Result<()> {
    while !until.over() {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if let Some(error) = tcp(stream).take_error()? {
            return Err(error);
        }
    }
    Ok(())
}

pub(super) async fn readers(target: Target, until: Until) {
    let _names = names(target).await;
    let list = v1::ListResourcesRequest { limit: NAMES as u32, ..Default::default() };
    read(target, until, |stream| target.unary(stream, path::LIST, &list)).await;
}

pub(super) async fn status(target: Target, until: Until) {
    read(target, until, |stream| target.unary(stream, path::STATUS, &v1::GetStatusRequest {})).await;
}

/// Readers that ask again as soon as they have their answer: 8 connections with 16 each.
async fn read(target: Target, until: Until, ask: impl Fn(u32) -> Vec<u8>) {
    const READERS: u32 = 16;
    on_each(8, until, async || {
        use tokio::io::AsyncReadExt as _;
        let mut stream = target.greet(1 << 24).await?;
        wire::say(&mut stream, &wire::frame(kind::WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes())).await?;
        let mut asks: Vec<u8> = (0..READERS).flat_map(|call| ask(number(call))).collect();
        let (mut next, mut header, mut payload) = (READERS, [0; 9], Vec::new());
        while !until.over() {
            wire::say(&mut stream, &asks).await?;
            asks.clear();
            stream.read_exact(&mut header).await?;
            payload.resize(u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize, 0);
            stream.read_exact(&mut payload).await?;
            match header[3] {
                kind::HEADERS if header[4] & flag::END_STREAM != 0 => {
                    asks = ask(number(next));
                    next += 1;
                }
                kind::DATA if !payload.is_empty() => {
                    let more = (payload.len() as u32).to_be_bytes();
                    asks = wire::frame(kind::WINDOW_UPDATE, 0, 0, &more);
                }
                kind::SETTINGS if header[4] & flag::ACK == 0 => {
                    asks = wire::frame(kind::SETTINGS, flag::ACK, 0, &[]);
                }
                kind::PING if header[4] & flag::ACK == 0 => asks = wire::frame(kind::PING, flag::ACK, 0, &payload),
                _ => {}
            }
        }
        Ok(())
    })
    .await;
}

pub(super) async fn watches(target: Target, until: Until) {
    let resource = Some(v1::Resource { lockspace: String::new(), name: "watched".into() });
    let watch = v1::GetResourceRequest { resource };
    let watches: Vec<u8> = (0..CALLS).flat_map(|call| target.unary(number(call), path::WATCH, &watch)).collect();
    on_each(300, until, async || {
        let mut stream = target.greet(65_535).await?;
        wire::say(&mut stream, &watches).await?;
        wire::listen(&mut stream).await;
        Ok(())
    })
    .await;
}

pub(super) async fn empty_streams(target: Target, until: Until) {
    let streams: Vec<u8> = (0..CALLS).flat_map(|call| target.call(number(call), path::SESSION)).collect();
    on_each(300, until, async || {
        let mut stream = target.greet(65_535).await?;
        wire::say(&mut stream, &streams).await?;
        wire::listen(&mut stream).await;
        Ok(())
    })
    .await;
}

pub(super) async fn sessions(target: Target, until: Until) {
    let open = v1::Open { ttl_ms: Some(3_600_000), ..Default::default() };
    on_each(20, until, async || {
        let stream = target.greet(65_535).await?;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let reading = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
        let mut next = 0;
        let sent = loop {
            // No more at once than a connection may have.
            let opens: Vec<u8> =
                (next..next + 100).flat_map(|call| target.unary(number(call), path::OPEN, &open)).collect();
            next += 100;
            if let Err(error) = wire::say(&mut writer, &opens).await {
                break Err(error);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            // What was read and acknowledged does not matter here, but answers need room.
            let more = wire::frame(kind::WINDOW_UPDATE, 0, 0, &100_000_u32.to_be_bytes());
            if let Err(error) = wire::say(&mut writer, &more).await {
                break Err(error);
            }
        };
        reading.abort();
        sent
    })
    .await;
}

pub(super) async fn deaf_sessions(target: Target, until: Until) {
    use prost::Message as _;
    use v1::session_request::Body;
    let open = Body::Open(v1::Open { ttl_ms: Some(3_600_000), ..Default::default() });
    let open = v1::SessionRequest { request: 1, body: Some(open) }.encode_to_vec();
    on_each(20, until, async || {
        let mut stream = target.greet(i32::MAX.cast_unsigned()).await?;
        wire::say(&mut stream, &wire::frame(kind::WINDOW_UPDATE, 0, 0, &1_000_000_000_u32.to_be_bytes())).await?;
        for call in 0..CALLS {
            let mut bytes = target.call(number(call), path::SESSION);
            bytes.extend(wire::frame(kind::DATA, 0, number(call), &wire::message(&open)));
            wire::say(&mut stream, &bytes).await?;
        }
        for request in 2.. {
            if until.over() {
                break;
            }
            let body = Some(Body::KeepAlive(v1::KeepAlive { move_number: 0 }));
            let keepalive = wire::message(&v1::SessionRequest { request, body }.encode_to_vec());
            let round: Vec<u8> =
                (0..CALLS).flat_map(|call| wire::frame(kind::DATA, 0, number(call), &keepalive)).collect();
            wire::say(&mut stream, &round).await?;
        }
        Ok(())
    })
    .await;
}

pub(super) async fn slow_bodies(target: Target, until: Until) {
    let mut half = wire::message(&vec![0; 60_000]);
    half.truncate(9_000);
    on_each(200, until, async || {
        let mut stream = target.greet(65_535).await?;
        for call in 0..100 {
            let path = if call % 2 == 0 { path::SESSION } else { path::CLAIMS };
            let mut bytes = target.call(number(call), path);
            bytes.extend(wire::frame(kind::DATA, 0, number(call), &half));
            wire::say(&mut stream, &bytes).await?;
        }
        wire::listen(&mut stream).await;
        Ok(())
    })
    .await;
}
