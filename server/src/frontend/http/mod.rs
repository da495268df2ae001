//! The HTTP front end: JSON over HTTP/1.1 and HTTP/2.
//!
//! Its messages are those of `sixpin.v1`, and what they mean is decided where it is for gRPC (`api`, `messages`). Here is only how
//! they travel: which method and path stands for which call, and how JSON is read and written.
//!
//! # Layout, in reading order
//!
//! * [`protocol`]: what the listener has to know of it; `asked`: a request, taken apart; `sites`: from which pages one may come;
//! * [`routes`]: all methods and paths, each with what it stands for; `path`: how they are found;
//! * `json`: messages as JSON;
//! * `problem`: what went wrong;
//! * `sessions`, `inspection`, `watch`, `administration`: what gRPC has as well; `events`: streams that tell something;
//! * `websocket`: the stream of one session; `listening`: its events alone;
//! * `leases`: locks for who has no library; `repeats`: what makes something is made once;
//! * `page`: the operator's page;
//! * `health`: whether the process lives and serves; `openapi`: what there is, for tools.
//!
//! A new call is a row in [`routes`].

mod administration;
mod asked;
mod events;
mod health;
mod inspection;
mod json;
mod leases;
mod listening;
mod openapi;
mod page;
mod path;
mod problem;
mod protocol;
mod repeats;
mod routes;
mod sessions;
mod sites;
mod watch;
mod websocket;

use std::sync::Arc;

use super::api::Api;
use super::api::admin::Administration;
use super::listener::Protocol;
use super::messages::administration::AdminCalls;
use super::messages::inspection::InspectionCalls;
use super::messages::locks::LockCalls;
use crate::config::HttpConfig;
use crate::metrics::Metrics;
use page::seal::Seals;
use repeats::Repeats;
use sites::Sites;

/// What all requests share.
pub(crate) struct Door {
    api: Api,
    locks: LockCalls,
    inspection: InspectionCalls,
    /// Absent where clients are served.
    administrators: Option<Administrators>,
    repeats: Repeats,
    sites: Sites,
    /// What forms of the page show.
    seals: Seals,
}

/// What only administrators are served.
struct Administrators {
    calls: AdminCalls,
    metrics: Metrics,
}

/// Serves clients over HTTP beside `protocol`.
pub(crate) fn beside_for_clients(protocol: Protocol, api: &Api, config: &HttpConfig) -> Protocol {
    protocol::beside(protocol, Door::new(api, config, None))
}

/// Serves administrators over HTTP beside `protocol`.
pub(crate) fn beside_for_administrators(
    protocol: Protocol,
    api: &Api,
    config: &HttpConfig,
    administration: Administration,
    metrics: Metrics,
) -> Protocol {
    let administrators = Administrators { calls: AdminCalls::new(administration), metrics };
    protocol::beside(protocol, Door::new(api, config, Some(administrators)))
}

impl Door {
    fn new(api: &Api, config: &HttpConfig, administrators: Option<Administrators>) -> Arc<Self> {
        Arc::new(Self {
            locks: LockCalls::new(api.clone()),
            inspection: InspectionCalls::new(api.clone()),
            administrators,
            repeats: Repeats::default(),
            sites: Sites::new(config),
            seals: Seals::default(),
            api: api.clone(),
        })
    }
}
