//! Replays the corpus of the fuzz targets with the ordinary compiler, and goes a little further with bytes that are made
//! up here.

// A test may panic, and says what it was about.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::path::{Path, PathBuf};

use support::fuzz;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

fn replay(target: &str, run: fn(&[u8])) {
    let mut files: Vec<_> = std::fs::read_dir(corpus(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        println!("{}", file.display());
        let data = std::fs::read(&file).unwrap();
        run(&data);
        // Whatever is cut off or changed must be as harmless.
        for cut in 0..data.len() {
            run(&data[..cut]);
            let mut changed = data.clone();
            changed[cut] ^= 1 << (cut % 8);
            run(&changed);
        }
    }
}

#[test]
fn record_corpus() {
    replay("record", fuzz::record);
}

#[test]
fn resource_corpus() {
    replay("resource", fuzz::resource);
}

/// Bytes that are always the same and look like nothing.
fn made_up(count: u64) -> impl Iterator<Item = Vec<u8>> {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    (0..count).map(move |_| {
        let mut data = Vec::new();
        for _ in 0..60 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let [kind, rest @ ..] = random.to_le_bytes();
            // Few options at a time, or nearly every command contradicts itself.
            data.push(kind);
            data.extend(rest.iter().map(|byte| if byte & 0x80 == 0 { byte & 7 } else { byte & byte << 3 }));
        }
        data
    })
}

#[test]
fn made_up_commands_agree_with_the_naive_model() {
    made_up(3_000).for_each(|data| fuzz::resource(&data));
}

#[test]
fn made_up_records_are_harmless() {
    let mut records = 0;
    for data in made_up(5) {
        fuzz::written(&data, &mut |record| {
            records += 1;
            for place in 0..record.len() {
                let mut changed = record.to_vec();
                changed[place] = changed[place].wrapping_add(1 << (records % 8));
                fuzz::record(&changed);
            }
        });
    }
    assert!(records > 50);
}

/// Writes the seeds of the record target; run it by name after a change of the format.
#[test]
#[ignore = "writes files"]
fn write_record_seeds() {
    let mut longest: Vec<Vec<u8>> = Vec::new();
    for data in made_up(200) {
        fuzz::written(&data, &mut |record| longest.push(record.to_vec()));
    }
    longest.sort_by_key(|record| std::cmp::Reverse(record.len()));
    for (index, record) in longest.iter().step_by(longest.len() / 12).enumerate() {
        std::fs::write(corpus("record").join(format!("seed-{index}")), record).unwrap();
    }
}
