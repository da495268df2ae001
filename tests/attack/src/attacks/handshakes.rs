//! TLS that is begun, over and over, slowly or wrongly.

use std::io;
use std::time::Duration;

use futures::future::join_all;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use super::{Until, again, on_each};
use crate::hello::{self, HANDSHAKE, HEAD, HTTP2};
use crate::target::Target;

const CONNECTIONS: usize = 100;

/// Reads and forgets what comes.
pub(super) async fn listen(mut stream: impl AsyncRead + Unpin) -> io::Result<()> {
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}

pub(super) async fn whole(target: Target, until: Until) {
    shake_hands(CONNECTIONS, target, until).await;
}

pub(super) async fn one_by_one(target: Target, until: Until) {
    shake_hands(1, target, until).await;
}

async fn shake_hands(connections: usize, target: Target, until: Until) {
    again(connections, Duration::ZERO, until, async || {
        let version = if fastrand::bool() { &TLS12 } else { &TLS13 };
        target.shake_hands(hello::config(version, HTTP2, None)?).await.map(drop)
    })
    .await;
}

pub(super) async fn hellos(target: Target, until: Until) {
    // Always the same: whoever attacks computes nothing.
    let Ok(hello) = hello::client_hello() else { return };
    again(CONNECTIONS, Duration::ZERO, until, async || {
        let mut stream = target.dial().await?;
        stream.write_all(&hello).await?;
        stream.read_exact(&mut [0; HEAD]).await.map(drop)
    })
    .await;
}

pub(super) async fn halves(target: Target, until: Until) {
    const ALL: usize = 12_000;
    let Ok(hello) = hello::client_hello() else { return };
    let mut open = Vec::new();
    while open.len() < ALL && !until.over() {
        for stream in join_all((0..100).map(|_| target.dial())).await {
            let Ok(mut stream) = stream else { continue };
            // Some stop within it.
            let part = if fastrand::bool() { hello.len() } else { fastrand::usize(1..hello.len()) };
            drop(stream.write_all(&hello[..part]).await);
            open.push(stream);
        }
    }
    until.wait().await;
}

pub(super) async fn slow(target: Target, until: Until) {
    let Ok(hello) = hello::client_hello() else { return };
    on_each(200, until, async || {
        let mut stream = target.dial().await?;
        for byte in &hello {
            stream.write_all(&[*byte]).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    })
    .await;
}

pub(super) async fn splinters(target: Target, until: Until) {
    let Ok(hello) = hello::client_hello() else { return };
    let splinters: Vec<u8> = hello[HEAD..].iter().flat_map(|byte| hello::record(HANDSHAKE, &[*byte])).collect();
    on_each(CONNECTIONS, until, async || {
        let mut stream = target.dial().await?;
        stream.write_all(&splinters).await?;
        listen(stream).await
    })
    .await;
}

pub(super) async fn long(target: Target, until: Until) {
    on_each(200, until, async || {
        let mut stream = target.dial().await?;
        // The head of a `ClientHello` with its length, and so much of it that it could be one.
        let length: u32 = if fastrand::bool() { 0xff_fff0 } else { 0xfff0 };
        let head = [&[1], &length.to_be_bytes()[1..], &[3, 3]].concat();
        stream.write_all(&hello::record(HANDSHAKE, &head)).await?;
        for _ in 0..100 {
            stream.write_all(&hello::record(HANDSHAKE, &[0; 650])).await?;
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        listen(stream).await
    })
    .await;
}

pub(super) async fn noise(target: Target, until: Until) {
    let Ok(hello) = hello::client_hello() else { return };
    on_each(CONNECTIONS, until, async || {
        let mut stream = target.dial().await?;
        stream.write_all(&hello).await?;
        // A record may have 16 KiB and a little: some are larger, some say that they are.
        let mut bytes = vec![0; fastrand::usize(1..65_536)];
        fastrand::fill(&mut bytes);
        let bytes = if fastrand::bool() { hello::record(fastrand::u8(0x14..0x19), &bytes) } else { bytes };
        stream.write_all(&bytes).await?;
        listen(stream).await
    })
    .await;
}
