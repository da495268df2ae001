//! Limits: what goes beyond is refused with the name of the limit, and nothing changes.

use sixpin_core::limits::{OPENING_PER_CONNECTION_MAX, WATCHES_PER_CONNECTION_MAX};
use sixpin_proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;
use v1::session_request::Body as Ask;
use v1::session_response::Body;

use crate::support::store::Reason;
use crate::support::{Broker, open_request, reason, resource, soon, token, try_lock, unlock, until, wait_lock};

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
    assert_eq!(stream.refused(Ask::Open(v1::Open::default())).await, v1::Reason::Limit);
    let status = broker.locks().await.open_session(open_request(v1::Open::default())).await.unwrap_err();
    assert_eq!(reason(&status), (Code::ResourceExhausted, v1::Reason::Limit));
    first.ask(Ask::Close(v1::Close {})).await;
    // The stream that was refused may try again.
    assert!(matches!(stream.ask(Ask::Open(v1::Open::default())).await, Body::Opened(_)));
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
    broker.use_sockets();
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
                if locks.open_session(open_request(v1::Open::default())).await.is_ok() {
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
    let open = v1::Open { lockspace: "wide".into(), ..Default::default() };
    let mut session = crate::support::stream::Session::open(&broker, open).await;
    assert_eq!(session.opened.value_block_bytes, 1_024);
    let wide = v1::Resource { lockspace: "wide".into(), name: "r".into() };
    session.lock(v1::Lock { resource: Some(wide), ..wait_lock(1, "", v1::Mode::Ex) }).await;
    let write = v1::Unlock { value_block: true, value: vec![7; 1_024].into(), ..unlock(1, 2) };
    assert_eq!(session.complete(Ask::Unlock(write)).await.status(), v1::Status::Released);
}

#[tokio::test]
async fn sessions_of_a_client() {
    // What comes from this host is trusted.
    let broker = Broker::alone(Reason::OwnLimits, "[limits]\nsessions_per_trusted = 2").await;
    let (_first, _second) = (broker.session().await, broker.session().await);
    let status = broker.locks().await.open_session(open_request(v1::Open::default())).await.unwrap_err();
    assert_eq!(reason(&status), (Code::ResourceExhausted, v1::Reason::Limit));
    assert!(status.message().contains("limits.sessions_per_trusted"), "{}", status.message());
}

#[tokio::test]
async fn sessions_of_a_stranger() {
    let settings = "[limits]\nsessions_per_client = 1\n[connections]\ntrusted = []";
    let broker = Broker::alone(Reason::OwnLimits, settings).await;
    broker.use_sockets();
    let _first = broker.session().await;
    let status = broker.locks().await.open_session(open_request(v1::Open::default())).await.unwrap_err();
    assert!(status.message().contains("limits.sessions_per_client"), "{}", status.message());
}

#[tokio::test]
async fn a_session_whose_client_does_not_come_back_does_not_live_for_its_ttl() {
    let broker = Broker::configured("session_ttl_max = \"10m\"\n[limits]\nfirst_life = \"1s\"").await;
    let open = || v1::Open { ttl_ms: Some(600_000), ..Default::default() };
    let mut locks = broker.locks().await;
    let left = locks.open_session(open_request(open())).await.unwrap().into_inner().opened.unwrap();
    assert_eq!(left.keepalive_ms, 333);
    let kept = locks.open_session(open_request(open())).await.unwrap().into_inner().opened.unwrap();
    let call = v1::KeepAliveRequest { token: token(&kept), move_number: 0 };
    locks.keep_alive(call.clone()).await.unwrap();
    until("the end of the session that was left", async || broker.sessions().await == 1).await;
    let call_of_left = v1::KeepAliveRequest { token: token(&left), move_number: 0 };
    assert!(locks.keep_alive(call_of_left).await.is_err());
    locks.keep_alive(call).await.unwrap();
}

#[tokio::test]
async fn streams_without_a_session_wait_for_each_other_and_are_refused_in_the_end() {
    let broker = Broker::start().await;
    let channel = broker.channel().await;
    let mut hoard = Vec::new();
    for _ in 0..OPENING_PER_CONNECTION_MAX {
        let (outgoing, requests) = tokio::sync::mpsc::channel(1);
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        let mut locks = v1::lock_service_client::LockServiceClient::new(channel.clone());
        hoard.push((outgoing, locks.session(requests).await.unwrap().into_inner()));
    }
    // One more has its turn when one of these has a session.
    let mut locks = v1::lock_service_client::LockServiceClient::new(channel.clone());
    let next = tokio::spawn(async move { locks.session(tokio_stream::pending()).await.map(drop) });
    let (outgoing, answers) = &mut hoard[0];
    let open = v1::SessionRequest { request: 1, body: Some(Ask::Open(v1::Open::default())) };
    outgoing.send(open).await.unwrap();
    assert!(matches!(soon("a session", answers.message()).await.unwrap().unwrap().body, Some(Body::Opened(_))));
    soon("the turn of the next one", next).await.unwrap().unwrap();
    // Others on the connection do not notice.
    let mut locks = v1::lock_service_client::LockServiceClient::new(channel);
    locks.open_session(open_request(v1::Open::default())).await.unwrap();
}

#[tokio::test]
async fn streams_that_watch() {
    let broker = Broker::start().await;
    broker.use_sockets();
    let mut inspect = broker.inspect().await;
    let watch = || v1::WatchResourceRequest { resource: Some(resource("watched")) };
    let mut watches = Vec::new();
    for _ in 0..WATCHES_PER_CONNECTION_MAX {
        watches.push(inspect.watch_resource(watch()).await.unwrap().into_inner());
    }
    let status = inspect.watch_resource(watch()).await.unwrap_err();
    assert_eq!(reason(&status), (Code::ResourceExhausted, v1::Reason::Limit));
    assert!(status.message().contains("streams that watch on this connection"), "{}", status.message());
    watches.pop();
    until("a place", async || inspect.watch_resource(watch()).await.is_ok()).await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_goes_on_is_closed_and_one_with_a_stream_is_not() {
    let broker = Broker::alone(Reason::OwnLimits, "[connections]\nidle = \"1s\"").await;
    let session = broker.session().await;
    let mut idle = TcpStream::connect(broker.server.address).await.unwrap();
    idle.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    // SETTINGS, and a call to a method that does not exist: `:method: POST`, `:scheme: http`, `:path: /`.
    idle.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    idle.write_all(&[0, 0, 3, 1, 5, 0, 0, 0, 1, 0x83, 0x86, 0x84]).await.unwrap();
    let mut bytes = Vec::new();
    let patience = std::time::Duration::from_secs(9);
    let closed = tokio::time::timeout(patience, idle.read_to_end(&mut bytes)).await;
    assert!(closed.is_ok(), "still open after {patience:?}");
    let mut session = session;
    session.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
}
