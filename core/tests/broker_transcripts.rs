//! Golden transcripts: what brokers write and say while clients ask, answers are lost and brokers die.
//!
//! Each file in `broker_transcripts/` is one thing that happens to brokers, told step by step. A line that differs fails
//! the test. The language is described in `support/broker/script.rs`; it needs no Rust to be read.
//!
//! With `UPDATE_GOLDENFILES=1` in the environment the test writes what was done and said below the lines of each file,
//! instead of comparing it. Whoever does that reads the difference: each line has to follow from the rules of
//! docs/liveness.md.

// Each test uses its part of what is shared.
#[allow(dead_code, unreachable_pub, clippy::unwrap_used)]
#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/broker/mod.rs"]
mod broker;
#[allow(unreachable_pub, clippy::unwrap_used, clippy::print_stdout)]
#[path = "support/goldens.rs"]
mod goldens;

use std::path::Path;

use broker::World;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_transcript_tells_what_brokers_do() {
    goldens::run_all::<World>("broker_transcripts");
}

#[test]
fn the_machine_names_transcripts_that_exist() {
    let essay = std::fs::read_to_string(root().join("src/broker/mod.rs")).unwrap();
    let is_transcript =
        |name: &&str| name.starts_with('b') && name[1..].starts_with(|next: char| next.is_ascii_digit());
    let named: Vec<&str> = essay.split('`').filter(is_transcript).collect();
    assert!(!named.is_empty());
    for name in named {
        assert!(root().join("tests/broker_transcripts").join(name).exists(), "no transcript {name}");
    }
}
