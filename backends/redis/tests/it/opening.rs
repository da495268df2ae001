//! What a store must be like to be opened, and what is said about one that is not.

use std::net::SocketAddr;

use sixpin_core::backend::{Backend as _, Durability, OpenError, WriteOutcome};
use sixpin_core::name::Version;
use sixpin_redis::{RedisConfig, Secret};
use sixpin_testkit::{ServerPlan, ServerProcess, redis, until};

use sixpin_conformance::broker::{Broker, put, resource};

use crate::support::{PATIENCE, command, config, open, start, try_open};

/// A server that differs in some arguments: later ones win.
async fn server<const N: usize>(arguments: [&str; N]) -> ServerProcess {
    start(redis().arguments(arguments)).await
}

async fn refused(config: &RedisConfig, require: Durability) -> OpenError {
    try_open(config, require).await.expect_err("this is refused")
}

/// All that is needed, and nothing else: the rule of the documentation.
const RULE: [&str; 26] = [
    "~sixpin:*",
    "&sixpin:*",
    "+eval",
    "+evalsha",
    "+info",
    "+ping",
    "+get",
    "+mget",
    "+mset",
    "+exists",
    "+getrange",
    "+set",
    "+del",
    "+hget",
    "+hmget",
    "+hset",
    "+zadd",
    "+zrem",
    "+zcard",
    "+zrangebylex",
    "+sadd",
    "+srem",
    "+scard",
    "+smembers",
    "+subscribe",
    "+publish",
];
const RULE_REST: [&str; 4] = ["+time", "+pexpire", "+persist", "+config|get"];

async fn add_user(address: SocketAddr, without: &str) {
    let rule = RULE.into_iter().chain(RULE_REST).filter(|word| *word != without);
    let words: Vec<&str> = ["ACL", "SETUSER", "ann", "reset", "on", ">se:cr@t"].into_iter().chain(rule).collect();
    command(address, &words).await;
}

fn as_ann(address: SocketAddr) -> RedisConfig {
    RedisConfig { user: Some("ann".into()), password: Some(Secret::new("se:cr@t")), ..config(address) }
}

#[tokio::test]
async fn the_class_is_that_of_the_append_only_file() {
    let always = server([]).await;
    let everysec = server(["--appendfsync", "everysec"]).await;
    let skipping = server(["--no-appendfsync-on-rewrite", "yes"]).await;
    let none = server(["--appendonly", "no"]).await;
    for (server, class) in [
        (&always, Durability::PowerSafe),
        (&everysec, Durability::CrashSafe),
        (&skipping, Durability::CrashSafe),
        (&none, Durability::Volatile),
    ] {
        let config = config(server.address());
        let backend = try_open(&config, Durability::Volatile).await.expect("volatile is asked for");
        assert_eq!(backend.profile().durability, class);
        assert!(try_open(&config, class).await.is_ok());
        assert!(matches!(refused(&config, Durability::FailoverSafe).await, OpenError::Unsafe(_)));
    }
    let error = refused(&config(none.address()), Durability::CrashSafe).await;
    assert!(matches!(&error, OpenError::Unsafe(text) if text.contains("appendonly yes")), "{error}");
    let error = refused(&config(everysec.address()), Durability::PowerSafe).await;
    assert!(matches!(&error, OpenError::Unsafe(text) if text.contains("appendfsync always")), "{error}");
}

