//! Who asks on something that lasts: a stream or a watch. Its credential may expire meanwhile, and its roles may change.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sixpin_core::access::Principal;
use sixpin_core::broker::api::RequestError;
use tokio::time::{Sleep, sleep};

use super::{Api, Caller};
use crate::access::{Access, Unknown, Who};
use crate::audit::Audit;

/// The longest sleep: a credential that is good for longer is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(24 * 3600);

/// Who asks, for as long as that is known.
pub struct Identity {
    from: Caller,
    access: Arc<Access>,
    /// The edition of the rules of which the engine was told last.
    told: Option<u64>,
    /// Runs until the credential has expired; absent: it never does.
    expiry: Option<Pin<Box<Sleep>>>,
}

impl Identity {
    /// Of somebody who was known a moment ago.
    pub fn new(api: &Api, from: Caller) -> Self {
        let mut identity = Self { from, access: api.access.clone(), told: None, expiry: None };
        identity.arm();
        identity
    }

    fn arm(&mut self) {
        let expires = self.from.who.expires_in();
        self.expiry = expires.map(|after| Box::pin(sleep(after.min(LOOK_AGAIN))));
    }

    /// Where it is written who did what.
    pub(crate) fn audit(&self) -> &Audit {
        self.access.audit()
    }

    /// Who asked at the beginning.
    pub fn caller(&self) -> &Caller {
        &self.from
    }

    /// Who asks, with the rules that are in force now. Fails once nobody is known by this credential any more.
    pub fn principal(&mut self) -> Result<Principal, RequestError> {
        self.check()?;
        Ok(self.from.who.last_principal().clone())
    }

    /// Fails once nobody is known by this credential any more.
    pub fn check(&mut self) -> Result<(), RequestError> {
        if let Err(why) = self.from.who.principal(&self.access) {
            self.access.audit().refusals().not_authenticated(why.reason());
            return Err(refused(&self.from.who, &why));
        }
        Ok(())
    }

    /// Who asks, as it was found at the last check, if the engine was not told since the rules changed. To be told with the next
    /// request of the stream. A copy with each one would be handed between processors, which costs more than all its checks.
    pub fn news(&mut self) -> Option<Principal> {
        let now = self.from.who.edition();
        (self.told.replace(now) != Some(now)).then(|| self.from.who.last_principal().clone())
    }

    /// The next request says again who asks.
    pub fn tell_again(&mut self) {
        self.told = None;
    }

    /// Ready once the credential is of no use any more.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<RequestError> {
        let Some(expiry) = &mut self.expiry else { return Poll::Pending };
        ready!(expiry.as_mut().poll(cx));
        loop {
            // It may have got a later end since, or the sleep was the longest.
            if let Err(error) = self.check() {
                return Poll::Ready(error);
            }
            self.arm();
            let Some(expiry) = &mut self.expiry else { return Poll::Pending };
            ready!(expiry.as_mut().poll(cx));
        }
    }
}

fn refused(who: &Who, why: &Unknown) -> RequestError {
    tracing::info!(principal = who.name(), %why, "a stream ends: its credential is of no use any more");
    RequestError::Unauthenticated
}
