//! Configuration: what is read, what overrides what, and what is refused with which words.

use std::collections::BTreeSet;
use std::time::Duration;

use sixpin::cli::serve::Args;
use sixpin_core::backend::Durability;
use sixpin_core::name::Lockspace;
use sixpin_server::config::settings::{Counts, SETTINGS};
use sixpin_server::config::{self, Config};

const EXAMPLE: &str = include_str!("../compose/sixpin.example.toml");
const DOCUMENT: &str = include_str!("../docs/configuration.md");

fn parse(text: &str) -> Result<Config, String> {
    config::parse(text, "", [], toml::Table::new()).map_err(|error| error.to_string())
}

fn environment(variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string()));
    config::parse("", "", variables, toml::Table::new()).map_err(|error| error.to_string())
}

#[test]
fn nothing_configured_is_memory_on_this_host() {
    let config = parse("").unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:6616");
    assert_eq!(config.admin_listen.unwrap().to_string(), "127.0.0.1:6617");
    assert_eq!(config.backends["default"].url, "memory:");
    assert_eq!(config.require, Durability::CrashSafe);
    assert_eq!(config.session_ttl, Duration::from_secs(10));
    assert_eq!(config.broker_ttl, Duration::from_secs(5));
    assert_eq!(config.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.store_patience, Duration::from_secs(5));
    assert_eq!(config.session_ttl_max, Duration::from_secs(60));
    assert_eq!(config.first_start_grace, None);
}

#[test]
fn the_example_parses_and_shows_every_setting() {
    let config = parse(EXAMPLE).unwrap();
    assert!(config.lockspaces.contains_key(&Lockspace::new("reports").unwrap()));
    let mut shown = BTreeSet::new();
    keys(&EXAMPLE.parse::<toml::Table>().unwrap(), "", &mut shown);
    let listed: BTreeSet<String> = SETTINGS.iter().map(|setting| setting.key.to_string()).collect();
    // `backend` is the short form of `backends.default`, and only one of the two may stand in a file.
    let missing: Vec<_> = listed.iter().filter(|key| !shown.contains(*key) && *key != "backend").collect();
    assert!(missing.is_empty(), "not in the example: {missing:?}");
    let unlisted: Vec<_> = shown.difference(&listed).collect();
    assert!(unlisted.is_empty(), "not in the list of settings: {unlisted:?}");
}

fn keys(table: &toml::Table, prefix: &str, found: &mut BTreeSet<String>) {
    for (name, value) in table {
        let named =
            ["backends.", "lockspaces.", "access.roles.", "access.tokens.", "access.certificates.", "metrics.classes."];
        let named = named.contains(&prefix);
        let key = format!("{prefix}{}", if named { "NAME" } else { name });
        match value {
            toml::Value::Table(table) => keys(table, &format!("{key}."), found),
            _ => {
                found.insert(key);
            }
        }
    }
}

#[test]
fn the_document_lists_every_setting_with_its_default() {
    for setting in SETTINGS {
        let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
        let default = if setting.default.contains(' ') { setting.default.to_string() } else { default };
        let counts = match setting.counts {
            Counts::Running => "while it runs",
            Counts::Contents => "at a restart; contents: while it runs",
            Counts::Restart => "at a restart",
        };
        let row = format!("| `{}` | {default} | {} | {counts} |", setting.key, setting.help);
        assert!(DOCUMENT.contains(&row), "docs/configuration.md lacks the row\n{row}");
    }
}

#[test]
fn the_document_says_of_every_setting_whether_it_needs_a_restart() {
    let (_, list) = DOCUMENT.split_once("## What can change while it runs").unwrap();
    let (list, _) = list.split_once("\n## ").unwrap();
    let (running, restart) = list.split_once("### What needs a restart").unwrap();
    let names = |list: &str, key: &str| {
        let section = key.split_once('.').map_or(key, |(section, _)| section);
        [key, section].iter().any(|name| list.contains(&format!("`{name}`")))
    };
    for setting in SETTINGS {
        let list = if setting.counts == Counts::Running { running } else { restart };
        assert!(names(list, setting.key), "`{}` is not listed", setting.key);
        let other = if setting.counts == Counts::Running { restart } else { running };
        assert!(!other.contains(&format!("| `{}`", setting.key)), "`{}` is listed twice", setting.key);
    }
}

