//! Calls outside sessions, for tools: the generated clients on a connection to the first broker that answers.

use std::error::Error as _;

use prost::Message as _;
use sixpin_proto::v1;
use sixpin_proto::v1::admin_service_client::AdminServiceClient;
use sixpin_proto::v1::inspect_service_client::InspectServiceClient;
use sixpin_proto::v1::lock_service_client::LockServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::client::Client;
use crate::error::{Error, Refused};
use crate::reach::{Reach, innermost};

/// The binary metadata that carries a [`v1::Error`].
const ERROR_METADATA: &str = "sixpin-error-bin";

impl Client {
    /// Inspection at the first broker that answers.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if none does.
    pub async fn inspect(&self) -> Result<InspectServiceClient<Channel>, Error> {
        Ok(InspectServiceClient::new(self.channel().await?).max_decoding_message_size(REPLY_BYTES_MAX))
    }

    /// Administration at the first broker that answers. Brokers serve it on a listener of its own: make a
    /// client with those addresses.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if none does.
    pub async fn admin(&self) -> Result<AdminServiceClient<Channel>, Error> {
        Ok(AdminServiceClient::new(self.channel().await?))
    }

    /// The lock service at the first broker that answers, for `Hold` and the unary calls.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if none does.
    pub async fn locks(&self) -> Result<LockServiceClient<Channel>, Error> {
        Ok(LockServiceClient::new(self.channel().await?))
    }

    /// A connection to the first broker that answers. Addresses are tried side by side: see [`Reach`].
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if none does.
    pub async fn channel(&self) -> Result<Channel, Error> {
        let mut reach = self.reach();
        match reach.next().await {
            Some((_, channel)) => Ok(channel),
            None => Err(Error::Unreachable { tried: reach.tried() }),
        }
    }

    /// Makes a call at one broker after the other until one can carry it out. Only for calls that may be repeated: a
    /// broker that failed may have carried it out.
    ///
    /// # Errors
    ///
    /// What the last broker answered, or [`Error::Unreachable`].
    pub async fn call<T, F, R>(&self, call: F) -> Result<T, Error>
    where
        F: Fn(Channel) -> R,
        R: Future<Output = Result<T, Status>>,
    {
        let mut reach = self.reach();
        let mut refused = None;
        while let Some((address, channel)) = reach.next().await {
            match call(channel).await {
                Ok(answer) => return Ok(answer),
                Err(status) if another_may_do_it(&status) => {
                    reach.failed(address, describe(&status));
                    refused = own_error(&status).map(Error::from_proto).or(refused);
                }
                Err(status) => return Err(Error::from(&status)),
            }
        }
        Err(refused.unwrap_or_else(|| Error::Unreachable { tried: reach.tried() }))
    }

    /// Looks for brokers that answer, one after the other.
    pub fn reach(&self) -> Reach {
        Reach::new(self.settings.endpoints.iter().cloned(), self.settings.connect_timeout)
    }
}

/// Largest reply to an inspection, in bytes.
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Whether another broker may carry out what one has answered so: it is going, full, or cannot now, or its connection
/// was closed, as a limit does.
pub fn another_may_do_it(status: &Status) -> bool {
    match own_error(status) {
        Some(error) => matches!(
            error.reason(),
            v1::Reason::Unavailable | v1::Reason::Draining | v1::Reason::Limit | v1::Reason::Unknown
        ),
        None => matches!(
            status.code(),
            Code::Unavailable
                | Code::DeadlineExceeded
                | Code::ResourceExhausted
                | Code::Cancelled
                | Code::Internal
                | Code::Unknown
        ),
    }
}

/// What a broker said machine-readably; absent if the way to it failed.
fn own_error(status: &Status) -> Option<v1::Error> {
    let bytes = status.metadata().get_bin(ERROR_METADATA)?.to_bytes().ok()?;
    v1::Error::decode(bytes).ok()
}

impl From<&Status> for Error {
    /// A broker's own error if the status carries one; otherwise what the code means.
    fn from(status: &Status) -> Self {
        if let Some(error) = own_error(status) {
            return Self::from_proto(error);
        }
        let refused = |reason| Refused { reason, message: describe(status), address: String::new() };
        match status.code() {
            Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented => {
                Self::Invalid(refused(v1::Reason::Invalid))
            }
            Code::NotFound => Self::NotFound(refused(v1::Reason::NotFound)),
            Code::ResourceExhausted => Self::Limit(refused(v1::Reason::Limit)),
            _ => Self::Unknown(refused(v1::Reason::Unknown)),
        }
    }
}

/// A status for people: what the broker said, or what went wrong on the way to it.
pub(crate) fn describe(status: &Status) -> String {
    match (status.source(), status.message()) {
        (Some(cause), _) => innermost(cause),
        (None, "") => status.code().description().to_owned(),
        (None, message) => message.to_owned(),
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::from(&status)
    }
}
