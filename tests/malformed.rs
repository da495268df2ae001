//! Everything that a client can get wrong: it gets the documented error, and nothing changes. What is no message at all is
//! in `malformed_bytes`.

use prost::Message as _;
use sixpin_proto::v1;
use tonic::{Code, Status};
use v1::session_request::Body as Ask;

use crate::support::stream::Session;
use crate::support::{
    Broker, convert, credential, live_claim, raw, reason, resource, resume_request, try_lock, unlock, wait_lock,
};

/// A broker, and a holder whose lock nothing below may change.
pub struct Scene {
    pub broker: Broker,
    holder: Session,
    claims: Vec<v1::ClaimInfo>,
}

/// The claims on `r`, as far as time does not change them. Not its version: a store that cannot compare without writing
/// writes the same once more.
async fn claims(broker: &Broker) -> Vec<v1::ClaimInfo> {
    let claims = broker.state("r").await.claims.into_iter();
    claims.map(|claim| v1::ClaimInfo { age_ms: 0, ..claim }).collect()
}

impl Scene {
    pub async fn new() -> Self {
        let broker = Broker::start().await;
        // Nobody keeps it alive, and some tests take longer than the usual TTL.
        let open = v1::Open { ttl_ms: Some(60_000), ..Default::default() };
        let mut holder = Session::open(&broker, open).await;
        holder.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
        let claims = claims(&broker).await;
        Self { broker, holder, claims }
    }

    pub async fn check_unchanged(&self) {
        assert_eq!(claims(&self.broker).await, self.claims);
        let list = v1::ListResourcesRequest::default();
        let resources = self.broker.inspect().await.list_resources(list).await.unwrap().into_inner().resources;
        assert_eq!(resources.len(), 1, "{resources:?}");
    }
}

/// That it was refused as documented.
pub fn check(what: &str, status: &Status, code: Code, expected: v1::Reason) {
    assert_eq!(reason(status), (code, expected), "{what}: {status}");
    assert!(!status.message().is_empty(), "{what}");
}

/// Locks that make no sense, each by one field.
fn wrong_locks() -> Vec<(&'static str, v1::Lock)> {
    let lock = |change: fn(&mut v1::Lock)| {
        let mut lock = try_lock(9, "new", v1::Mode::Ex);
        change(&mut lock);
        lock
    };
    let name = |name: String| v1::Lock { resource: Some(resource(&name)), ..try_lock(9, "", v1::Mode::Ex) };
    vec![
        ("claim 0", lock(|lock| lock.claim = 0)),
        ("operation 0", lock(|lock| lock.operation = 0)),
        ("no resource", lock(|lock| lock.resource = None)),
        ("no name", name(String::new())),
        ("a long name", name("x".repeat(1_025))),
        ("a control character", name("a\u{0}b".into())),
        ("a wrong lockspace", lock(|lock| lock.resource.as_mut().unwrap().lockspace = "No".into())),
        ("a long lockspace", lock(|lock| lock.resource.as_mut().unwrap().lockspace = "a".repeat(65))),
        ("no mode", lock(|lock| lock.mode = 0)),
        ("an unknown mode", lock(|lock| lock.mode = 7)),
        ("a negative mode", lock(|lock| lock.mode = -1)),
        ("a long wait", lock(|lock| lock.timeout_ms = Some(30 * 24 * 3_600_000 + 1))),
        ("a long owner", lock(|lock| lock.owner = "x".repeat(65))),
        ("a long label", lock(|lock| lock.label = "ä".repeat(33))),
        ("a newline in a label", lock(|lock| lock.label = "a\nb".into())),
        ("no_deadlock_wait", lock(|lock| lock.no_deadlock_wait = true)),
        ("no_deadlock_block", lock(|lock| lock.no_deadlock_block = true)),
        ("deadlock_priority", lock(|lock| lock.deadlock_priority = 1)),
        ("queue_conversion", lock(|lock| lock.queue_conversion = true)),
        ("conversion_deadlock", lock(|lock| lock.conversion_deadlock = v1::ConversionDeadlock::Error.into())),
        ("an unknown conversion_deadlock", lock(|lock| lock.conversion_deadlock = 4)),
        ("expedite of EX", lock(|lock| lock.expedite = true)),
    ]
}

