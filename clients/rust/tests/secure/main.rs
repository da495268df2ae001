//! TLS and tokens, at a broker of a few lines in this process.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod authority;
mod broker;
mod files;
mod token;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use authority::{Authority, Valid, Wants};
use rustls::ServerConfig;
use rustls::version::{TLS12, TLS13};
use sixpin_client::{Client, Credentials, Error, Session};

/// What a broker of today speaks.
const SPEAKS: &[&[u8]] = &[b"sixpin/1", b"h2"];

/// TLS of a broker on this host, signed by this authority.
fn ordinary(authority: &Authority, wants: Wants<'_>) -> Arc<ServerConfig> {
    authority.sign("127.0.0.1", Valid::Now).server(wants, &[&TLS12, &TLS13], SPEAKS)
}

fn client(endpoint: impl Into<String>, credentials: Credentials) -> Client {
    Client::builder([endpoint.into()]).credentials(credentials).connect_timeout(Duration::from_secs(5)).build().unwrap()
}

async fn open(client: &Client) -> Result<Session, Error> {
    tokio::time::timeout(Duration::from_secs(20), client.session().open()).await.expect("it takes too long")
}

/// Why no session was opened at one address.
async fn not_opened(client: &Client) -> String {
    let opening = client.session().timeout(Duration::from_millis(700)).open();
    reason(opening.await.map(drop).unwrap_err())
}

/// Why no call could be made at one address.
async fn not_called(client: &Client) -> String {
    reason(client.inspection().get_status().await.unwrap_err())
}

fn reason(error: Error) -> String {
    match error {
        Error::Unreachable { tried } => tried.into_iter().next().unwrap().what,
        other => panic!("another error: {other:?}"),
    }
}
