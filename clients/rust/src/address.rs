//! Addresses of brokers, as they are written.

use crate::error::Error;

/// `text` as `host:port`, without spaces around it.
pub(crate) fn address(text: &str) -> Result<String, Error> {
    let trimmed = text.trim();
    let port = trimmed.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    if port.is_some_and(|port| port.parse::<u16>().is_ok()) && !trimmed.contains('/') {
        Ok(trimmed.to_owned())
    } else {
        Err(Error::Setting(format!("`{trimmed}` is not the address of a broker: write `host:port`")))
    }
}
