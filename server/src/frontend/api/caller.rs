//! Who asks.

use std::net::SocketAddr;

use sixpin_core::broker::api::{Client, ClientInfo};
use sixpin_core::name::Label;

use super::{Checked, checks};

/// Who asks, as the listener says it of every request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caller {
    /// From where, as far as the listener knows: that of a balancer in between.
    pub address: Option<SocketAddr>,
    /// In whose share the request counts.
    pub client: Client,
}

impl Caller {
    /// What people are told of a session's client that calls itself and its program so.
    pub fn info(&self, label: &str, program: &str) -> Checked<ClientInfo> {
        let address = self.address.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
        let address = address.and_then(|address| Label::new(&address.to_string()).ok()).unwrap_or_default();
        let (label, program) = (checks::label("label", label)?, checks::label("program", program)?);
        Ok(ClientInfo { label, program, address, shares: self.client })
    }
}
