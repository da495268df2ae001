//! Who trusts whom, and what is said when somebody does not.

use rustls::version::{TLS12, TLS13};
use sixpin_client::{Client, Credentials, Error};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::authority::{Authority, Signed, Valid, Wants};
use crate::broker::Broker;
use crate::{SPEAKS, client, not_called, not_opened, open, ordinary};

/// Both ways to a broker fail with the same words.
async fn refused(client: &Client, expected: &str) {
    let expected = format!("TLS: {expected}");
    assert_eq!(not_opened(client).await, expected);
    assert_eq!(not_called(client).await, expected);
}

async fn broker_of(signed: &Signed) -> Broker {
    Broker::start(Some(signed.server(Wants::Nobody, &[&TLS12, &TLS13], SPEAKS)), false).await
}

#[tokio::test]
async fn sessions_speak_frames_and_calls_grpc_inside_tls() {
    let authority = Authority::new();
    let broker = Broker::start(Some(ordinary(&authority, Wants::Nobody)), false).await;
    // An address without anything in front has TLS where a CA is given.
    let client = client(&broker.address, Credentials::new().ca_file(&authority.file));
    let session = open(&client).await.unwrap();
    assert_eq!(client.inspection().get_status().await.unwrap_err(), Error::Unsupported);
    let seen = broker.seen();
    assert_eq!((seen.frames, seen.calls > 0, seen.token), (1, true, None));
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_broker_that_chooses_nothing_is_greeted_and_one_that_chooses_grpc_is_called() {
    let authority = Authority::new();
    let signed = authority.sign("127.0.0.1", Valid::Now);
    let credentials = Credentials::new().ca_file(&authority.file);
    let silent = Broker::start(Some(signed.server(Wants::Nobody, &[&TLS13], &[])), false).await;
    open(&client(format!("https://{}", silent.address), credentials.clone())).await.unwrap();
    assert_eq!(silent.seen().frames, 1);
    let grpc = Broker::start(Some(signed.server(Wants::Nobody, &[&TLS13], &[b"h2"])), false).await;
    let why = not_opened(&client(&grpc.address, credentials)).await;
    assert_eq!((why.as_str(), grpc.seen().frames), ("not here", 0));
}

#[tokio::test]
async fn who_signed_it_is_not_trusted() {
    let authority = Authority::new();
    let broker = Broker::start(Some(ordinary(&authority, Wants::Nobody)), false).await;
    let address = &broker.address;
    // The first was made anew under its old name.
    for other in [Authority::new(), Authority::named("another authority")] {
        let words = format!(
            "the certificate of `{address}` is not signed by a CA of `{}`: name the file of the one that signed it",
            other.file.display()
        );
        refused(&client(address, Credentials::new().ca_file(&other.file)), &words).await;
    }
    let system = client(format!("https://{address}"), Credentials::new());
    let why = not_opened(&system).await;
    assert!(why.contains("is not signed by a CA that this system trusts"), "{why}");
}

#[tokio::test]
async fn it_is_for_another_name_or_another_time() {
    let authority = Authority::new();
    let credentials = Credentials::new().ca_file(&authority.file);
    let other = broker_of(&authority.sign("broker.example", Valid::Now)).await;
    let words =
        format!("the certificate of `{}` is for other names: call it by one of these: broker.example", other.address);
    refused(&client(&other.address, credentials.clone()), &words).await;
    for (valid, words) in [(Valid::Before, "expired"), (Valid::Later, "is not valid before")] {
        let broker = broker_of(&authority.sign("127.0.0.1", valid)).await;
        let client = client(&broker.address, credentials.clone());
        for why in [not_opened(&client).await, not_called(&client).await] {
            assert!(why.starts_with(&format!("TLS: the certificate of `{}` {words} ", broker.address)), "{why}");
            assert!(why.contains(" days ") && why.contains("clock"), "{why}");
        }
    }
}

#[tokio::test]
async fn a_name_is_checked_as_one_and_so_is_an_address_of_ipv6() {
    let authority = Authority::new();
    let credentials = Credentials::new().ca_file(&authority.file);
    let broker = broker_of(&authority.sign("localhost", Valid::Now)).await;
    let port = broker.address.rsplit_once(':').unwrap().1;
    open(&client(format!("https://localhost:{port}"), credentials.clone())).await.unwrap();
    // Nobody listens there, which is found out without a word about the name.
    let why = not_opened(&client("https://[::1]:1", credentials)).await;
    assert!(why.contains("connection refused") || why.contains("cannot assign"), "{why}");
}

#[tokio::test]
async fn a_broker_wants_a_certificate() {
    let (authority, other) = (Authority::new(), Authority::named("another authority"));
    for version in [&TLS12, &TLS13] {
        let signed = authority.sign("127.0.0.1", Valid::Now);
        let config = signed.server(Wants::SignedBy(&authority), &[version], SPEAKS);
        let broker = Broker::start(Some(config), false).await;
        let address = &broker.address;
        let none = Credentials::new().ca_file(&authority.file);
        let words = format!("`{address}` wants a certificate of this program: name one and its key");
        refused(&client(address, none.clone()), &words).await;

        let own = authority.sign("me", Valid::Now);
        open(&client(address, none.clone().certificate_files(&own.certificate, &own.key))).await.unwrap();

        let foreign = other.sign("me", Valid::Now);
        let shown = client(address, none.clone().certificate_files(&foreign.certificate, &foreign.key));
        let file = foreign.certificate.display();
        refused(&shown, &format!("`{address}` does not trust who signed this program's certificate `{file}`")).await;

        let old = authority.sign("me", Valid::Before);
        let shown = client(address, none.certificate_files(&old.certificate, &old.key));
        let file = old.certificate.display();
        let words =
            format!("`{address}` says that this program's certificate `{file}` has expired, or is not valid yet");
        refused(&shown, &words).await;
    }
}

#[tokio::test]
async fn nothing_in_common_is_said() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut hello = [0; 512];
            let _ = tcp.read(&mut hello).await;
            // A fatal alert: protocol_version.
            let _ = tcp.write_all(&[21, 3, 3, 0, 2, 2, 70]).await;
        }
    });
    let words = format!("`{address}` speaks no version that this program does: 1.2 or 1.3");
    refused(&client(&address, Credentials::new().ca_file(&authority.file)), &words).await;
}

