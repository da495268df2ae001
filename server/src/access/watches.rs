//! How many streams watch for each principal, where there is a quota of them. Those of nobody in particular are counted for the
//! address that they come from, by the listener.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sixpin_core::access::ANONYMOUS;
use sixpin_core::broker::api::RequestError;

/// Watches by principal. Who has none is not in here.
#[derive(Debug, Default, Clone)]
pub(super) struct Watches(Arc<Mutex<HashMap<u128, usize>>>);

/// One that watches, until it is dropped.
#[derive(Debug)]
pub(crate) struct Watching {
    all: Watches,
    principal: u128,
}

impl Watches {
    /// One more of this principal, if it has fewer than `max`.
    pub(super) fn begin(&self, principal: u128, max: usize) -> Result<Watching, RequestError> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(principal).or_default();
        if *count >= max && principal != ANONYMOUS {
            let text = format!("{max} streams that watch of one principal at this broker, `access.quotas.watches`");
            return Err(RequestError::Limit(text));
        }
        *count += 1;
        drop(counts);
        Ok(Watching { all: self.clone(), principal })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut counts = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_holds_for_each_principal_and_is_given_back() {
        let watches = Watches::default();
        let first = watches.begin(1, 2).unwrap();
        let second = watches.begin(1, 2).unwrap();
        assert!(watches.begin(1, 2).unwrap_err().to_string().contains("access.quotas.watches"));
        let other = watches.begin(2, 2).unwrap();
        drop(first);
        assert!(watches.begin(1, 2).is_ok());
        drop((second, other));
        assert!(watches.0.lock().unwrap().is_empty());
    }
}
