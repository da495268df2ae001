//! The one file that names all backends: opens a store by its URL.
//!
//! A new backend is one arm in [`open`], one crate beside `memory`, and one row in `docs/backends.md`.

mod url;

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use sixpin_core::backend::{Backend, Durability, OpenError};
use sixpin_etcd::EtcdBackend;
use sixpin_memory::MemoryStore;
use sixpin_nats::{NatsBackend, NatsConfig};
use sixpin_redis::{RedisBackend, RedisConfig, Secret};

use crate::config::{BackendConfig, explained};
use url::Url;

/// How a process opens its stores. The program's own is [`opener`]; a test may put one in its place that knows one more
/// kind of store.
pub type Opener = Arc<dyn Fn(BackendConfig, Durability) -> BoxFuture<'static, OpenResult> + Send + Sync>;

/// A store that was opened, or why it was not.
pub type OpenResult = Result<Arc<dyn Backend>, OpenError>;

/// Opens what the program knows.
pub fn opener() -> Opener {
    Arc::new(|config, require| async move { open(&config, require).await }.boxed())
}

/// Opens a store, and refuses one that is less durable than required.
///
/// The futures of the stores are deep, so each is boxed: whoever waits for this one stays small.
pub async fn open(config: &BackendConfig, require: Durability) -> OpenResult {
    match plan(config)? {
        // Memory is exempt from `require`: who chooses it knows that a restart forgets everything.
        // Nobody else can open it, so the broker may trust what it remembers.
        Plan::Memory => Ok(Arc::new(MemoryStore::new().backend(false))),
        Plan::Redis(config) => Ok(Arc::new(Box::pin(RedisBackend::open(&config, require)).await?)),
        Plan::Etcd(url, settings) => {
            let backend = Arc::new(Box::pin(EtcdBackend::open(&url, &settings)).await?);
            durable_enough(backend, config, require)
        }
        Plan::Nats(checked) => {
            let backend = Arc::new(Box::pin(NatsBackend::open(*checked)).await?);
            durable_enough(backend, config, require)
        }
    }
}

/// Checks all that can be checked of a store without reaching it.
pub fn check(config: &BackendConfig) -> Result<(), OpenError> {
    match plan(config)? {
        Plan::Memory | Plan::Nats(_) => Ok(()),
        Plan::Redis(config) => config.check(),
        Plan::Etcd(url, settings) => EtcdBackend::check(&url, &settings),
    }
}

/// What is to be opened, and how.
enum Plan {
    Memory,
    Redis(Box<RedisConfig>),
    Etcd(String, Box<sixpin_etcd::Settings>),
    Nats(Box<NatsConfig>),
}

fn plan(config: &BackendConfig) -> Result<Plan, OpenError> {
    let url = Url::parse(&config.url).short()?;
    let (scheme, _) = url.split_once(':').unwrap_or((&url, ""));
    // What stands after a plus says how servers of this kind are put together.
    Ok(match scheme.split('+').next().unwrap_or(scheme) {
        "memory" => {
            check_memory(config)?;
            Plan::Memory
        }
        "redis" | "rediss" => Plan::Redis(Box::new(RedisConfig { url: Secret::new(url), ..settings(config)? })),
        "etcd" | "etcds" => Plan::Etcd(url, Box::new(settings(config)?)),
        "nats" | "tls" => Plan::Nats(Box::new(NatsConfig::new(&url, settings(config)?)?)),
        _ => {
            return Err(OpenError::BadUrl(format!(
                "`{}` is not the URL of a store: write memory:, redis://host:port/db, \
                 redis+sentinel://host:port/master/db, redis+cluster://host:port, etcd://host:port,host:port or \
                 nats://host:port; with TLS rediss://, etcds:// or tls://",
                redacted(&url)
            )));
        }
    })
}

fn check_memory(config: &BackendConfig) -> Result<(), OpenError> {
    if config.url != "memory:" {
        return Err(OpenError::BadUrl(format!("`{}`: the memory store is just `memory:`", redacted(&config.url))));
    }
    if let Some(setting) = config.settings.keys().next() {
        return Err(OpenError::BadUrl(format!("the memory store has no setting `{setting}`")));
    }
    Ok(())
}

/// The settings beside a URL, as its store knows them.
fn settings<T: DeserializeOwned>(config: &BackendConfig) -> Result<T, OpenError> {
    let settings: Result<T, toml::de::Error> = toml::Value::Table(config.settings.clone()).try_into();
    // Only the message: what it is about may be a password.
    settings.map_err(|error| {
        OpenError::BadUrl(format!("the settings beside `{}`: {}", redacted(&config.url), explained(error.message())))
    })
}