/// Conversions of the holder's claim that make no sense.
fn wrong_conversions() -> Vec<(&'static str, v1::Convert)> {
    let from = || convert(1, 2, v1::Mode::Pr);
    vec![
        ("claim 0", v1::Convert { claim: 0, ..from() }),
        ("operation 0", v1::Convert { operation: 0, ..from() }),
        ("no mode", v1::Convert { mode: 0, ..from() }),
        ("an unknown mode", v1::Convert { mode: 99, ..from() }),
        ("a long wait", v1::Convert { timeout_ms: Some(u64::MAX), ..from() }),
        ("a wrong resource", v1::Convert { resource: Some(resource("")), ..from() }),
        ("expedite", v1::Convert { expedite: true, ..from() }),
        ("a long value", v1::Convert { value: vec![1; 1_025].into(), value_block: true, ..from() }),
        ("a value beyond the lockspace's", v1::Convert { value: vec![1; 33].into(), value_block: true, ..from() }),
        ("a write without bytes", v1::Convert { value_block: true, ..from() }),
        ("an unknown conversion_deadlock", v1::Convert { conversion_deadlock: -3, ..from() }),
        ("queue_conversion going down", v1::Convert { queue_conversion: true, ..from() }),
    ]
}

#[tokio::test]
async fn wrong_requests_on_a_stream_are_answered_and_the_stream_goes_on() {
    let mut scene = Scene::new().await;
    let holder = &mut scene.holder;
    for (what, lock) in wrong_locks() {
        assert_eq!(holder.refused(Ask::Lock(lock)).await, v1::Reason::Invalid, "{what}");
    }
    for (what, convert) in wrong_conversions() {
        assert_eq!(holder.refused(Ask::Convert(convert)).await, v1::Reason::Invalid, "{what}");
    }
    let long = v1::Unlock { value_block: true, value: vec![1; 33].into(), ..unlock(1, 2) };
    assert_eq!(holder.refused(Ask::Unlock(long)).await, v1::Reason::Invalid);
    assert_eq!(holder.refused(Ask::Unlock(unlock(0, 2))).await, v1::Reason::Invalid);
    assert_eq!(holder.refused(Ask::Unlock(unlock(1, 0))).await, v1::Reason::Invalid);
    assert_eq!(holder.refused(Ask::Cancel(v1::Cancel::default())).await, v1::Reason::Invalid);
    let owner = v1::UnlockAll { owner: Some("x".repeat(65)) };
    assert_eq!(holder.refused(Ask::UnlockAll(owner)).await, v1::Reason::Invalid);
    assert_eq!(holder.refused(Ask::ConfirmLost(v1::ConfirmLost { claims: vec![0] })).await, v1::Reason::Invalid);
    assert_eq!(holder.refused(Ask::Convert(convert(5, 1, v1::Mode::Pr))).await, v1::Reason::NotFound);
    let elsewhere = v1::Lock { operation: 2, ..try_lock(1, "other", v1::Mode::Ex) };
    assert_eq!(holder.refused(Ask::Lock(elsewhere)).await, v1::Reason::Invalid);
    scene.check_unchanged().await;
    assert_eq!(scene.holder.unlock(1, 2).await.status(), v1::Status::Released);
}

