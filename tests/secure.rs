//! TLS and credentials between our own client and a broker: what is refused and how that is said, and what goes on while
//! certificates and tokens are replaced.

use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sixpin_client::{Client, Credentials, Error, Mode};
use sixpin_proto::v1::ListSessionsRequest;
use sixpin_server::access::token::Token;
use sixpin_server::config::{self, Config};
use sixpin_server::server::Server;
use sixpin_testkit::authority::{Authority, Signed, Valid};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::soon;

/// A broker with TLS, and what it was configured with.
struct Broker {
    server: Server,
    authority: Authority,
    own: Signed,
    settings: String,
}

fn config(text: &str) -> Config {
    let addresses = "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nfirst_start_grace = \"0s\"\nrequire = \"volatile\"\n";
    config::parse(&format!("{addresses}{text}"), "sixpin.toml", [], toml::Table::new()).unwrap()
}

fn tls(own: &Signed, more: &str) -> String {
    format!("[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n{more}", own.certificate.display(), own.key.display())
}

impl Broker {
    async fn start(tls_more: &str, settings: &str) -> Self {
        let authority = Authority::new("ours");
        let own = authority.sign("broker", "127.0.0.1", Valid::Now);
        let client_ca = tls_more.replace("OURS", &authority.file.display().to_string());
        let settings = format!("{}\n{settings}", tls(&own, &client_ca));
        let server = Server::start(config(&settings)).await.unwrap();
        Self { server, authority, own, settings }
    }

    fn address(&self) -> String {
        self.server.address.to_string()
    }

    fn trusting(&self) -> Credentials {
        Credentials::new().ca_file(&self.authority.file)
    }
}

/// A client of this address, by sessions over frames or over gRPC.
fn client(address: &str, grpc: bool, credentials: Credentials) -> Client {
    let address = if grpc { format!("grpc://{address}") } else { address.to_owned() };
    Client::builder([address]).credentials(credentials).open_timeout(Duration::from_secs(1)).build().unwrap()
}

/// What opening a session comes to.
async fn refused(address: &str, grpc: bool, credentials: Credentials) -> String {
    let opened = soon("an answer", client(address, grpc, credentials).session().open()).await;
    opened.expect_err("a session is opened").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_goes_through_tls_in_both_ways_and_administration_too() {
    let broker = Broker::start("", "").await;
    for grpc in [false, true] {
        let client = client(&broker.address(), grpc, broker.trusting());
        let session = client.session().open().await.unwrap();
        let guard = session.lock("r", Mode::EX).await.unwrap();
        guard.release().await.unwrap();
        session.close().await.unwrap();
    }
    let admin = broker.server.admin_address.unwrap().to_string();
    let inspection = client(&admin, false, broker.trusting()).inspection();
    inspection.get_status().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_tls_is_said() {
    let broker = Broker::start("client_ca = \"OURS\"\n", "").await;
    let (other, plain) = (Authority::new("another"), Server::start(config("")).await.unwrap());
    let certified = |signed: &Signed| broker.trusting().certificate_files(&signed.certificate, &signed.key);
    let good = broker.authority.sign("client", "orders.example.org", Valid::Now);
    let old = broker.authority.sign("old", "orders.example.org", Valid::Before);
    let young = broker.authority.sign("young", "orders.example.org", Valid::Later);
    let foreign = other.sign("client", "orders.example.org", Valid::Now);
    let distrusting = Credentials::new().ca_file(&other.file).certificate_files(&good.certificate, &good.key);
    let (address, admin) = (broker.address(), broker.server.admin_address.unwrap().to_string());
    let localhost = format!("localhost:{}", broker.server.address.port());
    for grpc in [false, true] {
        for (what, address, credentials, words) in [
            ("wrong authority", &address, distrusting.clone(), &["not signed by a CA"][..]),
            ("wrong name", &localhost, certified(&good), &["localhost"]),
            ("no client certificate", &address, broker.trusting(), &["certificate"]),
            ("an expired one", &address, certified(&old), &["expired"]),
            ("one of the future", &address, certified(&young), &["certificate"]),
            ("one of another authority", &address, certified(&foreign), &["certificate"]),
            ("no TLS", &address, Credentials::new(), &["https://"]),
            ("no TLS, for administrators", &admin, Credentials::new(), &["https://"]),
            ("TLS where there is none", &plain.address.to_string(), broker.trusting(), &["http://"]),
        ] {
            let said = refused(address, grpc, credentials).await;
            for word in words {
                assert!(said.contains(word), "{what} (grpc: {grpc}): {said}");
            }
        }
        assert!(client(&address, grpc, certified(&good)).session().open().await.is_ok());
    }
}

/// TLS 1.1 and older: a client that can do no more is told so by an alert.
#[tokio::test]
async fn old_versions_of_tls_are_refused() {
    let broker = Broker::start("", "").await;
    let mut socket = TcpStream::connect(broker.server.address).await.unwrap();
    // A ClientHello of TLS 1.1: a random, no session, one cipher suite, no compression, no extensions.
    let mut hello = vec![1, 0, 0, 41, 3, 2];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 2, 0, 0x2f, 1, 0]);
    let mut record = vec![0x16, 3, 1, 0, hello.len() as u8];
    record.extend_from_slice(&hello);
    socket.write_all(&record).await.unwrap();
    let mut answer = Vec::new();
    soon("the end", socket.read_to_end(&mut answer)).await.unwrap();
    // A fatal alert, and nothing else.
    assert!(answer.starts_with(&[0x15, 3]) && answer.len() == 7, "{answer:02x?}");
}

