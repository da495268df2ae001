//! Runs that take longer than anybody waits: ranges of seeds that were run are noted in a file, one line each, so that a
//! run can be stopped and taken up again, and parts that ran at different times add up.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Seeds in one line.
const CHUNK: u64 = 10_000;

/// One range that was run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entry {
    /// Schedules that ran.
    pub schedules: u64,
    /// Events in them.
    pub events: u64,
    /// How many of them violated something.
    pub violations: u64,
}

/// What was run, by the first seed of each range.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    entries: BTreeMap<u64, Entry>,
}

impl Ledger {
    /// Reads the file, if there is one.
    pub fn open(path: &Path) -> io::Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let entries = text.lines().map(parse).collect::<Option<_>>();
        let entries = entries.ok_or_else(|| io::Error::other(format!("{} is not a ledger of runs", path.display())))?;
        Ok(Self { path: path.to_owned(), entries })
    }

    /// The parts of a range that were not run yet.
    pub fn missing(&self, seeds: Range<u64>) -> Vec<Range<u64>> {
        let first = seeds.start / CHUNK * CHUNK;
        (first..seeds.end)
            .step_by(CHUNK as usize)
            .filter(|start| !self.entries.contains_key(start))
            .map(|start| start..start + CHUNK)
            .collect()
    }

    /// Notes that a part was run.
    pub fn note(&mut self, part: &Range<u64>, entry: Entry) -> io::Result<()> {
        self.entries.insert(part.start, entry);
        let mut text = String::new();
        for (start, entry) in &self.entries {
            let Entry { schedules, events, violations } = entry;
            let _ = writeln!(text, "{start} {schedules} {events} {violations}");
        }
        let beside = self.path.with_extension("new");
        fs::write(&beside, text)?;
        fs::rename(beside, &self.path)
    }

    /// Everything together.
    pub fn sum(&self) -> Entry {
        self.entries.values().fold(Entry::default(), |sum, entry| Entry {
            schedules: sum.schedules + entry.schedules,
            events: sum.events + entry.events,
            violations: sum.violations + entry.violations,
        })
    }
}

fn parse(line: &str) -> Option<(u64, Entry)> {
    let numbers: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [start, schedules, events, violations] = numbers.try_into().ok()?;
    Some((start, Entry { schedules, events, violations }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_taken_up_where_it_stopped() {
        let folder = std::env::temp_dir().join(format!("sixpin-ledger-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the test");
        let path = folder.join("ledger");
        let mut ledger = Ledger::open(&path).expect("no file is an empty ledger");
        let parts = ledger.missing(0..25_000);
        assert_eq!(parts, [0..10_000, 10_000..20_000, 20_000..30_000]);
        let entry = Entry { schedules: 10_000, events: 7, violations: 1 };
        ledger.note(&parts[1], entry).expect("the file can be written");
        let again = Ledger::open(&path).expect("the file can be read");
        assert_eq!(again.missing(0..25_000), [0..10_000, 20_000..30_000]);
        assert_eq!(again.sum(), entry);
        fs::remove_dir_all(folder).expect("the folder can be removed");
    }
}
