//! What is particular to Redis: its scripts, its clock, its limits, and how it loses things.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::Value;
use sixpin_conformance::broker::{Broker, committed, delete, notifying, put, resource};
use sixpin_core::backend::{Backend, Change, Family, Key, StoreError, Write, WriteOutcome};
use sixpin_core::name::Version;
use sixpin_testkit::{Proxy, ServerProcess, redis, until};

use crate::support::{PATIENCE, command, config, open, start, text, try_command};

async fn server() -> ServerProcess {
    start(redis()).await
}

async fn join(backend: Arc<dyn Backend>) -> Broker {
    let mut broker = Broker::with(backend);
    broker.registration = broker.backend.beat(broker.next_beat()).await.expect("a fresh broker registers");
    broker
}

async fn broker_of(server: &ServerProcess) -> Broker {
    join(open(&config(server.address())).await).await
}

#[track_caller]
fn unavailable(outcome: &WriteOutcome, word: &str) {
    assert!(matches!(outcome, WriteOutcome::Unavailable(text) if text.contains(word)), "{outcome:?}");
}

/// Amnesia shows in every method, for ever.
async fn lost_its_memory(broker: &Broker) {
    let amnesia = |error| matches!(error, StoreError::Amnesia(_));
    assert!(broker.backend.read(&[resource("r")]).await.is_err_and(amnesia));
    assert!(broker.backend.pulses().await.is_err_and(amnesia));
    assert!(broker.backend.list(&Family::AllResources, None, 1).await.is_err_and(amnesia));
    assert!(broker.backend.beat(broker.next_beat()).await.is_err_and(amnesia));
    assert!(broker.backend.advance(broker.guard()).await.is_err_and(amnesia));
    assert!(broker.backend.leave(broker.incarnation).await.is_err_and(amnesia));
    unavailable(&broker.write(put(&resource("new"), Version::ABSENT, "x")).await, "memory");
    unavailable(&broker.backend.evict(broker.guard(), broker.incarnation, broker.registration).await, "memory");
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_is_told_them_again() {
    let server = server().await;
    let mut broker = broker_of(&server).await;
    let mut version = Version::ABSENT;
    for number in 0..3 {
        command(server.address(), &["SCRIPT", "FLUSH"]).await;
        version = broker.put(&resource("r"), version, format!("{number}")).await;
    }
    command(server.address(), &["SCRIPT", "FLUSH"]).await;
    broker.renew().await;
    command(server.address(), &["SCRIPT", "FLUSH"]).await;
    broker.settle().await;
}

#[tokio::test]
async fn versions_start_at_the_clock_and_never_fall_behind_the_highest() {
    let server = server().await;
    let broker = broker_of(&server).await;
    let version = broker.put(&resource("r"), Version::ABSENT, "x").await;
    let Value::Array(time) = command(server.address(), &["TIME"]).await else { panic!("TIME is a list") };
    let seconds: u64 = text(&time[0]).parse().expect("seconds");
    assert!(version.0 / 100_000 <= seconds && version.0 / 100_000 + 60 > seconds, "{version} is not the clock");

    // As if the clock had been ahead by years when the last write was made, and set back since.
    let ahead = 9_007_199_254_740_000_u64;
    command(server.address(), &["SET", "sixpin:{s0}:high", &format!("{ahead:016}")]).await;
    let next = broker.put(&resource("r"), version, "y").await;
    assert_eq!(next, Version(ahead + 1));
    broker.delete(&resource("r"), next).await;
    let mut last = broker.put(&resource("r"), Version::ABSENT, "z").await;
    assert_eq!(last, Version(ahead + 3));
    // Not a digit is lost up to the last one that a Lua number can tell apart, and none is given after it.
    for number in 0..4 {
        let version = broker.put(&resource(&format!("digit {number}")), Version::ABSENT, "x").await;
        assert_eq!(version, Version(last.0 + 1));
        last = version;
    }
    command(server.address(), &["SET", "sixpin:{s0}:high", "9007199254740990"]).await;
    let last = broker.put(&resource("last"), Version::ABSENT, "x").await;
    assert_eq!(last, Version(9_007_199_254_740_991));
    broker.sees(&resource("last"), last, Some(b"x")).await;
    unavailable(&broker.write(put(&resource("none"), Version::ABSENT, "x")).await, "clock");
    unavailable(&broker.write(delete(&resource("last"), last)).await, "clock");
    broker.sees(&resource("last"), last, Some(b"x")).await;
}

#[tokio::test]
async fn all_writes_of_a_batch_share_a_version_and_one_that_changes_nothing_makes_none() {
    let server = server().await;
    let broker = broker_of(&server).await;
    let keys = ["a", "b", "c"].map(resource);
    let outcomes = broker.commit(keys.iter().map(|key| put(key, Version::ABSENT, "x")).collect()).await;
    let version = committed(&outcomes[0]);
    assert_eq!(outcomes, vec![WriteOutcome::Committed(version); 3]);
    let high = text(&command(server.address(), &["GET", "sixpin:{s0}:high"]).await);
    broker.commit(keys.iter().map(|key| put(key, Version::ABSENT, "x")).collect()).await;
    assert_eq!(text(&command(server.address(), &["GET", "sixpin:{s0}:high"]).await), high);
}

/// What is refused in a batch takes nothing from the others: each put has its own bytes, whether records are short or long.
#[tokio::test]
async fn refused_writes_leave_the_bytes_of_the_others_where_they_are() {
    let server = server().await;
    let broker = broker_of(&server).await;
    for bytes in ["short".to_owned(), "long ".repeat(2_000)] {
        let name = |part: &str| resource(&format!("{part}/{}", bytes.len()));
        let there = broker.put(&name("there"), Version::ABSENT, "was").await;
        let held = broker.put(&name("held"), Version::ABSENT, "is").await;
        let with = |part: &str| Bytes::from(format!("{bytes}{part}"));
        let compare = Write { key: name("held"), expected: held, change: Change::Compare, notify: false };
        let outcomes = broker
            .commit(vec![
                put(&name("there"), Version::ABSENT, with("refused")),
                put(&name("a"), Version::ABSENT, with("a")),
                delete(&name("nothing"), Version::ABSENT),
                put(&name("b"), Version(5), with("refused too")),
                compare,
                put(&name("c"), Version::ABSENT, with("c")),
            ])
            .await;
        assert!(matches!(outcomes[0], WriteOutcome::Conflict(_)) && matches!(outcomes[3], WriteOutcome::Conflict(_)));
        assert_eq!(outcomes[2], WriteOutcome::Committed(Version::ABSENT));
        assert_eq!(outcomes[4], WriteOutcome::Committed(held));
        broker.sees(&name("there"), there, Some(b"was")).await;
        broker.sees(&name("a"), committed(&outcomes[1]), Some(&with("a"))).await;
        broker.sees(&name("c"), committed(&outcomes[5]), Some(&with("c"))).await;
    }
}

#[tokio::test]
async fn somebody_elses_data_is_neither_read_nor_touched() {
    let server = server().await;
    let broker = broker_of(&server).await;
    command(server.address(), &["LPUSH", "sixpin:{s0}:r:default/list", "x"]).await;
    command(server.address(), &["SET", "sixpin:{s0}:r:default/text", "not a record"]).await;
    let beside = |name: &str| {
        vec![put(&resource(name), Version::ABSENT, "x"), put(&resource("neighbour"), Version::ABSENT, "x")]
    };
    for outcome in broker.commit(beside("list")).await {
        assert!(matches!(outcome, WriteOutcome::Unavailable(_)), "{outcome:?}");
    }
    broker.sees(&resource("neighbour"), Version::ABSENT, None).await;
    // A text is told as it is, and nobody takes it for a record; what stands beside it is not disturbed.
    let outcomes = broker.commit(beside("text")).await;
    let WriteOutcome::Conflict(foreign) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!(foreign.bytes.as_deref(), Some(&b"not a record"[..]));
    committed(&outcomes[1]);
    let read = broker.backend.read(&[resource("text"), resource("neighbour")]).await.unwrap();
    assert_eq!(&read[0], foreign);
    assert_eq!(read[1].bytes.as_deref(), Some(&b"x"[..]));
    assert_eq!(text(&command(server.address(), &["GET", "sixpin:{s0}:r:default/text"]).await), "not a record");
    assert_eq!(command(server.address(), &["LLEN", "sixpin:{s0}:r:default/list"]).await, Value::Int(1));
    // Whoever removes it on purpose puts a record in its place, of which listings know from then on.
    let foreign = foreign.version;
    committed(&broker.write(put(&resource("text"), foreign, "a record")).await);
    let page = broker.backend.list(&Family::AllResources, None, 10).await.unwrap();
    let listed: Vec<&Key> = page.keys.iter().map(|(key, _)| key).collect();
    assert_eq!(listed, [&resource("neighbour"), &resource("text")]);
}

#[tokio::test]
async fn a_flushed_store_is_amnesia() {
    let server = server().await;
    let broker = broker_of(&server).await;
    command(server.address(), &["FLUSHALL"]).await;
    let read = broker.backend.read(&[resource("r")]).await;
    assert!(matches!(read, Err(StoreError::Amnesia(_))), "{read:?}");
    lost_its_memory(&broker).await;
}

#[tokio::test]
async fn the_first_to_meet_a_flushed_store_may_be_a_commit() {
    let server = server().await;
    let broker = broker_of(&server).await;
    command(server.address(), &["FLUSHALL"]).await;
    unavailable(&broker.write(put(&resource("r"), Version::ABSENT, "x")).await, "memory");
    lost_its_memory(&broker).await;
}

#[tokio::test]
async fn another_root_is_amnesia() {
    let server = server().await;
    let broker = broker_of(&server).await;
    command(server.address(), &["FLUSHALL"]).await;
    broker_of(&server).await;
    lost_its_memory(&broker).await;
}

#[tokio::test]
async fn a_fallen_highest_version_is_amnesia() {
    let server = server().await;
    let broker = broker_of(&server).await;
    let version = broker.put(&resource("r"), Version::ABSENT, "x").await;
    command(server.address(), &["SET", "sixpin:{s0}:high", &format!("{:016}", version.0 - 1)]).await;
    lost_its_memory(&broker).await;
}

/// A failover loses the end of what was acknowledged, and others may have written since: the highest version tells
/// nothing, but the sender's own registration does.
#[tokio::test]
async fn a_lost_write_of_our_own_is_amnesia_whatever_others_wrote_since() {
    let server = server().await;
    let broker = broker_of(&server).await;
    let registration = format!("sixpin:{{s0}}:b:{}", broker.incarnation);
    let first = broker.put(&resource("r"), Version::ABSENT, "x").await;
    let before = text(&command(server.address(), &["HGET", &registration, "l0"]).await);
    broker.put(&resource("r"), first, "y").await;
    command(server.address(), &["HSET", &registration, "l0", &before]).await;
    let other = broker_of(&server).await;
    other.put(&resource("other"), Version::ABSENT, "x").await;
    unavailable(&broker.write(put(&resource("s"), Version::ABSENT, "x")).await, "memory");
    lost_its_memory(&broker).await;
    other.put(&resource("more"), Version::ABSENT, "x").await;
}

#[tokio::test]
async fn a_lost_beat_is_amnesia() {
    let server = server().await;
    let mut broker = broker_of(&server).await;
    let first = broker.registration;
    broker.renew().await;
    let registration = format!("sixpin:{{s0}}:b:{}", broker.incarnation);
    command(server.address(), &["HSET", &registration, "v", &format!("{:016}", first.0), "n", "0"]).await;
    let beat = broker.backend.beat(broker.next_beat()).await;
    assert!(matches!(beat, Err(StoreError::Amnesia(_))), "{beat:?}");
    lost_its_memory(&broker).await;
}

/// A registration that was evicted and forgotten leaves something for a day, against copies that are still on their way.
#[tokio::test]
async fn a_late_registration_of_a_forgotten_broker_is_refused() {
    let server = server().await;
    let (broker, target) = (broker_of(&server).await, broker_of(&server).await);
    let gone = committed(&broker.backend.evict(broker.guard(), target.incarnation, target.registration).await);
    committed(&broker.backend.clear(broker.guard(), target.incarnation, gone).await);
    let again = Broker { registration: Version::ABSENT, ..target };
    assert_eq!(again.backend.beat(again.next_beat()).await, Err(StoreError::Evicted));
    let key = format!("sixpin:{{s0}}:b:{}", again.incarnation);
    let Value::Int(left) = command(server.address(), &["PTTL", &key]).await else { panic!("a number") };
    assert!((80_000_000..=86_400_000).contains(&left), "{left}");
    // Evicting it as absent makes it gone again, and lasting.
    committed(&broker.backend.evict(broker.guard(), again.incarnation, Version::ABSENT).await);
    assert_eq!(command(server.address(), &["PTTL", &key]).await, Value::Int(-1));
}

#[tokio::test]
async fn watchers_look_again_when_the_listening_connection_was_lost() {
    let server = server().await;
    let broker = broker_of(&server).await;
    let version = broker.put(&resource("r"), Version::ABSENT, "x").await;
    let listening = until(PATIENCE, || async {
        text(&command(server.address(), &["CLIENT", "LIST", "TYPE", "pubsub"]).await).contains("sub=1")
    });
    assert!(listening.await, "the backend listens");
    for _ in 0..3 {
        let changed = broker.backend.changed(resource("r"), version);
        let kill = async {
            // Again and again, because the watcher may not be there yet.
            loop {
                command(server.address(), &["CLIENT", "KILL", "TYPE", "pubsub"]).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            () = changed => {}
            () = kill => {}
            () = tokio::time::sleep(PATIENCE) => panic!("the watcher slept through"),
        }
    }
}

/// A listening connection that dies without a word is missed after a while.
#[tokio::test]
async fn watchers_look_again_when_the_listening_connection_died_silently() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await.expect("a proxy can listen");
    let writer = broker_of(&server).await;
    let version = writer.put(&resource("r"), Version::ABSENT, "x").await;
    let watcher = open(&config(proxy.address())).await;
    let changed = watcher.changed(resource("r"), version);
    let trouble = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        proxy.set(sixpin_testkit::proxy::Mode::BlackHole);
        committed(&writer.write(notifying(put(&resource("r"), version, "y"))).await);
        tokio::time::sleep(Duration::from_secs(6)).await;
        proxy.set(sixpin_testkit::proxy::Mode::Cut);
        proxy.set(sixpin_testkit::proxy::Mode::Pass);
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        () = changed => {}
        () = trouble => panic!("the watcher slept through"),
    }
}

