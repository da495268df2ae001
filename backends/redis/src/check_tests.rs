//! Every rule of the check, by facts that break it.

use super::*;

const GOOD: &[(&str, &str)] = &[
    ("redis_version", "7.2.4"),
    ("redis_mode", "standalone"),
    ("role", "master"),
    ("loading", "0"),
    ("maxmemory", "1000000"),
    ("used_memory", "1000"),
    ("maxmemory_policy", "noeviction"),
    ("aof_enabled", "1"),
    ("aof_last_write_status", "ok"),
    ("connected_slaves", "0"),
    ("evicted_keys", "0"),
    ("run_id", "a"),
];

fn facts(changes: &[(&str, &str)], flushing: Option<(&str, &str)>) -> Facts {
    let pairs = GOOD.iter().chain(changes).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let flushing = flushing.map(|(a, b)| (a.to_owned(), b.to_owned()));
    Facts { info: pairs.collect(), flushing, stops_when_a_snapshot_fails: false }
}

fn circumstances(require: Durability) -> Circumstances {
    Circumstances { require, stated: None, fails_over: false, cluster: false }
}

const ALWAYS: Option<(&str, &str)> = Some(("always", "no"));

#[test]
fn a_good_server_passes_without_a_word() {
    let verdict = judge(&facts(&[], ALWAYS), circumstances(Durability::PowerSafe)).unwrap();
    assert_eq!(verdict, Verdict { durability: Durability::PowerSafe, warnings: Vec::new() });
}

#[test]
fn some_things_are_always_refused() {
    for (change, word) in [
        (("redis_version", "5.0.14"), "6.0"),
        (("role", "slave"), "master"),
        (("maxmemory_policy", "allkeys-lru"), "noeviction"),
        (("maxmemory_policy", "volatile-ttl"), "noeviction"),
    ] {
        let error = judge(&facts(&[change], ALWAYS), circumstances(Durability::Volatile)).unwrap_err();
        assert!(matches!(&error, OpenError::Unsafe(text) if text.contains(word)), "{error}");
    }
}

#[test]
fn the_url_must_fit_the_kind_of_server() {
    let any = circumstances(Durability::Volatile);
    for (mode, circumstances) in
        [("sentinel", any), ("cluster", any), ("standalone", Circumstances { cluster: true, fails_over: true, ..any })]
    {
        let error = judge(&facts(&[("redis_mode", mode)], ALWAYS), circumstances).unwrap_err();
        assert!(matches!(&error, OpenError::BadUrl(text) if text.contains("use redis")), "{error}");
    }
    let error = judge(&facts(&[("loading", "1")], ALWAYS), any).unwrap_err();
    assert!(matches!(error, OpenError::Unreachable(_)));
}

#[test]
fn the_append_only_file_decides_the_class() {
    for (aof, flushing, class) in [
        ("0", ALWAYS, Durability::Volatile),
        ("1", Some(("everysec", "no")), Durability::CrashSafe),
        ("1", Some(("no", "no")), Durability::CrashSafe),
        ("1", Some(("always", "yes")), Durability::CrashSafe),
        ("1", ALWAYS, Durability::PowerSafe),
    ] {
        let facts = facts(&[("aof_enabled", aof)], flushing);
        for require in [Durability::Volatile, Durability::CrashSafe, Durability::PowerSafe, Durability::FailoverSafe] {
            match judge(&facts, circumstances(require)) {
                Ok(verdict) => assert!(verdict.durability == class && class >= require, "{class:?} {require:?}"),
                Err(error) => assert!(matches!(error, OpenError::Unsafe(_)) && class < require, "{class:?} {error}"),
            }
        }
    }
}

