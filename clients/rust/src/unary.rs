//! Calls outside sessions, for tools: the generated clients on a connection to the first broker that answers.

use std::time::Duration;

use prost::Message as _;
use sixpin_proto::v1;
use sixpin_proto::v1::admin_service_client::AdminServiceClient;
use sixpin_proto::v1::inspect_service_client::InspectServiceClient;
use sixpin_proto::v1::lock_service_client::LockServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::client::Client;
use crate::error::{Error, Refused};

/// The binary metadata that carries a [`v1::Error`].
const ERROR_METADATA: &str = "sixpin-error-bin";

impl Client {
    /// Inspection at the first address that accepts a connection.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if none does.
    pub async fn inspect(&self) -> Result<InspectServiceClient<Channel>, Error> {
        Ok(InspectServiceClient::new(self.channel().await?).max_decoding_message_size(REPLY_BYTES_MAX))
    }

    /// Administration at the first address that accepts a connection. Brokers serve it on a listener of its own: make a
    /// client with those addresses.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if none does.
    pub async fn admin(&self) -> Result<AdminServiceClient<Channel>, Error> {
        Ok(AdminServiceClient::new(self.channel().await?))
    }

    /// The lock service at the first address that accepts a connection, for `Hold` and the unary calls.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if none does.
    pub async fn locks(&self) -> Result<LockServiceClient<Channel>, Error> {
        Ok(LockServiceClient::new(self.channel().await?))
    }

    /// A connection to the first address that accepts one.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if none does.
    pub async fn channel(&self) -> Result<Channel, Error> {
        let mut detail = String::new();
        for address in &self.settings.endpoints {
            match connect(address, self.settings.connect_timeout).await {
                Ok(channel) => return Ok(channel),
                Err(failure) => detail = format!("{address}: {failure}"),
            }
        }
        Err(Error::Unreachable { endpoints: self.settings.endpoints.join(","), detail })
    }

    /// Makes a call at each address in turn until one answers it. Only for calls that may be repeated: an address that
    /// failed may have carried it out.
    ///
    /// # Errors
    ///
    /// What the last broker answered, or [`Error::Unreachable`].
    pub async fn call<T, F, R>(&self, call: F) -> Result<T, Error>
    where
        F: Fn(Channel) -> R,
        R: Future<Output = Result<T, Status>>,
    {
        let mut failure = None;
        for address in &self.settings.endpoints {
            let attempt = match connect(address, self.settings.connect_timeout).await {
                Ok(channel) => call(channel).await.map_err(|status| Error::from(&status)),
                Err(detail) => Err(Error::Unreachable { endpoints: address.clone(), detail }),
            };
            match attempt {
                Err(error @ (Error::Unavailable(_) | Error::Unreachable { .. } | Error::Unknown(_))) => {
                    failure = Some(error);
                }
                other => return other,
            }
        }
        Err(failure.unwrap_or_else(|| Error::Setting("no broker address is given".to_owned())))
    }
}

/// Largest reply to an inspection, in bytes.
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Connects to one address.
pub(crate) async fn connect(address: &str, timeout: Duration) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| error.to_string())?
        .connect_timeout(timeout)
        .tcp_nodelay(true);
    endpoint.connect().await.map_err(|error| innermost(&error))
}

/// The cause at the bottom of an error: what a person wants to read.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

impl From<&Status> for Error {
    /// A broker's own error if the status carries one; otherwise what the code means.
    fn from(status: &Status) -> Self {
        let own = status
            .metadata()
            .get_bin(ERROR_METADATA)
            .and_then(|value| value.to_bytes().ok())
            .and_then(|bytes| v1::Error::decode(bytes).ok());
        if let Some(error) = own {
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

/// A status without an error of ours, for people.
pub(crate) fn describe(status: &Status) -> String {
    if status.message().is_empty() { status.code().description().to_owned() } else { status.message().to_owned() }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::from(&status)
    }
}
