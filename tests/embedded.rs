//! Brokers inside programs: what `Client::embedded` promises.

use std::time::Duration;

use sixpin_client::{Client, EmbeddedBuilder, Error, Mode, proto};

use crate::client_world::SOON;
use crate::support::store::{self, Kind, Place};
use crate::support::{Broker, until};

/// A store that programs can share: that of the run, or Redis where memory is one program's own.
fn place() -> Place {
    match store::kind() {
        Kind::Memory => Place::of(Kind::Redis),
        kind => Place::of(kind),
    }
}

/// A program with its broker, on this store.
fn program(place: &Place) -> EmbeddedBuilder {
    let Place::Server { url, .. } = place else { panic!("a program shares no memory") };
    Client::embedded(url).settings(settings(place)).new_store()
}

/// What keeps tests on one server apart.
fn settings(place: &Place) -> String {
    let Place::Server { setting, value, .. } = place else { panic!("a program shares no memory") };
    format!("backends.default.{setting} = \"{value}\"\n")
}

#[tokio::test]
async fn a_broker_inside_a_program_needs_nothing_else() {
    let client = Client::embedded("memory:").await.unwrap();
    let guard = client.lock("r", Mode::EX).await.unwrap();
    assert!(client.lock("r", Mode::PR).try_lock().await.unwrap_err().would_wait());
    let status = client.inspection().get_status().await.unwrap();
    assert_eq!(status.backends.len(), 1);
    guard.release().await.unwrap();
    client.close().await;
    let error = client.session().timeout(Duration::from_millis(300)).open().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn programs_and_brokers_on_one_store_act_as_one() {
    let place = place();
    let (one, two) = (program(&place).program("one/1").await.unwrap(), program(&place).await.unwrap());
    let broker = Broker::on(&place, "").await;
    let guard = one.lock("r", Mode::EX).label("night shift").await.unwrap();
    let refused = two.lock("r", Mode::EX).try_lock().await.unwrap_err();
    assert_eq!(refused.not_granted().unwrap().blockers[0].label, "night shift");
    assert_eq!(broker.state("r").await.claims.len(), 1);
    let waiting = tokio::spawn(two.lock("r", Mode::EX).wait(SOON).into_future());
    let first = guard.fence();
    guard.release().await.unwrap();
    let guard = waiting.await.unwrap().unwrap();
    assert!(guard.fence() > first);
    let entries = brokers(&broker).await;
    let told: Vec<&str> = entries.iter().map(|entry| entry.address.as_str()).collect();
    assert_eq!(told.iter().filter(|address| address.is_empty()).count(), 2, "{told:?}");
    assert!(entries.iter().any(|entry| entry.program.contains(" in one/1 ")), "{entries:?}");
    drop(guard);
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn a_program_that_ends_leaves_nothing_behind() {
    let place = place();
    let broker = Broker::on(&place, "").await;
    for closes in [true, false] {
        let client = program(&place).await.unwrap();
        let guard = client.lock("r", Mode::EX).await.unwrap();
        until("both brokers are known", async || alive(&broker).await == 2).await;
        drop(guard);
        if closes {
            client.close().await;
        }
        drop(client);
        // Long before a broker that fell silent would be declared dead.
        until("the broker left", async || alive(&broker).await == 1).await;
        assert!(broker.state("r").await.claims.is_empty());
    }
}

/// Its broker goes on, and nobody declares it dead: it is the same incarnation all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_busy_does_not_silence_its_broker() {
    let place = place();
    // Looks on meanwhile.
    let _broker = Broker::on(&place, "broker_ttl = \"1s\"").await;
    let busy = async move {
        let client = program(&place).settings(format!("broker_ttl = \"1s\"\n{}", settings(&place))).await.unwrap();
        let guard = client.lock("r", Mode::EX).ttl(Duration::from_secs(30)).await.unwrap();
        let incarnation = async || client.inspection().get_status().await.unwrap().incarnation;
        let before = incarnation().await;
        // The runtime of the program does nothing else meanwhile.
        std::thread::sleep(Duration::from_secs(3));
        guard.check().unwrap();
        assert_eq!(incarnation().await, before);
        guard.release().await.unwrap();
        client.close().await;
    };
    let program = move || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(busy);
    tokio::task::spawn_blocking(program).await.unwrap();
}

#[tokio::test]
async fn administrators_reach_a_broker_inside_a_program_if_it_lets_them() {
    let place = place();
    let broker = Broker::on(&place, "").await;
    let client = program(&place).admin_listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let guard = client.lock("r", Mode::EX).await.unwrap();
    until("both brokers are known", async || alive(&broker).await == 2).await;
    let admin = Client::new([broker.server.admin_address.unwrap().to_string()]).unwrap().administration();
    let session = broker.state("r").await.claims.remove(0).session;
    // Asked of another broker, which says where to go.
    let force = proto::ForceUnlockRequest {
        resource: Some(crate::support::resource("r")),
        session,
        no_wait: true,
        ..Default::default()
    };
    admin.force_unlock(force).await.unwrap();
    guard.lost().await;
    client.close().await;
}

#[tokio::test]
async fn settings_may_say_where_administrators_come_in_and_nobody_drains_it() {
    let client = Client::embedded("memory:").settings("admin_listen = \"127.0.0.1:0\"").await.unwrap();
    let refused = client.administration().drain_broker(proto::DrainBrokerRequest::default()).await.unwrap_err();
    assert!(matches!(&refused, Error::Invalid(refused) if refused.message.contains("inside a program")), "{refused}");
    let brokers = client.inspection().list_brokers().await.unwrap().0.brokers;
    assert!(brokers[0].address.is_empty() && brokers[0].admin_address.starts_with("127.0.0.1:"), "{brokers:?}");
    client.lock("r", Mode::EX).try_lock().await.unwrap().release().await.unwrap();
    client.close().await;
}

/// Whatever the program's runtime did for the broker ends with it, and the broker ends all the same.
#[test]
fn the_end_of_a_runtime_in_the_middle_of_everything_ends_the_broker_too() {
    let around = tokio::runtime::Runtime::new().unwrap();
    let place = place();
    let broker = around.block_on(Broker::on(&place, ""));
    let program_runtime = tokio::runtime::Runtime::new().unwrap();
    let client = program_runtime.block_on(async {
        let client = program(&place).await.unwrap();
        let session = client.session().ttl(Duration::from_secs(1)).open().await.unwrap();
        let _held = session.lock("r", Mode::EX).await.unwrap();
        let _waiting = session.lock("r", Mode::EX).into_future();
        client
    });
    drop(program_runtime);
    drop(client);
    around.block_on(until("the broker left", async || alive(&broker).await == 1));
    around.block_on(until("the lock is free", async || broker.state("r").await.claims.is_empty()));
}

#[tokio::test]
async fn a_broker_that_cannot_start_says_why() {
    let refused = async |builder: EmbeddedBuilder| builder.await.unwrap_err();
    for url in ["", "mysql://localhost", "memory:x"] {
        let error = refused(Client::embedded(url)).await;
        assert!(matches!(&error, Error::Setting(text) if !text.contains("--")), "{url}: {error}");
    }
    let error = refused(Client::embedded("memory:").settings("no_such = 1")).await;
    assert!(matches!(&error, Error::Setting(text) if text.contains("no_such")), "{error}");
    assert!(matches!(refused(Client::embedded("memory:").program(&"x".repeat(99))).await, Error::Setting(_)));
    let error = refused(Client::embedded("redis://127.0.0.1:1/0")).await;
    assert!(matches!(&error, Error::Store(text) if text.contains("127.0.0.1:1")), "{error}");
}

async fn brokers(broker: &Broker) -> Vec<proto::BrokerEntry> {
    broker.inspect().await.list_brokers(proto::ListBrokersRequest {}).await.unwrap().into_inner().brokers
}

async fn alive(broker: &Broker) -> usize {
    let entries = brokers(broker).await;
    entries.iter().filter(|entry| entry.state() == proto::BrokerState::Alive).count()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_knows_brokers_inside_programs() {
    let place = place();
    let broker = Broker::on(&place, "").await;
    let client = program(&place).program("orders/4.2").await.unwrap();
    let _guard = client.lock("r", Mode::EX).label("night shift").await.unwrap();
    until("both brokers are known", async || alive(&broker).await == 2).await;
    let address = broker.server.address.to_string();
    let ask = async |arguments: &'static [&'static str]| {
        let address = address.clone();
        let ask = move || {
            let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_sixpin"));
            let output = program.args(arguments).env("SIXPIN_ENDPOINTS", address).output().unwrap();
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            (output.status.code(), text(output.stdout), text(output.stderr))
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    };
    let (status, shown, _) = ask(&["show", "r"]).await;
    assert!(status == Some(0) && shown.contains("(inside a program)") && shown.contains("night shift"), "{shown}");
    let (status, _, warned) = ask(&["sessions"]).await;
    assert!(status == Some(0) && warned.contains("in orders/4.2 "), "{warned}");
    let (status, shown, warned) = ask(&["brokers"]).await;
    assert!(status == Some(0) && shown.contains("in orders/4.2 ") && warned.is_empty(), "{shown} {warned}");
    client.close().await;
}
