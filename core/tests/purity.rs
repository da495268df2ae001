//! The core decides, and what decides is simulated: it reaches for no clock, no randomness, no thread and no file.
//!
//! The compiler cannot say that, so this reads the sources and the manifest.

// A test may panic, and says what it was about.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::{Path, PathBuf};

/// What must not be named in the sources, and why.
const FORBIDDEN: &[(&str, &str)] = &[
    ("Instant", "time is an argument"),
    ("SystemTime", "time is an argument"),
    ("std::thread", "the core has no threads"),
    ("std::fs", "the core reads no files"),
    ("std::net", "the core has no network"),
    ("std::io", "the core does no IO"),
    ("std::env", "configuration is an argument"),
    ("std::process", "the core ends nothing"),
    ("HashMap", "iteration order must not depend on a hash"),
    ("HashSet", "iteration order must not depend on a hash"),
    ("rand::", "random bytes are arguments"),
    ("getrandom", "random bytes are arguments"),
    ("tokio", "the core has no runtime"),
    ("async fn", "the core never waits"),
    ("unsafe", "nothing here needs it"),
];

/// Declares what a store does, without a body: the runtime calls it and waits.
const CONTRACT: &str = "src/backend.rs";

/// Every dependency of the core. None does IO; a new one has to be argued for here.
///
/// `async-trait` brings no runtime: it only writes the contract of a store so that a store can be chosen at run time. `hashbrown` is
/// for looking up, never for listing.
const DEPENDENCIES: &[&str] =
    &["async-trait", "bitflags", "bytes", "crc32c", "hashbrown", "hmac", "serde", "serde_json", "sha2", "thiserror"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn sources_name_no_clock_randomness_thread_or_file() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    assert!(files.len() > 10);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for (word, reason) in FORBIDDEN {
                let is_declared = *word == "async fn" && file.ends_with(CONTRACT) && !code.ends_with('{');
                assert!(
                    is_declared || !code.contains(word),
                    "{}:{} names {word}: {reason}",
                    file.display(),
                    number + 1
                );
            }
        }
    }
}

#[test]
fn the_manifest_has_no_runtime() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let names: Vec<&str> = section
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| line.split(['.', ' ', '=']).next().unwrap())
        .collect();
    for name in names {
        assert!(DEPENDENCIES.contains(&name), "{name} is a new dependency of the core");
    }
}
