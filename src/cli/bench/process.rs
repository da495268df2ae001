//! What the system knows of the broker's process: its memory, and the time that processors spent on it.

use std::time::Duration;

use crate::cli::exit;
use crate::cli::failure::Failure;

/// Resident memory.
pub(super) fn resident_kib(pid: u32) -> Result<u64, Failure> {
    let status = read(pid, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .ok_or_else(|| Failure::new(exit::FAILURE, format_args!("the memory of process {pid} is not told here")))
}

/// The time that processors spent on it so far, for itself and in the system; absent where that is not told.
pub(super) fn processor_time(pid: u32) -> Option<Duration> {
    let stat = read(pid, "stat").ok()?;
    // The name of the program stands in parentheses, and may hold spaces itself.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    Some(Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second()))
}

fn read(pid: u32, file: &str) -> Result<String, Failure> {
    std::fs::read_to_string(format!("/proc/{pid}/{file}"))
        .map_err(|error| Failure::new(exit::FAILURE, format_args!("process {pid} can not be looked at: {error}")))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_takes_time() {
        let own = std::process::id();
        assert!(resident_kib(own).is_ok_and(|kib| kib > 100));
        let before = processor_time(own).unwrap();
        while processor_time(own).unwrap() == before {
            std::hint::black_box((0..100_000).sum::<u64>());
        }
    }
}