#[tokio::test]
async fn a_server_that_may_evict_is_always_refused() {
    let server = server(["--maxmemory-policy", "allkeys-lru"]).await;
    let error = refused(&config(server.address()), Durability::Volatile).await;
    assert!(matches!(&error, OpenError::Unsafe(text) if text.contains("noeviction")), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_out_of_reach() {
    let server = server([]).await;
    let address = server.address();
    drop(server);
    let error = refused(&config(address), Durability::Volatile).await;
    assert!(matches!(&error, OpenError::Unreachable(text) if text.contains(&address.to_string())), "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_out_of_reach_in_bounded_time() {
    let server = server([]).await;
    server.freeze();
    let error = tokio::time::timeout(PATIENCE, refused(&config(server.address()), Durability::Volatile)).await;
    assert!(matches!(error.expect("opening ends"), OpenError::Unreachable(_)));
    server.resume();
}

#[tokio::test]
async fn a_password_is_asked_for_checked_and_never_shown() {
    // The readiness of a server with a password shows as its demand for one.
    let mut plan: ServerPlan = redis().arguments(["--requirepass", "hush"]);
    plan.probe.answer = "NOAUTH";
    let server = start(plan).await;
    let with = |password: Option<&str>| RedisConfig { password: password.map(Secret::new), ..config(server.address()) };
    for (password, word) in [(None, "password"), (Some("wrong"), "password")] {
        let error = refused(&with(password), Durability::CrashSafe).await;
        assert!(matches!(&error, OpenError::Login(text) if text.contains(word)), "{error}");
        assert!(!error.to_string().contains("wrong"));
    }
    try_open(&with(Some("hush")), Durability::CrashSafe).await.expect("the password is right");
    let in_url = RedisConfig::new(format!("redis://:hush@{}/0", server.address()));
    let backend = try_open(&in_url, Durability::CrashSafe).await.expect("the password in the URL is right");
    assert!(!format!("{backend:?} {in_url:?}").contains("hush"));
}

#[tokio::test]
async fn a_user_with_the_documented_rights_can_do_everything() {
    let server = server([]).await;
    add_user(server.address(), "").await;
    let backend = open(&as_ann(server.address())).await;
    let mut broker = Broker::with(backend.clone());
    broker.registration = backend.beat(broker.next_beat()).await.expect("it registers");
    let version = broker.put(&resource("r"), Version::ABSENT, "x").await;
    broker.sees(&resource("r"), version, Some(b"x")).await;
    broker.delete(&resource("r"), version).await;
    broker.settle().await;
    broker.renew().await;
    assert_eq!(broker.backend.pulses().await.expect("pulses are read").len(), 1);
    broker.backend.leave(broker.incarnation).await.expect("it leaves");
}

#[tokio::test]
async fn a_user_without_one_of_the_rights_is_refused_before_anything_is_stored() {
    let server = server([]).await;
    for missing in
        ["~sixpin:*", "&sixpin:*", "+evalsha", "+info", "+set", "+del", "+hset", "+zadd", "+publish", "+pexpire"]
    {
        add_user(server.address(), missing).await;
        let error = refused(&as_ann(server.address()), Durability::CrashSafe).await;
        assert!(matches!(error, OpenError::Login(_)), "{missing}: {error}");
    }
    assert_eq!(command(server.address(), &["DBSIZE"]).await, ::redis::Value::Int(0));
}

#[tokio::test]
async fn what_config_does_not_tell_has_to_be_stated() {
    let server = server([]).await;
    add_user(server.address(), "+config|get").await;
    let hidden = as_ann(server.address());
    assert!(matches!(refused(&hidden, Durability::PowerSafe).await, OpenError::Unsafe(_)));
    let backend = try_open(&hidden, Durability::CrashSafe).await.expect("the file itself is seen");
    assert_eq!(backend.profile().durability, Durability::CrashSafe);
    let stated = RedisConfig { stated_durability: Some(sixpin_redis::Statement::PowerSafe), ..hidden };
    try_open(&stated, Durability::PowerSafe).await.expect("the operator said so");
}

#[tokio::test]
async fn a_replica_is_refused_and_so_is_a_master_with_one_where_power_safe_is_wanted() {
    let master = server([]).await;
    let port = master.address().port().to_string();
    let replica = server(["--replicaof", "127.0.0.1", &port]).await;
    let error = refused(&config(replica.address()), Durability::Volatile).await;
    assert!(matches!(&error, OpenError::Unsafe(text) if text.contains("master")), "{error}");

    let crash_safe = until(PATIENCE, || async {
        let backend = try_open(&config(master.address()), Durability::CrashSafe).await;
        backend.is_ok_and(|backend| backend.profile().durability == Durability::CrashSafe)
    });
    assert!(crash_safe.await, "with a replica it is crash-safe and not more");
    assert!(matches!(refused(&config(master.address()), Durability::PowerSafe).await, OpenError::Unsafe(_)));
}

#[tokio::test]
async fn a_server_that_is_full_is_refused_with_its_reason() {
    let server = server([]).await;
    command(server.address(), &["CONFIG", "SET", "maxmemory", "1"]).await;
    let error = refused(&config(server.address()), Durability::CrashSafe).await;
    assert!(matches!(&error, OpenError::Unsafe(text) if text.contains("OOM")), "{error}");
}

#[tokio::test]
async fn a_database_that_is_not_there_is_a_wrong_url() {
    let server = server([]).await;
    let wrong = RedisConfig::new(format!("redis://{}/99", server.address()));
    assert!(matches!(refused(&wrong, Durability::CrashSafe).await, OpenError::BadUrl(_)));
}

#[tokio::test]
async fn prefixes_and_databases_are_stores_of_their_own() {
    let server = server([]).await;
    let first = open(&config(server.address())).await;
    let same = open(&config(server.address())).await;
    let other = open(&RedisConfig { prefix: "other".into(), ..config(server.address()) }).await;
    let database = open(&RedisConfig::new(format!("redis://{}/1", server.address()))).await;
    assert_eq!(first.root(), same.root());
    assert!(first.root() != other.root() && first.root() != database.root());
}

#[tokio::test]
async fn many_that_open_an_empty_store_at_once_agree_on_its_root() {
    let server = server([]).await;
    let config = config(server.address());
    let opened = futures::future::join_all((0..8).map(|_| open(&config))).await;
    for backend in &opened {
        assert_eq!(backend.root(), opened[0].root());
    }
}

#[tokio::test]
async fn what_is_left_of_a_lost_store_is_not_taken_for_an_empty_one() {
    let server = server([]).await;
    let config = config(server.address());
    let mut broker = Broker::with(open(&config).await);
    broker.registration = broker.backend.beat(broker.next_beat()).await.expect("it registers");
    command(server.address(), &["DEL", "sixpin:{s0}:root"]).await;
    let error = refused(&config, Durability::CrashSafe).await;
    assert!(matches!(&error, OpenError::Unsafe(text) if text.contains("root record")), "{error}");
    let outcome = broker.write(put(&resource("r"), Version::ABSENT, "x")).await;
    assert!(matches!(outcome, WriteOutcome::Unavailable(_)), "{outcome:?}");
}
