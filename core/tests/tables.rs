//! The tables of the lock rules, as they are printed there, against those of the machine.

// A test may panic, and says what it was about.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use sixpin_core::mode::{ConversionKind, Mode, ValueMove, value_on_grant, value_on_release};

const COMPATIBILITY: &str = "
      NL CR CW PR PW EX
   NL Y  Y  Y  Y  Y  Y
   CR Y  Y  Y  Y  Y  -
   CW Y  Y  Y  -  -  -
   PR Y  Y  -  Y  -  -
   PW Y  Y  -  -  -  -
   EX Y  -  -  -  -  -
";

const CONVERSION: &str = "
      NL CR CW PR PW EX
   NL =  U  U  U  U  U
   CR D  =  U  U  U  U
   CW D  D  =  S  U  U
   PR D  D  S  =  U  U
   PW D  D  D  D  =  U
   EX D  D  D  D  D  =
";

const VALUE: &str = "
      NL CR CW PR PW EX
   UN R  R  R  R  R  R
   NL R  R  R  R  R  R
   CR .  R  R  R  R  R
   CW .  .  R  R  R  R
   PR .  .  .  R  R  R
   PW W  W  W  W  W  R
   EX W  W  W  W  W  W
   -- .  .  .  .  W  W
";

const QUEUE_CONVERSION: &str = "
   NL to CR CW PR PW EX
   CR to CW PR PW EX
   CW to PR PW EX
   PR to CW PW EX
   PW to EX
   EX to
";

/// The rows of a table: the name in front, and one entry a mode.
fn rows(table: &'static str) -> impl Iterator<Item = (&'static str, Vec<(Mode, &'static str)>)> {
    table.lines().filter(|line| !line.trim().is_empty()).skip(1).map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap();
        (name, Mode::ALL.into_iter().zip(words).collect())
    })
}

#[test]
fn the_36_compatibility_pairs_are_those_of_the_rules() {
    let mut pairs = 0;
    for (name, entries) in rows(COMPATIBILITY) {
        let row: Mode = name.parse().unwrap();
        for (column, entry) in entries {
            assert_eq!(row.compatible(column), entry == "Y", "{row} {column}");
            pairs += 1;
        }
    }
    assert_eq!(pairs, 36);
}

#[test]
fn the_36_kinds_of_conversion_are_those_of_the_rules() {
    let mut pairs = 0;
    for (name, entries) in rows(CONVERSION) {
        let from: Mode = name.parse().unwrap();
        for (to, entry) in entries {
            let kind = match entry {
                "U" => ConversionKind::Up,
                "D" => ConversionKind::Down,
                "S" => ConversionKind::Sideways,
                _ => ConversionKind::Same,
            };
            assert_eq!(from.conversion(to), kind, "{from} to {to}");
            pairs += 1;
        }
    }
    assert_eq!(pairs, 36);
}

#[test]
fn the_42_value_block_entries_and_the_release_row_are_those_of_the_rules() {
    let mut entries_seen = 0;
    for (name, entries) in rows(VALUE) {
        for (mode, entry) in entries {
            let expected = match entry {
                "R" => ValueMove::Read,
                "W" => ValueMove::Write,
                _ => ValueMove::Nothing,
            };
            let moved = match name {
                "UN" => value_on_grant(None, mode),
                "--" => value_on_release(mode),
                from => value_on_grant(Some(from.parse().unwrap()), mode),
            };
            assert_eq!(moved, expected, "{name} {mode}");
            entries_seen += 1;
        }
    }
    assert_eq!(entries_seen, 48);
}

#[test]
fn queue_conversion_is_accepted_for_exactly_the_16_pairs_of_the_rules() {
    let mut pairs = 0;
    for line in QUEUE_CONVERSION.lines().filter(|line| !line.trim().is_empty()) {
        let (from, legal) = line.split_once("to").unwrap();
        let from: Mode = from.trim().parse().unwrap();
        let legal: Vec<Mode> = legal.split_whitespace().map(|mode| mode.parse().unwrap()).collect();
        for to in Mode::ALL {
            assert_eq!(from.queue_conversion_legal(to), legal.contains(&to), "{from} to {to}");
        }
        pairs += legal.len();
    }
    assert_eq!(pairs, 16);
}
