//! Inspection: what people and programs see.

use sixpin_proto::v1;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use v1::list_claims_request::Whose;
use v1::session_request::Body as Ask;

use crate::support::store::{Place, Reason};
use crate::support::{Broker, convert, reason, resource, resume_request, soon, wait_lock};

#[tokio::test]
async fn a_resource_shows_its_three_queues_in_order() {
    let broker = Broker::start().await;
    let (mut first, mut second) = (broker.session().await, broker.session().await);
    let named = v1::Lock { owner: "o".into(), label: "l".into(), ..wait_lock(1, "r", v1::Mode::Pr) };
    let granted = first.lock(named).await;
    second.lock(wait_lock(1, "r", v1::Mode::Pr)).await;
    let up = v1::Convert { timeout_ms: None, ..convert(1, 2, v1::Mode::Ex) };
    first.ask(Ask::Convert(up)).await;
    second.ask(Ask::Lock(wait_lock(2, "r", v1::Mode::Cr))).await;
    let state = broker.state("r").await;
    let queues: Vec<_> = state.claims.iter().map(|claim| (claim.queue(), claim.granted(), claim.requested())).collect();
    assert_eq!(
        queues,
        [
            (v1::Queue::Granted, v1::Mode::Pr, v1::Mode::Unspecified),
            (v1::Queue::Converting, v1::Mode::Pr, v1::Mode::Ex),
            (v1::Queue::Waiting, v1::Mode::Unspecified, v1::Mode::Cr),
        ]
    );
    let converting = &state.claims[1];
    assert_eq!((converting.owner.as_str(), converting.label.as_str()), ("o", "l"));
    assert_eq!((converting.fence, &converting.session), (granted.fence, &first.opened.session));
    assert_eq!(state.value.unwrap().bytes.unwrap().len(), 32);
    assert_eq!(state.resource.unwrap(), v1::Resource { lockspace: "default".into(), name: "r".into() });
}

#[tokio::test]
async fn listings_are_paged() {
    let broker = Broker::start().await;
    let mut session = broker.session().await;
    for claim in 1..=25 {
        session.lock(wait_lock(claim, &format!("a/{claim:02}"), v1::Mode::Pr)).await;
    }
    session.lock(wait_lock(26, "b", v1::Mode::Ex)).await;
    let mut inspect = broker.inspect().await;
    let (mut names, mut after) = (Vec::new(), String::new());
    loop {
        let request = v1::ListResourcesRequest { prefix: "a/".into(), limit: 10, after, ..Default::default() };
        let page = inspect.list_resources(request).await.unwrap().into_inner();
        assert!(page.resources.len() <= 10);
        names.extend(page.resources.into_iter().map(|summary| summary.resource.unwrap().name));
        after = page.next;
        if after.is_empty() {
            break;
        }
    }
    let expected: Vec<String> = (1..=25).map(|claim| format!("a/{claim:02}")).collect();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn the_claims_of_a_session_and_of_an_owner() {
    let broker = Broker::start().await;
    let mut session = broker.session().await;
    for claim in 1..=7 {
        let owner = if claim % 2 == 0 { "even" } else { "odd" };
        let lock = v1::Lock { owner: owner.into(), ..wait_lock(claim, &format!("r{claim}"), v1::Mode::Pr) };
        session.lock(lock).await;
    }
    let mut inspect = broker.inspect().await;
    let (mut numbers, mut after) = (Vec::new(), String::new());
    loop {
        let whose = Some(Whose::Session(session.opened.session.clone()));
        let request = v1::ListClaimsRequest { whose, limit: 3, after, ..Default::default() };
        let page = inspect.list_claims(request).await.unwrap().into_inner();
        assert!(page.claims.len() <= 3);
        numbers.extend(page.claims.iter().map(|claim| claim.claim));
        after = page.next;
        if after.is_empty() {
            break;
        }
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
    let request = v1::ListClaimsRequest { whose: Some(Whose::Owner("even".into())), ..Default::default() };
    let page = inspect.list_claims(request).await.unwrap().into_inner();
    let names: Vec<_> = page.claims.into_iter().map(|claim| claim.resource.unwrap().name).collect();
    assert_eq!(names, ["r2", "r4", "r6"]);
}

#[tokio::test]
async fn a_watch_tells_each_new_state_once() {
    let broker = Broker::start().await;
    let request = v1::WatchResourceRequest { resource: Some(resource("r")) };
    let mut watch = broker.inspect().await.watch_resource(request).await.unwrap().into_inner();
    let state = soon("the state now", watch.message()).await.unwrap().unwrap().state.unwrap();
    assert_eq!((state.version, state.claims.len()), (0, 0));
    let mut session = broker.session().await;
    session.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    let state = soon("the lock", watch.message()).await.unwrap().unwrap().state.unwrap();
    assert_eq!(state.claims.len(), 1);
    session.unlock(1, 2).await;
    let state = soon("the release", watch.message()).await.unwrap().unwrap().state.unwrap();
    assert_eq!(state.claims.len(), 0);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(1_500), watch.message()).await.is_err());
}

