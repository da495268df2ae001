//! A configuration file in JSON. Names that stand twice and `null` are refused.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use toml::Value;

use super::document::{Lines, Unreadable};
use super::yaml;

/// The settings of a text, and where they stand.
pub(super) fn read(text: &str) -> Result<(toml::Table, Lines), Unreadable> {
    let unreadable = |line: usize, what: String| Unreadable { line: line.max(1), what };
    match serde_json::from_str(text) {
        // JSON is YAML as well, as far as it is used for settings, and there the lines are known. They only help.
        Ok(Given(Value::Table(table))) => Ok((table, yaml::read(text).map(|(_, lines)| lines).unwrap_or_default())),
        Ok(_) => Err(unreadable(1, "settings are names with values, as in {\"listen\": \"127.0.0.1:6616\"}".into())),
        Err(error) => {
            let what = error.to_string();
            let what = what.split(" at line ").next().unwrap_or_default().to_owned();
            Err(unreadable(error.line(), what))
        }
    }
}

/// A value as it was given.
struct Given(Value);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Given, E> {
        Ok(Given(Value::Boolean(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Given, E> {
        Ok(Given(Value::Integer(value)))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Given, E> {
        i64::try_from(value).map(|value| Given(Value::Integer(value))).map_err(|_| E::custom("no setting is so large"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Given, E> {
        Ok(Given(Value::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Given, E> {
        Ok(Given(Value::String(value.to_owned())))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Given, E> {
        Err(E::custom("null is no value: leave the setting out, or write \"\" for an empty text"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Given, A::Error> {
        let mut values = Vec::new();
        while let Some(Given(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Given(Value::Array(values)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
        let mut table = toml::Table::new();
        while let Some(name) = map.next_key::<String>()? {
            if table.contains_key(&name) {
                return Err(de::Error::custom(format!("`{name}` stands here twice")));
            }
            let Given(value) = map.next_value()?;
            table.insert(name, value);
        }
        Ok(Given(Value::Table(table)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_their_lines_however_they_are_indented() {
        for text in ["{\n  \"a\": 1,\n  \"l\": {\"m\": [\"x\"]}\n}", "{\n\t\"a\": 1,\n\t\"l\": {\"m\": [\"x\"]}\n}"] {
            let (table, lines) = read(text).unwrap();
            assert_eq!(table, "a = 1\nl = { m = [\"x\"] }".parse().unwrap());
            let line = |names: &[&str]| lines.get(&names.iter().map(ToString::to_string).collect::<Vec<_>>()).copied();
            assert_eq!((line(&["a"]), line(&["l", "m"])), (Some(2), Some(3)), "{text}");
        }
    }

    #[test]
    fn what_is_twice_or_nothing_is_refused() {
        for (text, line, word) in [
            ("{\"a\": 1,\n\"a\": 2}", 2, "`a` stands here twice"),
            ("{\"a\":\nnull}", 2, "null"),
            ("{\"a\": 1,}", 1, "trailing comma"),
            ("[]", 1, "names with values"),
            ("", 1, "EOF"),
            ("{\"a\": 18446744073709551615}", 1, "so large"),
        ] {
            let refused = read(text).expect_err(text);
            assert!(refused.what.contains(word), "{text}: {}", refused.what);
            assert_eq!(refused.line, line, "{text}");
        }
        assert!(read(&"[".repeat(100_000)).is_err());
    }
}
