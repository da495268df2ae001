//! Opens the networked store, and one whose driver is broken, beside those that the program knows.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use sixpin_core::backend::OpenError;
use sixpin_server::backends::{self, OpenResult, Opener};

use crate::store::SCHEME;
use crate::store::backend::NetBackend;

/// The URL of a store in memory with a driver that panics, in a task of its own, after [`PANICS_AFTER`].
pub const PANICS: &str = "panics:";
/// Long enough for a broker to serve before.
const PANICS_AFTER: Duration = Duration::from_secs(2);

/// What the brokers of these tests open their stores with.
pub fn opener() -> Opener {
    let known = backends::opener();
    Arc::new(move |mut config, require| match config.url.strip_prefix(SCHEME).and_then(|url| url.strip_prefix("://")) {
        Some(address) => open_net(address.into()).boxed(),
        None if config.url == PANICS => {
            tokio::spawn(async {
                tokio::time::sleep(PANICS_AFTER).await;
                panic!("the driver of this store is broken");
            });
            config.url = "memory:".into();
            known(config, require)
        }
        None => known(config, require),
    })
}

async fn open_net(address: String) -> OpenResult {
    let address =
        address.parse().map_err(|error| OpenError::BadUrl(format!("`{address}` is not an address: {error}")))?;
    match NetBackend::open(address).await {
        Ok(backend) => Ok(Arc::new(backend)),
        Err(error) => Err(OpenError::Unreachable(format!("no store at {address}: {error}"))),
    }
}