#[tokio::test]
async fn wrong_requests_as_calls() {
    let scene = Scene::new().await;
    let mut locks = scene.broker.locks_of_first().await;
    let opened = v1::Opened { ..scene.holder.opened.clone() };
    let me = || Some(credential(&opened));
    for (what, lock) in wrong_locks() {
        let status = locks.lock(v1::LockRequest { credential: me(), lock: Some(lock) }).await.expect_err(what);
        check(what, &status, Code::InvalidArgument, v1::Reason::Invalid);
    }
    for (what, convert) in wrong_conversions() {
        let call = v1::ConvertRequest { credential: me(), convert: Some(convert) };
        check(what, &locks.convert(call).await.expect_err(what), Code::InvalidArgument, v1::Reason::Invalid);
    }
    let status = locks.lock(v1::LockRequest { credential: me(), lock: None }).await.unwrap_err();
    check("no lock", &status, Code::InvalidArgument, v1::Reason::Invalid);
    let call = v1::ConvertRequest { credential: me(), convert: Some(convert(5, 1, v1::Mode::Pr)) };
    check("no claim", &locks.convert(call).await.unwrap_err(), Code::NotFound, v1::Reason::NotFound);
    scene.check_unchanged().await;
}

#[tokio::test]
async fn wrong_sessions() {
    let scene = Scene::new().await;
    let mut locks = scene.broker.locks().await;
    let good = credential(&scene.holder.opened);
    for session in ["", "x", "00-1-1", "0123456789abcdef-1", "0123456789abcdef-01-10000", "0123456789ABCDEF-1-10000"] {
        let call = v1::KeepAliveRequest {
            credential: Some(v1::Credential { session: session.into(), ..good.clone() }),
            move_number: 0,
        };
        check(session, &locks.keep_alive(call).await.unwrap_err(), Code::InvalidArgument, v1::Reason::Invalid);
    }
    for secret in [vec![], vec![0; 15], vec![0; 17], vec![0; 60_000]] {
        let what = format!("a secret of {} bytes", secret.len());
        let credential = Some(v1::Credential { secret: secret.into(), ..good.clone() });
        let status = locks.close_session(v1::CloseSessionRequest { credential }).await.unwrap_err();
        check(&what, &status, Code::InvalidArgument, v1::Reason::Invalid);
    }
    for ttl_ms in [0, 999, 3_600_001, u32::MAX] {
        let status = locks.open_session(v1::Open { ttl_ms: Some(ttl_ms), ..Default::default() }).await.unwrap_err();
        check(&format!("TTL {ttl_ms}"), &status, Code::InvalidArgument, v1::Reason::Invalid);
    }
    let bound = v1::Open { connection_bound: true, ..Default::default() };
    check("bound", &locks.open_session(bound).await.unwrap_err(), Code::InvalidArgument, v1::Reason::Invalid);
    let label = v1::Open { label: "x".repeat(65), ..Default::default() };
    check("label", &locks.open_session(label).await.unwrap_err(), Code::InvalidArgument, v1::Reason::Invalid);
    scene.check_unchanged().await;
}

#[tokio::test]
async fn another_sessions_claim_is_out_of_reach() {
    let scene = Scene::new().await;
    let mut thief = scene.broker.session().await;
    // The same number is another claim: there is no way to name the holder's.
    assert_eq!(thief.refused(Ask::Convert(convert(1, 2, v1::Mode::Nl))).await, v1::Reason::NotFound);
    assert_eq!(thief.refused(Ask::Unlock(unlock(1, 2))).await, v1::Reason::NotFound);
    match thief.ask(Ask::Cancel(v1::Cancel { claim: 1, operation: 0 })).await {
        v1::session_response::Body::Cancelled(cancelled) => assert_eq!(cancelled.result(), v1::CancelResult::Gone),
        other => panic!("{other:?}"),
    }
    // Claims of others are not confirmed as lost either, nor released with one's own.
    assert_eq!(thief.ask_plain(Ask::ConfirmLost(v1::ConfirmLost { claims: vec![1] })).await, None);
    match thief.ask(Ask::UnlockAll(v1::UnlockAll::default())).await {
        v1::session_response::Body::UnlockedAll(all) => assert_eq!(all.released, 0),
        other => panic!("{other:?}"),
    }
    let stolen = v1::Credential { secret: thief.opened.secret.clone(), ..credential(&scene.holder.opened) };
    for (what, status) in every_call_as(&scene.broker, stolen).await {
        check(what, &status, Code::PermissionDenied, v1::Reason::WrongSecret);
    }
    scene.check_unchanged().await;
}

