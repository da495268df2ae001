//! Where things are: the lane of a record, a claim in the table, a session that is not here.

use super::Broker;
use super::api::{LockspaceConfig, RequestError};
use super::shard::{lane_of, lane_of_resource};
use super::table::Claim;
use crate::backend::Key;
use crate::name::{ClaimId, Lockspace, ResourceId, SessionId};

impl Broker {
    pub(super) fn lane(&self, key: &Key) -> usize {
        lane_of(key, self.config.lanes)
    }

    pub(super) fn lane_of(&self, id: &ResourceId) -> usize {
        lane_of_resource(id, self.config.lanes)
    }

    pub(super) fn lockspace(&self, lockspace: &Lockspace) -> LockspaceConfig {
        self.config.lockspaces.get(lockspace).cloned().unwrap_or_default()
    }

    pub(super) fn claim_mut(&mut self, claim: ClaimId) -> Option<&mut Claim> {
        self.sessions.get_mut(&claim.session)?.claims.get_mut(&claim.number).map(Box::as_mut)
    }

    /// A session that this broker opened and that is not in its table any more, nor known to have moved.
    fn buried_here(&self, id: SessionId) -> bool {
        self.strangers.is_dead(id) || (id.opener == self.config.incarnation && !self.strangers.has_moved_away(id))
    }

    /// A session that is not in the table: over, if this broker opened it; elsewhere, as far as is known.
    pub(super) fn not_here(&self, id: SessionId) -> RequestError {
        if self.buried_here(id) {
            return RequestError::SessionGone(id);
        }
        RequestError::NotHere { session: id, address: self.liveness.address_of(self.strangers.voucher_of(id)) }
    }

    pub(super) fn not_here_for_admin(&self, id: SessionId) -> RequestError {
        if self.buried_here(id) {
            return RequestError::SessionGone(id);
        }
        let voucher = self.strangers.voucher_of(id);
        let address = self.liveness.others.get(&voucher).map(|known| known.pulse.info.admin_address.clone());
        RequestError::NotHere { session: id, address: address.unwrap_or_default() }
    }
}
