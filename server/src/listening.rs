//! Addresses that a broker listens on, and how many may connect there.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::config::check::host_name;
use crate::error::StartError;
use crate::frontend::listener::descriptors;
use crate::frontend::listener::gate::{ConnectionLimits, Gate};
use crate::tls::{Tls, TlsConfig};

/// Connections of administrators: few, and never crowded out by clients.
const ADMIN_CONNECTIONS: usize = 100;

/// An address of all interfaces is none that a client could connect to: the host's name stands for it.
pub(crate) fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("{}:{}", host_name(), address.port()) } else { address.to_string() }
}

/// Where a broker listens.
pub struct Listening {
    /// The address.
    pub(crate) address: SocketAddr,
    pub(crate) socket: TcpListener,
    pub(crate) tls: Option<Arc<Tls>>,
}

impl Listening {
    /// Listens, with this TLS or without.
    pub(crate) async fn at(asked: SocketAddr, tls: Option<&TlsConfig>) -> Result<Self, StartError> {
        let tls = tls.cloned().map(Tls::load).transpose()?;
        let failed = |error| StartError::Listen(asked, error);
        let socket = TcpListener::bind(asked).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { address, socket, tls })
    }
}

/// As many connections as the process can have.
pub(crate) fn connection_limits(configured: ConnectionLimits) -> ConnectionLimits {
    let allowed = descriptors::connections_allowed();
    if allowed < configured.total {
        tracing::warn!(
            allowed,
            configured = configured.total,
            "fewer connections than configured: raise the limit of open files"
        );
    }
    ConnectionLimits { total: configured.total.min(allowed), ..configured }
}

/// Connections of administrators, where clients may have these.
pub(crate) fn for_administrators(limits: &ConnectionLimits) -> ConnectionLimits {
    ConnectionLimits {
        total: ADMIN_CONNECTIONS,
        per_address: ADMIN_CONNECTIONS,
        per_trusted: ADMIN_CONNECTIONS,
        ..limits.clone()
    }
}

/// Those who count the connections of listeners.
#[derive(Clone, Default)]
pub(crate) struct Gates {
    pub(crate) clients: Option<Arc<Gate>>,
    pub(crate) administrators: Option<Arc<Gate>>,
}

impl Gates {
    /// What is configured by now holds for connections to come.
    pub(crate) fn limit(&self, configured: &ConnectionLimits) {
        let limits = connection_limits(configured.clone());
        if let Some(gate) = &self.administrators {
            gate.limit(for_administrators(&limits));
        }
        if let Some(gate) = &self.clients {
            gate.limit(limits);
        }
    }
}
