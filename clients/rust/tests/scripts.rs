//! Scripts: what the program does, what brokers say, and what the client answers, with time in the script's hand.
//!
//! Each file in `scripts/` is one rule or one group of rules. A line that differs fails the test; the expected lines
//! follow from the liveness rules, not from the machine. The language is described in `support/script.rs`.

mod support;

use std::path::Path;

use support::script::World;

#[test]
fn every_script_says_what_the_rules_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        println!("{}", file.display());
        goldenscript::run(&mut World::default(), file).unwrap();
    }
}