/// Refuses a store that is less durable than required.
fn durable_enough(backend: Arc<dyn Backend>, config: &BackendConfig, require: Durability) -> OpenResult {
    let profile = backend.profile();
    if profile.durability >= require {
        return Ok(backend);
    }
    let text = format!(
        "the store at `{}` is {} and `require` asks for {}: docs/backends/{}.md says what makes it so, or lower `require`",
        redacted(&config.url),
        class(profile.durability),
        class(require),
        profile.name
    );
    Err(OpenError::Unsafe(text))
}

/// A class of durability as the configuration writes it.
pub fn class(durability: Durability) -> &'static str {
    match durability {
        Durability::Volatile => "volatile",
        Durability::CrashSafe => "crash-safe",
        Durability::PowerSafe => "power-safe",
        Durability::FailoverSafe => "failover-safe",
    }
}

/// A URL without what may be a secret in it, for logs and errors.
pub fn redacted(url: &str) -> String {
    Url::parse(url).redacted()
}

/// True if a URL holds a secret: everybody on the host can read the arguments of a process.
pub fn has_secret(url: &str) -> bool {
    Url::parse(url).has_secret()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_and_never_shown() {
        let secrets = [
            "redis://u:p@h:1/0",
            "redis://:p@h",
            "nats://token@h",
            "redis://h/?password=p",
            "etcd://u:p@a,b",
            "u:p@h:1",
            "redis//u:p@h",
            "memory:u:p@h",
        ];
        for url in secrets {
            assert!(has_secret(url), "{url}");
            let shown = redacted(url);
            assert!(!shown.contains('p') && !shown.contains("token") || shown.starts_with("etcd://a,b"), "{shown}");
        }
        for url in [
            "nats://a,nats://u:p@b",
            "nats://a/,nats://u:p@b/x?y",
            "etcd://a/x?pass=p,etcd://b",
            "nats://a, nats://p@b",
        ] {
            assert!(has_secret(url), "{url}");
            assert!(!redacted(url).contains('p'), "{}", redacted(url));
        }
        for url in ["memory:", "redis://h:1/0", "redis://user@h", "etcd://a:1,b:2", "nats://h:4222"] {
            assert!(!has_secret(url), "{url}");
        }
        assert_eq!(redacted("redis://u:p@h:1/0?x=y"), "redis://h:1/0");
    }

    async fn refusal(url: &str, settings: &str) -> OpenError {
        let settings = settings.parse().expect("valid TOML");
        let config = BackendConfig { url: url.into(), settings };
        open(&config, Durability::CrashSafe).await.map(|_| ()).expect_err(url)
    }

    #[tokio::test]
    async fn a_url_of_no_store_is_refused_with_what_is_allowed() {
        for url in ["", "postgres://h", "memory:x", "memory"] {
            let error = refusal(url, "").await;
            assert!(matches!(error, OpenError::BadUrl(_)), "{error}");
            assert!(error.to_string().contains("memory:"), "{error}");
        }
    }

    #[tokio::test]
    async fn what_a_store_cannot_use_is_refused_by_its_name_and_without_secrets() {
        for (url, settings, wanted) in [
            ("redis://h/x", "", "redis"),
            ("redis+what://h", "", "redis"),
            ("redis://h", "passwort = 'secret'", "passwort"),
            ("redis://h", "password = 12.34", "redis://h"),
            ("etcd://h", "password = 12.34", "text in quotes"),
            ("nats://h", "token = 12.34", "text in quotes"),
            ("etcd://h", "colour = 'blue'", "colour"),
            ("etcd://h", "request_timeout = 'soon'", "500ms"),
            ("etcd://h", "keepalive_interval = '1s'", "5s"),
            ("etcd://h", "password = 'secret'", "user"),
            ("nats://h:x", "", "host:port"),
            ("nats://h", "buckets = 'b'", "buckets"),
            ("nats://h", "password = 'secret'", "together"),
            ("nats://u:secret@h", "bucket = 5.5", "nats://h"),
        ] {
            let error = refusal(url, settings).await;
            assert!(matches!(error, OpenError::BadUrl(_)), "{error}");
            assert!(error.to_string().contains(wanted), "{url}: {error}");
            assert!(!error.to_string().contains("secret") && !error.to_string().contains("12.34"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_store_that_nobody_serves_is_out_of_reach() {
        // Nobody listens on port 1.
        for (url, settings) in [
            ("redis://127.0.0.1:1/0", ""),
            ("redis+sentinel://127.0.0.1:1/main", ""),
            ("redis+cluster://127.0.0.1:1", ""),
            ("etcd://127.0.0.1:1", ""),
            ("nats://127.0.0.1:1", "request_timeout = '200ms'"),
        ] {
            assert!(matches!(refusal(url, settings).await, OpenError::Unreachable(_)), "{url}");
        }
    }
}
