//! What commands say where TLS does not fit: each ends at once, with one sentence on what is wrong and a hint on what to do.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sixpin_testkit::authority::{Authority, Signed, Valid};

use super::program::{Process, Said, program, soon};

/// A `run` that waited for a broker would go on for ever.
const AT_ONCE: Duration = Duration::from_secs(20);

/// A broker with these settings, and its addresses for clients and administrators.
fn broker(folder: &Path, name: &str, settings: &str) -> (Process, String, String) {
    let (config, ready) = (folder.join(format!("{name}.toml")), folder.join(format!("{name}.ready")));
    let common = "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nfirst_start_grace = \"0s\"\nrequire = \"volatile\"\n";
    std::fs::write(&config, format!("{common}{settings}")).unwrap();
    let mut serve = program();
    serve.args(["serve", "--config"]).arg(&config).arg("--ready-file").arg(&ready).stderr(Stdio::null());
    let process = Process(serve.spawn().unwrap());
    let text = soon("the ready file", || std::fs::read_to_string(&ready).ok());
    let mut lines = text.lines().map(str::to_owned);
    (process, lines.next().unwrap(), lines.next().unwrap())
}

/// Something with TLS that shows this certificate, as no broker would that looks at its own before it starts.
fn shows(signed: &Signed) -> String {
    let certificates = CertificateDer::pem_file_iter(&signed.certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&signed.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(certificates, key).unwrap());
    listening(move |mut tcp| {
        let mut connection = rustls::ServerConnection::new(config.clone()).unwrap();
        let _ = connection.complete_io(&mut tcp);
    })
}

/// A server of TLS 1.1 alone: it chooses that version, as RFC 4346 wants it.
fn old_tls() -> String {
    listening(|mut tcp| {
        // ServerHello of version 3.2: a random, no session, one cipher suite, no compression.
        let mut hello = vec![2, 0, 0, 38, 3, 2];
        hello.extend_from_slice(&[7; 32]);
        hello.extend_from_slice(&[0, 0, 0x2f, 0]);
        let mut record = vec![0x16, 3, 2, 0, hello.len() as u8];
        record.extend_from_slice(&hello);
        let _ = tcp.read(&mut [0; 512]);
        let _ = tcp.write_all(&record);
        let _ = tcp.read_to_end(&mut Vec::new());
    })
}

/// Serves each connection so, as long as the test runs.
fn listening(serve: impl Fn(std::net::TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
    address
}

/// What is wrong, where commands go, what they are given, and what they say about it.
struct Wrong<'a> {
    what: &'a str,
    clients: &'a str,
    admins: &'a str,
    flags: Vec<&'a str>,
    words: &'a str,
}

impl Wrong<'_> {
    fn ask_all(&self) {
        for arguments in [&["status"][..], &["ls"], &["watch", "r"], &["purge", "r", "--all"]] {
            self.ask(arguments, &[]);
        }
        for wait in [&[][..], &["--wait", "1h"], &["--no-wait"]] {
            self.ask(&[&["run", "r"], wait].concat(), &["--", "true"]);
        }
    }

    fn ask(&self, arguments: &[&str], command: &[&str]) {
        let started = Instant::now();
        let mut sixpin = program();
        sixpin.args(arguments).args(&self.flags).args(command);
        sixpin.env("SIXPIN_ENDPOINTS", self.clients).env("SIXPIN_ADMIN_ENDPOINTS", self.admins);
        let said = Said::from(sixpin.stdin(Stdio::null()).output().unwrap());
        let what = format!("{} with {arguments:?}: {said:?}", self.what);
        assert!(started.elapsed() < AT_ONCE, "{what}");
        assert_eq!((said.status, said.stdout.as_str()), (Some(69), ""), "{what}");
        let errors: Vec<&str> = said.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        let hints: Vec<&str> = said.stderr.lines().filter(|line| line.starts_with("hint: ")).collect();
        assert_eq!((errors.len(), hints.len()), (1, 1), "{what}");
        assert!(errors[0].contains("(TLS: ") && errors[0].contains(self.words), "{what}");
        assert!(hints[0].contains("`--ca`") && hints[0].contains("http://"), "{what}");
    }
}

#[test]
fn what_is_wrong_with_tls_is_said_once_and_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let own = ours.sign("broker", "127.0.0.1", Valid::Now);
    let tls = |more: &str| {
        format!("[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n{more}", own.certificate.display(), own.key.display())
    };
    let (_open, clients, admins) = broker(folder.path(), "open", &tls(""));
    let required = tls(&format!("client_ca = \"{}\"\nclient_auth = \"required\"\n", ours.file.display()));
    let (_strict, strict, strict_admins) = broker(folder.path(), "strict", &required);
    let (_plain, plain, plain_admins) = broker(folder.path(), "plain", "");
    let by_name = |address: &str| address.replace("127.0.0.1", "localhost");
    let (named, named_admins) = (by_name(&clients), by_name(&admins));
    let (old, young) =
        (shows(&ours.sign("old", "127.0.0.1", Valid::Before)), shows(&ours.sign("young", "127.0.0.1", Valid::Later)));
    let ancient = old_tls();
    let secure_plain = (format!("https://{plain}"), format!("https://{plain_admins}"));
    let file = |path: &Path| path.to_str().unwrap().to_owned();
    let (ca, other_ca) = (file(&ours.file), file(&other.file));
    let foreign = other.sign("foreign", "me.example.org", Valid::Now);
    let expired = ours.sign("expired", "me.example.org", Valid::Before);
    let (foreign_pem, foreign_key) = (file(&foreign.certificate), file(&foreign.key));
    let (expired_pem, expired_key) = (file(&expired.certificate), file(&expired.key));
    let trusting = || vec!["--ca", ca.as_str()];
    let table = [
        ("wrong CA", &clients, &admins, vec!["--ca", &other_ca], "is not signed by a CA of `"),
        ("wrong name", &named, &named_admins, trusting(), "is for other names: call it by one of these: 127.0.0.1"),
        ("expired", &old, &old, trusting(), "days ago"),
        ("not yet valid", &young, &young, trusting(), "is not valid before"),
        ("no client certificate", &strict, &strict_admins, trusting(), "wants a certificate of this program"),
        (
            "a client certificate of another CA",
            &strict,
            &strict_admins,
            vec!["--ca", &ca, "--cert", &foreign_pem, "--key", &foreign_key],
            "does not trust who signed",
        ),
        (
            "an expired client certificate",
            &strict,
            &strict_admins,
            vec!["--ca", &ca, "--cert", &expired_pem, "--key", &expired_key],
            "has expired",
        ),
        ("no TLS where it is wanted", &clients, &admins, vec![], "write https:// in front"),
        ("TLS where there is none", &plain, &plain_admins, trusting(), "write http:// in front"),
        ("https where there is none", &secure_plain.0, &secure_plain.1, vec![], "write http:// in front"),
        ("TLS 1.1", &ancient, &ancient, trusting(), "1.2 or 1.3"),
    ];
    std::thread::scope(|all| {
        for (what, clients, admins, flags, words) in table {
            all.spawn(move || Wrong { what, clients, admins, flags, words }.ask_all());
        }
    });
}
