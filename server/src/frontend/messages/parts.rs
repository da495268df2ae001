//! A resume whose claims do not fit into one message, put together from its parts.

use sixpin_core::broker::api::RequestError;
use sixpin_proto::v1;

use crate::frontend::api::checks;

/// What has arrived of a resume. Holds at most as many claims as a session may have.
#[derive(Debug, Default)]
pub(super) struct Parts {
    arrived: Option<v1::Resume>,
}

impl Parts {
    /// More must follow.
    pub(super) fn incomplete(&self) -> bool {
        self.arrived.is_some()
    }

    /// Takes one part; gives the whole with the last one. After an error everything that arrived is forgotten.
    pub(super) fn add(&mut self, part: v1::Resume) -> Result<Option<v1::Resume>, RequestError> {
        let more = part.more;
        let mut whole = match self.arrived.take() {
            None => part,
            Some(mut arrived) => {
                arrived.claims.extend(part.claims);
                arrived
            }
        };
        whole.more = false;
        checks::resume_lists(whole.claims.len(), whole.void_claims.len())?;
        if more {
            self.arrived = Some(whole);
            return Ok(None);
        }
        Ok(Some(whole))
    }
}

#[cfg(test)]
mod tests {
    use sixpin_core::limits::CLAIMS_PER_SESSION_MAX;

    use super::*;

    fn part(claims: std::ops::Range<u64>, more: bool) -> v1::Resume {
        let claims = claims.map(|claim| v1::LiveClaim { claim, ..Default::default() }).collect();
        v1::Resume { claims, more, ..Default::default() }
    }

    #[test]
    fn the_first_part_says_who_and_all_of_them_what() {
        let mut parts = Parts::default();
        let first = v1::Resume { token: "s".into(), ..part(1..3, true) };
        assert_eq!(parts.add(first), Ok(None));
        assert!(parts.incomplete());
        assert_eq!(parts.add(part(3..4, true)), Ok(None));
        let whole = parts.add(part(4..6, false)).unwrap().unwrap();
        assert!(!parts.incomplete());
        let claims: Vec<u64> = whole.claims.iter().map(|claim| claim.claim).collect();
        assert_eq!((whole.token.as_str(), claims, whole.more), ("s", vec![1, 2, 3, 4, 5], false));
    }

    #[test]
    fn parts_hold_no_more_than_a_session_may_have() {
        let max = CLAIMS_PER_SESSION_MAX as u64;
        let mut parts = Parts::default();
        assert_eq!(parts.add(part(0..max, true)), Ok(None));
        assert!(parts.add(part(max..max + 1, true)).is_err());
        assert!(!parts.incomplete());
    }
}
