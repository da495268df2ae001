//! Golden transcripts: what brokers write and say while clients ask, answers are lost and brokers die.
//!
//! Each file in `broker_transcripts/` is one thing that happens to brokers, told step by step. A line that differs fails
//! the test. The language is described in `support/broker/script.rs`; it needs no Rust to be read.

// Each test uses its part of what is shared.
#[allow(dead_code, unreachable_pub, clippy::unwrap_used)]
#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/broker/mod.rs"]
mod broker;

use std::path::Path;

use broker::World;

#[test]
fn every_transcript_tells_what_brokers_do() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broker_transcripts");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        println!("{}", file.display());
        goldenscript::run(&mut World::default(), file).unwrap();
    }
}
