//! Arbitrary bytes on a connection without HTTP/2.

#![no_main]

#[path = "../../proto/tests/support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::frames(data));