#[test]
fn what_cannot_be_read_has_to_be_stated() {
    let hidden = facts(&[], None);
    let silent = circumstances(Durability::PowerSafe);
    assert!(matches!(judge(&hidden, silent), Err(OpenError::Unsafe(_))));
    let stated = Circumstances { stated: Some(Statement::PowerSafe), ..silent };
    assert_eq!(judge(&hidden, stated).unwrap().durability, Durability::PowerSafe);
    let verdict = judge(&hidden, circumstances(Durability::CrashSafe)).unwrap();
    assert_eq!(verdict.durability, Durability::CrashSafe);
    assert!(verdict.warnings[0].contains("stated_durability"));
    // A statement is no substitute for a file that is not there, or for what the server says itself.
    let off = facts(&[("aof_enabled", "0")], None);
    assert!(judge(&off, Circumstances { stated: Some(Statement::PowerSafe), ..silent }).is_err());
    let known = facts(&[], Some(("everysec", "no")));
    assert!(judge(&known, Circumstances { stated: Some(Statement::PowerSafe), ..silent }).is_err());
}

#[test]
fn with_replicas_nothing_is_more_than_crash_safe() {
    let replicated = facts(&[("connected_slaves", "1")], ALWAYS);
    let sentinel = Circumstances { fails_over: true, ..circumstances(Durability::CrashSafe) };
    for (facts, circumstances) in [(replicated, circumstances(Durability::CrashSafe)), (facts(&[], ALWAYS), sentinel)] {
        let verdict = judge(&facts, circumstances).unwrap();
        assert_eq!(verdict.durability, Durability::CrashSafe);
        assert_eq!(verdict.warnings.len(), 1);
        let error = judge(&facts, Circumstances { require: Durability::PowerSafe, ..circumstances }).unwrap_err();
        assert!(error.to_string().contains("replica"), "{error}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_refused_where_it_matters() {
    let failing = facts(&[("aof_last_write_status", "err")], ALWAYS);
    assert!(judge(&failing, circumstances(Durability::CrashSafe)).is_err());
    assert!(judge(&failing, circumstances(Durability::Volatile)).is_ok());
}

#[test]
fn an_operator_is_warned() {
    for (change, word) in [
        (("redis_version", "7.0.15"), "7.2"),
        (("maxmemory", "0"), "maxmemory"),
        (("used_memory", "900000"), "memory"),
        (("rdb_last_bgsave_status", "err"), "snapshot"),
    ] {
        let verdict = judge(&facts(&[change], ALWAYS), circumstances(Durability::PowerSafe)).unwrap();
        assert!(verdict.warnings.len() == 1 && verdict.warnings[0].contains(word), "{verdict:?}");
    }
}

#[test]
fn evictions_are_lost_records_but_a_restart_is_none() {
    let mut history = History::default();
    assert_eq!(history.compare(&facts(&[("evicted_keys", "7")], None)), None);
    assert_eq!(history.compare(&facts(&[("evicted_keys", "7")], None)), None);
    assert_eq!(history.compare(&facts(&[("evicted_keys", "0")], None)), None);
    assert!(history.compare(&facts(&[("evicted_keys", "1")], None)).is_some());
    assert_eq!(history.compare(&facts(&[("run_id", "b"), ("evicted_keys", "9")], None)), None);
}

#[test]
fn info_is_read_line_by_line() {
    let answer = Value::BulkString(b"# Server\r\nredis_version:7.0.15\r\nos:Linux: x\r\n\r\n".to_vec());
    let fields = fields_of(&answer);
    assert_eq!(fields["redis_version"], "7.0.15");
    assert_eq!(fields["os"], "Linux: x");
    assert_eq!(fields.len(), 2);
}

#[test]
fn a_server_that_stops_after_a_failed_snapshot_is_warned_of_before_and_after() {
    for (status, word) in [("ok", "after a failed snapshot"), ("err", "refuses every write")] {
        let facts = Facts { stops_when_a_snapshot_fails: true, ..facts(&[("rdb_last_bgsave_status", status)], ALWAYS) };
        let warnings = judge(&facts, circumstances(Durability::PowerSafe)).unwrap().warnings;
        assert!(matches!(warnings.as_slice(), [text] if text.contains(word)), "{warnings:?}");
    }
}