#[test]
fn origins_hosts_and_classes_are_as_they_must_be() {
    for wrong in
        ["ops.example.org", "https://ops.example.org/", "https://Ops.example.org", "ftp://x", "null", "https://a@b"]
    {
        let error = parse(&format!("http.origins = ['{wrong}']")).unwrap_err();
        assert!(error.contains("`http.origins`") && error.contains(wrong), "{error}");
    }
    assert!(parse("http.hosts = ['a:1']").unwrap_err().contains("`http.hosts`"));
    let config = parse("http.origins = ['https://[::1]:8443']\nhttp.hosts = ['a.example.org']").unwrap();
    assert_eq!((config.http.origins.len(), config.http.hosts.len()), (1, 1));
    assert!(parse("metrics.classes = { 'a/' = 'A' }").unwrap_err().contains("`metrics.classes.a/`"));
    let many: Vec<String> = (0..101).map(|n| format!("'{n}/' = 'c'")).collect();
    assert!(parse(&format!("[metrics.classes]\n{}", many.join("\n"))).unwrap_err().contains("100"));
}

#[test]
fn the_environment_overrides_the_file_and_flags_override_both() {
    let file = "listen = \"127.0.0.1:1\"\nname = \"file\"\nbroker_ttl = \"2s\"";
    let variables = [("SIXPIN_SERVE_LISTEN", "127.0.0.1:2"), ("SIXPIN_SERVE_NAME", "7"), ("PATH", "/bin")];
    let variables = variables.map(|(name, value)| (name.to_string(), value.to_string()));
    let flags = "listen = \"127.0.0.1:3\"".parse().unwrap();
    let config = config::parse(file, "", variables, flags).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.name, "7");
    assert_eq!(config.broker_ttl, Duration::from_secs(2));
}

#[test]
fn the_environment_reaches_nested_settings() {
    let config = environment(&[
        ("SIXPIN_SERVE_LIMITS__CLAIMS_PER_SESSION", "17"),
        ("SIXPIN_SERVE_LOCKSPACES__JOBS__LOCK_DELAY", "3s"),
        ("SIXPIN_SERVE_BACKENDS__FAST__URL", "memory:"),
        ("SIXPIN_SERVE_BACKEND", "redis://user:pass@h:1/0"),
    ])
    .unwrap();
    assert_eq!(config.limits.claims_per_session, 17);
    assert_eq!(config.lockspaces[&Lockspace::new("jobs").unwrap()].config.lock_delay, Duration::from_secs(3));
    assert_eq!(config.backends["fast"].url, "memory:");
    assert!(!format!("{config:?}").contains("pass"), "a password is shown");
}

#[test]
fn settings_beside_a_url_may_come_from_elsewhere_than_the_url() {
    let password = ("SIXPIN_SERVE_BACKENDS__DEFAULT__PASSWORD", "secret");
    for url in ["SIXPIN_SERVE_BACKEND", "SIXPIN_SERVE_BACKENDS__DEFAULT__URL"] {
        let config = environment(&[(url, "redis://h:1/0"), password]).unwrap();
        let backend = &config.backends["default"];
        assert_eq!((backend.url.as_str(), backend.settings["password"].as_str()), ("redis://h:1/0", Some("secret")));
    }
    // What only looks like a number is not made one: it would be another password.
    let like_a_number = (password.0, "007");
    let config = environment(&[("SIXPIN_SERVE_BACKEND", "redis://h"), like_a_number]).unwrap();
    assert_eq!(config.backends["default"].settings["password"].as_str(), Some("007"));
}

