//! Where client commands find brokers: the flags that all of them take. The client library does the rest.

use std::str::FromStr;

use sixpin_client::{Administration, Client, Inspection};
use sixpin_core::name::{Lockspace, ResourceName};
use sixpin_proto::v1;

use super::credentials::CredentialArgs;
use super::failure::Failure;
use super::output::Format;

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
    /// How brokers are trusted, and who asks them.
    #[command(flatten)]
    pub credentials: CredentialArgs,
    /// Text for people or JSON for programs.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: Format,
}

/// Where brokers are.
#[derive(Debug, Clone, clap::Args)]
pub struct Endpoints {
    /// Brokers, tried in this order, each 250ms after the one before it; the first that answers is asked. With `https://` in front
    /// of one, all are asked with TLS; with `grpc://`, sessions speak gRPC instead of frames.
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
    /// Admin listeners of brokers, tried in this order, each 250ms after the one before it. With `https://` in front of one, all
    /// are asked with TLS.
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
    /// Asks the brokers.
    pub fn inspection(&self) -> Result<Inspection, Failure> {
        Ok(self.endpoints.client(&self.common.credentials)?.inspection())
    }
}

impl Endpoints {
    /// A client of the brokers.
    pub fn client(&self, credentials: &CredentialArgs) -> Result<Client, Failure> {
        credentials.client(&self.addresses)
    }

    /// The first of them that answers.
    pub async fn first_that_answers(&self, credentials: &CredentialArgs) -> Result<Address, Failure> {
        self.client(credentials)?.first_that_answers().await.map(Address).map_err(Failure::inspecting)
    }
}

impl AdminEndpoints {
    /// Asks the admin listeners.
    pub fn administration(&self, credentials: &CredentialArgs) -> Result<Administration, Failure> {
        Ok(credentials.client(&self.admin_addresses)?.administration())
    }

    /// The only address; a failure if there are several, for requests that are meant for one broker.
    pub fn only(&self) -> Result<&Address, Failure> {
        match self.admin_addresses.as_slice() {
            [address] => Ok(address),
            _ => Err(Failure::usage("this is for one broker, but several are named")
                .hint("name its admin listener with `--admin-endpoint`")),
        }
    }
}

impl Space {
    /// A resource of the lockspace.
    pub fn resource(&self, name: &ResourceName) -> v1::Resource {
        v1::Resource { lockspace: self.lockspace.to_string(), name: name.to_string() }
    }
}

/// `host:port` of a broker, perhaps with `https://`, `http://` or `grpc://` in front, which the client library understands.
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
        if Client::is_endpoint(text) {
            Ok(Self(text.trim().to_owned()))
        } else {
            Err("write `host:port`, or `https://host:port` for TLS, and commas between several".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for good in
            ["127.0.0.1:6616", " localhost:1", "[::1]:6616", "grpc://localhost:1", "https://[::1]:1", "http://host:1"]
        {
            assert!(good.parse::<Address>().is_ok(), "{good}");
        }
        for bad in ["", "localhost", ":1", "host:port", "ftp://host:1"] {
            assert!(bad.parse::<Address>().unwrap_err().contains("https://host:port"), "{bad}");
        }
    }
}
