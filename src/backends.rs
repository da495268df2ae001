//! The one file that names all backends: opens a store by its URL.
//!
//! A new backend is one arm in [`open`], one crate beside `memory`, and one row in `docs/backends.md`.

use std::sync::Arc;

use sixpin_core::backend::{Backend, Durability};
use sixpin_memory::MemoryStore;

use crate::cli::exit;
use crate::config::BackendConfig;

/// Why a store was not opened. The text says which, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct OpenError {
    /// What kind of mistake.
    pub kind: OpenErrorKind,
    /// For people.
    pub text: String,
}

/// Kinds of mistakes, as the exit status tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenErrorKind {
    /// The URL or a setting makes no sense.
    BadUrl,
    /// The store cannot be reached.
    Unreachable,
    /// The store refuses the login.
    Login,
    /// The store could lose or repeat what it acknowledged.
    Unsafe,
}

impl OpenErrorKind {
    /// The exit status of `sixpin serve`.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::BadUrl => exit::CONFIG,
            Self::Unreachable => exit::UNREACHABLE,
            Self::Login => exit::LOGIN,
            Self::Unsafe => exit::UNSAFE,
        }
    }
}

impl OpenError {
    fn bad_url(text: impl Into<String>) -> Self {
        Self { kind: OpenErrorKind::BadUrl, text: text.into() }
    }
}

/// Opens a store, and refuses one that is less durable than required.
#[expect(clippy::unused_async, reason = "stores on the network are waited for")]
pub async fn open(config: &BackendConfig, require: Durability) -> Result<Arc<dyn Backend>, OpenError> {
    let url = config.url.as_str();
    let (scheme, _) = url.split_once(':').unwrap_or((url, ""));
    match scheme {
        // Memory is exempt from `require`: who chooses it knows that a restart forgets everything.
        "memory" => open_memory(config),
        "redis" | "rediss" | "etcd" | "etcds" | "nats" | "tls" => {
            let _ = require;
            Err(OpenError::bad_url(format!("this program was built without the backend of `{}`", redacted(url))))
        }
        _ => Err(OpenError::bad_url(format!(
            "`{}` is not the URL of a store: write memory:, redis://host:port/db, rediss://host:port/db, \
             etcd://host:port,host:port or nats://host:port",
            redacted(url)
        ))),
    }
}

fn open_memory(config: &BackendConfig) -> Result<Arc<dyn Backend>, OpenError> {
    if config.url != "memory:" {
        return Err(OpenError::bad_url(format!("`{}`: the memory store is just `memory:`", redacted(&config.url))));
    }
    if let Some(setting) = config.settings.keys().next() {
        return Err(OpenError::bad_url(format!("the memory store has no setting `{setting}`")));
    }
    // Nobody else can open it, so the broker may trust what it remembers.
    Ok(Arc::new(MemoryStore::new().backend(false)))
}

/// A URL without what may be a secret in it, for logs and errors.
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.into() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    let path = path.find('?').map_or(path, |query| &path[..query]);
    format!("{scheme}://{hosts}{path}")
}

/// True if a URL holds a secret: everybody on the host can read the arguments of a process.
pub fn has_secret(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    // What stands alone before the @ is a user in most URLs and a token in those of NATS.
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    let in_user = user.is_some_and(|user| user.contains(':') || matches!(scheme, "nats" | "tls"));
    let query = rest.split_once('?').map_or("", |(_, query)| query).to_lowercase();
    in_user || ["pass", "token", "secret"].iter().any(|word| query.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_and_never_shown() {
        let secrets =
            ["redis://u:p@h:1/0", "redis://:p@h", "nats://token@h", "redis://h/?password=p", "etcd://u:p@a,b"];
        for url in secrets {
            assert!(has_secret(url), "{url}");
            let shown = redacted(url);
            assert!(!shown.contains('p') && !shown.contains("token") || shown.starts_with("etcd://a,b"), "{shown}");
        }
        for url in ["memory:", "redis://h:1/0", "redis://user@h", "etcd://a:1,b:2", "nats://h:4222"] {
            assert!(!has_secret(url), "{url}");
        }
        assert_eq!(redacted("redis://u:p@h:1/0?x=y"), "redis://h:1/0");
    }

    #[tokio::test]
    async fn a_url_of_no_store_is_refused_with_what_is_allowed() {
        let open = async |url: &str| {
            let config = BackendConfig { url: url.into(), settings: toml::Table::new() };
            open(&config, Durability::CrashSafe).await.map(|_| ()).unwrap_err()
        };
        for url in ["", "postgres://h", "memory:x", "memory"] {
            let error = open(url).await;
            assert_eq!(error.kind, OpenErrorKind::BadUrl);
            assert!(error.text.contains("memory:"), "{error}");
        }
    }
}