/// A server that becomes unsafe while it is used is found out by the next check, and left alone until it is safe again.
#[tokio::test]
async fn a_server_that_becomes_unsafe_is_not_written_to() {
    let server = server().await;
    let mut broker = broker_of(&server).await;
    command(server.address(), &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    let mut version = broker.put(&resource("r"), Version::ABSENT, "x").await;
    let mut refused = false;
    for _ in 0..300 {
        match broker.write(put(&resource("r"), version, "y")).await {
            WriteOutcome::Committed(next) => version = next,
            outcome => {
                unavailable(&outcome, "noeviction");
                refused = true;
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(refused, "the check is repeated");
    broker.renew().await;
    command(server.address(), &["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    let again = until(PATIENCE, || async {
        matches!(broker.write(put(&resource("new"), Version::ABSENT, "x")).await, WriteOutcome::Committed(_))
    });
    assert!(again.await, "a server that is safe again is used again");
}

/// A server that a script holds up says so at once, and has not done what it was asked.
#[tokio::test]
async fn a_busy_server_is_unavailable() {
    let server = server().await;
    let broker = broker_of(&server).await;
    let address = server.address();
    command(address, &["CONFIG", "SET", "busy-reply-threshold", "100"]).await;
    // It ends when it is killed.
    let endless = tokio::spawn(try_command(address, &["EVAL", "while true do end", "0"]));
    let busy = until(PATIENCE, || async { try_command(address, &["PING"]).await.is_err() });
    assert!(busy.await, "the server is busy");
    unavailable(&broker.write(put(&resource("r"), Version::ABSENT, "x")).await, "BUSY");
    assert!(matches!(broker.backend.advance(broker.guard()).await, Err(StoreError::Unavailable(_))));
    command(address, &["SCRIPT", "KILL"]).await;
    assert!(endless.await.expect("it ends").is_err());
    broker.sees(&resource("r"), Version::ABSENT, None).await;
    broker.put(&resource("r"), Version::ABSENT, "x").await;
}
