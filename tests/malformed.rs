//! Everything that a client can get wrong: it gets the documented error, and nothing changes. What is no message at all is
//! in `malformed_bytes`.

use prost::Message as _;
use sixpin_proto::v1;
use tonic::{Code, Status};
use v1::list_claims_request::Whose;
use v1::purge_orphans_request::Which;
use v1::session_request::Body as Ask;

use crate::support::stream::Session;
use crate::support::{
    Broker, convert, live_claim, open_request, raw, reason, resource, resume_call, resume_request, token, try_lock,
    unlock, wait_lock, wrong_token,
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
        ("nothing", lock(|lock| lock.what = None)),
        ("no mode", lock(|lock| lock.what = Some(v1::Mode::Unspecified.into()))),
        ("an unknown mode", lock(|lock| lock.what = Some(v1::lock::What::Mode(7)))),
        ("a negative mode", lock(|lock| lock.what = Some(v1::lock::What::Mode(-1)))),
        ("a long wait", lock(|lock| lock.timeout_ms = Some(30 * 24 * 3_600_000 + 1))),
        ("a long owner", lock(|lock| lock.owner = "x".repeat(65))),
        ("a long label", lock(|lock| lock.label = "ä".repeat(33))),
        ("a newline in a label", lock(|lock| lock.label = "a\nb".into())),
        ("expedite of EX", lock(|lock| lock.expedite = true)),
    ]
}

