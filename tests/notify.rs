//! An administrator asks a holder to let go, and its client hears it.

use sixpin_client::{ClaimEvent, Client, Error, Mode, proto};
use sixpin_proto::v1;
use tonic::Code;
use tonic_types::StatusExt as _;
use v1::admin_service_client::AdminServiceClient;
use v1::session_response::Body;

use crate::client_world::{Broker as Brokers, SOON};
use crate::support::store::Place;
use crate::support::{Broker, open, reason, resource, token, try_lock, until};

fn request(name: &str, session: impl Into<String>, claim: u64) -> v1::NotifyHolderRequest {
    v1::NotifyHolderRequest { resource: Some(resource(name)), session: session.into(), claim }
}

#[tokio::test]
async fn a_holder_hears_it_again_and_keeps_what_it_has() {
    let brokers = Brokers::start().await;
    let session = brokers.client().session().open().await.unwrap();
    let admin = Client::new([&brokers.admin_address]).unwrap().administration();
    let guard = session.lock("r", Mode::EX).blocking().await.unwrap();
    let quiet = session.lock("quiet", Mode::EX).await.unwrap();
    let hears = async || tokio::time::timeout(SOON, guard.next_event()).await.unwrap();
    let blocking = |wanted| ClaimEvent::Blocking { wanted, own: false };
    // Nobody waits: it is to make room for anybody.
    let told = admin.notify_holder(request("r", session.id(), 0)).await.unwrap();
    assert_eq!((told.told, told.deaf), (vec![guard.claim()], vec![]));
    assert_eq!(hears().await, blocking(Mode::EX));
    let waiting = session.lock("r", Mode::PR).into_future();
    assert_eq!(hears().await, blocking(Mode::PR));
    let told = admin.notify_holder(request("r", session.id(), guard.claim())).await.unwrap();
    assert_eq!(told.told, [guard.claim()]);
    assert_eq!(hears().await, blocking(Mode::PR));
    assert!(guard.is_valid());
    // Who did not ask to hear of it is not told.
    let deaf = admin.notify_holder(request("quiet", session.id(), 0)).await.unwrap();
    assert_eq!((deaf.told, deaf.deaf), (vec![], vec![quiet.claim()]));
    guard.release().await.unwrap();
    drop(waiting.await.unwrap());
}

#[tokio::test]
async fn who_holds_nothing_there_cannot_be_asked() {
    let brokers = Brokers::start().await;
    let session = brokers.client().session().open().await.unwrap();
    let admin = Client::new([&brokers.admin_address]).unwrap().administration();
    let guard = session.lock("r", Mode::EX).blocking().await.unwrap();
    for (name, claim) in [("other", 0), ("r", guard.claim() + 1)] {
        let refused = admin.notify_holder(request(name, session.id(), claim)).await;
        assert!(matches!(refused, Err(Error::NotFound(_))), "{name}: {refused:?}");
    }
    let refused = admin.notify_holder(proto::NotifyHolderRequest { session: "x".into(), ..request("r", "", 0) }).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
}

#[tokio::test]
async fn another_broker_says_where_the_session_is() {
    let place = Place::new();
    let (first, second) = (Broker::on(&place, "").await, Broker::on(&place, "").await);
    let mut holder = first.session().await;
    holder.lock(v1::Lock { blocking: true, ..try_lock(1, "r", v1::Mode::Ex) }).await;
    let ask = || request("r", holder.opened.session.clone(), 1);
    let wanted = first.server.admin_address.unwrap().to_string();
    until("the brokers know each other", async || {
        let status = second.admin().await.notify_holder(ask()).await.unwrap_err();
        assert_eq!(reason(&status), (Code::FailedPrecondition, v1::Reason::NotHere));
        status.get_details_error_info().unwrap().metadata.get("address") == Some(&wanted)
    })
    .await;
    let told = first.admin().await.notify_holder(ask()).await.unwrap().into_inner();
    assert_eq!(told.told, [1]);
    match holder.event().await {
        Body::Blocking(blocking) => assert_eq!((blocking.claim, blocking.wanted()), (1, v1::Mode::Ex)),
        event => panic!("{event:?}"),
    }
}

#[tokio::test]
async fn a_client_without_a_stream_cannot_hear() {
    let broker = Broker::start().await;
    let mut locks = broker.locks_of_first().await;
    let opened = open(&mut locks).await;
    let lock = v1::Lock { blocking: true, ..try_lock(1, "r", v1::Mode::Ex) };
    locks.lock(v1::LockRequest { token: token(&opened), lock: Some(lock) }).await.unwrap();
    // The first broker, where the session is.
    let mut admin = AdminServiceClient::new(broker.admin_channel().await);
    let status = admin.notify_holder(request("r", opened.session, 0)).await.unwrap_err();
    assert_eq!(reason(&status), (Code::FailedPrecondition, v1::Reason::Busy));
    assert!(status.message().contains("hears nothing"), "{status}");
}
