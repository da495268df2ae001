//! What the system says of the process, by the names that every program has for it. Linux says it in `/proc`; elsewhere nothing is
//! said.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::{Atomic as _, Counter};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// How the process is just now.
#[derive(Debug, PartialEq)]
pub(super) struct Process {
    cpu_seconds: f64,
    resident_bytes: u64,
    /// In seconds since 1970.
    started: f64,
    open_files: u64,
    open_files_max: Option<u64>,
}

/// Asks the system.
pub(super) fn look() -> Option<Process> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let system = std::fs::read_to_string("/proc/stat").ok()?;
    let ticks = clock_ticks_per_second() as f64;
    let (cpu, started, pages) = about(&stat)?;
    // The list has the file that is open to read it.
    let open_files = std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64;
    Some(Process {
        cpu_seconds: cpu as f64 / ticks,
        resident_bytes: pages * page_size() as u64,
        started: boot(&system)? as f64 + started as f64 / ticks,
        open_files,
        open_files_max: getrlimit(Resource::Nofile).current,
    })
}

/// Ticks that it has worked, ticks from the start of the computer to its own, and pages in memory (proc(5)).
fn about(stat: &str) -> Option<(u64, u64, u64)> {
    // Its name comes before, in parentheses, and may have spaces and parentheses.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    // The first of these is the third field of the whole.
    Some((number(11)? + number(12)?, number(19)?, number(21)?))
}

/// When the computer was started, in seconds since 1970.
fn boot(system: &str) -> Option<u64> {
    system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

impl Process {
    /// Shows it.
    pub(super) fn register(&self, registry: &mut Registry) {
        let cpu = Counter::<f64, AtomicU64>::default();
        AtomicU64::inc_by(cpu.inner(), self.cpu_seconds);
        registry.register("process_cpu_seconds", "Time that processors have worked for the process", cpu);
        let gauge = |value: f64| {
            let gauge = Gauge::<f64, AtomicU64>::default();
            gauge.set(value);
            gauge
        };
        let resident = gauge(self.resident_bytes as f64);
        registry.register("process_resident_memory_bytes", "Memory that the process has", resident);
        let help = "When the process was started, in seconds since 1970";
        registry.register("process_start_time_seconds", help, gauge(self.started));
        registry.register("process_open_fds", "Files and sockets that are open", gauge(self.open_files as f64));
        if let Some(max) = self.open_files_max {
            registry.register("process_max_fds", "Files and sockets that may be open", gauge(max as f64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_fields() {
        let stat =
            "7 (a) S 1 (b) R 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 12345 1000000 321 18446744073709551615";
        assert_eq!(about(stat), Some((300, 12_345, 321)));
        assert_eq!(boot("cpu  1 2 3\nbtime 1700000000\nprocesses 5\n"), Some(1_700_000_000));
        assert_eq!((about(""), boot("")), (None, None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_says_something_that_may_be_true() {
        let process = look().unwrap();
        assert!(process.resident_bytes > 100_000 && process.open_files >= 3, "{process:?}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(process.started <= now + 2.0 && process.started > now - 24.0 * 3600.0, "{process:?}");
    }
}
