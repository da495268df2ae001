//! Secrets are shown nowhere: not in the log at its most talkative, not in messages, not in what other processes of the host can
//! read.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::Method;
use nix::sys::signal::Signal;
use sixpin_server::access::token::Token;
use sixpin_testkit::authority::{Authority, Valid};
use sixpin_testkit::stores::nats_with;
use sixpin_testkit::{etcd, redis};

use super::program::{Process, Said, program, soon};
use crate::support::http::Http;

/// The longest line of a PEM file, as it would stand in a log.
fn key_line(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().max_by_key(|line| line.len()).unwrap().to_owned()
}

#[test]
fn no_secret_is_shown_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let own = authority.sign("broker", "127.0.0.1", Valid::Now);
    let (token, wrong) = (Token::new("a").unwrap(), Token::new("a").unwrap());
    let (config, ready, log) =
        (folder.path().join("sixpin.toml"), folder.path().join("ready"), folder.path().join("log"));
    let settings = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nfirst_start_grace = \"0s\"\nrequire = \"volatile\"\n\
         [log]\nlevel = \"trace\"\n[audit]\nlocks = true\n[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n\
         [access.roles.all]\nrules = [{{ lockspace = \"*\", prefix = \"\", allow = [\"lock\", \"inspect\"] }}]\n\
         [access.tokens.a]\nsha256 = \"{}\"\nroles = [\"all\"]\n",
        own.certificate.display(),
        own.key.display(),
        token.digest()
    );
    std::fs::write(&config, settings).unwrap();
    let mut serve = program();
    serve.args(["serve", "--config"]).arg(&config).arg("--ready-file").arg(&ready);
    let broker = Process(serve.stderr(Stdio::from(std::fs::File::create(&log).unwrap())).spawn().unwrap());
    let address = soon("the ready file", || std::fs::read_to_string(&ready).ok());
    let mut addresses = address.lines();
    let (clients, admins) = (addresses.next().unwrap(), addresses.next().unwrap());

    let mut shown = String::new();
    let mut ask = |arguments: &[&str], token: &Token| {
        let mut command = program();
        command.args(arguments).arg("--ca").arg(&authority.file);
        command.env("SIXPIN_ENDPOINTS", clients).env("SIXPIN_ADMIN_ENDPOINTS", admins);
        let said = Said::from(command.env("SIXPIN_TOKEN", token.reveal()).output().unwrap());
        let _ = write!(shown, "{said:?}");
        said.status
    };
    assert_eq!(ask(&["status"], &token), Some(0));
    assert_eq!(ask(&["sessions", "--output", "json"], &token), Some(0));
    assert_eq!(ask(&["status"], &wrong), Some(77));
    assert_eq!(ask(&["expire", "00000000000000ab-3-10000"], &token), Some(77));
    let mut run = program();
    run.args(["run", "r", "--ca"]).arg(&authority.file).env("SIXPIN_ENDPOINTS", clients);
    // All that the command can see of it: its own variables, those of the processes around it, and their command lines.
    let look = "env; for p in $$ $PPID; do tr '\\0' '\\n' < /proc/$p/cmdline; done; tr '\\0' '\\n' < /proc/$$/environ";
    let said = Said::from(run.args(["--", "sh", "-c", look]).env("SIXPIN_TOKEN", token.reveal()).output().unwrap());
    assert_eq!(said.status, Some(0), "{said:?}");
    let _ = write!(shown, "{said:?}");
    let line = std::fs::read(format!("/proc/{}/cmdline", broker.pid())).unwrap();
    shown += &String::from_utf8_lossy(&line);
    broker.signal(Signal::SIGTERM);
    let logged = soon("the end of the log", || {
        let text = std::fs::read_to_string(&log).unwrap();
        text.contains("drain").then_some(text)
    });
    assert!(
        logged.contains("TRACE") && logged.contains("\"verb\":\"granted\""),
        "the log is not as talkative as it can be"
    );
    shown += &logged;

    for (what, secret) in [
        ("the token", token.reveal()),
        ("a wrong token", wrong.reveal()),
        ("the key", &key_line(&own.key)),
        ("a session's token", "sxs1~"),
    ] {
        is_hidden(&shown, what, secret);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_signs_in_at_the_page_shows_the_log_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (token, wrong) = (Token::new("a").unwrap(), Token::new("a").unwrap());
    let place = |name: &str| folder.path().join(name);
    let (config, ready, log) = (place("sixpin.toml"), place("ready"), place("log"));
    let settings = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nfirst_start_grace = \"0s\"\nrequire = \"volatile\"\n\
         [log]\nlevel = \"trace\"\n[access.roles.all]\n\
         rules = [{{ lockspace = \"*\", prefix = \"\", allow = [\"lock\", \"inspect\"] }}]\n\
         [access.tokens.a]\nsha256 = \"{}\"\nroles = [\"all\"]\n",
        token.digest()
    );
    std::fs::write(&config, settings).unwrap();
    let mut serve = program();
    serve.args(["serve", "--config"]).arg(&config).arg("--ready-file").arg(&ready);
    let broker = Process(serve.stderr(Stdio::from(std::fs::File::create(&log).unwrap())).spawn().unwrap());
    let addresses = soon("the ready file", || std::fs::read_to_string(&ready).ok());
    let admin = addresses.lines().nth(1).unwrap().rsplit('/').next().unwrap();
    let page = Http::to(admin.parse().unwrap()).with("origin", &format!("http://{admin}"));
    let mut tickets = Vec::new();
    for page in [page.clone(), page.over_http2()] {
        let sign_in = async |token: &Token| {
            let form = format!("credential={}", token.reveal());
            page.send(Method::POST, "/sign-in", Some("application/x-www-form-urlencoded"), form.into()).await
        };
        assert_eq!(sign_in(&wrong).await.status, 401);
        let signed_in = sign_in(&token).await;
        let cookie = signed_in.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        assert_eq!(page.with("cookie", &cookie).get("/").await.status, 200);
        tickets.push(cookie.split_once('=').unwrap().1.to_owned());
    }
    broker.signal(Signal::SIGTERM);
    let logged = soon("the end of the log", || {
        let text = std::fs::read_to_string(&log).unwrap();
        text.contains("drain").then_some(text)
    });
    assert!(
        logged.contains("TRACE") && logged.contains("not authenticated"),
        "the log is not as talkative as it can be"
    );
    is_hidden(&logged, "the token", token.reveal());
    is_hidden(&logged, "a wrong token", wrong.reveal());
    for ticket in &tickets {
        is_hidden(&logged, "what the browser shows", ticket);
    }
}

