//! Limits: what goes beyond is refused with the name of the limit, and nothing changes.

use sixpin_proto::v1;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tonic::Code;
use v1::client_message::Body as Ask;
use v1::server_message::Body;

use crate::support::store::Reason;
use crate::support::{Broker, reason, soon, try_lock, unlock, wait_lock};

#[tokio::test]
async fn claims_of_a_session() {
    let broker = Broker::configured("[limits]\nclaims_per_session = 3").await;
    let mut session = broker.session().await;
    for claim in 1..=3 {
        session.lock(wait_lock(claim, &format!("r{claim}"), v1::Mode::Ex)).await;
    }
    assert_eq!(session.refused(Ask::Lock(wait_lock(4, "r4", v1::Mode::Ex))).await, v1::Reason::Limit);
    assert_eq!(broker.state("r4").await.version, 0);
    session.unlock(1, 2).await;
    assert_eq!(session.lock(wait_lock(5, "r4", v1::Mode::Ex)).await.status(), v1::Status::Granted);
}

#[tokio::test]
async fn waiting_claims_of_a_session_and_queued_claims_of_a_resource() {
    let broker = Broker::configured("[limits]\nwaiting_per_session = 2\nqueued_per_resource = 3").await;
    let mut holder = broker.session().await;
    for claim in 1..=4 {
        holder.lock(wait_lock(claim, &format!("r{claim}"), v1::Mode::Ex)).await;
    }
    let mut waiter = broker.session().await;
    for claim in 1..=2 {
        let lock = wait_lock(claim, &format!("r{claim}"), v1::Mode::Ex);
        assert!(matches!(waiter.ask(Ask::Lock(lock)).await, Body::Queued(_)));
    }
    assert_eq!(waiter.refused(Ask::Lock(wait_lock(3, "r3", v1::Mode::Ex))).await, v1::Reason::Limit);
    let mut waiters = Vec::new();
    for _ in 0..3 {
        let mut waiter = broker.session().await;
        assert!(matches!(waiter.ask(Ask::Lock(wait_lock(1, "r4", v1::Mode::Ex))).await, Body::Queued(_)));
        waiters.push(waiter);
    }
    let mut last = broker.session().await;
    assert_eq!(last.refused(Ask::Lock(wait_lock(1, "r4", v1::Mode::Ex))).await, v1::Reason::Limit);
    assert_eq!(broker.state("r4").await.claims.len(), 4);
}

#[tokio::test]
async fn sessions_of_a_broker() {
    let broker = Broker::alone(Reason::OwnLimits, "[limits]\nsessions_per_broker = 2").await;
    let (mut first, _second) = (broker.session().await, broker.session().await);
    let mut stream = crate::support::stream::Session::silent(&broker).await;
    assert_eq!(stream.refused(Ask::Open(v1::OpenRequest::default())).await, v1::Reason::Limit);
    let status = broker.locks().await.open_session(v1::OpenRequest::default()).await.unwrap_err();
    assert_eq!(reason(&status), (Code::ResourceExhausted, v1::Reason::Limit));
    first.ask(Ask::Close(v1::Close {})).await;
    // The stream that was refused may try again.
    assert!(matches!(stream.ask(Ask::Open(v1::OpenRequest::default())).await, Body::Opened(_)));
}

