//! Signals that whoever started this process has it ignore: `nohup` the end of the terminal, a script's shell Ctrl-C for
//! its jobs in the background. They are to stay ignored, and a program that catches or blocks them would get them.

use std::collections::BTreeSet;

/// Numbers of the signals that are ignored. Where `/proc` does not say, none.
pub(crate) fn ignored() -> BTreeSet<i32> {
    std::fs::read_to_string("/proc/self/status").map(|status| ignored_by(&status)).unwrap_or_default()
}

fn ignored_by(status: &str) -> BTreeSet<i32> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    (1..=64).filter(|signal| mask & (1 << (signal - 1)) != 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_read() {
        let status = "Name:\tsixpin\nSigBlk:\tffffffffffffffff\nSigIgn:\t8000000000001003\nSigCgt:\t0\n";
        assert_eq!(ignored_by(status), BTreeSet::from([1, 2, 13, 64]));
        assert_eq!(ignored_by(""), BTreeSet::new());
    }
}