#[test]
fn the_variables_of_kubernetes_are_no_settings() {
    let services = [
        ("SIXPIN_SERVE_PORT", "tcp://10.96.0.12:6616"),
        ("SIXPIN_SERVE_SERVICE_HOST", "10.96.0.12"),
        ("SIXPIN_SERVE_SERVICE_PORT", "6616"),
        ("SIXPIN_SERVE_SERVICE_PORT_GRPC", "6616"),
        ("SIXPIN_SERVE_PORT_6616_TCP", "tcp://10.96.0.12:6616"),
        ("SIXPIN_SERVE_PORT_6616_TCP_PROTO", "tcp"),
        ("SIXPIN_SERVE_PORT_6616_TCP_PORT", "6616"),
        ("SIXPIN_SERVE_PORT_6616_TCP_ADDR", "10.96.0.12"),
        // Those of a service named sixpin-serve-admin.
        ("SIXPIN_SERVE_ADMIN_SERVICE_HOST", "10.96.0.13"),
        ("SIXPIN_SERVE_ADMIN_SERVICE_PORT_ADMIN_GRPC", "6617"),
        ("SIXPIN_SERVE_ADMIN_PORT", "udp://10.96.0.13:6617"),
        ("SIXPIN_SERVE_ADMIN_PORT_6617_UDP_PORT", "6617"),
    ];
    assert_eq!(environment(&services).unwrap(), parse("").unwrap());
    // What a person may have meant is still refused.
    for (name, value) in [
        ("SIXPIN_SERVE_PORT", "6616"),
        ("SIXPIN_SERVE_LISTEN_PORT", "6616"),
        ("SIXPIN_SERVE_PORT_6616", "tcp://10.96.0.12:6616"),
        ("SIXPIN_SERVE_PORT_X_TCP", "tcp"),
        ("SIXPIN_SERVE_SERVICE", "x"),
        ("SIXPIN_SERVE_HOST", "10.96.0.12"),
    ] {
        assert!(environment(&[(name, value)]).unwrap_err().contains(name), "{name}");
    }
    for setting in SETTINGS {
        let name = config::settings::variable(setting.key);
        let words: Vec<&str> = name.split('_').collect();
        assert!(!words.contains(&"PORT") && !words.contains(&"SERVICE"), "{name} looks like one of Kubernetes");
    }
}

#[test]
fn a_variable_is_text_where_its_setting_is() {
    for name in ["7", "12345678901234567890", "true", "1e5", "0x1f", "-1"] {
        assert_eq!(environment(&[("SIXPIN_SERVE_NAME", name)]).unwrap().name, name);
    }
    assert_eq!(environment(&[("SIXPIN_SERVE_LANES", "7")]).unwrap().lanes, 7);
    assert!(environment(&[("SIXPIN_SERVE_LANES", "seven")]).unwrap_err().contains("SIXPIN_SERVE_LANES"));
}

#[test]
fn a_variable_that_is_set_to_nothing_is_none() {
    let nothing = [("SIXPIN_SERVE_NAME", ""), ("SIXPIN_SERVE_LANES", ""), ("SIXPIN_SERVE_BACKENDS__DEFAULT__URL", "")];
    assert_eq!(environment(&nothing).unwrap(), parse("").unwrap());
}

#[test]
fn mistakes_are_refused_with_key_value_and_what_is_allowed() {
    let cases = [
        ("listn = \"127.0.0.1:1\"", vec!["listn", "listen"]),
        ("listen = \"nowhere\"", vec!["listen", "nowhere"]),
        ("listen = 6616", vec!["listen"]),
        ("admin_listen = \"on\"", vec!["admin_listen", "off"]),
        ("advertise = \"host\"", vec!["`advertise`", "host:port"]),
        ("require = \"safe\"", vec!["require", "safe", "crash-safe"]),
        ("session_ttl = \"10\"", vec!["session_ttl", "10s"]),
        ("session_ttl = \"2h\"", vec!["`session_ttl` is 2h", "1s to 1h"]),
        ("broker_ttl = \"500ms\"", vec!["`broker_ttl` is 500ms", "1s to 1m"]),
        ("lanes = 0", vec!["`lanes` is 0", "1 to 64"]),
        ("[traces]\nsample = 0.5", vec!["`traces` has no `endpoint`"]),
        ("[traces]\nendpoint = \"http://a:1\"\nsample = 1.5", vec!["`traces.sample` is 1.5", "0 to 1"]),
        ("[traces]\nendpoint = \"http://a:1\"\nsample = nan", vec!["`traces.sample` is NaN", "0 to 1"]),
        ("[traces]\nendpoint = \"http://a:1\"\nsample = \"few\"", vec!["from 0 to 1"]),
        ("[traces]\nendpoint = \"https://a:1\"", vec!["`traces.endpoint` is `https://a:1`", "no TLS"]),
        ("[traces]\nendpoint = \"http://a\"", vec!["`traces.endpoint` is `http://a`", "`http://host:port`"]),
        ("[traces]\nendpoint = \"a:1\"", vec!["`traces.endpoint` is `a:1`", "`http://host:port`"]),
        ("[traces]\nendpoint = \"http://a:1/v1/traces\"", vec!["`traces.endpoint`", "`http://host:port`"]),
        ("[traces]\nendpoint = \"\"", vec!["`traces.endpoint` is ``", "`http://host:port`"]),
        ("[traces]\nhost = \"a\"", vec!["host"]),
        ("[limits]\nclaims_per_session = 10001", vec!["`limits.claims_per_session` is 10001", "1 to 10000"]),
        ("[limits]\nrecord_bytes = 1", vec!["`limits.record_bytes` is 1", "4096 to 262144"]),
        ("[limits]\nclaims = 1", vec!["claims", "claims_per_session"]),
        ("[log]\nformat = \"xml\"", vec!["xml", "text", "json"]),
        ("[lockspaces.Jobs]", vec!["lockspaces.Jobs", "a-z"]),
        ("[lockspaces.jobs]\nbackend = \"fast\"", vec!["`lockspaces.jobs.backend` is `fast`", "default"]),
        (
            "[lockspaces.jobs]\nvalue_block_bytes = 33",
            vec!["`lockspaces.jobs.value_block_bytes` is 33", "multiple of 8"],
        ),
        ("[lockspaces.jobs]\ncolour = 1", vec!["colour", "lock_delay"]),
        ("[backends.fast]\nsize = 1", vec!["url"]),
        (
            "backend = \"memory:\"\n[backends.default]\nurl = \"memory:\"",
            vec!["`backend`", "`backends.default.url`", "same"],
        ),
        ("[backends.default]\nprefix = \"p\"", vec!["`backends.default`", "`url`"]),
        ("name = \"\"", vec!["`name`", "1 to 64"]),
    ];
    for (text, words) in cases {
        let error = parse(text).expect_err(text);
        for word in words {
            assert!(error.contains(word), "{text}: `{word}` is not in: {error}");
        }
    }
}

