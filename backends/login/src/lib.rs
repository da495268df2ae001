//! How a broker logs in at its store: names, secrets and certificates from a URL, from settings, or from files.
//!
//! Invariants: a secret is shown nowhere, neither by `Debug` nor in the error about one that is not text; whoever gives the
//! same thing twice is told so.

use std::fmt;
use std::path::Path;

use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use sixpin_core::backend::OpenError;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the connection.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The usual error would show what stands there instead.
        text(deserializer).map(Self).map_err(|_| D::Error::invalid_type(Unexpected::Other("something else"), &Text))
    }
}

/// Reads a name that may look like a number, as one in an environment variable does.
pub fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    text(deserializer).map(Some)
}

/// As [`name`], for a setting that always has a value.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserializer.deserialize_any(Text)
}

/// A text, or a number or truth value that stands for itself: an environment variable does not say which it is.
struct Text;

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text in quotes")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_bool<E>(self, truth: bool) -> Result<String, E> {
        Ok(truth.to_string())
    }
}

/// User and password of what stands in front of the `@` of a URL, if there is one. What is empty is absent.
/// Percent-encoded where a character means something else in a URL, such as `%40` for `@`.
pub fn of_url(login: Option<&str>) -> Result<(Option<String>, Option<Secret>), OpenError> {
    let login = login.unwrap_or_default();
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    Ok((decoded(user)?, decoded(password)?.map(Secret)))
}

fn decoded(text: &str) -> Result<Option<String>, OpenError> {
    let is_code = |after: &str| after.get(..2).is_some_and(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if !text.split('%').skip(1).all(is_code) {
        let text = "user and password in a URL are percent-encoded: write % as %25, @ as %40";
        return Err(OpenError::BadUrl(text.into()));
    }
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| OpenError::BadUrl("user or password in the URL is not UTF-8".into()))?;
    Ok(Some(decoded.into_owned()).filter(|text| !text.is_empty()))
}

/// What stands in the URL or in the setting `name`. In both is refused: which one is meant cannot be known.
pub fn once<T>(name: &str, in_url: Option<T>, set: Option<T>) -> Result<Option<T>, OpenError> {
    if in_url.is_some() && set.is_some() {
        return Err(OpenError::BadUrl(format!("the {name} is given in the URL and in the settings: keep one")));
    }
    Ok(in_url.or(set))
}

/// A secret from the setting `name`, or from the first line of the file that the setting `name`_file names.
pub fn secret(name: &str, given: Option<&Secret>, file: Option<&Path>) -> Result<Option<Secret>, OpenError> {
    match (given, file) {
        (Some(_), Some(_)) => Err(OpenError::BadUrl(format!("`{name}` and `{name}_file` are the same: keep one"))),
        (None, Some(file)) => first_line(name, file).map(Some),
        (given, None) => Ok(given.cloned()),
    }
}

/// What proves to a server who we are, in PEM. Not `Debug`, because of the key.
pub struct OwnCertificate {
    /// The certificate.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
}

/// Our own certificate from the files that `certificate` and `key` name, if both are set.
pub fn own_certificate(certificate: Option<&Path>, key: Option<&Path>) -> Result<Option<OwnCertificate>, OpenError> {
    match (certificate, key) {
        (Some(certificate), Some(path)) => {
            Ok(Some(OwnCertificate { certificate: file("certificate", certificate)?, key: file("key", path)? }))
        }
        (None, None) => Ok(None),
        _ => Err(OpenError::BadUrl("`certificate` and `key` go together: set both or none".into())),
    }
}

/// What the file that the setting `name` names holds.
pub fn file(name: &str, path: &Path) -> Result<Vec<u8>, OpenError> {
    std::fs::read(path)
        .map_err(|error| OpenError::BadUrl(format!("`{name}`: {} cannot be read: {error}", path.display())))
}

fn first_line(name: &str, file: &Path) -> Result<Secret, OpenError> {
    let bad = |text: String| OpenError::BadUrl(format!("`{name}_file`, {}: {text}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| bad(error.to_string()))?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() { Err(bad("the first line is empty".into())) } else { Ok(Secret::new(line)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Settings {
        password: Secret,
        #[serde(default, deserialize_with = "name")]
        user: Option<String>,
    }

    fn read(text: &str) -> Result<Settings, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn a_secret_may_look_like_a_number_and_is_not_shown() {
        for (text, password) in [("'hush'", "hush"), ("123456", "123456"), ("true", "true")] {
            let settings = read(&format!("password = {text}\nuser = 7")).unwrap();
            assert_eq!((settings.password.reveal(), settings.user.as_deref()), (password, Some("7")));
            assert!(!format!("{settings:?}").contains(password));
        }
        for text in ["123.5", "['hush']", "1979-05-27"] {
            let error = read(&format!("password = {text}")).unwrap_err();
            assert_eq!(error, "invalid type: something else, expected text in quotes");
        }
    }

    #[test]
    fn what_is_given_twice_is_refused() {
        assert_eq!(once("user", Some("ann"), None).unwrap(), Some("ann"));
        assert_eq!(once("user", None, Some("bob")).unwrap(), Some("bob"));
        assert_eq!(once::<&str>("user", None, None).unwrap(), None);
        let error = once("user", Some("ann"), Some("ann")).unwrap_err().to_string();
        assert!(error.contains("the user is given in the URL and in the settings"), "{error}");
    }

    #[test]
    fn a_url_says_user_and_password() {
        let of = |text: &str| {
            let (user, password) = of_url(Some(text)).unwrap();
            (user.unwrap_or_default(), password.map(|password| password.reveal().to_owned()).unwrap_or_default())
        };
        assert_eq!(of("ann:p%40ss:word"), ("ann".into(), "p@ss:word".into()));
        assert_eq!(of("ann"), ("ann".into(), String::new()));
        assert_eq!(of(":hush"), (String::new(), "hush".into()));
        assert_eq!(of("ann:100%25"), ("ann".into(), "100%".into()));
        for wrong in ["ann:100%", "ann:%zz", "%4", "ann:%ff"] {
            assert!(matches!(of_url(Some(wrong)), Err(OpenError::BadUrl(_))), "{wrong}");
        }
    }

    #[test]
    fn a_secret_comes_from_the_settings_or_from_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let given = Secret::new("given");
        let failed = |given, file| secret("password", given, file).unwrap_err().to_string();
        assert!(failed(None, Some(file.path())).contains("`password_file`"), "an empty file");
        std::fs::write(file.path(), "hush \nmore\n").unwrap();
        assert_eq!(secret("password", None, Some(file.path())).unwrap(), Some(Secret::new("hush")));
        assert_eq!(secret("password", Some(&given), None).unwrap(), Some(given.clone()));
        assert_eq!(secret("password", None, None).unwrap(), None);
        assert!(failed(Some(&given), Some(file.path())).contains("keep one"));
        assert!(failed(None, Some(Path::new("/nowhere/at/all"))).contains("/nowhere/at/all"));
    }
}
