//! Golden transcripts: what clients ask, and what the queues look like after each step.
//!
//! Each file in `transcripts/` is one example or one group of rules. A line that differs fails the test; the expected
//! lines follow from the lock rules, not from the machine. The language is described in `support/script.rs`.

#[allow(unreachable_pub, clippy::unwrap_used, clippy::print_stdout)]
#[path = "support/goldens.rs"]
mod goldens;
mod support;

use support::script::World;

#[test]
fn every_transcript_says_what_the_rules_say() {
    goldens::run_all::<World>("transcripts");
}
