//! Where settings are written: a file, the environment, flags. Each is understood by itself first, so that a mistake is
//! said of the place where it was made, and a secret is never shown with it.

use std::fmt;
use std::io::Read as _;
use std::path::Path;

use super::check::{self, Key, Wrong};
use super::document::Document;
use super::settings::{environment, overlay, variable};
use super::{Config, ConfigError, explained, file};

/// Largest file.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// What the three places say.
#[derive(Debug, Default)]
pub struct Sources {
    file: Document,
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
        let told =
            |what: &dyn fmt::Display| ConfigError(format!("cannot read the configuration file `{name}`: {what}"));
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(|error| told(&error))?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| told(&error))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(told(&format_args!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|_| told(&"it is not UTF-8: save it so"))?;
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
            file: Document::read(text.trim_start_matches('\u{feff}'), name)?,
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
        let mut table = self.file.table.clone();
        overlay(&mut table, self.environment.clone());
        overlay(&mut table, self.flags.clone());
        let file = table.try_into::<file::File>().map_err(|error| ConfigError(explained(error)))?;
        check::check(file).map_err(|Wrong { key, text }| self.wrong(&key, text))
    }

    /// Whether a setting was given anywhere.
    pub fn is_set(&self, key: &Key) -> bool {
        [&self.flags, &self.environment, &self.file.table].iter().any(|table| find(table, key).is_some())
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
        self.file.place(key)
    }
}

fn find<'a>(table: &'a toml::Table, key: &Key) -> Option<&'a toml::Value> {
    let (last, tables) = key.0.split_last()?;
    let inner = tables.iter().try_fold(table, |table, name| table.get(name)?.as_table())?;
    inner.get(last)
}
