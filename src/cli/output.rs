//! Standard output: the only place that writes to it. Text for people, JSON for programs.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};

use serde::Serialize;

use super::exit;
use super::failure::Failure;

/// For whom a command writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Writes text as it is.
pub fn text(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::reader_gone(),
        _ => Failure::new(exit::FAILURE, format_args!("standard output can not be written: {error}")),
    })
}

/// Writes one JSON document over several lines.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    written(serde_json::to_string_pretty(value))
}

/// Writes one JSON document on one line, for commands that write many.
pub fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    written(serde_json::to_string(value))
}

fn written(document: serde_json::Result<String>) -> Result<(), Failure> {
    let document = document.map_err(|error| Failure::new(exit::FAILURE, format_args!("no JSON for it: {error}")))?;
    text(&(document + "\n"))
}

/// Rows under a heading, in columns as wide as their widest cell.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    indent: usize,
}

#[derive(Debug)]
struct Column {
    title: &'static str,
    right: bool,
}

impl Table {
    /// A table with these titles. A title that begins with `>` is set to the right, for numbers.
    pub fn new(titles: &[&'static str]) -> Self {
        let column = |title: &&'static str| match title.strip_prefix('>') {
            Some(title) => Column { title, right: true },
            None => Column { title, right: false },
        };
        Self { columns: titles.iter().map(column).collect(), rows: Vec::new(), indent: 0 }
    }

    /// Sets the table off from what is around it.
    #[must_use]
    pub fn indented(mut self, spaces: usize) -> Self {
        self.indent = spaces;
        self
    }

    /// Adds a row; an empty cell is shown as `-`.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len());
        let shown = |cell: String| if cell.is_empty() { "-".to_owned() } else { cell };
        self.rows.push(cells.map(shown).into());
    }

    /// The table as text. Columns in which no row says anything are left out.
    pub fn render(&self) -> String {
        let said = |index: usize| self.rows.iter().any(|row| row[index] != "-");
        let columns: Vec<usize> =
            (0..self.columns.len()).filter(|&index| self.rows.is_empty() || said(index)).collect();
        let width = |index: usize| {
            let cells = self.rows.iter().map(|row| row[index].chars().count());
            cells.max().unwrap_or(0).max(self.columns[index].title.len())
        };
        let widths: Vec<usize> = columns.iter().map(|&index| width(index)).collect();
        let mut out = String::new();
        let titles: Vec<&str> = self.columns.iter().map(|column| column.title).collect();
        self.line(&mut out, &columns, &widths, |index| titles[index]);
        for row in &self.rows {
            self.line(&mut out, &columns, &widths, |index| row[index].as_str());
        }
        out
    }

    fn line<'a>(&self, out: &mut String, columns: &[usize], widths: &[usize], cell: impl Fn(usize) -> &'a str) {
        let mut line = " ".repeat(self.indent);
        for (&index, &width) in columns.iter().zip(widths) {
            let cell = cell(index);
            // Writing to a string does not fail.
            let _ = if self.columns[index].right {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:<width$}  ")
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_wide_as_its_cells_and_leaves_out_what_nobody_says() {
        let mut table = Table::new(&["NAME", ">COUNT", "LABEL"]);
        table.row(["a".into(), "10".into(), String::new()]);
        table.row(["größer".into(), "9".into(), String::new()]);
        assert_eq!(table.render(), "NAME    COUNT\na          10\ngrößer      9\n");
    }
}