/// A broker keeps the record of a name that is locked again and again. Who looks sees that nobody has a claim.
#[tokio::test]
async fn what_is_kept_without_claims_is_not_shown() {
    let broker = Broker::start().await;
    let mut session = broker.session().await;
    for claim in 1..=20 {
        session.lock(wait_lock(claim, "r", v1::Mode::Ex)).await;
        session.unlock(claim, 2).await;
    }
    let mut inspect = broker.inspect().await;
    let page = inspect.list_resources(v1::ListResourcesRequest::default()).await.unwrap().into_inner();
    assert_eq!((page.resources.len(), page.next.as_str()), (0, ""));
    let request = v1::WatchResourceRequest { resource: Some(resource("r")) };
    let mut watch = inspect.watch_resource(request).await.unwrap().into_inner();
    let state = soon("the state now", watch.message()).await.unwrap().unwrap().state.unwrap();
    assert_eq!((state.version, state.claims.len()), (0, 0));
    // That it is deleted after a while is nothing new.
    assert!(tokio::time::timeout(std::time::Duration::from_secs(3), watch.message()).await.is_err());
    session.lock(wait_lock(21, "r", v1::Mode::Ex)).await;
    let state = soon("the lock", watch.message()).await.unwrap().unwrap().state.unwrap();
    assert_eq!(state.claims.len(), 1);
}

fn is_well(backend: &v1::BackendStatus) -> bool {
    (backend.state(), backend.durability()) == (v1::BackendState::Serving, v1::Durability::Volatile)
}

#[tokio::test]
async fn sessions_brokers_and_status() {
    let settings = "[backends.second]\nurl = \"memory:\"\n[lockspaces.two]\nbackend = \"second\"";
    let broker = Broker::in_memory(Reason::OwnReport, settings).await;
    let mut sessions = vec![broker.session().await, broker.session().await];
    let open = v1::Open { lockspace: "two".into(), label: "third".into(), ..Default::default() };
    sessions.push(crate::support::stream::Session::open(&broker, open).await);
    let mut inspect = broker.inspect().await;
    let (mut names, mut after) = (Vec::new(), String::new());
    loop {
        let request = v1::ListSessionsRequest { limit: 1, after, ..Default::default() };
        let page = inspect.list_sessions(request).await.unwrap().into_inner();
        assert_eq!((page.sessions.len(), page.total), (1, 3));
        assert!(page.sessions[0].connected);
        names.extend(page.sessions.into_iter().map(|session| session.session));
        after = page.next;
        if after.is_empty() {
            break;
        }
    }
    let expected: Vec<String> = sessions.iter().map(|session| session.opened.session.clone()).collect();
    assert_eq!(names, expected);
    let brokers = inspect.list_brokers(v1::ListBrokersRequest {}).await.unwrap().into_inner().brokers;
    assert_eq!(brokers.len(), 2);
    assert!(brokers.iter().all(|entry| entry.own && entry.address == broker.server.address.to_string()));
    let status = inspect.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner().status.unwrap();
    assert_eq!((status.api_level, status.name.as_str()), (1, "test"));
    assert_eq!(status.backends.len(), 2);
    assert!(status.backends.iter().all(is_well));
    assert_eq!(status.backends[1].lockspaces, ["two"]);
}

#[tokio::test]
async fn a_session_lives_in_one_store() {
    let broker =
        Broker::configured("[backends.second]\nurl = \"memory:\"\n[lockspaces.two]\nbackend = \"second\"").await;
    let mut session = broker.session().await;
    let elsewhere = v1::Resource { lockspace: "two".into(), name: "r".into() };
    let lock = v1::Lock { resource: Some(elsewhere), ..wait_lock(1, "r", v1::Mode::Ex) };
    assert_eq!(session.refused(Ask::Lock(lock)).await, v1::Reason::Invalid);
    let beside = v1::Resource { lockspace: "three".into(), name: "r".into() };
    let lock = v1::Lock { resource: Some(beside), ..wait_lock(1, "r", v1::Mode::Ex) };
    assert_eq!(session.lock(lock).await.status(), v1::Status::Granted);
}

#[tokio::test]
async fn the_standard_services_are_there() {
    let broker = Broker::start().await;
    let mut health = HealthClient::new(broker.channel().await);
    for service in ["", "sixpin.v1.LockService"] {
        let request = HealthCheckRequest { service: service.into() };
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
    reflects(&broker).await;
    reflects_as_before(&broker).await;
}

async fn reflects(broker: &Broker) {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_response::MessageResponse};
    let mut reflection = ServerReflectionClient::new(broker.channel().await);
    let symbol = MessageRequest::FileContainingSymbol("sixpin.v1.LockService".into());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(symbol) };
    let mut answers = reflection.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{answer:?}");
}

