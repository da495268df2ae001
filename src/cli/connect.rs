//! How client commands reach a broker: the flags that all of them take, and moving on to the next endpoint.
//!
//! Endpoints are tried side by side, as the client library does it: the first broker that answers is asked. One that
//! answers and then can not do what is asked, because it is full, leaves, or closes the connection, is left for the next.

use std::str::FromStr;
use std::time::Duration;

use sixpin_client::{Error, Reach, Tried, another_may_do_it};
use sixpin_core::name::{Lockspace, ResourceName};
use sixpin_proto::v1;
use tonic::Status;
use tonic::transport::Channel;

use super::exit;
use super::failure::{Failure, described, directions};
use super::output::Format;

/// What to do when no broker answers.
pub const NAME_ANOTHER: &str = "start a broker with `sixpin serve`, or name one with `--endpoints` or SIXPIN_ENDPOINTS";
/// What to do when brokers answer but can not do what is asked.
pub const LOOK_AT_BROKERS: &str =
    "see how the broker is with `sixpin status`, or name others with `--endpoints` or SIXPIN_ENDPOINTS";

/// How long one endpoint may take to show that a broker answers there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a broker that answers may take for a request that only looks.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a command lets itself be sent to another broker: a session may move while it is looked for.
const DIRECTIONS_MAX: usize = 3;
/// Longest answer: a resource with its longest queue is larger than what gRPC allows by default.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What commands take that look.
#[derive(Debug, Clone, clap::Args)]
pub struct ClientArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub endpoints: Endpoints,
    /// Where to look, and how to write.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// What commands take that administer. They have no `--endpoints`: it would not be where they act.
#[derive(Debug, Clone, clap::Args)]
pub struct AdminArgs {
    /// The admin listeners.
    #[command(flatten)]
    pub admin: AdminEndpoints,
    /// Where to look, and how to write.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// What every command takes that reports.
#[derive(Debug, Clone, clap::Args)]
pub struct CommonArgs {
    /// Where resources are.
    #[command(flatten)]
    pub space: Space,
    /// Text for people or JSON for programs.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: Format,
}

/// Where brokers are.
#[derive(Debug, Clone, clap::Args)]
pub struct Endpoints {
    /// Brokers, tried in this order, each 250ms after the one before it; the first that answers is asked.
    #[arg(
        long = "endpoints",
        env = "SIXPIN_ENDPOINTS",
        hide_env_values = true,
        value_name = "HOST:PORT,...",
        value_delimiter = ',',
        default_value = "127.0.0.1:6616"
    )]
    pub addresses: Vec<Address>,
}

/// Where resources are.
#[derive(Debug, Clone, clap::Args)]
pub struct Space {
    /// The lockspace that resources are in.
    #[arg(
        long,
        env = "SIXPIN_LOCKSPACE",
        hide_env_values = true,
        value_name = "NAME",
        default_value = "default",
        value_parser = Lockspace::new
    )]
    pub lockspace: Lockspace,
}

/// Where administration is.
#[derive(Debug, Clone, clap::Args)]
pub struct AdminEndpoints {
    /// Admin listeners of brokers, tried in this order, each 250ms after the one before it.
    #[arg(
        long = "admin-endpoint",
        env = "SIXPIN_ADMIN_ENDPOINTS",
        hide_env_values = true,
        value_name = "HOST:PORT,...",
        value_delimiter = ',',
        default_value = "127.0.0.1:6617"
    )]
    pub admin_addresses: Vec<Address>,
}

impl ClientArgs {
    /// The brokers.
    pub fn brokers(&self) -> Brokers {
        self.endpoints.brokers()
    }
}

impl Endpoints {
    /// The brokers.
    pub fn brokers(&self) -> Brokers {
        Brokers { addresses: self.addresses.clone(), admin: false }
    }
}

impl AdminEndpoints {
    /// The admin listeners.
    pub fn brokers(&self) -> Brokers {
        Brokers { addresses: self.admin_addresses.clone(), admin: true }
    }
}

impl Space {
    /// A resource of the lockspace.
    pub fn resource(&self, name: &ResourceName) -> v1::Resource {
        v1::Resource { lockspace: self.lockspace.to_string(), name: name.to_string() }
    }
}

/// `host:port` of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        if port.is_some_and(|port| port.parse::<u16>().is_ok()) && !text.contains('/') {
            Ok(Self(text.to_owned()))
        } else {
            Err("write `host:port`, and commas between several".to_owned())
        }
    }
}