#[tokio::test]
async fn requests_in_flight_of_a_stream() {
    let broker = Broker::configured("[limits]\nrequests_per_stream = 8").await;
    let mut session = broker.session().await;
    assert_eq!(session.opened.requests_max, 8);
    for claim in 1..=200 {
        session.send(Ask::Lock(try_lock(claim, &format!("r{claim}"), v1::Mode::Ex))).await;
    }
    let alive = session.send(Ask::KeepAlive(v1::KeepAlive::default())).await;
    let (mut granted, mut refused, mut kept) = (0, 0, false);
    for _ in 0..201 {
        let message = session.message().await.unwrap().unwrap();
        match message.body.unwrap() {
            Body::Completion(_) => granted += 1,
            Body::Error(error) => {
                assert_eq!(error.reason(), v1::Reason::Limit);
                assert!(error.message.contains("requests in flight"), "{}", error.message);
                refused += 1;
            }
            Body::KeptAlive(_) => kept = message.request == alive,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(granted + refused, 200);
    assert!(granted >= 8 && refused > 0 && kept, "{granted} granted, {refused} refused, kept alive: {kept}");
    // What was refused left no trace, and what was granted works on.
    let resources = v1::ListResourcesRequest { limit: 1_000, ..Default::default() };
    let list = broker.inspect().await.list_resources(resources).await.unwrap().into_inner();
    assert_eq!(list.resources.len(), granted);
    assert_eq!(session.unlock(1, 2).await.status(), v1::Status::Released);
}

#[tokio::test]
async fn requests_that_wait_for_the_store() {
    let limits = "[limits]\nrequests_per_broker = 1\nclaims_per_session = 20";
    let broker = Broker::alone(Reason::OwnLimits, limits).await;
    let mut session = broker.session().await;
    for claim in 1..=20 {
        session.send(Ask::Lock(try_lock(claim, &format!("r{claim}"), v1::Mode::Ex))).await;
    }
    let mut granted = Vec::new();
    for _ in 1..=20 {
        match session.message().await.unwrap().unwrap().body.unwrap() {
            Body::Completion(done) => granted.push(done.claim),
            Body::Error(error) => {
                assert_eq!(error.reason(), v1::Reason::Limit);
                assert!(error.message.contains("requests waiting for the store"), "{}", error.message);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(granted.len() < 20, "nothing was refused");
    // What was refused takes no room: the session may still have as many claims as before.
    for claim in 21..=40 - granted.len() as u64 {
        let done = session.lock(try_lock(claim, &format!("r{claim}"), v1::Mode::Ex)).await;
        assert_eq!(done.status(), v1::Status::Granted);
    }
}

#[tokio::test]
async fn connections_in_all() {
    let broker = Broker::alone(Reason::OwnLimits, "[connections]\ntotal = 2").await;
    let first = broker.session().await;
    let _second = broker.session().await;
    // The third is closed at once, so that its client can try elsewhere.
    let mut third = TcpStream::connect(broker.server.address).await.unwrap();
    let mut byte = [0];
    let read = soon("the refusal", third.read(&mut byte)).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    drop(first);
    soon("a free place", async {
        loop {
            if let Ok(channel) = tonic::transport::Endpoint::from_shared(format!("http://{}", broker.server.address))
                .unwrap()
                .connect()
                .await
            {
                let mut locks = v1::lock_service_client::LockServiceClient::new(channel);
                if locks.open_session(v1::OpenRequest::default()).await.is_ok() {
                    return;
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let broker = Broker::start().await;
    let mut silent = TcpStream::connect(broker.server.address).await.unwrap();
    let connected = std::time::Instant::now();
    let mut bytes = Vec::new();
    let patience = std::time::Duration::from_secs(60);
    let closed = tokio::time::timeout(patience, silent.read_to_end(&mut bytes)).await;
    assert!(closed.is_ok(), "still open after {patience:?}");
    assert!(connected.elapsed() >= std::time::Duration::from_secs(9), "{:?}", connected.elapsed());
}

#[tokio::test]
async fn a_value_block_is_as_long_as_its_lockspace_says() {
    let broker = Broker::configured("[lockspaces.wide]\nvalue_block_bytes = 1024").await;
    let open = v1::OpenRequest { lockspace: "wide".into(), ..Default::default() };
    let mut session = crate::support::stream::Session::open(&broker, open).await;
    assert_eq!(session.opened.value_block_bytes, 1_024);
    let wide = v1::Resource { lockspace: "wide".into(), name: "r".into() };
    session.lock(v1::LockRequest { resource: Some(wide), ..wait_lock(1, "", v1::Mode::Ex) }).await;
    let write = v1::UnlockRequest { value_block: true, value: vec![7; 1_024].into(), ..unlock(1, 2) };
    assert_eq!(session.complete(Ask::Unlock(write)).await.status(), v1::Status::Released);
}
