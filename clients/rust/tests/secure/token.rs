//! Tokens: how they are shown, and when they are not.

use sixpin_client::proto::Reason;
use sixpin_client::{Client, Credentials, Error};

use crate::authority::{Authority, Wants};
use crate::broker::{Broker, TOKEN};
use crate::{client, not_called, not_opened, open, ordinary};

async fn broker(authority: &Authority) -> Broker {
    Broker::start(Some(ordinary(authority, Wants::Nobody)), true).await
}

#[tokio::test]
async fn a_token_is_shown_on_streams_and_with_every_call() {
    let authority = Authority::new();
    let broker = broker(&authority).await;
    let client = client(&broker.address, Credentials::new().ca_file(&authority.file).token(TOKEN));
    open(&client).await.unwrap();
    assert_eq!(broker.seen().token.as_deref(), Some(TOKEN));
    assert_eq!(client.inspection().get_status().await.unwrap_err(), Error::Unsupported);
    assert_eq!(broker.seen().token, Some(format!("Bearer {TOKEN}")));
    assert!(!format!("{client:?}").contains(TOKEN));
}

#[tokio::test]
async fn a_wrong_token_ends_the_opening_at_once() {
    let authority = Authority::new();
    let broker = broker(&authority).await;
    let credentials = Credentials::new().ca_file(&authority.file).token("wrong");
    for scheme in ["", "grpc://"] {
        let client = client(format!("{scheme}{}", broker.address), credentials.clone());
        let begun = std::time::Instant::now();
        let Err(Error::Denied(refused)) = open(&client).await else { panic!("it was let in") };
        assert!(begun.elapsed().as_millis() < 1_000, "{:?}", begun.elapsed());
        assert_eq!(
            (refused.reason, refused.message.as_str()),
            (Reason::Unauthenticated, "nobody is known by this token")
        );
        let called = client.inspection().get_status().await;
        assert!(matches!(called, Err(Error::Denied(refused)) if refused.reason == Reason::Unauthenticated));
    }
}

#[tokio::test]
async fn without_tls_a_token_stays_on_this_host() {
    let broker = Broker::start(None, true).await;
    let client_of = |endpoint: &str| client(endpoint, Credentials::new().token(TOKEN));
    open(&client_of(&broker.address)).await.unwrap();
    assert_eq!(broker.seen().token.as_deref(), Some(TOKEN));
    // An address of this host that is not of the loopback interface, if it has one.
    let Some(own) = own_address() else { return };
    let listener = tokio::net::TcpListener::bind((own, 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let words = format!("the token for `{address}` is not sent without TLS: write https:// in front of the address");
    assert_eq!(not_opened(&client_of(&address)).await, words);
    assert_eq!(not_called(&client_of(&format!("http://{address}"))).await, words);
}

/// From where this host would reach others. Nothing is sent.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback())
}

#[tokio::test]
async fn a_token_is_read_again_for_each_connection() {
    let authority = Authority::new();
    let broker = broker(&authority).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "old\n").unwrap();
    let client = client(&broker.address, Credentials::new().ca_file(&authority.file).token_file(&file));
    assert!(matches!(open(&client).await, Err(Error::Denied(_))));
    std::fs::write(&file, TOKEN).unwrap();
    open(&client).await.unwrap();
}

#[test]
fn an_empty_token_is_refused() {
    let refused = Client::builder(["a:1"]).credentials(Credentials::new().token(" ")).build();
    assert!(matches!(refused, Err(Error::Setting(words)) if words.contains("the token is empty")));
}
