//! A configuration file as one table, and where in it each setting stands. Its name says how it is written.

use std::collections::BTreeMap;
use std::fmt;

use toml::de::{DeTable, DeValue};

use super::check::Key;
use super::{ConfigError, explained, file, json, yaml};

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Format {
    /// Unless its name says otherwise.
    #[default]
    Toml,
    Yaml,
    Json,
}

/// Characters of a line that are shown.
const SHOWN_MAX: usize = 120;

/// The line of each setting, from 1.
pub(super) type Lines = BTreeMap<Vec<String>, usize>;

/// A file that cannot be read, and the line, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) line: usize,
    pub(super) what: String,
}

/// A file, understood.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// The file's name; empty if there is none.
    name: String,
    pub(super) table: toml::Table,
    lines: Lines,
}

impl Format {
    fn of(name: &str) -> Self {
        let name = name.to_lowercase();
        match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("yaml" | "yml") => Self::Yaml,
            Some("json") => Self::Json,
            _ => Self::Toml,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Toml => "TOML",
            Self::Yaml => "YAML",
            Self::Json => "JSON",
        })
    }
}

impl Document {
    /// Understands the text of a file with this name.
    pub(super) fn read(text: &str, name: &str) -> Result<Self, ConfigError> {
        let format = Format::of(name);
        let read = match format {
            Format::Toml => read_toml(text),
            Format::Yaml => yaml::read(text),
            Format::Json => json::read(text),
        };
        let told = |Unreadable { line, what }: Unreadable| {
            // The line itself says most, unless it may hold a password.
            let shown = text.lines().nth(line - 1).filter(|line| !may_hold_secret(line));
            let shown = shown.map(|line| format!("\n    {}", shortened(line.trim()))).unwrap_or_default();
            ConfigError(format!("{}: {}{shown}", place(name, line), explained(what)))
        };
        let (table, lines) = read.map_err(|Unreadable { line, what }| {
            told(Unreadable { line, what: format!("the file must be {format}{}: {what}", foreign(text, format)) })
        })?;
        let document = Self { name: name.into(), table, lines };
        document.check().map_err(told)?;
        Ok(document)
    }

    /// Whether all of it are settings, of the types that they have.
    fn check(&self) -> Result<(), Unreadable> {
        let value = toml::Value::Table(self.table.clone());
        serde_path_to_error::deserialize::<_, file::File>(value).map(drop).map_err(|error| {
            let path = error.path().to_string();
            let mut names: Vec<String> = path.split('.').filter(|name| *name != ".").map(Into::into).collect();
            let what = error.into_inner().message().to_owned();
            // An unknown name is not part of the path.
            names.extend(
                what.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')).map(|(n, _)| n.into()),
            );
            let line = (0..names.len()).find_map(|less| self.lines.get(&names[..names.len() - less])).copied();
            let what = if path == "." { what } else { format!("`{path}`: {what}") };
            Unreadable { line: line.unwrap_or(1), what }
        })
    }

    /// Where a setting stands: `sixpin.toml:12`. None if it does not.
    pub(super) fn place(&self, key: &Key) -> Option<String> {
        self.lines.get(&key.0).map(|line| place(&self.name, *line))
    }
}

fn place(name: &str, line: usize) -> String {
    if name.is_empty() { format!("line {line}") } else { format!("{name}:{line}") }
}

/// A line for people, whatever is in it.
fn shortened(line: &str) -> String {
    let shown: String = line.chars().take(SHOWN_MAX).collect();
    let more = if shown.len() < line.len() { "..." } else { "" };
    shown.chars().map(|c| if c.is_control() { ' ' } else { c }).chain(more.chars()).collect()
}

fn may_hold_secret(line: &str) -> bool {
    let line = line.to_lowercase();
    ["pass", "token", "secret", "sha256", "@"].iter().any(|word| line.contains(word))
}

/// Names what somebody wrote who took another format for this one.
fn foreign(text: &str, format: Format) -> String {
    let is_yaml = |line: &str| {
        let line = line.trim_start();
        let key = line.split_once(':').filter(|(_, value)| value.is_empty() || value.starts_with(' '));
        line.starts_with("- ") || key.is_some_and(|(key, _)| !key.contains(['=', '"', '#', ' ']))
    };
    let is_toml = |line: &str| {
        let line = line.trim();
        (line.starts_with('[') && line.ends_with(']'))
            || line.split_once('=').is_some_and(|(key, _)| !key.contains(':'))
    };
    let looks_like = if text.trim_start().starts_with('{') && text.contains("\":") {
        Format::Json
    } else if text.starts_with("---") || text.lines().any(is_yaml) {
        Format::Yaml
    } else if text.lines().any(is_toml) {
        Format::Toml
    } else {
        return String::new();
    };
    let ending = looks_like.to_string().to_lowercase();
    if looks_like == format { String::new() } else { format!(", and this looks like {looks_like} (call it .{ending})") }
}

fn read_toml(text: &str) -> Result<(toml::Table, Lines), Unreadable> {
    let breaks: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    let unreadable = |error: &toml::de::Error| Unreadable {
        line: line(&breaks, error.span().unwrap_or_default().start),
        what: error.message().to_owned(),
    };
    let table = text.parse().map_err(|error| unreadable(&error))?;
    let document = DeTable::parse(text).map_err(|error| unreadable(&error))?;
    let mut lines = Lines::new();
    note_lines(&breaks, document.get_ref(), &mut Vec::new(), &mut lines);
    Ok((table, lines))
}

fn note_lines(breaks: &[usize], table: &DeTable<'_>, path: &mut Vec<String>, lines: &mut Lines) {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        lines.insert(path.clone(), line(breaks, key.span().start));
        if let DeValue::Table(inner) = value.get_ref() {
            note_lines(breaks, inner, path, lines);
        }
        path.pop();
    }
}

/// The line of a byte, from 1, in a text that has its line breaks there.
fn line(breaks: &[usize], byte: usize) -> usize {
    breaks.partition_point(|at| *at < byte) + 1
}