/// Neither as it is, nor as bytes are written where they are no text.
fn is_hidden(shown: &str, what: &str, secret: &str) {
    let bytes = format!("{:?}", secret.as_bytes());
    for form in [secret, bytes.trim_matches(['[', ']']), &STANDARD_NO_PAD.encode(secret)] {
        let place = shown.find(form).map(|at| {
            let from = shown[..at].char_indices().rev().nth(200).map_or(0, |(from, _)| from);
            shown[from..at].to_owned()
        });
        assert!(place.is_none(), "{what} is shown after: {}", place.unwrap_or_default());
    }
}

/// What lets a broker in at its store, and what does not. In a URL both are written otherwise.
const GOOD: &str = "canary@good";
const BAD: &str = "canary@bad";
/// With it the reverse.
const IN_A_URL: &str = "canary%40";

/// Where a broker has its password from: settings, and a variable besides.
fn logins(
    user: &str,
    scheme: &str,
    address: SocketAddr,
    password: &str,
    folder: &Path,
) -> Vec<(String, Option<String>)> {
    let file = folder.join("password");
    std::fs::write(&file, format!("{password}\n")).unwrap();
    let url = format!("url = \"{scheme}://{address}\"\nuser = \"{user}\"\n");
    let mut logins = vec![
        (format!("{url}password = \"{password}\"\n"), None),
        (format!("{url}password_file = \"{}\"\n", file.display()), None),
        (url, Some(password.to_owned())),
    ];
    // A login at etcd does not stand in its URL.
    if scheme != "etcd" {
        let inside = password.replace('@', "%40");
        logins.push((format!("url = \"{scheme}://{user}:{inside}@{address}\"\n"), None));
    }
    logins
}

