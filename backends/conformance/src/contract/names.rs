//! Names of every kind: distinct keys, and the same names when they are listed.

use std::collections::BTreeSet;

use sixpin_core::backend::{Family, Key};
use sixpin_core::limits::RESOURCE_NAME_BYTES_MAX;
use sixpin_core::name::{Lockspace, Version};

use crate::broker::{Broker, put, resource, resource_in, session};
use crate::contract::lists::list_all;
use crate::fixture::Fixture;

/// Names that an encoding might confuse: separators and wildcards of the stores, escapes, and texts that look like the
/// escape of another one of the list.
pub fn awkward_names() -> Vec<String> {
    let mut names: Vec<String> = [
        " ",
        "  ",
        "a",
        "A",
        "á",
        "a\u{301}",
        "aa",
        "a ",
        " a",
        "a.",
        ".a",
        "a.b",
        "a..b",
        ".",
        "..",
        "...",
        "a/b",
        "/",
        "//",
        "/a",
        "a/",
        "a//b",
        "*",
        "a*",
        "**",
        ">",
        "a.>",
        "a.*",
        "$",
        "$JS",
        "_",
        "-",
        "=",
        "a=b",
        "{a}",
        "{",
        "}",
        "{}",
        "{s1}",
        "}{",
        "[a]",
        "[",
        "]",
        "?",
        "a?",
        "\\",
        "\\\\",
        "\\x00",
        "\\0",
        "%",
        "%%",
        "%2E",
        "%2F",
        "%25",
        "%252E",
        "a%2Eb",
        "a%2Fb",
        "=2E",
        "=2F",
        "_2E",
        "-2E",
        "=",
        "==",
        "YQ",
        "YQ==",
        "61",
        "0",
        "1",
        "00",
        "01",
        "-1",
        ":",
        "a:b",
        "::",
        ";",
        ",",
        "|",
        "#",
        "##",
        "@",
        "!",
        "~",
        "^",
        "&",
        "+",
        "'",
        "\"",
        "`",
        "''",
        "<a>",
        "(a)",
        "null",
        "nil",
        "gone",
        "root",
        "default",
        "a\u{a0}b",
        "a\u{2028}b",
        "\u{feff}",
        "\u{200b}",
        "\u{10ffff}",
        "日本語",
        "日本",
        "Ωmega",
        "straße",
        "STRASSE",
        "🔒",
        "🔒🔑",
        "ﬁ",
        "fi",
        "İ",
        "i̇",
        "КЕЙ",
        "\u{e000}",
        "\u{d7ff}",
        "\u{fffd}",
    ]
    .map(String::from)
    .to_vec();
    // The longest ones, which differ only at one end, or in the length.
    names.push("x".repeat(RESOURCE_NAME_BYTES_MAX));
    names.push("x".repeat(RESOURCE_NAME_BYTES_MAX - 1));
    names.push(format!("{}y", "x".repeat(RESOURCE_NAME_BYTES_MAX - 1)));
    names.push(format!("y{}", "x".repeat(RESOURCE_NAME_BYTES_MAX - 1)));
    names.push("/".repeat(RESOURCE_NAME_BYTES_MAX));
    names.push(".".repeat(RESOURCE_NAME_BYTES_MAX));
    names.push("🔒".repeat(RESOURCE_NAME_BYTES_MAX / 4));
    let distinct: BTreeSet<String> = names.into_iter().collect();
    distinct.into_iter().collect()
}

/// Each name is a key of its own, in each lockspace, and lists back as itself.
pub async fn names_of_every_kind_are_distinct_and_list_back(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let lockspaces = ["default", "a", "a.b", "a-b", "a_b", "-", ".", "..", "0", "r", "session"];
    let mut keys = Vec::new();
    for lockspace in &lockspaces[..2] {
        keys.extend(awkward_names().iter().map(|name| resource_in(lockspace, name)));
    }
    for lockspace in &lockspaces[2..] {
        keys.extend(
            [".", ".b", "b", "b.b", "-b", "_b", "/", "/b", " ", "x"].iter().map(|name| resource_in(lockspace, name)),
        );
    }
    let mut versions = Vec::new();
    // Expecting that nothing is there shows already that no two are the same key.
    for (number, key) in keys.iter().enumerate() {
        versions.push(broker.put(key, Version::ABSENT, format!("{number}")).await);
    }
    for (number, key) in keys.iter().enumerate() {
        broker.sees(key, versions[number], Some(format!("{number}").as_bytes())).await;
    }

    let expected: BTreeSet<(Key, Version)> = keys.iter().cloned().zip(versions).collect();
    assert_eq!(list_all(&broker, &Family::AllResources, 50).await, expected);
    for name in lockspaces {
        let lockspace = Lockspace::new(name).expect("a valid lockspace");
        let family = Family::Resources { lockspace: lockspace.clone(), prefix: String::new() };
        let inside = |key: &Key| matches!(key, Key::Resource(id) if id.lockspace == lockspace);
        let expected: BTreeSet<_> = expected.iter().filter(|(key, _)| inside(key)).cloned().collect();
        assert_eq!(list_all(&broker, &family, 50).await, expected, "lockspace {name}");
    }
}

/// Awkward names can be written in one batch, updated and deleted.
pub async fn awkward_names_can_be_written_together(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let names = awkward_names();
    for names in names.chunks(broker.profile().batch_writes_max.min(20)) {
        let keys: Vec<Key> = names.iter().map(|name| resource(name)).collect();
        let outcomes = broker.commit(keys.iter().map(|key| put(key, Version::ABSENT, "x")).collect()).await;
        for (key, outcome) in keys.iter().zip(&outcomes) {
            let version = crate::broker::committed(outcome);
            let version = broker.put(key, version, "y").await;
            let left = broker.delete(key, version).await;
            broker.sees(key, left, None).await;
        }
    }
}

/// Sessions at the ends of their ranges list back exactly.
pub async fn sessions_of_every_kind_list_back(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let mut expected = BTreeSet::new();
    for opener in [0, 1, 0x10, u64::MAX >> 1, u64::MAX] {
        for serial in [0, 1, 0x10, u32::MAX] {
            for ttl_ms in [1_000, 10_000, 3_600_000] {
                let key = session(opener, serial, ttl_ms);
                expected.insert((key.clone(), broker.put(&key, Version::ABSENT, "dead").await));
            }
        }
    }
    assert_eq!(list_all(&broker, &Family::Sessions, 7).await, expected);
}
