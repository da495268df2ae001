//! The broker is one type in many parts, and they do not call each other in circles: each calls only parts before it.
//!
//! The compiler cannot say that, because methods of one type see each other, so this reads the sources.

// A test may panic, and says what it was about.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

/// The parts that have methods of the broker, in the order in which they may use each other.
const PARTS: &[&str] = &[
    "lookup",
    "vouching",
    "facts",
    "answers",
    "notes",
    "queue",
    "marks/mod",
    "resumes",
    "claims",
    "shares",
    "takings",
    "strangers",
    "ending",
    "waits",
    "idle",
    "phases",
    "liveness",
    "formats",
    "sweep",
    "rounds",
    "replacing",
    "refusals",
    "reconcile",
    "damage",
    "reads",
    "settling",
    "sessions",
    "listening",
    "moves",
    "requests",
    "admin",
    "notifying",
    "views",
    "deliver",
    "lanes",
    "marks/outcome",
    "outcomes",
    "commit",
    "dispatch",
    "mod",
];

/// The broker's methods in a source, without comments and without the space that a call may be broken at.
fn methods(source: &str) -> String {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let blocks = code.split("\nimpl Broker {\n").skip(1).map(|block| block.split("\n}\n").next().unwrap());
    let lines = blocks.flat_map(str::lines).map(|line| line.split("//").next().unwrap().trim());
    // `self` and the method may stand on two lines.
    lines.fold(String::new(), |code, line| if line.starts_with('.') { code + line } else { code + "\n" + line })
}

fn names(code: &str) -> impl Iterator<Item = &str> {
    let functions = code.lines().filter_map(|line| line.split_once("fn ")).filter(|(before, _)| !before.contains('='));
    functions.filter_map(|(_, rest)| rest.split(['(', '<']).next())
}

#[test]
fn each_part_calls_only_parts_before_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/broker");
    let read = |part: &&str| methods(&std::fs::read_to_string(folder.join(format!("{part}.rs"))).unwrap());
    let parts: Vec<String> = PARTS.iter().map(read).collect();
    let mut place: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, code) in parts.iter().enumerate() {
        place.extend(names(code).map(|name| (name, number)));
    }
    assert!(place.len() > 200, "{} methods: the sources are read wrongly", place.len());
    for (number, code) in parts.iter().enumerate() {
        for call in code.split("self.").skip(1).chain(code.split("Self::").skip(1)) {
            let name = call.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().unwrap();
            let is_call = call[name.len()..].starts_with('(');
            let later = place.get(name).filter(|place| is_call && **place > number);
            assert!(later.is_none(), "`{}` calls `{name}` of `{}`", PARTS[number], PARTS[*later.unwrap_or(&0)]);
        }
    }
}

/// Whatever has methods of the broker is among the parts.
#[test]
fn every_part_has_its_place() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/broker");
    for (folder, prefix) in [(folder.clone(), ""), (folder.join("marks"), "marks/")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".rs")) else { continue };
            let part = format!("{prefix}{name}");
            let has_methods = std::fs::read_to_string(&path).unwrap().contains("\nimpl Broker {\n");
            assert!(!has_methods || PARTS.contains(&part.as_str()), "`{part}` has no place among the parts");
        }
    }
}