#[test]
fn a_wrong_variable_is_named_and_its_value_is_not_shown() {
    let error = environment(&[("SIXPIN_SERVE_LISTN", "secret")]).unwrap_err();
    assert!(error.contains("SIXPIN_SERVE_LISTN") && !error.contains("secret"), "{error}");
    let error = environment(&[("SIXPIN_SERVE_LIMITS__CLAIMS_PER_SESSION", "many")]).unwrap_err();
    assert!(error.contains("SIXPIN_SERVE_LIMITS__CLAIMS_PER_SESSION"), "{error}");
    assert!(environment(&[("SIXPIN_SERVE_", "x")]).is_err());
}

#[test]
fn a_password_in_a_flag_is_refused() {
    let args = Args { backend: Some("redis://user:hunter2@h:1/0".into()), ..Args::default() };
    let error = args.load([]).unwrap_err().to_string();
    assert!(error.contains("--backend") && error.contains("SIXPIN_SERVE_BACKEND"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let args = Args { config: Some("/nowhere/sixpin.toml".into()), ..Args::default() };
    assert!(args.load([]).unwrap_err().to_string().contains("/nowhere/sixpin.toml"));
}

#[test]
fn a_file_that_is_no_text_or_too_large_is_refused_and_a_mark_at_its_beginning_is_no_matter() {
    let folder = tempfile::tempdir().unwrap();
    let load = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let args = Args { config: Some(path), ..Args::default() };
        args.load([]).map_err(|error| error.to_string())
    };
    for (name, text) in [("a.toml", "name = \"x\""), ("a.yaml", "name: x"), ("a.json", "{\"name\": \"x\"}")] {
        assert_eq!(load(name, format!("\u{feff}{text}").as_bytes()).unwrap().name, "x", "{name}");
    }
    assert!(load("a.toml", b"name = \"\xe4\"").unwrap_err().contains("not UTF-8"));
    assert!(load("a.toml", &vec![b'#'; 300_000]).unwrap_err().contains("more than 262144 bytes"));
    let long = load("a.toml", format!("x = {}", "[".repeat(10_000)).as_bytes()).unwrap_err();
    assert!(long.len() < 600, "{long}");
}

#[test]
fn traces_are_off_unless_there_is_a_collector() {
    assert_eq!(parse("").unwrap().traces, None);
    let traces = parse("[traces]\nendpoint = \"http://a:4317\"").unwrap().traces.unwrap();
    assert_eq!([traces.endpoint.to_string(), traces.sample.to_string()], ["http://a:4317/", "1"]);
    let named = [("SIXPIN_SERVE_TRACES__ENDPOINT", "http://[::1]:4317"), ("SIXPIN_SERVE_TRACES__SAMPLE", "0.25")];
    assert_eq!(environment(&named).unwrap().traces.unwrap().sample.to_string(), "0.25");
    let refused = parse("[traces]\nendpoint = \"http://me:hidden@a:4317\"").unwrap_err();
    assert!(refused.contains("has a login") && !refused.contains("hidden"), "{refused}");
}

#[test]
fn trusted_networks_are_a_list_or_a_text_with_commas() {
    let listed = parse("[connections]\ntrusted = [\"10.0.0.0/8\", \"::1\"]").unwrap();
    let named = environment(&[("SIXPIN_SERVE_CONNECTIONS__TRUSTED", "10.0.0.0/8, ::1")]).unwrap();
    assert_eq!(listed.connections.trusted, named.connections.trusted);
    assert_eq!(listed.connections.trusted.len(), 2);
    assert!(parse("[connections]\ntrusted = \"\"").unwrap().connections.trusted.is_empty());
    let refused = parse("[connections]\ntrusted = [\"10.0.0.0/40\"]").unwrap_err();
    assert!(refused.contains("10.0.0.0/40"), "{refused}");
}

/// The same settings in YAML, block by block.
fn yaml(table: &toml::Table, indent: usize) -> String {
    let line = |(name, value): (&String, &toml::Value)| {
        let value = match value {
            toml::Value::Table(table) => format!("\n{}", yaml(table, indent + 2)),
            // JSON is YAML as well.
            other => format!(" {}\n", serde_json::to_string(other).unwrap()),
        };
        format!("{:indent$}{name:?}:{value}", "")
    };
    table.iter().map(line).collect()
}

#[test]
fn a_file_means_the_same_in_each_format() {
    let table: toml::Table = EXAMPLE.parse().unwrap();
    let read = |name: &str, text: &str| config::parse(text, name, [], toml::Table::new()).expect(name);
    let expected = read("sixpin.toml", EXAMPLE);
    for name in ["sixpin.yaml", "sixpin.YML"] {
        assert_eq!(read(name, &yaml(&table, 0)), expected, "{name}");
    }
    assert_eq!(read("sixpin.json", &serde_json::to_string_pretty(&table).unwrap()), expected);
    assert_eq!(read("sixpin.yaml", "admin_listen: off\n").admin_listen, None);
}

#[test]
fn a_mistake_is_said_with_its_line_in_each_format() {
    for (name, text, words) in [
        ("s.toml", "name = \"a\"\n[limits]\nclaims = 1", ["s.toml:3", "unknown field `claims`", "claims_per_session"]),
        ("s.yaml", "name: a\nlimits:\n  claims: 1", ["s.yaml:3", "unknown field `claims`", "claims_per_session"]),
        (
            "s.json",
            "{\"name\": \"a\",\n\"limits\":\n{\"claims\": 1}}",
            ["s.json:3", "unknown field `claims`", "claims_per_session"],
        ),
        ("s.toml", "listn = 1", ["s.toml:1", "listn", "listen"]),
        ("s.yaml", "name: a\nlistn: x", ["s.yaml:2", "listn", "listen"]),
        ("s.yaml", "name: a\nlanes: many", ["s.yaml:2", "`lanes`", "many"]),
        ("s.yaml", "name: a\nlanes: 0", ["s.yaml:2", "`lanes` is 0", "1 to 64"]),
        ("s.yaml", "name: a\nsession_ttl: 10", ["s.yaml:2", "`session_ttl`", "10s"]),
        ("s.json", "{\"session_ttl\": \"2h\"}", ["s.json:1", "`session_ttl` is 2h", "1s to 1h"]),
        ("s.yaml", "name: a\nname: b", ["s.yaml:2", "`name`", "twice"]),
        ("s.toml", "name = \"a\"\nname = \"b\"", ["s.toml:2", "duplicate key", "TOML"]),
        ("s.json", "{\"name\": \"a\", \"name\": \"b\"}", ["s.json:1", "`name`", "twice"]),
        ("s.yaml", "name = \"a\"", ["s.yaml:1", "must be YAML", "looks like TOML"]),
        ("s.json", "name: a", ["s.json:1", "must be JSON", "looks like YAML"]),
        ("s.toml", "name: a", ["s.toml:1", "must be TOML", "looks like YAML"]),
        ("s.conf", "{\"name\": \"a\"}", ["s.conf:1", "must be TOML", "looks like JSON"]),
    ] {
        let error = config::parse(text, name, [], toml::Table::new()).expect_err(text).to_string();
        for word in words {
            assert!(error.contains(word), "{text}: `{word}` is not in: {error}");
        }
    }
    let secret = "backends:\n  default:\n    password: hunter2\n    url: [1]";
    let error = config::parse(secret, "s.yaml", [], toml::Table::new()).unwrap_err().to_string();
    assert!(error.contains("s.yaml:4") && !error.contains("hunter2"), "{error}");
}
