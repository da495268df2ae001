//! Secrets are shown nowhere: not in the log at its most talkative, not in messages, not in what other processes of the host can
//! read.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;

use sixpin_server::access::token::Token;
use sixpin_testkit::authority::{Authority, Valid};

use super::program::{Process, Said, program, soon};

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
    broker.signal(nix::sys::signal::Signal::SIGTERM);
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
        ("the token", token.reveal().to_owned()),
        ("a wrong token", wrong.reveal().to_owned()),
        ("the key", key_line(&own.key)),
        ("a session's token", "sxs1~".to_owned()),
    ] {
        let place = shown.find(&secret).map(|at| {
            let from = shown[..at].char_indices().rev().nth(200).map_or(0, |(from, _)| from);
            shown[from..at].to_owned()
        });
        assert!(place.is_none(), "{what} is shown after: {}", place.unwrap_or_default());
    }
}