/// Brokers of one store, in the order in which they are tried.
#[derive(Debug, Clone)]
pub struct Brokers {
    addresses: Vec<Address>,
    admin: bool,
}

impl Brokers {
    /// Brokers at these addresses.
    pub fn among(addresses: Vec<Address>) -> Self {
        Self { addresses, admin: false }
    }

    /// The only address; a failure if there are several, for requests that are meant for one broker.
    pub fn only(&self) -> Result<&Address, Failure> {
        match self.addresses.as_slice() {
            [address] => Ok(address),
            _ => Err(Failure::usage("this is for one broker, but several are named")
                .hint("name its admin listener with `--admin-endpoint`")),
        }
    }

    /// The addresses.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Asks the first broker that can answer, and the one that it names if it says that another one has to. `call` may be made several times: it must be one that can be repeated.
    pub async fn ask<T>(&self, call: impl AsyncFn(Channel) -> Result<T, Status>) -> Result<T, Failure> {
        self.ask_within(Some(ANSWER_TIMEOUT), call).await
    }

    /// As [`Self::ask`], for answers that may take long.
    pub async fn ask_patiently<T>(&self, call: impl AsyncFn(Channel) -> Result<T, Status>) -> Result<T, Failure> {
        self.ask_within(None, call).await
    }

    async fn ask_within<T>(
        &self,
        limit: Option<Duration>,
        call: impl AsyncFn(Channel) -> Result<T, Status>,
    ) -> Result<T, Failure> {
        let mut reach = self.reach();
        while let Some((address, channel)) = reach.next().await {
            match follow(address, channel, limit, &call).await {
                Ok(answer) => return Ok(answer),
                Err((address, status)) if another_may_do_it(&status) => reach.failed(address, described(&status)),
                Err((_, status)) => return Err(Failure::refused(&status)),
            }
        }
        Err(self.unreachable(reach.tried()))
    }

    /// A connection to the first broker that answers.
    pub async fn channel(&self) -> Result<(Address, Channel), Failure> {
        let mut reach = self.reach();
        match reach.next().await {
            Some((address, channel)) => Ok((Address(address), channel)),
            None => Err(self.unreachable(reach.tried())),
        }
    }

    fn reach(&self) -> Reach {
        Reach::new(self.addresses.iter().map(Address::as_str), CONNECT_TIMEOUT)
    }

    /// No broker did what was asked.
    fn unreachable(&self, tried: Vec<Tried>) -> Failure {
        let hint = if self.admin {
            "administration has a listener of its own: name it with `--admin-endpoint` or SIXPIN_ADMIN_ENDPOINTS"
        } else {
            NAME_ANOTHER
        };
        Failure::new(exit::UNREACHABLE, Error::Unreachable { tried }).hint(hint)
    }
}

/// Asks one broker, and the one that it names if it says that another one has to. A failure names who failed.
async fn follow<T>(
    address: String,
    channel: Channel,
    limit: Option<Duration>,
    call: &impl AsyncFn(Channel) -> Result<T, Status>,
) -> Result<T, (String, Status)> {
    let (mut address, mut channel) = (address, channel);
    let mut directions_left = DIRECTIONS_MAX;
    loop {
        let status = match within(limit, call(channel)).await {
            Ok(answer) => return Ok(answer),
            Err(status) => status,
        };
        let there = directions(&status).and_then(|address| address.parse::<Address>().ok());
        let Some(there) = there.filter(|_| directions_left > 0) else { return Err((address, status)) };
        directions_left -= 1;
        let mut reach = Reach::new([there.as_str()], CONNECT_TIMEOUT);
        let Some(found) = reach.next().await else {
            let what = reach.tried().pop().map(|tried| tried.what).unwrap_or_default();
            return Err((there.to_string(), Status::unavailable(what)));
        };
        (address, channel) = found;
    }
}

async fn within<T>(limit: Option<Duration>, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
            Err(Status::deadline_exceeded(format!("no answer within {}", humantime::format_duration(limit))))
        }),
        None => call.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for good in ["127.0.0.1:6616", " localhost:1", "[::1]:6616"] {
            assert!(good.parse::<Address>().is_ok(), "{good}");
        }
        for bad in ["", "localhost", ":1", "host:port", "http://host:1"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
