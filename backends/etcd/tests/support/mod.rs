//! etcd servers, opened stores, and what only an administrator does to etcd.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sixpin_core::backend::{Backend, OpenError};
use sixpin_etcd::{EtcdBackend, Settings};
use sixpin_testkit::{ServerProcess, etcd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Nothing that works takes this long, even on a busy machine.
pub(crate) const PATIENT: Duration = Duration::from_secs(10);

/// A server of one's own.
pub(crate) async fn server() -> ServerProcess {
    etcd().start().await.expect("etcd starts")
}

/// The server that the tests share which do it no harm.
pub(crate) async fn shared_server() -> &'static ServerProcess {
    static SERVER: tokio::sync::OnceCell<ServerProcess> = tokio::sync::OnceCell::const_new();
    SERVER.get_or_init(server).await
}

/// A prefix that no other test uses.
pub(crate) fn fresh_prefix() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("test-{}/", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Settings for a busy machine.
pub(crate) fn patient_settings() -> Settings {
    Settings { connect_timeout: PATIENT, request_timeout: PATIENT, ..Settings::default() }
}

/// Opens a store.
pub(crate) async fn open(address: SocketAddr, settings: &Settings) -> Result<EtcdBackend, OpenError> {
    EtcdBackend::open(&format!("etcd://{address}"), settings).await
}

/// Opens a store that can be opened.
pub(crate) async fn opened(address: SocketAddr, settings: &Settings) -> Arc<dyn Backend> {
    Arc::new(open(address, settings).await.expect("the store can be opened"))
}

/// Why a store cannot be opened.
pub(crate) async fn refused(url: &str, settings: &Settings) -> OpenError {
    EtcdBackend::open(url, settings).await.map(|_| ()).expect_err("the store cannot be opened")
}

/// Asks the JSON gateway of an etcd, as an administrator would with etcdctl. Answers the body.
pub(crate) async fn admin(address: SocketAddr, path: &str, token: Option<&str>, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("etcd can be reached");
    let token = token.map(|token| format!("Authorization: {token}\r\n")).unwrap_or_default();
    let request = format!(
        "POST /v3/{path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n{token}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("etcd listens");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("etcd answers");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200"), "{path} {body}: {answer}");
    answer
}

/// The text of a field in an answer of the gateway; its first appearance counts.
pub(crate) fn field(answer: &str, name: &str) -> String {
    let start = answer.find(&format!("\"{name}\":\"")).unwrap_or_else(|| panic!("no {name} in {answer}"));
    answer[start + name.len() + 4..].chars().take_while(|&letter| letter != '"').collect()
}

/// The revision of the cluster.
pub(crate) async fn revision(address: SocketAddr) -> u64 {
    let answer = admin(address, "kv/range", None, r#"{"key":"YQ=="}"#).await;
    field(&answer, "revision").parse().expect("a revision is a number")
}
