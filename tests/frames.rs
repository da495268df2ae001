//! Session streams without HTTP/2: the greeting, the messages, and what a client does where nobody speaks so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use sixpin_client::{Client, Mode};
use sixpin_proto::frames::GREETING;
use sixpin_proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use v1::session_request::Body as Ask;
use v1::session_response::Body;

use crate::support::door::{self, FrameWay};
use crate::support::{Broker, soon, wait_lock};

/// Everything that a broker says on a connection after these bytes, as messages.
async fn answers(broker: &Broker, bytes: &[u8]) -> Vec<v1::SessionResponse> {
    let mut socket = door::greet(broker.server.address).await;
    socket.write_all(bytes).await.unwrap();
    let wire: FrameWay = tokio_util::codec::Framed::new(socket, sixpin_proto::frames::Frames::new(1 << 20));
    soon("the end", wire.map(Result::unwrap).collect()).await
}

/// Why a broker ended the connection, which is the last that it said.
fn last(answers: &[v1::SessionResponse]) -> v1::Reason {
    match answers.last() {
        Some(v1::SessionResponse { request: 0, body: Some(Body::Error(error)) }) => error.reason(),
        other => panic!("not an end with a reason: {other:?}"),
    }
}

fn open(request: u64) -> v1::SessionRequest {
    v1::SessionRequest { request, body: Some(Ask::Open(v1::Open::default())) }
}

#[tokio::test]
async fn a_session_opens_locks_and_closes() {
    let broker = Broker::start().await;
    let mut wire = door::greeted(broker.server.address).await;
    let lock = wait_lock(1, "r", v1::Mode::Ex);
    wire.send(open(1)).await.unwrap();
    wire.send(v1::SessionRequest { request: 2, body: Some(Ask::Lock(lock)) }).await.unwrap();
    wire.send(v1::SessionRequest { request: 3, body: Some(Ask::Close(v1::Close {})) }).await.unwrap();
    let said: Vec<_> = soon("the end", wire.map(Result::unwrap).collect()).await;
    let [opened, granted, closed] = said.as_slice() else { panic!("{said:?}") };
    assert!(matches!((opened.request, &opened.body), (1, Some(Body::Opened(_)))), "{opened:?}");
    assert!(
        matches!(&granted.body, Some(Body::Completion(done)) if done.status() == v1::Status::Granted),
        "{granted:?}"
    );
    assert!(matches!((closed.request, &closed.body), (3, Some(Body::Closed(_)))), "{closed:?}");
}