/// How each call that names a session ends, with a request that makes sense but for the credential.
async fn every_call_as(broker: &Broker, credential: v1::Credential) -> Vec<(&'static str, Status)> {
    let mut locks = broker.locks().await;
    let me = || Some(credential.clone());
    let keep_alive = v1::KeepAliveRequest { credential: me(), move_number: 0 };
    let close = v1::CloseSessionRequest { credential: me() };
    let lock = v1::LockRequest { credential: me(), lock: Some(try_lock(2, "s", v1::Mode::Ex)) };
    let to_null = v1::ConvertRequest { credential: me(), convert: Some(convert(1, 2, v1::Mode::Nl)) };
    let release = v1::UnlockRequest { credential: me(), unlock: Some(unlock(1, 2)) };
    let all = v1::UnlockAllRequest { credential: me(), unlock_all: Some(v1::UnlockAll::default()) };
    let cancel = v1::CancelRequest { credential: me(), cancel: Some(v1::Cancel { claim: 1, operation: 0 }) };
    let resume = v1::Resume {
        session: credential.session.clone(),
        secret: credential.secret.clone(),
        move_number: 1,
        next_claim: 2,
        ..Default::default()
    };
    vec![
        ("KeepAlive", locks.keep_alive(keep_alive).await.unwrap_err()),
        ("CloseSession", locks.close_session(close).await.unwrap_err()),
        ("Lock", locks.lock(lock).await.unwrap_err()),
        ("Convert", locks.convert(to_null).await.unwrap_err()),
        ("Unlock", locks.unlock(release).await.unwrap_err()),
        ("UnlockAll", locks.unlock_all(all).await.unwrap_err()),
        ("Cancel", locks.cancel(cancel).await.unwrap_err()),
        ("ResumeSession", locks.resume_session(resume).await.unwrap_err()),
    ]
}

#[tokio::test]
async fn a_move_that_makes_no_sense() {
    let scene = Scene::new().await;
    let good = resume_request(&scene.holder.opened, 1, Vec::new());
    let live = |claim| live_claim(claim, "r");
    let cases = [
        ("no move number", v1::Resume { move_number: 0, ..good.clone() }),
        ("no next claim", v1::Resume { next_claim: 0, ..good.clone() }),
        ("claim 0", v1::Resume { claims: vec![live(0)], ..good.clone() }),
        ("no session", v1::Resume { session: String::new(), ..good.clone() }),
        ("no secret", v1::Resume { secret: vec![].into(), ..good.clone() }),
        ("too many void", v1::Resume { void_claims: (1..=257).collect(), ..good.clone() }),
        ("void 0", v1::Resume { void_claims: vec![0], ..good.clone() }),
    ];
    let parts = v1::Resume { more: true, ..good.clone() };
    let status = scene.broker.locks().await.resume_session(parts).await.unwrap_err();
    check("parts in a call", &status, Code::InvalidArgument, v1::Reason::Invalid);
    let mut locks = scene.broker.locks().await;
    for (what, resume) in cases {
        let status = locks.resume_session(resume.clone()).await.expect_err(what);
        check(what, &status, Code::InvalidArgument, v1::Reason::Invalid);
        let mut stream = Session::silent(&scene.broker).await;
        assert_eq!(stream.refused(Ask::Resume(resume)).await, v1::Reason::Invalid, "{what}");
    }
    let wrong = v1::Resume { secret: vec![7; 16].into(), ..good.clone() };
    check("secret", &locks.resume_session(wrong).await.unwrap_err(), Code::PermissionDenied, v1::Reason::WrongSecret);
    scene.check_unchanged().await;
}

