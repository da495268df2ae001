//! Where settings are written: a file, the environment, flags. Each is understood by itself first, so that a mistake is
//! said of the place where it was made, and a secret is never shown with it.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::check::{self, Key, Wrong};
use super::settings::{environment, overlay, variable};
use super::{Config, ConfigError, explained, file};

/// What the three places say.
#[derive(Debug, Default)]
pub struct Sources {
    /// The file's name; empty if there is none.
    name: String,
    text: String,
    file: toml::Table,
    environment: toml::Table,
    flags: toml::Table,
    /// What a flag is called where it was given.
    flag: Option<fn(&Key) -> String>,
}

impl Sources {
    /// Reads a file, if one is named, beside environment and flags.
    pub fn read(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
        flags: toml::Table,
    ) -> Result<Self, ConfigError> {
        let Some(path) = file else { return Self::new("", "", variables, flags) };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError(format!("cannot read the configuration file `{name}`: {error}")))?;
        Self::new(&text, &name, variables, flags)
    }

    /// As [`Self::read`], from the text of a file with this name.
    pub fn new(
        text: &str,
        name: &str,
        variables: impl IntoIterator<Item = (String, String)>,
        flags: toml::Table,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            name: name.into(),
            text: text.into(),
            file: understood(text, name)?,
            environment: environment(variables)?,
            flags,
            flag: None,
        })
    }

    /// The same, where what comes as flags was given in another way and is called so.
    #[must_use]
    pub fn with_flags_called(self, flag: fn(&Key) -> String) -> Self {
        Self { flag: Some(flag), ..self }
    }

    /// All of it together, checked.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let mut table = self.file.clone();
        overlay(&mut table, self.environment.clone());
        overlay(&mut table, self.flags.clone());
        let file = table.try_into::<file::File>().map_err(|error| ConfigError(explained(error)))?;
        check::check(file).map_err(|Wrong { key, text }| self.wrong(&key, text))
    }

    /// Whether a setting was given anywhere.
    pub fn is_set(&self, key: &Key) -> bool {
        [&self.flags, &self.environment, &self.file].iter().any(|table| find(table, key).is_some())
    }

    /// Says of a setting what is wrong with it, and where it stands.
    pub fn wrong(&self, key: &Key, text: impl fmt::Display) -> ConfigError {
        ConfigError(match self.place(key) {
            Some(place) => format!("{place}: {text}"),
            None => text.to_string(),
        })
    }

    /// Where the setting stands that counts: `sixpin.toml:12`, a variable or a flag. None if it was not set.
    fn place(&self, key: &Key) -> Option<String> {
        if find(&self.flags, key).is_some() {
            let flag = self.flag.unwrap_or(|key| format!("--{}", key.to_string().replace(['.', '_'], "-")));
            return Some(format!("`{}`", flag(key)));
        }
        if find(&self.environment, key).is_some() {
            return Some(format!("environment variable {}", variable(&key.to_string())));
        }
        let span = span(&self.text, key)?;
        Some(place(&self.name, line(&self.text, span.start)))
    }
}

/// The settings of a file.
fn understood(text: &str, name: &str) -> Result<toml::Table, ConfigError> {
    let told = |what: &str, error: &toml::de::Error| {
        let line = line(text, error.span().unwrap_or_default().start);
        // The line itself says most, unless it may hold a password.
        let shown = text.lines().nth(line - 1).filter(|line| !may_hold_secret(line));
        let shown = shown.map(|line| format!("\n    {}", line.trim())).unwrap_or_default();
        ConfigError(format!("{}: {what}{}{shown}", place(name, line), explained(error.message())))
    };
    let table = text.parse::<toml::Table>().map_err(|error| told(&foreign(text, name), &error))?;
    toml::from_str::<file::File>(text).map_err(|error| told("", &error))?;
    Ok(table)
}

/// Names what somebody wrote who took another format for ours.
fn foreign(text: &str, name: &str) -> String {
    let is_yaml = |line: &str| {
        let line = line.trim_start();
        let key = line.split_once(':').filter(|(_, value)| value.is_empty() || value.starts_with(' '));
        line.starts_with("- ") || key.is_some_and(|(key, _)| !key.contains(['=', '"', '#', ' ']))
    };
    let ends = |ending: &str| name.to_lowercase().ends_with(ending);
    let looks_like = if ends(".json") || text.trim_start().starts_with('{') {
        ", and this looks like JSON"
    } else if ends(".yaml") || ends(".yml") || text.starts_with("---") || text.lines().any(is_yaml) {
        ", and this looks like YAML"
    } else {
        ""
    };
    format!("the file must be TOML{looks_like}: ")
}

fn may_hold_secret(line: &str) -> bool {
    let line = line.to_lowercase();
    ["pass", "token", "secret", "@"].iter().any(|word| line.contains(word))
}

fn place(name: &str, line: usize) -> String {
    if name.is_empty() { format!("line {line}") } else { format!("{name}:{line}") }
}

/// The line of a byte, from 1.
fn line(text: &str, byte: usize) -> usize {
    text.as_bytes().iter().take(byte).filter(|byte| **byte == b'\n').count() + 1
}

fn find<'a>(table: &'a toml::Table, key: &Key) -> Option<&'a toml::Value> {
    let (last, tables) = key.0.split_last()?;
    let inner = tables.iter().try_fold(table, |table, name| table.get(name)?.as_table())?;
    inner.get(last)
}

/// Where in the text a key stands.
fn span(text: &str, key: &Key) -> Option<Range<usize>> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let (last, tables) = key.0.split_last()?;
    for name in tables {
        match table.get(name.as_str())?.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => return None,
        }
    }
    table.get_key_value(last.as_str()).map(|(key, _)| key.span())
}