/// What speaks HTTP/1.1 where TLS is wanted is told so in its own words.
#[tokio::test]
async fn http_without_tls_is_told_that_it_is_needed() {
    let broker = Broker::start("", "").await;
    let mut socket = TcpStream::connect(broker.server.address).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon("the end", socket.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("https://"), "{answer}");
}

const ROLES: &str =
    "[access.roles.all]\nrules = [{ lockspace = \"*\", prefix = \"\", allow = [\"lock\", \"inspect\"] }]\n";

fn with_tokens(tokens: &[&Token]) -> String {
    let digests: Vec<String> = tokens.iter().map(|token| format!("\"{}\"", token.digest())).collect();
    format!("{ROLES}[access.tokens.a]\nsha256 = [{}]\nroles = [\"all\"]\n", digests.join(", "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_asked_for_and_a_wrong_one_ends_the_attempt_at_once() {
    let (token, wrong) = (Token::new("a").unwrap(), Token::new("a").unwrap());
    let broker = Broker::start("", &with_tokens(&[&token])).await;
    for grpc in [false, true] {
        let with = |token: &Token| client(&broker.address(), grpc, broker.trusting().token(token.reveal()));
        let session = with(&token).session().open().await.unwrap();
        drop(session.lock("r", Mode::EX).await.unwrap());
        assert!(matches!(with(&wrong).session().open().await, Err(Error::Denied(_))), "grpc: {grpc}");
        let nobody = client(&broker.address(), grpc, broker.trusting());
        assert!(matches!(nobody.session().open().await, Err(Error::Denied(_))), "grpc: {grpc}");
    }
}

/// A certificate that names somebody is a credential as good as a token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_says_who_asks() {
    let settings = format!("{ROLES}[access.certificates]\n\"spiffe://example.org/ops/*\" = [\"all\"]\n");
    let broker = Broker::start("client_ca = \"OURS\"\n", &settings).await;
    for grpc in [false, true] {
        let with = |name: &str| {
            let signed = broker.authority.sign("client", name, Valid::Now);
            client(&broker.address(), grpc, broker.trusting().certificate_files(&signed.certificate, &signed.key))
        };
        let known = with("spiffe://example.org/ops/anna");
        let _session = known.session().open().await.unwrap();
        let listed = known.inspection().list_sessions(ListSessionsRequest::default()).await.unwrap();
        assert!(listed.sessions.iter().any(|it| it.principal == "certificate:spiffe://example.org/ops/anna"));
        let unknown = with("spiffe://example.org/dev/bert");
        assert!(matches!(unknown.session().open().await, Err(Error::Denied(_))), "grpc: {grpc}");
    }
}

/// Locks and releases until told otherwise, and says how often.
async fn work(client: Client, stop: tokio::sync::watch::Receiver<bool>) -> usize {
    let session = client.session().ttl(Duration::from_secs(5)).open().await.unwrap();
    let mut done = 0;
    while !*stop.borrow() {
        let guard = session.lock(format!("r/{done}"), Mode::EX).await.expect("the session goes on");
        guard.release().await.expect("the session goes on");
        done += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    session.close().await.unwrap();
    done
}

/// Certificate and token are replaced while clients work: no session is lost. The old certificate and the old token are of no use
/// afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_tokens_are_replaced_under_load() {
    let (old, new) = (Token::new("a").unwrap(), Token::new("a").unwrap());
    let broker = Broker::start("", &with_tokens(&[&old])).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    write(&file, old.reveal());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let working: Vec<_> = [false, true, false, true]
        .into_iter()
        .map(|grpc| {
            let client = client(&broker.address(), grpc, broker.trusting().token_file(&file));
            tokio::spawn(work(client, stopped.clone()))
        })
        .collect();
    let reload = async |tokens: &[&Token]| {
        let tls = &broker.settings[..broker.settings.find("[access").unwrap()];
        broker.server.reload(config(&format!("{tls}{}", with_tokens(tokens)))).await.unwrap();
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    // First both tokens are good, then the programs get the new one, then the old one goes.
    reload(&[&old, &new]).await;
    write(&file, new.reveal());
    broker.authority.sign("broker", "127.0.0.1", Valid::Now);
    reload(&[&new]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.send_replace(true);
    for worked in working {
        assert!(worked.await.unwrap() > 50);
    }
    let with = |token: &Token| client(&broker.address(), false, broker.trusting().token(token.reveal()));
    assert!(with(&new).session().open().await.is_ok());
    assert!(matches!(with(&old).session().open().await, Err(Error::Denied(_))));
    // A file without access control, as one that is cut short, does not end it.
    let tls = &broker.settings[..broker.settings.find("[access").unwrap()];
    assert!(broker.server.reload(config(tls)).await.is_err());
    assert!(broker.server.reload(config("")).await.is_err());
    let nobody = client(&broker.address(), false, broker.trusting());
    assert!(matches!(nobody.session().open().await, Err(Error::Denied(_))));
    // A key that is bad changes nothing about certificates.
    write(&broker.own.key, "no key");
    assert!(broker.server.reload(config(&format!("{tls}{}", with_tokens(&[&new])))).await.is_err());
    assert!(with(&new).session().open().await.is_ok());
}

fn write(file: &Path, text: &str) {
    let unfinished = file.with_extension("new");
    std::fs::write(&unfinished, format!("{text}\n")).unwrap();
    std::fs::rename(&unfinished, file).unwrap();
}

/// Whoever loses its last role loses its sessions, as if an administrator ended them; whoever keeps one keeps them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_those_without_a_role_are_ended() {
    let token = Token::new("a").unwrap();
    let broker = Broker::start("", &with_tokens(&[&token])).await;
    let session =
        client(&broker.address(), false, broker.trusting().token(token.reveal())).session().open().await.unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    let none = with_tokens(&[&token]).replace("roles = [\"all\"]", "roles = []");
    let tls = &broker.settings[..broker.settings.find("[access").unwrap()];
    broker.server.reload(config(&format!("{tls}{none}"))).await.unwrap();
    soon("the loss", guard.lost()).await;
}

/// A stream whose credential runs out ends, and its session goes on with a fresh one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_expires_ends_the_stream_and_not_the_session() {
    let token = Token::new("a").unwrap();
    let until = |seconds: u64| {
        let moment = humantime::format_rfc3339(SystemTime::now() + Duration::from_secs(seconds));
        format!("{}expires = \"{moment}\"\n", with_tokens(&[&token]))
    };
    let broker = Broker::start("", &until(2)).await;
    let session = client(&broker.address(), false, broker.trusting().token(token.reveal()))
        .session()
        .ttl(Duration::from_secs(20))
        .open()
        .await
        .unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let other = client(&broker.address(), false, broker.trusting().token(token.reveal()));
    assert!(matches!(other.session().open().await, Err(Error::Denied(_))));
    // The same token is good for longer: whoever holds the session comes back.
    let tls = &broker.settings[..broker.settings.find("[access").unwrap()];
    broker.server.reload(config(&format!("{tls}{}", until(600)))).await.unwrap();
    drop(soon("another lock", async { session.lock("s", Mode::EX).await }).await.unwrap());
    guard.check().unwrap();
    guard.release().await.unwrap();
}

/// A token of an issuer whose keys are in a file says who asks, and its roles. A new key counts once the file has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_json_web_token_says_who_asks() {
    let issuer = Issuer::new();
    let settings = format!(
        "{ROLES}[access.jwt]\nissuer = \"https://i\"\naudience = \"sixpin\"\njwks = \"{}\"\nalgorithms = [\"ES256\"]\n",
        issuer.file().display()
    );
    let broker = Broker::start("", &settings).await;
    let with = |grpc, token: &str| client(&broker.address(), grpc, broker.trusting().token(token));
    let next = rcgen::KeyPair::generate().unwrap();
    for grpc in [false, true] {
        let known = with(grpc, &Issuer::sign(&issuer.key, "anna", &["all", "nothing"]));
        let _session = known.session().open().await.unwrap();
        let listed = known.inspection().list_sessions(ListSessionsRequest::default()).await.unwrap();
        assert!(listed.sessions.iter().any(|it| it.principal == "jwt:https://i#anna"), "{listed:?}");
        for refused in [Issuer::sign(&issuer.key, "bert", &["nothing"]), Issuer::sign(&next, "anna", &["all"])] {
            assert!(matches!(with(grpc, &refused).session().open().await, Err(Error::Denied(_))), "grpc: {grpc}");
        }
    }
    issuer.publish(&[&issuer.key, &next]);
    broker.server.reload(config(&broker.settings)).await.unwrap();
    assert!(with(false, &Issuer::sign(&next, "anna", &["all"])).session().open().await.is_ok());
}

/// Who makes JSON web tokens.
struct Issuer {
    key: rcgen::KeyPair,
    folder: tempfile::TempDir,
}

impl Issuer {
    fn new() -> Self {
        let issuer = Self { key: rcgen::KeyPair::generate().unwrap(), folder: tempfile::tempdir().unwrap() };
        issuer.publish(&[&issuer.key]);
        issuer
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("jwks.json")
    }

    fn publish(&self, keys: &[&rcgen::KeyPair]) {
        let keys: Vec<_> = keys
            .iter()
            .map(|key| {
                let point = key.public_key_raw();
                let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
                json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })
            })
            .collect();
        write(&self.file(), &json!({ "keys": keys }).to_string());
    }

    fn sign(key: &rcgen::KeyPair, subject: &str, roles: &[&str]) -> String {
        let end = SystemTime::now() + Duration::from_secs(60);
        let exp = end.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({ "iss": "https://i", "sub": subject, "aud": "sixpin", "exp": exp, "roles": roles });
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        let key = jsonwebtoken::EncodingKey::from_ec_der(&key.serialize_der());
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }
}