#[tokio::test]
async fn the_bytes_of_the_documentation_are_a_session() {
    let document = include_str!("../docs/api.md");
    let (_, block) = document.split_once("```frames\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let hex = |word: &str| (word.len() == 2).then(|| u8::from_str_radix(word, 16).ok()).flatten();
    let lines: Vec<Vec<u8>> = block.lines().map(|line| line.split(' ').map_while(hex).collect()).collect();
    assert_eq!(lines[0], GREETING);
    let broker = Broker::start().await;
    let said = answers(&broker, &lines[1..].concat()).await;
    let statuses = said.iter().filter_map(|said| match &said.body {
        Some(Body::Completion(done)) => Some(done.status()),
        _ => None,
    });
    assert_eq!(statuses.collect::<Vec<_>>(), [v1::Status::Granted, v1::Status::Released]);
    assert!(
        matches!(said.last().unwrap(), v1::SessionResponse { request: 4, body: Some(Body::Closed(_)) }),
        "{said:?}"
    );
}

#[tokio::test]
async fn what_is_no_message_ends_the_connection_and_says_why() {
    let broker = Broker::start().await;
    let long = (64_u32 * 1024 + 1).to_be_bytes();
    for (bytes, reason) in [
        (&[0, 0, 0, 0][..], v1::Reason::Invalid),
        (&[0, 0, 0, 1, 0xff], v1::Reason::Invalid),
        (&[0xff; 64], v1::Reason::Limit),
        (&long, v1::Reason::Limit),
    ] {
        assert_eq!(last(&answers(&broker, bytes).await), reason, "{bytes:?}");
    }
}

#[tokio::test]
async fn a_client_that_stops_within_a_message_loses_no_more_than_that() {
    let broker = Broker::start().await;
    let mut socket = door::greet(broker.server.address).await;
    socket.write_all(&[0, 0, 0, 9, 8]).await.unwrap();
    socket.shutdown().await.unwrap();
    soon("the end", socket.read_to_end(&mut Vec::new())).await.unwrap();
    Broker::session(&broker).await;
}

#[tokio::test]
async fn only_the_greeting_is_answered_and_only_for_clients() {
    let broker = Broker::start().await;
    let (clients, admins) = (broker.server.address, broker.server.admin_address.unwrap());
    let mut other = GREETING;
    other[7] += 1;
    for (address, said) in [(clients, other), (admins, GREETING)] {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(&said).await.unwrap();
        let mut answer = Vec::new();
        // How a connection ends on which nobody understands anything is no concern of this.
        let _ = soon("the end", socket.read_to_end(&mut answer)).await;
        assert!(!answer.starts_with(&GREETING), "{address}");
    }
}

/// What stands before a broker and lets HTTP/2 through, and nothing else.
struct HttpOnly {
    address: SocketAddr,
    turned_away: Arc<AtomicUsize>,
}

/// What it does with anything else.
#[derive(Clone, Copy)]
enum Otherwise {
    Close,
    Answer(&'static [u8]),
    Wait,
}

impl HttpOnly {
    async fn before(broker: SocketAddr, otherwise: Otherwise) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let turned_away = Arc::new(AtomicUsize::new(0));
        let count = turned_away.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let count = count.clone();
                tokio::spawn(async move {
                    let mut first = [0; 3];
                    if client.peek(&mut first).await.is_ok() && &first == b"PRI" {
                        let mut inner = TcpStream::connect(broker).await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut inner).await;
                        return;
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                    match otherwise {
                        Otherwise::Close => {}
                        Otherwise::Answer(text) => client.write_all(text).await.unwrap(),
                        Otherwise::Wait => std::future::pending().await,
                    }
                });
            }
        });
        Self { address, turned_away }
    }

    fn turned_away(&self) -> usize {
        self.turned_away.load(Ordering::Relaxed)
    }
}

async fn locks(client: &Client) {
    let session = client.session().open().await.unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    guard.release().await.unwrap();
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_client_speaks_grpc_where_frames_are_not_understood_and_remembers_it() {
    let broker = Broker::start().await;
    let bad_request = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n";
    for otherwise in [Otherwise::Close, Otherwise::Answer(bad_request), Otherwise::Answer(b"x"), Otherwise::Wait] {
        let before = HttpOnly::before(broker.server.address, otherwise).await;
        let client = Client::new([before.address.to_string()]).unwrap();
        locks(&client).await;
        locks(&client).await;
        assert_eq!(before.turned_away(), 1);
    }
}

#[tokio::test]
async fn who_gives_up_before_a_greeting_is_answered_does_not_greet_there_again() {
    let broker = Broker::start().await;
    let before = HttpOnly::before(broker.server.address, Otherwise::Wait).await;
    let client = Client::new([before.address.to_string()]).unwrap();
    let hasty = client.session().timeout(Duration::from_millis(300));
    assert!(hasty.open().await.is_err());
    locks(&client).await;
    assert_eq!(before.turned_away(), 1);
}

#[tokio::test]
async fn a_client_that_is_told_to_speaks_grpc_from_the_first_byte() {
    let broker = Broker::start().await;
    let before = HttpOnly::before(broker.server.address, Otherwise::Close).await;
    let client = Client::new([format!("grpc://{}", before.address)]).unwrap();
    locks(&client).await;
    assert_eq!(before.turned_away(), 0);
}