/// Conversions of the holder's claim that make no sense.
fn wrong_conversions() -> Vec<(&'static str, v1::Convert)> {
    let from = || convert(1, 2, v1::Mode::Pr);
    vec![
        ("claim 0", v1::Convert { claim: 0, ..from() }),
        ("operation 0", v1::Convert { operation: 0, ..from() }),
        ("nothing", v1::Convert { what: None, ..from() }),
        ("no mode", v1::Convert { what: Some(v1::Mode::Unspecified.into()), ..from() }),
        ("an unknown mode", v1::Convert { what: Some(v1::convert::What::Mode(99)), ..from() }),
        ("a long wait", v1::Convert { timeout_ms: Some(u64::MAX), ..from() }),
        ("a wrong resource", v1::Convert { resource: Some(resource("")), ..from() }),
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
    let me = || token(&opened);
    for (what, lock) in wrong_locks() {
        let status = locks.lock(v1::LockRequest { token: me(), lock: Some(lock) }).await.expect_err(what);
        check(what, &status, Code::InvalidArgument, v1::Reason::Invalid);
    }
    for (what, convert) in wrong_conversions() {
        let call = v1::ConvertRequest { token: me(), convert: Some(convert) };
        check(what, &locks.convert(call).await.expect_err(what), Code::InvalidArgument, v1::Reason::Invalid);
    }
    let status = locks.lock(v1::LockRequest { token: me(), lock: None }).await.unwrap_err();
    check("no lock", &status, Code::InvalidArgument, v1::Reason::Invalid);
    let call = v1::ConvertRequest { token: me(), convert: Some(convert(5, 1, v1::Mode::Pr)) };
    check("no claim", &locks.convert(call).await.unwrap_err(), Code::NotFound, v1::Reason::NotFound);
    scene.check_unchanged().await;
}

#[tokio::test]
async fn wrong_sessions() {
    let scene = Scene::new().await;
    let mut locks = scene.broker.locks().await;
    let good = token(&scene.holder.opened);
    let parts: Vec<&str> = good.split('~').collect();
    let with = |part: usize, text: &str| {
        let mut parts = parts.clone();
        parts[part] = text;
        parts.join("~")
    };
    let ids = ["", "x", "00-1-1", "0123456789abcdef-1", "0123456789abcdef-01-10000", "0123456789ABCDEF-1-10000"];
    let mut wrong: Vec<String> = ids.into_iter().map(|id| with(2, id)).collect();
    wrong.extend([with(0, "sxs9"), with(1, "No"), with(3, ""), with(3, &"0".repeat(31)), with(3, &"0".repeat(60_000))]);
    wrong.extend([String::new(), "~~~".into(), format!("{good}~"), good.to_uppercase()]);
    for token in wrong {
        let what = format!("token {token:.60}");
        let call = v1::KeepAliveRequest { token: token.clone(), move_number: 0 };
        check(&what, &locks.keep_alive(call).await.unwrap_err(), Code::InvalidArgument, v1::Reason::Invalid);
        let call = v1::CloseSessionRequest { token };
        check(&what, &locks.close_session(call).await.unwrap_err(), Code::InvalidArgument, v1::Reason::Invalid);
    }
    for ttl_ms in [0, 999, 3_600_001, u32::MAX] {
        let status = locks
            .open_session(open_request(v1::Open { ttl_ms: Some(ttl_ms), ..Default::default() }))
            .await
            .unwrap_err();
        check(&format!("TTL {ttl_ms}"), &status, Code::InvalidArgument, v1::Reason::Invalid);
    }
    let bound = v1::Open { connection_bound: true, ..Default::default() };
    check(
        "bound",
        &locks.open_session(open_request(bound)).await.unwrap_err(),
        Code::InvalidArgument,
        v1::Reason::Invalid,
    );
    let label = v1::Open { label: "x".repeat(65), ..Default::default() };
    check(
        "label",
        &locks.open_session(open_request(label)).await.unwrap_err(),
        Code::InvalidArgument,
        v1::Reason::Invalid,
    );
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
    // The holder's session with the thief's secret.
    let (holder, own) = (token(&scene.holder.opened), token(&thief.opened));
    let stolen = format!("{}~{}", holder.rsplit_once('~').unwrap().0, own.rsplit_once('~').unwrap().1);
    for (what, status) in every_call_as(&scene.broker, stolen).await {
        check(what, &status, Code::PermissionDenied, v1::Reason::WrongToken);
    }
    scene.check_unchanged().await;
}

/// How each call that names a session ends, with a request that makes sense but for the token.
async fn every_call_as(broker: &Broker, token: String) -> Vec<(&'static str, Status)> {
    let mut locks = broker.locks().await;
    let me = || token.clone();
    let keep_alive = v1::KeepAliveRequest { token: me(), move_number: 0 };
    let close = v1::CloseSessionRequest { token: me() };
    let lock = v1::LockRequest { token: me(), lock: Some(try_lock(2, "s", v1::Mode::Ex)) };
    let to_null = v1::ConvertRequest { token: me(), convert: Some(convert(1, 2, v1::Mode::Nl)) };
    let release = v1::UnlockRequest { token: me(), unlock: Some(unlock(1, 2)) };
    let all = v1::UnlockAllRequest { token: me(), unlock_all: Some(v1::UnlockAll::default()) };
    let cancel = v1::CancelRequest { token: me(), cancel: Some(v1::Cancel { claim: 1, operation: 0 }) };
    let resume = v1::Resume { token: me(), move_number: 1, next_claim: 2, ..Default::default() };
    vec![
        ("KeepAlive", locks.keep_alive(keep_alive).await.unwrap_err()),
        ("CloseSession", locks.close_session(close).await.unwrap_err()),
        ("Lock", locks.lock(lock).await.unwrap_err()),
        ("Convert", locks.convert(to_null).await.unwrap_err()),
        ("Unlock", locks.unlock(release).await.unwrap_err()),
        ("UnlockAll", locks.unlock_all(all).await.unwrap_err()),
        ("Cancel", locks.cancel(cancel).await.unwrap_err()),
        ("ResumeSession", locks.resume_session(resume_call(resume)).await.unwrap_err()),
    ]
}

/// Nobody may take a request for permits for one to lock, so that a client may ask brokers that are older than it.
#[tokio::test]
async fn what_a_later_broker_would_have_is_refused_as_such() {
    let scene = Scene::new().await;
    let mut session = scene.broker.session().await;
    let (permits, limit) = (v1::Permits { count: 1, limit: None }, v1::Permits { count: 2, limit: Some(3) });
    for what in [v1::lock::What::Permits(permits), v1::lock::What::Arrival(v1::Arrival { parties: 2 })] {
        let lock = v1::Lock { what: Some(what), ..try_lock(1, "new", v1::Mode::Ex) };
        assert_eq!(session.refused(Ask::Lock(lock.clone())).await, v1::Reason::Unsupported);
        let call = v1::LockRequest { token: token(&session.opened), lock: Some(lock) };
        let status = scene.broker.locks().await.lock(call).await.unwrap_err();
        check("a call", &status, Code::Unimplemented, v1::Reason::Unsupported);
    }
    let more = v1::Convert { what: Some(v1::convert::What::Permits(limit)), ..convert(1, 2, v1::Mode::Pr) };
    assert_eq!(session.refused(Ask::Convert(more)).await, v1::Reason::Unsupported);
    scene.check_unchanged().await;
}

#[tokio::test]
async fn a_move_that_makes_no_sense() {
    let scene = Scene::new().await;
    let good = resume_request(&scene.holder.opened, 1, Vec::new());
    let live = |claim| live_claim(claim, "r");
    let held = |held| v1::LiveClaim { held: Some(held), ..live(1) };
    let cases = [
        ("no move number", v1::Resume { move_number: 0, ..good.clone() }),
        ("no next claim", v1::Resume { next_claim: 0, ..good.clone() }),
        ("claim 0", v1::Resume { claims: vec![live(0)], ..good.clone() }),
        ("no token", v1::Resume { token: String::new(), ..good.clone() }),
        ("no such token", v1::Resume { token: format!("{}0", good.token), ..good.clone() }),
        ("no mode held", v1::Resume { claims: vec![held(v1::live_claim::Held::Mode(9))], ..good.clone() }),
        ("too many void", v1::Resume { void_claims: (1..=257).collect(), ..good.clone() }),
        ("void 0", v1::Resume { void_claims: vec![0], ..good.clone() }),
    ];
    let parts = v1::Resume { more: true, ..good.clone() };
    let status = scene.broker.locks().await.resume_session(resume_call(parts)).await.unwrap_err();
    check("parts in a call", &status, Code::InvalidArgument, v1::Reason::Invalid);
    let mut locks = scene.broker.locks().await;
    for (what, resume) in cases {
        let status = locks.resume_session(resume_call(resume.clone())).await.expect_err(what);
        check(what, &status, Code::InvalidArgument, v1::Reason::Invalid);
        let mut stream = Session::silent(&scene.broker).await;
        assert_eq!(stream.refused(Ask::Resume(resume)).await, v1::Reason::Invalid, "{what}");
    }
    let wrong = v1::Resume { token: wrong_token(&scene.holder.opened), ..good.clone() };
    check(
        "token",
        &locks.resume_session(resume_call(wrong)).await.unwrap_err(),
        Code::PermissionDenied,
        v1::Reason::WrongToken,
    );
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
    let of = |whose| v1::ListClaimsRequest { whose: Some(whose), ..Default::default() };
    let (nobody, wrong) = (of(Whose::Owner(String::new())), of(Whose::Session("x".into())));
    for request in [nobody, wrong, v1::ListClaimsRequest::default()] {
        let status = inspect.list_claims(request).await.unwrap_err();
        check("claims", &status, Code::InvalidArgument, v1::Reason::Invalid);
    }
    let after = v1::ListSessionsRequest { after: "?".into(), ..Default::default() };
    let status = inspect.list_sessions(after).await.unwrap_err();
    check("sessions", &status, Code::InvalidArgument, v1::Reason::Invalid);
    let mut admin = scene.broker.admin().await;
    let purge = |which| v1::PurgeOrphansRequest { resource: Some(resource("r")), which };
    for which in [None, Some(Which::All(false)), Some(Which::Owner(String::new())), Some(Which::Session("x".into()))] {
        let status = admin.purge_orphans(purge(which)).await.unwrap_err();
        check("purge", &status, Code::InvalidArgument, v1::Reason::Invalid);
    }
    let drain = v1::DrainBrokerRequest { timeout_ms: Some(u64::MAX) };
    let status = admin.drain_broker(drain).await.unwrap_err();
    check("drain", &status, Code::InvalidArgument, v1::Reason::Invalid);
    scene.check_unchanged().await;
}

#[tokio::test]
async fn administration_is_not_on_the_clients_address() {
    let scene = Scene::new().await;
    scene.broker.use_sockets();
    let channel = scene.broker.channel().await;
    for method in ["ForceUnlock", "NotifyHolder", "ExpireSession", "PurgeOrphans", "RemoveDamaged", "DrainBroker"] {
        let path = format!("/sixpin.v1.AdminService/{method}");
        let status = raw::call(&channel, &path, Vec::new()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
    }
    let admin = scene.broker.admin_channel().await;
    let call = v1::OpenSessionRequest::default().encode_to_vec();
    let status = raw::call(&admin, "/sixpin.v1.LockService/OpenSession", call).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}
