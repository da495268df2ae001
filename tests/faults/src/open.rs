//! Opens the networked store beside those that the program knows.

use std::sync::Arc;

use futures::FutureExt as _;
use sixpin::backends::{self, OpenResult, Opener};
use sixpin_core::backend::OpenError;

use crate::store::SCHEME;
use crate::store::backend::NetBackend;

/// What the brokers of these tests open their stores with.
pub fn opener() -> Opener {
    let known = backends::opener();
    Arc::new(move |config, require| match config.url.strip_prefix(SCHEME).and_then(|url| url.strip_prefix("://")) {
        Some(address) => open_net(address.into()).boxed(),
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
