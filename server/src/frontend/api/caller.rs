//! Who asks.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use sixpin_core::access::{Place, Principal, Verb};
use sixpin_core::broker::api::{Client, ClientInfo};
use sixpin_core::name::Label;

use super::{Api, Checked, checks};
use crate::access::Who;
use crate::audit::Line;
use crate::traces::{Context, Door, Origin};

/// Who asks, as the listener says it of every request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// From where, as far as the listener knows: that of a balancer in between.
    pub address: Option<SocketAddr>,
    /// In whose share the request counts.
    pub client: Client,
    /// Who it is, and what it may do.
    pub who: Who,
    /// By which way, and in which trace.
    pub origin: Origin,
}

impl Caller {
    /// Asks by this way, in the trace that is named to it, if anything is traced. Of several names none counts.
    #[must_use]
    pub fn by<'a, N: Iterator<Item = &'a [u8]>>(mut self, api: &Api, door: Door, named: impl FnOnce() -> N) -> Self {
        if api.traces().is_some() {
            let mut named = named();
            let first = named.next().filter(|_| named.next().is_none());
            let parent = first.and_then(|name| str::from_utf8(name).ok()).and_then(Context::parse);
            self.origin = Origin { door, parent };
        }
        self
    }

    /// The same, for a request that names its trace itself.
    pub fn in_trace(&self, named: &str) -> Cow<'_, Self> {
        match Context::parse(named) {
            Some(parent) => {
                let origin = Origin { parent: Some(parent), ..self.origin };
                Cow::Owned(Self { origin, ..self.clone() })
            }
            None => Cow::Borrowed(self),
        }
    }

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
