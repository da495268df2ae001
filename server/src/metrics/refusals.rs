//! Who was not let in, and what was not allowed.

use prometheus_client::registry::Registry;
use sixpin_core::access::Verb;

use super::labels::{Counters, label};
use crate::access::Unknown;

/// The verb of whoever may not hold a lock, in whatever mode: the mode is told by the requests.
pub(crate) const LOCK: &str = "lock";

/// The reason of whoever has not the token of the session that it names.
pub(crate) const SESSION_TOKEN: &str = "session_token";

/// Counts refusals. Cheap to clone: all clones count together.
#[derive(Debug, Clone)]
pub struct Refusals {
    not_authenticated: Counters,
    denied: Counters,
}

impl Default for Refusals {
    fn default() -> Self {
        let refusals = Self { not_authenticated: Counters::default(), denied: Counters::default() };
        // What never happened is shown as well, or nobody could see how often it did since.
        for reason in Unknown::REASONS.into_iter().chain([SESSION_TOKEN]) {
            refusals.not_authenticated.get_or_create_owned(&label("reason", reason));
        }
        let verbs = Verb::ALL.into_iter().filter(|verb| !matches!(verb, Verb::Lock(_))).map(|verb| verb.to_string());
        for verb in verbs.chain([LOCK.to_owned()]) {
            refusals.denied.get_or_create_owned(&label("verb", verb));
        }
        refusals
    }
}

impl Refusals {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Requests and connections whose credential was not accepted";
        registry.register("sixpin_auth_failures", help, self.not_authenticated.clone());
        let help = "Requests that no rule of whoever asked allows";
        registry.register("sixpin_denied", help, self.denied.clone());
    }

    /// Nobody is known by what was shown.
    pub(crate) fn not_authenticated(&self, reason: &'static str) {
        self.not_authenticated.get_or_create_owned(&label("reason", reason)).inc();
    }

    /// This is not allowed.
    pub(crate) fn denied(&self, verb: &str) {
        self.denied.get_or_create_owned(&label("verb", verb)).inc();
    }
}