/// Many programs know only the version of the service before its first.
async fn reflects_as_before(broker: &Broker) {
    use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1alpha::{ServerReflectionRequest, server_reflection_response::MessageResponse};
    let mut reflection = ServerReflectionClient::new(broker.channel().await);
    let symbol = MessageRequest::FileContainingSymbol("sixpin.v1.LockService".into());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(symbol) };
    let mut answers = reflection.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{answer:?}");
}

#[tokio::test]
async fn a_listing_goes_on_only_from_where_one_ended() {
    let broker = Broker::start().await;
    let mut inspect = broker.inspect().await;
    let after = || "nowhere".to_owned();
    let resources = v1::ListResourcesRequest { after: after(), ..Default::default() };
    let owner = v1::ListClaimsRequest { whose: Some(Whose::Owner("o".into())), after: after(), ..Default::default() };
    let refusals = [
        inspect.list_resources(resources).await.map(|_| ()),
        inspect.list_claims(owner).await.map(|_| ()),
        inspect.list_sessions(v1::ListSessionsRequest { after: after(), ..Default::default() }).await.map(|_| ()),
    ];
    for refusal in refusals {
        let status = refusal.unwrap_err();
        assert_eq!(reason(&status), (tonic::Code::InvalidArgument, v1::Reason::Invalid));
        assert!(status.message().contains("`after`"), "{status:?}");
    }
}

async fn named(broker: &Broker, sessions: Vec<String>) -> Vec<v1::SessionInfo> {
    let request = v1::ListSessionsRequest { sessions, ..Default::default() };
    broker.inspect().await.list_sessions(request).await.unwrap().into_inner().sessions
}

/// The label stands on every claim that has none, so that whoever looks at a resource, at whatever broker, sees whose it
/// is; where the client is, only its broker knows.
#[tokio::test]
async fn a_session_shows_who_its_client_is_and_where() {
    let place = Place::new();
    let (first, second) = (Broker::on(&place, "").await, Broker::on(&place, "").await);
    for broker in [&first, &second] {
        broker.use_sockets();
    }
    let label = "alice@web1:1";
    let open = v1::Open { label: label.into(), ..Default::default() };
    let mut session = crate::support::stream::Session::open(&first, open).await;
    let id = session.opened.session.clone();
    session.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    let other_label = v1::Lock { label: "backup".into(), ..wait_lock(2, "s", v1::Mode::Ex) };
    session.lock(other_label).await;
    assert_eq!(second.state("r").await.claims[0].label, label);
    assert_eq!(second.state("s").await.claims[0].label, "backup");

    let stranger = "00000000000000ab-1-10000".to_owned();
    let found = named(&first, vec![stranger, id.clone()]).await;
    assert_eq!((found.len(), found[0].session.as_str(), found[0].label.as_str()), (1, id.as_str(), label));
    assert!(found[0].client_address.starts_with("127.0.0.1:"), "{found:?}");
    assert_eq!((found[0].held, found[0].waiting), (2, 0));
    assert_eq!(named(&second, vec![id.clone()]).await, []);

    // Wherever it goes, it is known under the same name.
    let live = v1::LiveClaim { claim: 1, resource: Some(resource("r")), last_operation: 1, ..Default::default() };
    let resume = resume_request(&session.opened, 1, vec![live]);
    let resume = v1::Resume { label: label.into(), next_claim: 3, ..resume };
    let mut stream = crate::support::stream::Session::silent(&second).await;
    assert!(matches!(stream.ask(Ask::Resume(resume)).await, v1::session_response::Body::Resumed(_)));
    let found = named(&second, vec![id]).await;
    assert_eq!((found.len(), found[0].label.as_str(), found[0].move_number), (1, label, 1));
    assert!(found[0].client_address.starts_with("127.0.0.1:"), "{found:?}");
}

#[tokio::test]
async fn a_listing_of_named_sessions_has_a_limit() {
    let broker = Broker::start().await;
    let many = vec!["00000000000000ab-1-10000".to_owned(); 1_001];
    for sessions in [many, vec!["none".to_owned()]] {
        let request = v1::ListSessionsRequest { sessions, ..Default::default() };
        let status = broker.inspect().await.list_sessions(request).await.unwrap_err();
        assert_eq!(reason(&status), (tonic::Code::InvalidArgument, v1::Reason::Invalid));
    }
}

#[tokio::test]
async fn a_listing_shows_how_long_locks_are_held_and_waited_for() {
    let broker = Broker::start().await;
    let (mut first, mut second) = (broker.session().await, broker.session().await);
    first.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    second.ask(Ask::Lock(wait_lock(1, "r", v1::Mode::Ex))).await;
    first.lock(wait_lock(2, "free of waiters", v1::Mode::Ex)).await;
    let request = v1::ListResourcesRequest::default();
    let list = broker.inspect().await.list_resources(request).await.unwrap().into_inner().resources;
    let of = |name: &str| list.iter().find(|summary| summary.resource.as_ref().unwrap().name == name).unwrap();
    assert!(of("r").held_ms >= 50 && of("r").held_ms > of("r").waiting_ms, "{list:?}");
    assert_eq!((of("free of waiters").waiting, of("free of waiters").waiting_ms), (0, 0));
}
