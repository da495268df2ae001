//! Who asks.

use std::fmt;
use std::net::SocketAddr;

use sixpin_core::access::{Place, Principal, Verb};
use sixpin_core::broker::api::{Client, ClientInfo};
use sixpin_core::name::Label;

use super::{Checked, checks};
use crate::access::Who;
use crate::audit::Line;

/// Who asks, as the listener says it of every request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// From where, as far as the listener knows: that of a balancer in between.
    pub address: Option<SocketAddr>,
    /// In whose share the request counts.
    pub client: Client,
    /// Who it is, and what it may do.
    pub who: Who,
}

impl Caller {
    /// What it may do.
    pub fn principal(&self) -> Principal {
        self.who.last_principal().clone()
    }

    /// A line of the audit about something that it did.
    pub fn line(&self, verb: impl fmt::Display) -> Line {
        Line::new(self.who.name(), self.address, verb)
    }

    /// Whether it may do this there.
    pub fn may(&self, verb: Verb, place: Place<'_>) -> bool {
        self.who.last_principal().may(verb, place)
    }

    /// Refuses what it may not do.
    pub fn check(&self, verb: Verb, place: Place<'_>) -> Checked<()> {
        self.who.last_principal().check(verb, place)
    }

    /// What people are told of a session's client that calls itself and its program so.
    pub fn info(&self, label: &str, program: &str) -> Checked<ClientInfo> {
        let address = self.address.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
        let address = address.and_then(|address| Label::new(&address.to_string()).ok()).unwrap_or_default();
        let (label, program) = (checks::label("label", label)?, checks::label("program", program)?);
        Ok(ClientInfo { label, program, address, shares: self.who.shares(self.client) })
    }
}
