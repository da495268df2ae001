//! A claim that is held.

use std::sync::Arc;
use std::time::Duration;

use sixpin_proto::v1;

use crate::claim::Claim;
use crate::clock;
use crate::command::Command;
use crate::convert::Convert;
use crate::error::{Error, Loss};
use crate::events::StateWatch;
use crate::handle::Handle;
use crate::logic::{ClaimEvent, Grant, ValueBlock};
use crate::mode::Mode;
use crate::release::Release;

/// One claim that is held. It keeps its session alive, and is released when it is dropped; to know that the release is
/// done, or to write the value block with it, use [`Guard::release`].
///
/// The release after a drop is made by a task of the runtime, a moment later. A program that ends in that moment does not
/// release it, and others wait for the TTL: see [`crate::Client::run`].
///
/// It can be lost. Call [`Guard::check`] directly before each use of what it protects, or hand [`Guard::fence`] along.
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard {
    claim: Arc<Claim>,
    /// Absent once the claim was let go.
    handle: Option<Arc<Handle>>,
}

impl Guard {
    pub(crate) fn new(handle: Arc<Handle>, claim: Arc<Claim>) -> Self {
        Self { claim, handle: Some(handle) }
    }

    /// The claim's number within its session.
    pub fn claim(&self) -> u64 {
        self.claim.number
    }

    /// The mode that is held, as of the newest grant.
    pub fn mode(&self) -> Mode {
        self.claim.grant().mode
    }

    /// The fence of the newest grant: larger than that of every earlier conflicting grant of the resource.
    pub fn fence(&self) -> u64 {
        self.claim.grant().fence
    }

    /// The value block, as the newest operation that asked for it reported it.
    pub fn value(&self) -> Option<ValueBlock> {
        self.claim.grant().value.clone()
    }

    /// Everything that the newest grant said.
    pub fn grant(&self) -> Grant {
        self.claim.grant().clone()
    }

    /// Whether the lock is held now, by the clock.
    pub fn is_valid(&self) -> bool {
        self.check().is_ok()
    }

    /// Reads the clock and fails if the lock is not held now. Once it has failed it never succeeds again.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] with the reason; [`Error::Closed`] if the program closed the session.
    pub fn check(&self) -> Result<(), Error> {
        self.handle.as_ref().map_or(Err(Error::Closed), |handle| handle.check())?;
        self.claim.lost().map_or(Ok(()), |loss| Err(Error::Lost(loss)))
    }

    /// How long the lock stays valid if no further keepalive is acknowledged; zero if it is lost.
    pub fn valid_for(&self) -> Duration {
        match &self.handle {
            Some(handle) if self.is_valid() => handle.shared.valid_until().saturating_sub(clock::now()),
            _ => Duration::ZERO,
        }
    }

    /// Resolves when the lock is lost, with the reason. It resolves as soon as this process runs again; still, after a
    /// suspend the program may run before it: [`Guard::check`] is exact.
    pub async fn lost(&self) -> Loss {
        let Some(handle) = &self.handle else { return Loss::Closed };
        let mut state = StateWatch::new(&handle.shared.state);
        loop {
            let changed = self.claim.changed.notified();
            if let Some(loss) = self.claim.lost() {
                return loss;
            }
            match handle.check() {
                Err(Error::Lost(loss)) => return loss,
                Err(_) => return Loss::Closed,
                Ok(()) => {}
            }
            tokio::select! {
                () = changed => {}
                _ = state.changed() => {}
            }
        }
    }

    /// The next event of this claim, or [`ClaimEvent::Lost`] when it or its session is lost. Events that came before
    /// the call are kept. Blocking events come only if they were asked for.
    pub async fn next_event(&self) -> ClaimEvent {
        loop {
            let changed = self.claim.changed.notified();
            if let Some(event) = self.claim.next_event() {
                return event;
            }
            tokio::select! {
                () = changed => {}
                loss = self.lost() => return ClaimEvent::Lost(loss),
            }
        }
    }

    /// How sure the session is of its life, to watch.
    pub fn state(&self) -> Option<StateWatch> {
        self.handle.as_ref().map(|handle| StateWatch::new(&handle.shared.state))
    }

    /// Asks for another mode. Down and same-mode conversions are granted at once. A conversion that is not granted
    /// leaves the claim in its old mode.
    pub fn convert(&self, mode: Mode) -> Convert<'_> {
        Convert::new(self.handle.as_ref(), self.claim.number, mode)
    }

    /// Lets go of the claim, and says when that is done. Awaiting a released guard that was lost tells so.
    pub fn release(mut self) -> Release {
        Release::new(self.handle.take(), self.claim.number)
    }

    /// Leaves the claim held until its session ends, and returns its number. With [`crate::LockRequest::persistent`] it
    /// then stays behind as an orphan.
    pub fn leave(mut self) -> u64 {
        if let Some(handle) = self.handle.take() {
            handle.send(Command::Leave { claim: self.claim.number });
        }
        self.claim.number
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            let request = v1::Unlock { claim: self.claim.number, ..v1::Unlock::default() };
            handle.send(Command::Unlock { request: Box::new(request), reply: None });
        }
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let grant = self.claim.grant();
        f.debug_struct("Guard")
            .field("claim", &grant.claim)
            .field("mode", &grant.mode)
            .field("fence", &grant.fence)
            .finish_non_exhaustive()
    }
}
