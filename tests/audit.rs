//! Who did what is written down, and no secret with it.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use sixpin_client::{Client, Credentials, Error, Mode};
use sixpin_proto::v1;
use sixpin_server::access::token::Token;
use sixpin_server::config;
use sixpin_server::server::Server;

use crate::support::stream::Session;
use crate::support::{Broker, open_request, token, try_lock, unlock, until, wrong_token};

const RULES: &str = r#"
[access.roles.writer]
rules = [
  { lockspace = "*", prefix = "a/", allow = ["lock", "inspect"] },
  { lockspace = "*", name = "read", allow = ["lock:pr"] },
]
[access.roles.operator]
rules = [{ lockspace = "*", prefix = "", allow = ["inspect", "notify", "force", "expire", "drain"] }]
"#;

fn lines(file: &Path) -> Vec<Value> {
    std::fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_may_be_asked_about_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let (writer, operator, stranger) = (Token::new("w").unwrap(), Token::new("o").unwrap(), Token::new("x").unwrap());
    let settings = format!(
        "name = \"north\"\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nfirst_start_grace = \"0s\"\n\
         require = \"volatile\"\n[audit]\nfile = \"{}\"\nlocks = true\n{RULES}\
         [access.tokens.w]\nsha256 = \"{}\"\nroles = [\"writer\"]\n\
         [access.tokens.o]\nsha256 = \"{}\"\nroles = [\"operator\"]\n",
        file.display(),
        writer.digest(),
        operator.digest()
    );
    let config = config::parse(&settings, "sixpin.toml", [], toml::Table::new()).unwrap();
    let server = Server::start(config.clone()).await.unwrap();
    let client = |address: std::net::SocketAddr, token: &Token| {
        let client = Client::builder([address.to_string()]).credentials(Credentials::new().token(token.reveal()));
        client.open_timeout(Duration::from_secs(2)).build().unwrap()
    };
    let session = client(server.address, &writer).session().open().await.unwrap();
    let guard = session.lock("a/1", Mode::PW).await.unwrap();
    assert!(matches!(session.lock("b", Mode::EX).await, Err(Error::Denied(_))));
    let reading = session.lock("read", Mode::PR).await.unwrap();
    assert!(matches!(reading.convert(Mode::PW).await, Err(Error::Denied(_))));
    assert!(client(server.address, &stranger).session().open().await.is_err());
    let admin = client(server.admin_address.unwrap(), &operator).administration();
    let resource = Some(v1::Resource { lockspace: "default".into(), name: "a/1".into() });
    let notify = v1::NotifyHolderRequest { resource: resource.clone(), session: session.id(), claim: guard.claim() };
    assert_eq!(admin.notify_holder(notify).await.unwrap().deaf, [guard.claim()]);
    let force = v1::ForceUnlockRequest { resource, session: session.id(), ..Default::default() };
    let refused = client(server.admin_address.unwrap(), &writer).administration().force_unlock(force.clone()).await;
    assert!(matches!(refused, Err(Error::Denied(_))), "{refused:?}");
    admin.force_unlock(v1::ForceUnlockRequest { no_wait: true, ..force }).await.unwrap();
    guard.lost().await;
    session.lock("a/2", Mode::EX).await.unwrap().release().await.unwrap();
    server.reload(config).await.unwrap();
    std::mem::forget(session.lock("a/3", Mode::CW).await.unwrap());
    session.close().await.unwrap();
    server.drain().await;
    server.stop().await;

    let lines = lines(&file);
    let has = |fields: &[(&str, &str)]| {
        let found = lines.iter().any(|line| fields.iter().all(|(field, value)| line[*field] == *value));
        assert!(found, "no line with {fields:?} in {lines:#?}");
    };
    has(&[("verb", "granted"), ("principal", "token:w"), ("resource", "a/1"), ("mode", "PW"), ("broker", "north")]);
    // The request for a conversion names no resource.
    for (verb, resource) in [("lock:ex", "b"), ("lock:pw", "read")] {
        has(&[("verb", verb), ("resource", resource), ("lockspace", "default"), ("outcome", "refused")]);
    }
    has(&[("verb", "authenticate"), ("principal", "anonymous"), ("outcome", "refused")]);
    has(&[("verb", "notify"), ("principal", "token:o"), ("outcome", "done"), ("resource", "a/1")]);
    has(&[("verb", "force"), ("principal", "token:w"), ("outcome", "refused"), ("resource", "a/1")]);
    has(&[("verb", "force"), ("principal", "token:o"), ("outcome", "done"), ("resource", "a/1")]);
    has(&[("verb", "lost"), ("principal", "token:w"), ("resource", "a/1")]);
    has(&[("verb", "released"), ("resource", "a/2")]);
    has(&[("verb", "reload"), ("outcome", "done")]);
    has(&[("verb", "released"), ("resource", "a/3"), ("principal", "token:w")]);
    assert!(lines.iter().all(|line| line["time"].as_str().unwrap().ends_with('Z')));
    let text = std::fs::read_to_string(&file).unwrap();
    for token in [&writer, &operator, &stranger] {
        assert!(!text.contains(token.reveal()) && !text.contains(&token.digest().to_string()));
    }
    assert!(!text.contains("sxs1~"), "a session's token is a secret");
}