/// A broker at its most talkative with this login: how it ends, and everything that can be seen of it.
fn seen_of(folder: &Path, settings: &str, password: Option<&str>) -> (Option<i32>, String) {
    let (config, ready, log) = (folder.join("sixpin.toml"), folder.join("ready"), folder.join("log"));
    let text = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"off\"\nfirst_start_grace = \"0s\"\nrequire = \"volatile\"\n\
         [log]\nlevel = \"trace\"\n[backends.default]\n{settings}"
    );
    std::fs::write(&config, text).unwrap();
    let serve = |arguments: &[&str]| {
        let mut serve = program();
        serve.arg("serve").args(arguments).arg("--config").arg(&config);
        serve.envs(password.map(|password| ("SIXPIN_SERVE_BACKENDS__DEFAULT__PASSWORD", password)));
        serve
    };
    let mut shown = format!("{:?}", Said::from(serve(&["--check"]).output().unwrap()));
    let _ = std::fs::remove_file(&ready);
    let mut start = serve(&["--ready-file", ready.to_str().unwrap()]);
    let (out, err) = (std::fs::File::create(&log).unwrap(), std::fs::File::options().append(true).open(&log).unwrap());
    let mut broker = Process(start.stdout(out).stderr(err).spawn().unwrap());
    let serves = soon("a broker or its end", || match (std::fs::read_to_string(&ready), broker.ended()) {
        (Ok(address), _) => Some(Some(address)),
        (_, Some(_)) => Some(None),
        _ => None,
    });
    shown += &String::from_utf8_lossy(&std::fs::read(format!("/proc/{}/cmdline", broker.pid())).unwrap_or_default());
    if let Some(address) = serves {
        let mut run = program();
        run.args(["run", "r", "--", "true"]).env("SIXPIN_ENDPOINTS", format!("grpc://{}", address.trim()));
        let said = Said::from(run.output().unwrap());
        assert_eq!(said.status, Some(0), "{said:?}");
        let _ = write!(shown, "{said:?}");
        broker.signal(Signal::SIGTERM);
    }
    let status = broker.wait().code();
    let logged = std::fs::read_to_string(&log).unwrap();
    // What carries gRPC is the most talkative.
    assert!(logged.contains("TRACE") || status != Some(0), "the log is not as talkative as it can be: {logged}");
    (status, shown + &logged)
}

/// Whatever a broker is told of its store's password, right or wrong, is shown to nobody.
fn store_passwords_are_hidden(user: &str, scheme: &str, address: SocketAddr) {
    let folder = tempfile::tempdir().unwrap();
    for (password, ends) in [(GOOD, Some(0)), (BAD, Some(77))] {
        for (settings, variable) in logins(user, scheme, address, password, folder.path()) {
            let (status, shown) = seen_of(folder.path(), &settings, variable.as_deref());
            assert_eq!(status, ends, "{settings}: {shown}");
            for (what, secret) in [("the good password", GOOD), ("the bad password", BAD), ("a URL", IN_A_URL)] {
                is_hidden(&shown, &format!("{what} ({scheme})"), secret);
            }
        }
    }
    // In both places is one too many.
    let twice = format!("url = \"{scheme}://{user}:{IN_A_URL}good@{address}\"\npassword = \"{BAD}\"\n");
    let (status, shown) = seen_of(folder.path(), &twice, None);
    assert_eq!(status, Some(78), "{shown}");
    is_hidden(&shown, "the URL's password", IN_A_URL);
    is_hidden(&shown, "the setting's password", BAD);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_of_redis_is_shown_nowhere() {
    let mut plan = redis().arguments(["--requirepass", GOOD]);
    plan.probe.answer = "NOAUTH";
    let server = plan.start().await.unwrap();
    store_passwords_are_hidden("default", "redis", server.address());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_of_nats_is_shown_nowhere() {
    let users = format!("authorization {{ users: [{{ user: u, password: \"{GOOD}\" }}] }}\n");
    let server =
        nats_with(&format!("jetstream {{ store_dir: \"{{dir}}/jetstream\" }}\n{users}")).start().await.unwrap();
    store_passwords_are_hidden("u", "nats", server.address());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_of_etcd_is_shown_nowhere() {
    let server = etcd().start().await.unwrap();
    for (path, body) in [
        ("user/add", format!(r#"{{"name":"root","password":"{GOOD}"}}"#)),
        ("role/add", r#"{"name":"root"}"#.to_owned()),
        ("user/grant", r#"{"user":"root","role":"root"}"#.to_owned()),
        ("enable", "{}".to_owned()),
    ] {
        let mut gateway = TcpStream::connect(server.address()).unwrap();
        let head = format!(
            "POST /v3/auth/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        gateway.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        gateway.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    store_passwords_are_hidden("root", "etcd", server.address());
}
