//! Golden transcripts: what clients ask, and what the queues look like after each step.
//!
//! Each file in `transcripts/` is one example or one group of rules. A line that differs fails the test; the expected
//! lines follow from the lock rules, not from the machine. The language is described in `support/script.rs`.

mod support;

use std::path::Path;

use support::script::World;

#[test]
fn every_transcript_says_what_the_rules_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        println!("{}", file.display());
        goldenscript::run(&mut World::default(), file).unwrap();
    }
}
