//! A configuration file in YAML (1.2, core schema, without what turns one thing into another).
//!
//! Settings are names with values, so that is what is read: mappings, lists, text, numbers, `true` and `false`. A word such as
//! `no` or `off` is text. Names that stand twice, anchors, aliases, tags, a second document and values that are left out are
//! refused, each with its line.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use toml::Value;

use super::document::{Lines, Unreadable};

/// Deeper than any setting stands.
const DEPTH_MAX: usize = 16;

/// The settings of a text, and where they stand.
pub(super) fn read(text: &str) -> Result<(toml::Table, Lines), Unreadable> {
    let mut reader = Reader { events: Parser::new_from_str(text), lines: Lines::new(), path: Vec::new() };
    let table = reader.document()?;
    Ok((table, reader.lines))
}

struct Reader<I> {
    events: I,
    lines: Lines,
    /// The names that lead to where it reads.
    path: Vec<String>,
}

fn unreadable<T>(line: usize, what: impl Into<String>) -> Result<T, Unreadable> {
    Err(Unreadable { line, what: what.into() })
}

impl<'a, I: Iterator<Item = Result<(Event<'a>, Span), ScanError>>> Reader<I> {
    /// What comes next, and its line.
    fn next(&mut self) -> Result<(Event<'a>, usize), Unreadable> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, span.start.line())),
            Some(Err(error)) => unreadable(error.marker().line(), error.info()),
            None => Ok((Event::StreamEnd, 1)),
        }
    }

    fn document(&mut self) -> Result<toml::Table, Unreadable> {
        let table = loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentStart(_), _) => {}
                // A file of comments is a file without settings.
                (Event::StreamEnd, _) => return Ok(toml::Table::new()),
                (Event::Scalar(text, ScalarStyle::Plain, 0, None), _) if is_nothing(&text) => break toml::Table::new(),
                (Event::MappingStart(0, None), _) => break self.mapping()?,
                (_, line) => return unreadable(line, "settings are names with values, as in `listen: 127.0.0.1:6616`"),
            }
        };
        loop {
            match self.next()? {
                (Event::DocumentEnd, _) => {}
                (Event::StreamEnd, _) => return Ok(table),
                (_, line) => return unreadable(line, "a second document begins, and there may be one"),
            }
        }
    }

    fn mapping(&mut self) -> Result<toml::Table, Unreadable> {
        let mut table = toml::Table::new();
        loop {
            let (name, line) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(table),
                (Event::Scalar(name, _, 0, None), line) => (name.into_owned(), line),
                (_, line) => return unreadable(line, "the name of a setting must be text"),
            };
            if table.contains_key(&name) {
                return unreadable(line, format!("`{name}` stands here twice"));
            }
            self.path.push(name.clone());
            if self.path.len() > DEPTH_MAX {
                return unreadable(line, "no setting stands so deep");
            }
            self.lines.insert(self.path.clone(), line);
            let (event, line) = self.next()?;
            let value = self.value(event, line)?;
            self.path.pop();
            table.insert(name, value);
        }
    }

    fn list(&mut self) -> Result<Value, Unreadable> {
        let mut list = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Array(list)),
                (Event::SequenceStart(..), line) => return unreadable(line, "no setting is a list of lists"),
                (event, line) => list.push(self.value(event, line)?),
            }
        }
    }

    fn value(&mut self, event: Event<'a>, line: usize) -> Result<Value, Unreadable> {
        match event {
            Event::Scalar(text, ScalarStyle::Plain, 0, None) => scalar(&text, line),
            Event::Scalar(text, _, 0, None) => Ok(Value::String(text.into_owned())),
            Event::SequenceStart(0, None) => self.list(),
            Event::MappingStart(0, None) => self.mapping().map(Value::Table),
            _ => unreadable(line, "anchors (&), aliases (*) and tags (!) are not understood: write the value itself"),
        }
    }
}

fn is_nothing(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Text without quotes. What is written otherwise than this writes it (`007`, `1e3`, `True`) stays text, so that no password
/// and no name changes.
fn scalar(text: &str, line: usize) -> Result<Value, Unreadable> {
    if is_nothing(text) {
        return unreadable(line, "the value is missing: leave the setting out, or write \"\" for an empty text");
    }
    Ok(match (text, text.parse::<i64>(), text.parse::<f64>()) {
        ("true", ..) => Value::Boolean(true),
        ("false", ..) => Value::Boolean(false),
        (_, Ok(number), _) if number.to_string() == text => Value::Integer(number),
        (_, _, Ok(number)) if number.to_string() == text && number.is_finite() => Value::Float(number),
        _ => Value::String(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (usize, String) {
        let Unreadable { line, what } = read(text).expect_err(text);
        (line, what)
    }

    #[test]
    fn words_are_text_and_numbers_are_what_they_look_like() {
        let text =
            "a: no\nb: off\nc: Yes\nd: 007\ne: 7\nf: true\ng: 1.5\nh: \"7\"\ni: 1e3\nj: 0x1f\nk: [1, x]\nl: {m: -1}\n";
        let (table, lines) = read(text).unwrap();
        let toml = "a = \"no\"\nb = \"off\"\nc = \"Yes\"\nd = \"007\"\ne = 7\nf = true\ng = 1.5\nh = \"7\"\ni = \"1e3\"\nj = \"0x1f\"\n\
                    k = [1, \"x\"]\nl = { m = -1 }\n";
        assert_eq!(table, toml.parse().unwrap());
        assert_eq!(lines[&vec!["l".to_owned(), "m".to_owned()]], 12);
    }

    #[test]
    fn nothing_is_a_file_without_settings() {
        for text in ["", "# only a comment\n", "---\n", "--- ~\n", "{}"] {
            assert_eq!(read(text), Ok((toml::Table::new(), Lines::new())), "{text}");
        }
    }

    #[test]
    fn what_turns_one_thing_into_another_is_refused_with_its_line() {
        for (text, at, word) in [
            ("a: 1\nb: 2\na: 3\n", 3, "`a` stands here twice"),
            ("l:\n  x: 1\n  x: 2\n", 3, "`x` stands here twice"),
            ("a: &anchor 1\n", 1, "anchors"),
            ("a: 1\nb: *a\n", 2, "anchor"),
            ("a: !!str 1\n", 1, "tags"),
            ("a: 1\n---\nb: 2\n", 2, "second document"),
            ("a:\n", 1, "value is missing"),
            ("a: 1\nb: ~\n", 2, "value is missing"),
            ("- a\n- b\n", 1, "names with values"),
            ("text\n", 1, "names with values"),
            ("a: [[1]]\n", 1, "list of lists"),
            ("[a]: 1\n", 1, "must be text"),
            ("a: 1\n b: 2\n", 2, ""),
            ("a: \"open\n", 1, ""),
            ("a:\n\t- b\n", 2, ""),
        ] {
            let (line, what) = refused(text);
            assert!(what.contains(word), "{text}: {what}");
            assert!(line.abs_diff(at) <= 1, "{text}: line {line}: {what}");
        }
        let deep: Vec<String> = (0..1_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        assert!(refused(&deep.concat()).1.contains("so deep"));
        refused(&"[".repeat(100_000));
        refused(&format!("a: {}", "{a: ".repeat(100_000)));
    }
}
