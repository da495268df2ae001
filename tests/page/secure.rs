//! The page over TLS.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sixpin_testkit::authority::{Authority, Valid};

use super::{Tokens, World, encoded};
use crate::support::PATIENCE;

/// Sends a request over TLS, and reads the head of the answer.
fn head(authority: &Path, address: SocketAddr, request: &str) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = versions.with_root_certificates(roots).with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), address.ip().into()).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(request.as_bytes()).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn who_signs_in_over_tls_keeps_that_to_tls() {
    let authority = Authority::new("ours");
    let own = authority.sign("broker", "127.0.0.1", Valid::Now);
    let tokens = Tokens::new();
    let (certificate, key) = (own.certificate.display(), own.key.display());
    let tls = format!("[admin_tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n");
    let world = World::configured(&format!("{}{tls}", tokens.settings)).await;
    let (address, file): (SocketAddr, PathBuf) = (world.server.admin_address.unwrap(), authority.file.clone());
    let ask = async |request: String| {
        let file = file.clone();
        tokio::task::spawn_blocking(move || head(&file, address, &request)).await.unwrap()
    };
    let sign_in = |scheme: &str| {
        let form = format!("credential={}", encoded(tokens.operator.reveal()));
        format!(
            "POST /sign-in HTTP/1.1\r\nhost: {address}\r\norigin: {scheme}://{address}\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            form.len()
        )
    };
    let refused = ask(sign_in("http")).await;
    assert!(refused.starts_with("HTTP/1.1 403") && !refused.contains("set-cookie"), "{refused}");
    let signed_in = ask(sign_in("https")).await;
    assert!(signed_in.starts_with("HTTP/1.1 303"), "{signed_in}");
    let cookie = signed_in.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.ends_with("; Secure"), "{cookie}");
    let shown = cookie.split(';').next().unwrap();
    let home = ask(format!("GET / HTTP/1.1\r\nhost: {address}\r\ncookie: {shown}\r\n\r\n")).await;
    assert!(home.starts_with("HTTP/1.1 200"), "{home}");
}
