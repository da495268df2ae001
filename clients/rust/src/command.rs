//! What handles ask of the task of their session.

use std::sync::Arc;

use sixpin_proto::v1;
use tokio::sync::oneshot;

use crate::claim::Claim;
use crate::error::Error;
use crate::logic::{Done, Grant, OperationId};

/// What the program's handles ask the task to do. Unbounded, because letting go must never fail; what asks for more is
/// counted in `Shared::backlog` instead.
pub(crate) enum Command {
    Lock {
        id: OperationId,
        request: Box<v1::Lock>,
        /// Whoever does not take the claim from it has to let go of it.
        reply: oneshot::Sender<Result<Arc<Claim>, Error>>,
    },
    Convert {
        id: OperationId,
        request: Box<v1::Convert>,
        queue: Option<bool>,
        reply: oneshot::Sender<Result<Grant, Error>>,
    },
    Unlock {
        request: Box<v1::Unlock>,
        /// Absent: nobody waits for the answer.
        reply: Option<(OperationId, oneshot::Sender<Result<Done, Error>>)>,
    },
    UnlockAll {
        id: OperationId,
        owner: Option<String>,
        reply: oneshot::Sender<Result<Done, Error>>,
    },
    /// A guard that is gone without a release: the claim stays until the session ends.
    Leave {
        claim: u64,
    },
    Abandon {
        id: OperationId,
    },
    Cancel {
        id: OperationId,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
    Expired,
    Wake,
}