#[tokio::test]
async fn the_order_of_a_stream() {
    let scene = Scene::new().await;
    // After an open that was refused the stream goes on, and may open again.
    let mut stream = Session::silent(&scene.broker).await;
    let wrong = v1::Open { ttl_ms: Some(1), ..Default::default() };
    assert_eq!(stream.refused(Ask::Open(wrong)).await, v1::Reason::Invalid);
    assert_eq!(stream.refused(Ask::Lock(try_lock(1, "r", v1::Mode::Ex))).await, v1::Reason::NotFound);
    assert!(matches!(stream.ask(Ask::Open(v1::Open::default())).await, v1::session_response::Body::Opened(_)));
    // Numbers rise.
    stream.send_raw(v1::SessionRequest { request: 2, body: Some(Ask::Close(v1::Close {})) }).await;
    match stream.message().await.unwrap().unwrap().body {
        Some(v1::session_response::Body::Error(error)) => assert_eq!(error.reason(), v1::Reason::Invalid),
        other => panic!("{other:?}"),
    }
    // A message without content is answered.
    stream.send_raw(v1::SessionRequest { request: 100, body: None }).await;
    match stream.message().await.unwrap().unwrap().body {
        Some(v1::session_response::Body::Error(error)) => assert_eq!(error.reason(), v1::Reason::Invalid),
        other => panic!("{other:?}"),
    }
    scene.check_unchanged().await;
}

#[tokio::test]
async fn inspection_and_administration_check_what_they_are_asked() {
    let scene = Scene::new().await;
    let mut inspect = scene.broker.inspect().await;
    let list =
        |limit, lockspace: &str| v1::ListResourcesRequest { limit, lockspace: lockspace.into(), ..Default::default() };
    for request in [list(1_001, ""), list(1, "NO")] {
        let status = inspect.list_resources(request).await.unwrap_err();
        check("list", &status, Code::InvalidArgument, v1::Reason::Invalid);
    }
    let both = v1::ListClaimsRequest { session: "x".into(), owner: "y".into(), ..Default::default() };
    let wrong = v1::ListClaimsRequest { session: "x".into(), ..Default::default() };
    for request in [both, wrong, v1::ListClaimsRequest::default()] {
        let status = inspect.list_claims(request).await.unwrap_err();
        check("claims", &status, Code::InvalidArgument, v1::Reason::Invalid);
    }
    let after = v1::ListSessionsRequest { after: "?".into(), ..Default::default() };
    let status = inspect.list_sessions(after).await.unwrap_err();
    check("sessions", &status, Code::InvalidArgument, v1::Reason::Invalid);
    let mut admin = scene.broker.admin().await;
    let purge =
        v1::PurgeOrphansRequest { resource: Some(resource("r")), owner: "o".into(), all: true, ..Default::default() };
    let status = admin.purge_orphans(purge).await.unwrap_err();
    check("purge", &status, Code::InvalidArgument, v1::Reason::Invalid);
    let drain = v1::DrainBrokerRequest { timeout_ms: Some(u64::MAX) };
    let status = admin.drain_broker(drain).await.unwrap_err();
    check("drain", &status, Code::InvalidArgument, v1::Reason::Invalid);
    scene.check_unchanged().await;
}

#[tokio::test]
async fn administration_is_not_on_the_clients_address() {
    let scene = Scene::new().await;
    let channel = scene.broker.channel().await;
    for method in ["ForceUnlock", "ExpireSession", "PurgeOrphans", "RemoveDamaged", "DrainBroker"] {
        let path = format!("/sixpin.v1.AdminService/{method}");
        let status = raw::call(&channel, &path, Vec::new()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
    }
    let admin = crate::support::connect(scene.broker.server.admin_address.unwrap()).await;
    let call = v1::Open::default().encode_to_vec();
    let status = raw::call(&admin, "/sixpin.v1.LockService/OpenSession", call).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}
