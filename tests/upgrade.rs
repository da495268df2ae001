//! Brokers of several versions on one store: an upgrade one broker after the other, while locks are held. A broker of before is
//! one whose settings say that it reads no later stored format.

use sixpin_proto::v1;
use tonic::Code;
use v1::session_request::Body as Ask;
use v1::session_response::Body;

use crate::support::store::Place;
use crate::support::stream::Session;
use crate::support::{Broker, live_claim, open_request, reason, resume_request, try_lock, until, wait_lock};

const OLD: &str = "stored_format_max = 1\nbroker_ttl = \"1s\"\n";
const NEW: &str = "broker_ttl = \"1s\"\n";

/// What the broker asked says of itself: the formats that it reads and writes.
async fn formats(broker: &Broker) -> (u32, u32) {
    let brokers = broker.inspect().await.list_brokers(v1::ListBrokersRequest {}).await.unwrap().into_inner().brokers;
    let own = brokers.into_iter().find(|entry| entry.own).unwrap();
    (own.format_read, own.format_written)
}

#[tokio::test]
async fn a_store_is_upgraded_one_broker_at_a_time() {
    let place = Place::new();
    let old = Broker::on(&place, OLD).await;
    let new = Broker::on(&place, NEW).await;
    assert_eq!((formats(&old).await, formats(&new).await), ((1, 1), (2, 1)));

    // Both write what both can read.
    // Nobody keeps them alive, and an old broker takes its time to end.
    let open = || v1::Open { ttl_ms: Some(60_000), ..Default::default() };
    let (mut here, mut there) = (Session::open(&old, open()).await, Session::open(&new, open()).await);
    assert_eq!(there.lock(wait_lock(1, "r", v1::Mode::Pr)).await.status(), v1::Status::Granted);
    let held = here.lock(wait_lock(1, "r", v1::Mode::Pr)).await;
    assert_eq!(held.status(), v1::Status::Granted);
    assert_eq!(there.lock(try_lock(2, "r", v1::Mode::Ex)).await.status(), v1::Status::WouldWait);

    // The old one leaves, and what was held there goes on at the new one.
    old.server.stop().await;
    let opened = here.opened.clone();
    drop(here);
    let mut moved = Session::silent(&new).await;
    match moved.ask(Ask::Resume(resume_request(&opened, 1, vec![live_claim(1, "r")]))).await {
        Body::Resumed(resumed) => assert_eq!(resumed.claims[0].mode(), v1::Mode::Pr),
        other => panic!("{other:?}"),
    }
    until("the later format", async || formats(&new).await == (2, 2)).await;
    let later = there.lock(wait_lock(3, "s", v1::Mode::Ex)).await;
    assert!(later.fence > held.fence, "fences rise over the change");
    assert_eq!(moved.unlock(1, 2).await.status(), v1::Status::Released);
    assert_eq!(there.unlock(1, 2).await.status(), v1::Status::Released);

    // An old one that comes now leaves as soon as it has looked who else is there, and a new one does everything.
    let late = Broker::on(&place, OLD).await;
    until("the end of the old one", async || {
        let refused = late.locks().await.open_session(open_request(v1::Open::default())).await.err();
        refused.is_some_and(|status| reason(&status) == (Code::Unavailable, v1::Reason::Unavailable))
    })
    .await;
    let third = Broker::on(&place, NEW).await;
    let mut session = third.session().await;
    assert_eq!(session.lock(try_lock(1, "s", v1::Mode::Ex)).await.status(), v1::Status::WouldWait);
    assert_eq!(session.lock(try_lock(2, "r", v1::Mode::Ex)).await.status(), v1::Status::Granted);
}
