//! What TLS has beside what it carries.

use std::io::{self, Write as _};
use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use sixpin_proto::frames::{ALPN, GREETING};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::handshakes::listen;
use super::{Until, on_each};
use crate::hello::{self, HANDSHAKE, HTTP2};
use crate::target::{Target, authenticate, framed};
use crate::wire;

const CONNECTIONS: usize = 20;
/// Records that are sent in one go.
const BATCH: usize = 500;
/// A message that is not too long.
const MESSAGE: usize = 60_000;

/// A connection that has greeted and said who asks.
async fn greet(target: Target) -> io::Result<TlsStream<TcpStream>> {
    let mut stream = target.shake_hands(hello::config(&TLS13, ALPN, None)?).await?;
    let token = target.stolen.map(|stolen| authenticate(&stolen.token)).unwrap_or_default();
    wire::say(&mut stream, &[&GREETING, &token[..]].concat()).await?;
    Ok(stream)
}

pub(super) async fn key_updates(target: Target, until: Until) {
    on_each(CONNECTIONS, until, async || {
        let mut stream = greet(target).await?;
        while !until.over() {
            for _ in 0..BATCH {
                stream.get_mut().1.refresh_traffic_keys().map_err(io::Error::other)?;
            }
            stream.flush().await?;
        }
        Ok(())
    })
    .await;
}

pub(super) async fn paid_key_updates(target: Target, until: Until) {
    on_each(CONNECTIONS, until, async || splintered(target, true).await).await;
}

pub(super) async fn splinters(target: Target, until: Until) {
    on_each(CONNECTIONS, until, async || splintered(target, false).await).await;
}

/// A message in records of one byte.
async fn splintered(target: Target, update: bool) -> io::Result<()> {
    let mut stream = greet(target).await?;
    for bytes in framed(&vec![0; MESSAGE]).chunks(BATCH) {
        let session = stream.get_mut().1;
        for byte in bytes {
            if update {
                session.refresh_traffic_keys().map_err(io::Error::other)?;
            }
            session.writer().write_all(&[*byte])?;
        }
        stream.flush().await?;
    }
    Ok(())
}

pub(super) async fn renegotiations(target: Target, until: Until) {
    /// How long a broker may take to find that nobody wrote this.
    const PATIENCE: Duration = Duration::from_secs(5);
    on_each(100, until, async || {
        let version = if fastrand::bool() { &TLS12 } else { &TLS13 };
        let stream = target.shake_hands(hello::config(version, HTTP2, None)?).await?;
        let (mut tcp, _) = stream.into_inner();
        // A hello that is not encrypted, or looks as if it were.
        let mut record = hello::client_hello()?;
        if fastrand::bool() {
            let mut bytes = [0; 300];
            fastrand::fill(&mut bytes);
            record = hello::record(HANDSHAKE, &bytes);
        }
        tcp.write_all(&record).await?;
        let ended = timeout(PATIENCE, listen(tcp)).await;
        assert!(ended.is_ok(), "a connection goes on on which a handshake began again");
        Ok(())
    })
    .await;
}
