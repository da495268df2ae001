//! Why a broker does not start.

use std::io;
use std::net::SocketAddr;

use sixpin_core::backend::OpenError;

use crate::audit::CannotAudit;
use crate::tls::files::BadFile;

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A store could not be opened.
    #[error("backend `{0}`: {1}")]
    Open(String, #[source] OpenError),
    /// An address could not be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// What TLS needs could not be read.
    #[error(transparent)]
    Tls(#[from] BadFile),
    /// The audit could not be begun.
    #[error(transparent)]
    Audit(#[from] CannotAudit),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The ready file could not be written.
    #[error("cannot write the ready file `{0}`: {1}")]
    ReadyFile(String, #[source] io::Error),
}