#[tokio::test]
async fn a_listener_without_tls_is_said_to_be_one() {
    let authority = Authority::new();
    let credentials = Credentials::new().ca_file(&authority.file);
    let broker = Broker::start(None, false).await;
    let words = |address: &str| {
        format!("`{address}` does not answer TLS: it may be a listener without TLS; then write http:// in front")
    };
    // It closes, as what is said is no greeting. So does a broker that just stops, and that passes.
    for why in [
        not_opened(&client(&broker.address, credentials.clone())).await,
        not_called(&client(&broker.address, credentials.clone())).await,
    ] {
        assert_eq!(why, words(&broker.address));
    }
    // HTTP/2 says something at once.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _ = tcp.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
        }
    });
    refused(&client(&address, credentials), &words(&address)).await;
}

#[tokio::test]
async fn a_listener_with_tls_alone_tells_clients_without() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut said = [0; 64];
                let length = tcp.read(&mut said).await.unwrap_or(0);
                if said[..length].starts_with(b"PRI ") {
                    // SETTINGS, and GOAWAY with INADEQUATE_SECURITY.
                    let _ = tcp.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
                    let _ = tcp.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12]).await;
                    while tcp.read(&mut said).await.is_ok_and(|length| length > 0) {}
                }
            });
        }
    });
    let words = "the broker at this address speaks nothing else: write https:// in front of it";
    refused(&client(&address, Credentials::new()), words).await;
}
