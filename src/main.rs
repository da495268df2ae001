//! The program: parses its arguments and does what they say.

use std::process::ExitCode;

// A broker makes and drops a few dozen small things per request, often on different threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sixpin::cli::Cli::of_process().run()
}
