//! The queue between those who log and standard error.
//!
//! One thread writes. Whoever logs only puts its line into the queue, and where that is full, because the reader of
//! standard error stopped to read or the disk is slow, the line is lost and counted. A line that the system refuses (the
//! reader is gone, the disk is full) is lost and counted as well: the next one is tried all the same.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written, at most.
const LINES_MAX: usize = 4_096;
/// Their bytes, at most.
const BYTES_MAX: usize = 1 << 20;
/// A flush looks again after this.
const FLUSH_STEP: Duration = Duration::from_millis(5);

/// Where log lines go.
#[derive(Debug, Clone)]
pub struct Lines {
    queue: SyncSender<Vec<u8>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Bytes of lines that were queued and not written yet.
    waiting: AtomicUsize,
    lost: AtomicU64,
    /// Lost lines that were told of.
    told: AtomicU64,
}

impl Lines {
    /// Starts the thread that writes to `out`. An error says that the system gives no thread.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = sync_channel(LINES_MAX);
        let counts = Arc::new(Counts::default());
        let shared = counts.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || write_all(&lines, out, &shared))?;
        Ok(Self { queue, counts })
    }

    /// Lines that were not written, since the start.
    pub fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    /// Waits until all that was queued is written, for `patience` at most.
    pub fn flush(&self, patience: Duration) {
        let end = Instant::now() + patience;
        while self.counts.waiting.load(Ordering::Acquire) > 0 && Instant::now() < end {
            std::thread::sleep(FLUSH_STEP);
        }
    }

    /// Says how many lines were lost, if there are more than the last time. The line may be lost like any other, which
    /// makes one more.
    pub(super) fn report(&self) {
        let lost = self.lost();
        if self.counts.told.swap(lost, Ordering::Relaxed) < lost {
            tracing::warn!(
                lost,
                "log lines were lost, as many as this since the start: whoever reads them is too slow or gone"
            );
        }
    }

    fn push(&self, line: &[u8]) {
        let before = self.counts.waiting.fetch_add(line.len(), Ordering::AcqRel);
        if before + line.len() > BYTES_MAX || self.queue.try_send(line.to_vec()).is_err() {
            self.counts.waiting.fetch_sub(line.len(), Ordering::AcqRel);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(lines: &Receiver<Vec<u8>>, mut out: impl Write, counts: &Counts) {
    for line in lines {
        if out.write_all(&line).and_then(|()| out.flush()).is_err() {
            counts.lost.fetch_add(1, Ordering::Relaxed);
        }
        counts.waiting.fetch_sub(line.len(), Ordering::AcqRel);
    }
}

/// Takes one whole line with each write, which is how the subscriber hands them over.
#[derive(Debug)]
pub struct Line<'a>(&'a Lines);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// A reader that takes nothing until it is told to.
    struct Stuck {
        until: Receiver<()>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.until.recv();
            self.taken.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stuck() -> (Lines, Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (go, until) = channel();
        let taken = Arc::new(Mutex::new(Vec::new()));
        (Lines::start(Stuck { until, taken: taken.clone() }).unwrap(), go, taken)
    }

    #[test]
    fn lines_that_nobody_takes_are_lost_and_counted_and_cost_no_time() {
        let (lines, go, taken) = stuck();
        let line = [b'x'; 1000];
        let pushed = 10 * BYTES_MAX / line.len();
        for _ in 0..pushed {
            lines.make_writer().write_all(&line).unwrap();
        }
        lines.flush(Duration::from_millis(20));
        let lost = usize::try_from(lines.lost()).unwrap();
        assert!(lost > 0 && (pushed - lost) * line.len() <= BYTES_MAX, "{lost} of {pushed}");
        // Whoever reads again is given what waited.
        drop(go);
        lines.flush(Duration::from_secs(20));
        assert_eq!(taken.lock().unwrap().len(), (pushed - lost) * line.len());
        lines.make_writer().write_all(b"again\n").unwrap();
        lines.flush(Duration::from_secs(20));
        assert!(taken.lock().unwrap().ends_with(b"again\n"));
    }

    #[test]
    fn small_lines_are_limited_too() {
        let (lines, _go, _) = stuck();
        for _ in 0..2 * LINES_MAX {
            lines.make_writer().write_all(b"\n").unwrap();
        }
        assert!(lines.lost() >= LINES_MAX as u64 - 1, "{}", lines.lost());
    }

    #[test]
    fn a_reader_that_went_away_costs_lines_and_nothing_else() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::start(Gone).unwrap();
        for _ in 0..3 {
            lines.make_writer().write_all(b"a line\n").unwrap();
        }
        lines.flush(Duration::from_secs(20));
        assert_eq!(lines.lost(), 3);
    }
}