/// A client without a stream and one with it hold three locks each and are not heard of again. Nobody can be told of that, and it is
/// written down all the same: a line for each lock, and none twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_silent_client_loses_is_written_once_with_a_stream_and_without() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let broker = Broker::configured(&format!("[audit]\nfile = \"{}\"\nlocks = true\n", file.display())).await;
    let short = || v1::Open { ttl_ms: Some(2_000), ..Default::default() };
    let mut locks = broker.locks().await;
    let opened = locks.open_session(open_request(short())).await.unwrap().into_inner().opened.unwrap();
    let mut stream = Session::open(&broker, short()).await;
    for number in 1..=3 {
        let lock = Some(try_lock(number, &format!("call/{number}"), v1::Mode::Ex));
        locks.lock(v1::LockRequest { token: token(&opened), lock }).await.unwrap();
        stream.lock(try_lock(number, &format!("stream/{number}"), v1::Mode::Ex)).await;
    }
    // It released this one itself, and the call comes twice.
    let lock = Some(try_lock(4, "call/4", v1::Mode::Ex));
    locks.lock(v1::LockRequest { token: token(&opened), lock }).await.unwrap();
    for _ in 0..2 {
        let unlock = Some(unlock(4, 2));
        locks.unlock(v1::UnlockRequest { token: token(&opened), unlock }).await.unwrap();
    }
    drop(stream);
    let written = |verb: &str| -> Vec<String> {
        let of_this = lines(&file).into_iter().filter(|line| line["verb"] == verb);
        let with_all =
            of_this.inspect(|line| assert!(line["address"].is_string() && line["session"].is_string(), "{line}"));
        let mut names: Vec<String> = with_all.map(|line| line["resource"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    until("the losses", async || broker.sessions().await == 0 && written("lost").len() >= 6).await;
    let each = ["call/1", "call/2", "call/3", "stream/1", "stream/2", "stream/3"];
    assert_eq!(written("lost"), each);
    assert_eq!(written("granted").len(), 7);
    assert_eq!(written("released"), ["call/4"]);
}

/// A wrong session token is no question of a rule.
#[tokio::test]
async fn a_session_token_of_somebody_else_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let broker = Broker::configured(&format!("[audit]\nfile = \"{}\"\n", file.display())).await;
    let mut locks = broker.locks().await;
    let opened = locks.open_session(open_request(v1::Open::default())).await.unwrap().into_inner().opened.unwrap();
    locks.keep_alive(v1::KeepAliveRequest { token: wrong_token(&opened), move_number: 0 }).await.unwrap_err();
    until("the line", async || !lines(&file).is_empty()).await;
    let line = &lines(&file)[0];
    assert_eq!((&line["verb"], &line["outcome"]), (&"session".into(), &"refused".into()));
    assert!(line["session"].is_string() && !line.to_string().contains("sxs1~"), "{line}");
}
