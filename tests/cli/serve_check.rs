//! `sixpin serve --check`: a configuration is judged without a start.

use std::path::PathBuf;

use tempfile::TempDir;

use super::program::{Said, program};

struct File {
    _folder: TempDir,
    path: PathBuf,
}

fn file(name: &str, text: &str) -> File {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    File { _folder: folder, path }
}

fn check(file: &File, flags: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut command = program();
    command.args(["serve", "--check", "--config"]).arg(&file.path).args(flags).envs(variables.iter().copied());
    Said::from(command.output().unwrap())
}

#[test]
fn what_a_broker_would_do_is_said_and_not_done() {
    // No store is there, and the address is nobody's: a start would fail.
    let good = file(
        "sixpin.toml",
        "name = \"north\"\nlisten = \"192.0.2.1:7000\"\ninsecure = true\nadmin_listen = \"off\"\n\
         [backends.default]\nurl = \"redis://me:hunter2@127.0.0.1:1/0\"\n\
         [backends.safe]\nurl = \"etcd://127.0.0.1:1,etcd://127.0.0.1:2\"\n[lockspaces.orders]\nbackend = \"safe\"\n",
    );
    let said = check(&good, &["--name", "south"], &[]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    for words in ["call itself south", "192.0.2.1:7000", "no listener for administrators", "orders", "127.0.0.1:2"] {
        assert!(said.stdout.contains(words), "`{words}` is missing: {}", said.stdout);
    }
    assert!(!said.stdout.contains("hunter2"), "{}", said.stdout);
}

#[test]
fn a_mistake_is_said_of_the_place_where_it_was_made() {
    for (text, flags, variables, words) in [
        ("name = \"a\"\nbroker_ttl = \"500ms\"", &[][..], &[][..], &["sixpin.toml:2: `broker_ttl` is 500ms"][..]),
        ("\n[limits]\nrecord_bytes = 1", &[], &[], &["sixpin.toml:3: `limits.record_bytes` is 1"]),
        ("[lockspaces.\"a.b\"]\nlock_delay = \"2h\"", &[], &[], &["sixpin.toml:2: `lockspaces.a.b.lock_delay`"]),
        ("[lockspaces.A]", &[], &[], &["sixpin.toml:1: `lockspaces.A`"]),
        ("\nlisten = \"0.0.0.0:1\"", &[], &[], &["sixpin.toml:2: `listen` is 0.0.0.0:1", "without TLS", "insecure"]),
        ("[tls]\ncertificate = \"a.pem\"", &[], &[], &["sixpin.toml:1: `tls` has no `key`"]),
        (
            "[tls]\ncertificate = \"nowhere.pem\"\nkey = \"nowhere.key\"",
            &[],
            &[],
            &["sixpin.toml:2: `certificate`: nowhere.pem: it cannot be read"],
        ),
        (
            "[tls]\ncertificate = \"a\"\nkey = \"b\"\nclient_auth = \"required\"",
            &[],
            &[],
            &["sixpin.toml:4: ", "client_ca"],
        ),
        (
            "[access.roles.a]\nrules = [{ lockspace = \"*\", prefix = \"a\", allow = [\"lock\"] }]",
            &[],
            &[],
            &["sixpin.toml:2: ", "rule 1: `prefix` is `a`", "ends with `/`"],
        ),
        (
            "[access.roles.a]\nrules = [{ lockspace = \"*\", prefix = \"\", allow = [\"locks\"] }]",
            &[],
            &[],
            &["sixpin.toml:2: ", "`locks` is no verb"],
        ),
        (
            "[access]\nanonymous = [\"b\"]\n[access.roles.a]\nrules = []",
            &[],
            &[],
            &["sixpin.toml:2: ", "`b` is none of"],
        ),
        (
            "[access.tokens.a]\nsha256 = \"sxp_a_hunter2\"\nroles = []",
            &[],
            &[],
            &["sixpin.toml:2: ", "this is no SHA-256"],
        ),
        ("[access.certificates]\n\"*\" = []", &[], &[], &["sixpin.toml:2: ", "whole last segment"]),
        ("\nlistn = \"127.0.0.1:1\"", &[], &[], &["sixpin.toml:2: ", "listn"]),
        ("listen = 5", &[], &[], &["sixpin.toml:1: ", "listen = 5"]),
        ("name = \"a\"\nname = \"b\"", &[], &[], &["sixpin.toml:2: ", "name"]),
        ("\n[backends.default]\nurl = \"redis://h/x\"", &[], &[], &["sixpin.toml:3: backend `default`"]),
        ("backend = \"nats://a,nats://u:hunter2@b\"", &[], &[], &["sixpin.toml:1: backend `default`", "one login"]),
        ("backend = \"redis://h\"\n[log]\nlevel = \"a=b=c\"", &[], &[], &["sixpin.toml:3: `log.level`"]),
        ("[log]\nlevel = \"warning\"", &[], &[], &["sixpin.toml:2: `log.level` has `warning`", "warn"]),
        ("backend = \"u:hunter2@h:1\"", &[], &[], &["sixpin.toml:1: backend `default`: `...@h:1` is not the URL"]),
        (
            "[backends.default]\nurl = \"redis://h/x\"\npassword = \"hunter2",
            &[],
            &[],
            &["sixpin.toml:3: the file must be TOML"],
        ),
        ("", &["--advertise", "north"], &[], &["`--advertise`: `advertise` is `north`"]),
        (
            "broker_ttl = \"5s\"",
            &[],
            &[("SIXPIN_SERVE_BROKER_TTL", "1ms")],
            &["environment variable SIXPIN_SERVE_BROKER_TTL: `broker_ttl` is 1ms"],
        ),
    ] {
        let said = check(&file("sixpin.toml", text), flags, variables);
        assert_eq!((said.status, said.stdout.as_str()), (Some(78), ""), "{text}: {said:?}");
        for word in words {
            assert!(said.stderr.contains(word), "{text}: `{word}` is not in: {}", said.stderr);
        }
        assert!(!said.stderr.contains("hunter2"), "{text}: a password is shown: {}", said.stderr);
    }
}

#[test]
fn another_format_is_named() {
    for (name, text, format) in [
        ("sixpin.toml", "listen: 127.0.0.1:1\n", "YAML"),
        ("sixpin.conf", "# ours\nlog:\n  level: info\n", "YAML"),
        ("sixpin.conf", "---\nlanes: 4\n", "YAML"),
        ("sixpin.toml", "{ \"lanes\": 4 }\n", "JSON"),
        ("sixpin.conf", "\n{\n  \"lanes\": 4\n}\n", "JSON"),
    ] {
        let said = check(&file(name, text), &[], &[]);
        assert_eq!(said.status, Some(78), "{said:?}");
        assert!(
            said.stderr.contains(&format!("the file must be TOML, and this looks like {format} (call it .")),
            "{said:?}"
        );
    }
    let said = check(&file("sixpin.toml", "listen = 127.0.0.1:1\n"), &[], &[]);
    assert!(
        said.stderr.contains("sixpin.toml:1: the file must be TOML: ") && !said.stderr.contains("YAML"),
        "{said:?}"
    );
}

#[test]
fn the_same_words_are_said_at_a_start() {
    let wrong = file("sixpin.toml", "name = \"a\"\nbroker_ttl = \"500ms\"");
    let said = Said::from(program().args(["serve", "--config"]).arg(&wrong.path).output().unwrap());
    assert_eq!(said.status, Some(78));
    assert_eq!(said.stderr, check(&wrong, &[], &[]).stderr);
}

#[test]
fn a_variable_that_is_no_text_is_refused_only_if_it_is_ours() {
    use std::os::unix::ffi::OsStringExt as _;
    let odd = std::ffi::OsString::from_vec(vec![0xff]);
    let empty = file("sixpin.toml", "");
    for (name, status) in [("SIXPIN_SERVE_NAME", 78), ("ANOTHER", 0)] {
        let mut command = program();
        let said = command.args(["serve", "--check", "--config"]).arg(&empty.path).env(name, &odd);
        let said = Said::from(said.output().unwrap());
        assert_eq!(said.status, Some(status), "{said:?}");
        assert!(status == 0 || said.stderr.contains(name), "{said:?}");
    }
}
