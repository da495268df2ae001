//! The token that says to brokers who a program is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderValue;

use crate::error::Error;
use crate::files::{Reread, content};

/// Longest token: it has to fit into a header.
const BYTES_MAX: usize = 8 * 1024;

/// A token, read again when its file has changed.
pub(crate) struct Token(Reread<Arc<Secret>>);

/// A token as it is sent. It has no `Debug`, so that nothing shows it by accident.
pub(crate) struct Secret {
    /// What is sent on a session's stream.
    pub(crate) text: String,
    /// The same as a header.
    pub(crate) header: HeaderValue,
}

impl Token {
    /// This one.
    pub(crate) fn of_text(text: String) -> Result<Self, Error> {
        Reread::new(Vec::new(), move || secret(&text, "the token")).map(Self)
    }

    /// The first line of a file.
    pub(crate) fn of_file(file: PathBuf) -> Result<Self, Error> {
        Reread::new(vec![file.clone()], move || first_line(&file)).map(Self)
    }

    /// The newest that was good.
    pub(crate) fn get(&self) -> Arc<Secret> {
        self.0.get()
    }
}

fn first_line(file: &Path) -> Result<Arc<Secret>, String> {
    let content = content("the token file", file, BYTES_MAX as u64 * 2)?;
    let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    secret(&String::from_utf8_lossy(line), &format!("the token in `{}`", file.display()))
}

/// Checks a token. `what` names it for people; it is not shown itself.
fn secret(text: &str, what: &str) -> Result<Arc<Secret>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("{what} is empty: give one line with the token"));
    }
    if text.len() > BYTES_MAX {
        return Err(format!("{what} is longer than {BYTES_MAX} bytes"));
    }
    let header = HeaderValue::from_str(&format!("Bearer {text}")).ok();
    let Some(mut header) = header.filter(|_| text.bytes().all(|byte| byte.is_ascii_graphic())) else {
        return Err(format!("{what} has characters that a token can not have: it is printable ASCII without spaces"));
    };
    header.set_sensitive(true);
    Ok(Arc::new(Secret { text: text.to_owned(), header }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Token::of_text(text.to_owned()).err().unwrap().to_string()
    }

    #[test]
    fn a_token_is_one_line_and_bad_ones_are_not_shown() {
        let token = Token::of_text(" abc.DEF-1~+/= \n".to_owned()).unwrap().get();
        assert_eq!((token.text.as_str(), token.header.to_str().unwrap()), ("abc.DEF-1~+/=", "Bearer abc.DEF-1~+/="));
        assert!(token.header.is_sensitive() && !format!("{:?}", token.header).contains("abc"));
        assert!(refused("  ").contains("empty"));
        for bad in ["hidden one", "hidden\u{7}", "hiddenü", &"hidden".repeat(2_000)] {
            assert!(!refused(bad).contains("hidden"), "{}", refused(bad));
        }
    }

    #[test]
    fn the_first_line_of_a_file_is_the_token_also_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let absent = Token::of_file(file.clone()).err().unwrap().to_string();
        assert!(absent.contains("the token file `") && absent.contains("can not be read"), "{absent}");
        std::fs::write(&file, "\nsecond").unwrap();
        let empty = Token::of_file(file.clone()).err().unwrap().to_string();
        assert!(empty.contains("token` is empty"), "{empty}");
        std::fs::write(&file, " one \r\nnote").unwrap();
        let token = Token::of_file(file.clone()).unwrap();
        assert_eq!(token.get().text, "one");
        std::fs::write(&file, "another\n").unwrap();
        assert_eq!(token.get().text, "another");
        std::fs::write(&file, "").unwrap();
        assert_eq!(token.get().text, "another");
    }
}
