//! Who did what is written down, and no secret with it.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use sixpin_client::{Client, Credentials, Error, Mode};
use sixpin_proto::v1;
use sixpin_server::access::token::Token;
use sixpin_server::config;
use sixpin_server::server::Server;

const RULES: &str = r#"
[access.roles.writer]
rules = [{ lockspace = "*", prefix = "a/", allow = ["lock", "inspect"] }]
[access.roles.operator]
rules = [{ lockspace = "*", prefix = "", allow = ["inspect", "force", "expire", "drain"] }]
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
    assert!(client(server.address, &stranger).session().open().await.is_err());
    let admin = client(server.admin_address.unwrap(), &operator).administration();
    let resource = Some(v1::Resource { lockspace: "default".into(), name: "a/1".into() });
    let force = v1::ForceUnlockRequest { resource, session: session.id(), ..Default::default() };
    let refused = client(server.admin_address.unwrap(), &writer).administration().force_unlock(force.clone()).await;
    assert!(matches!(refused, Err(Error::Denied(_))), "{refused:?}");
    admin.force_unlock(v1::ForceUnlockRequest { no_wait: true, ..force }).await.unwrap();
    guard.lost().await;
    session.lock("a/2", Mode::EX).await.unwrap().release().await.unwrap();
    server.reload(config).await.unwrap();
    session.close().await.unwrap();
    server.drain().await;
    server.stop().await;

    let lines = lines(&file);
    let has = |fields: &[(&str, &str)]| {
        let found = lines.iter().any(|line| fields.iter().all(|(field, value)| line[*field] == *value));
        assert!(found, "no line with {fields:?} in {lines:#?}");
    };
    has(&[("verb", "granted"), ("principal", "token:w"), ("resource", "a/1"), ("mode", "PW"), ("broker", "north")]);
    has(&[("verb", "lock"), ("principal", "token:w"), ("outcome", "refused")]);
    has(&[("verb", "authenticate"), ("principal", "anonymous"), ("outcome", "refused")]);
    has(&[("verb", "force"), ("principal", "token:w"), ("outcome", "refused"), ("resource", "a/1")]);
    has(&[("verb", "force"), ("principal", "token:o"), ("outcome", "done"), ("resource", "a/1")]);
    has(&[("verb", "lost"), ("principal", "token:w"), ("resource", "a/1")]);
    has(&[("verb", "released"), ("resource", "a/2")]);
    has(&[("verb", "reload"), ("outcome", "done")]);
    has(&[("verb", "closed"), ("principal", "token:w")]);
    assert!(lines.iter().all(|line| line["time"].as_str().unwrap().ends_with('Z')));
    let text = std::fs::read_to_string(&file).unwrap();
    for token in [&writer, &operator, &stranger] {
        assert!(!text.contains(token.reveal()) && !text.contains(&token.digest().to_string()));
    }
    assert!(!text.contains("sxs1~"), "a session's token is a secret");
}
