//! Who has signed in at the operator's page: a browser cannot show a token by itself, so it shows what it was given for one.
//!
//! # Invariants
//!
//! * What a browser shows is random and says nothing of the token. It is good for the page alone: no call looks for it.
//! * No token is kept, but whom it proved; whether it is still taken is asked anew with each request.
//! * There is a bound on how many have signed in, and each has an end.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sixpin_core::broker::api::RequestError;
use tokio::time::Instant;

use super::Who;

/// After this whoever has signed in has to do so again.
pub(crate) const LASTS: Duration = Duration::from_secs(12 * 3600);
/// So many may have signed in.
const SIGNED_IN_MAX: usize = 1_024;
/// So many times one of them; who signs in once more is signed out where that was longest ago.
const OF_ONE_MAX: usize = 16;

/// Random bytes of what a browser shows, and how many signs they are as text.
const TICKET_BYTES: usize = 32;
const TICKET_SIGNS: usize = 43;

/// What a browser shows: random bytes as text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(String);

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(…)")
    }
}

impl Ticket {
    /// What somebody shows, if it was perhaps given to somebody.
    pub(crate) fn shown(text: &str) -> Option<Self> {
        (text.len() == TICKET_SIGNS).then(|| Self(text.to_owned()))
    }

    /// What the browser keeps.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    fn new() -> Self {
        Self(URL_SAFE_NO_PAD.encode(rand::random::<[u8; TICKET_BYTES]>()))
    }
}

/// All who have signed in.
pub(crate) struct SignedIn {
    /// Tells them from those of other brokers. Chosen at random, because brokers may have everything else in common: their name,
    /// their port, and, through tunnels, what the browser calls their host.
    number: u32,
    all: Mutex<HashMap<Ticket, Entry>>,
}

struct Entry {
    who: Who,
    since: Instant,
}

impl Default for SignedIn {
    fn default() -> Self {
        Self { number: rand::random(), all: Mutex::default() }
    }
}

impl fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedIn").finish_non_exhaustive()
    }
}

impl SignedIn {
    /// What tells those of this broker, as long as it runs, from those of others.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Signs somebody in.
    pub(crate) fn enter(&self, who: Who) -> Result<Ticket, RequestError> {
        let mut all = self.lock();
        all.retain(|_, entry| entry.since.elapsed() < LASTS);
        let digest = who.last_principal().digest();
        let own = all.iter().filter(|(_, entry)| entry.who.last_principal().digest() == digest);
        let mut own: Vec<(Instant, Ticket)> = own.map(|(ticket, entry)| (entry.since, ticket.clone())).collect();
        own.sort_by_key(|(since, _)| *since);
        for (_, ticket) in own.iter().take((own.len() + 1).saturating_sub(OF_ONE_MAX)) {
            all.remove(ticket);
        }
        if all.len() >= SIGNED_IN_MAX {
            return Err(RequestError::Limit(format!("{SIGNED_IN_MAX} who have signed in at this broker")));
        }
        let ticket = Ticket::new();
        all.insert(ticket.clone(), Entry { who, since: Instant::now() });
        Ok(ticket)
    }

    /// Who was given this, as it was then; none if nobody was, or that is too long ago.
    pub(crate) fn who(&self, ticket: &Ticket) -> Option<Who> {
        self.lock().get(ticket).filter(|entry| entry.since.elapsed() < LASTS).map(|entry| entry.who.clone())
    }

    /// Signs out whoever was given this.
    pub(crate) fn leave(&self, ticket: &Ticket) {
        self.lock().remove(ticket);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ticket, Entry>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use sixpin_core::access::{Principal, Quotas};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_ticket_ends_by_itself_or_when_it_is_given_back() {
        let signed = SignedIn::default();
        let (first, second) = (signed.enter(Who::this_program()).unwrap(), signed.enter(Who::this_program()).unwrap());
        let shown = |text: &str| Ticket::shown(text).and_then(|ticket| signed.who(&ticket));
        assert!(shown(first.reveal()).is_some() && shown(&"A".repeat(TICKET_SIGNS)).is_none());
        assert!(Ticket::shown("").is_none() && Ticket::shown(&"A".repeat(TICKET_SIGNS + 1)).is_none());
        signed.leave(&first);
        assert!(signed.who(&first).is_none() && signed.who(&second).is_some());
        tokio::time::advance(LASTS).await;
        assert!(signed.who(&second).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_signs_in_again_and_again_takes_no_place_of_others() {
        let signed = SignedIn::default();
        let principal = Principal::new("token:other", Vec::new(), Quotas::default());
        let other = signed.enter(Who { principal, ..Who::nobody() }).unwrap();
        let mut tickets = Vec::new();
        for _ in 0..OF_ONE_MAX * 3 {
            tickets.push(signed.enter(Who::this_program()).unwrap());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let (gone, kept) = tickets.split_at(OF_ONE_MAX * 2);
        assert!(gone.iter().all(|ticket| signed.who(ticket).is_none()));
        assert!(kept.iter().chain([&other]).all(|ticket| signed.who(ticket).is_some()));
        assert_eq!(signed.lock().len(), OF_ONE_MAX + 1);
    }
}
