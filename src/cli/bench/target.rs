//! What is measured against: a broker, or the floor.

use std::error::Error;
use std::time::Duration;

use sixpin_client::Client;
use sixpin_proto::frames::{Frames, GREETING};
use sixpin_proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::codec::Framed;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::Args;
use super::tally::{Meter, Window};
use crate::cli::connect::Address;
use crate::cli::credentials::CredentialArgs;
use crate::cli::exit;
use crate::cli::failure::Failure;

/// Window of a connection: pipelined answers must not wait for it.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Sessions that share one connection at most: fewer than the streams that a broker allows, or the last would wait for
/// the first to end.
const SESSIONS_PER_CONNECTION: usize = 100;
/// Longest answer: sessions here ask for nothing that has a long one.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// TTL of the sessions: they send keepalives a few times per minute, which does not show.
pub(super) const TTL_MS: u32 = 60_000;

/// What a session says and hears without HTTP/2.
pub(super) type SessionFrames = Frames<v1::SessionResponse, v1::SessionRequest>;

/// A process, and how it is used.
#[derive(Debug)]
pub(super) struct Target {
    address: Address,
    lockspace: String,
    connections: usize,
    floor: bool,
    /// How it is trusted, and who asks. A process that was started for this has none of it.
    credentials: CredentialArgs,
    /// Its address was given as `https://`.
    https: bool,
    /// Its process, if it is known.
    pid: Option<u32>,
}

impl Target {
    /// A broker that was started for this.
    pub(super) fn spawned(address: Address, args: &Args, pid: Option<u32>) -> Self {
        Self { pid, ..Self::new(address, args, false) }
    }

    /// The broker that the arguments name.
    pub(super) fn named(address: Address, args: &Args) -> Self {
        let https = args.endpoints.addresses.iter().any(|address| address.as_str().starts_with("https://"));
        Self { https, credentials: args.credentials.clone(), ..Self::new(address, args, false) }
    }

    /// A service that only answers.
    pub(super) fn floor(address: Address, args: &Args) -> Self {
        Self::new(address, args, true)
    }

    fn new(address: Address, args: &Args, floor: bool) -> Self {
        let (lockspace, connections) = (args.space.lockspace.to_string(), args.connections as usize);
        Self { address, lockspace, connections, floor, credentials: CredentialArgs::default(), https: false, pid: None }
    }

    /// It only answers.
    pub(super) fn is_floor(&self) -> bool {
        self.floor
    }

    /// Whether the load has to say more than what is measured: it is made without TLS and tokens, unless the client library
    /// makes it.
    pub(super) fn is_guarded(&self) -> bool {
        self.https || self.credentials.is_some()
    }

    /// The client library at it. Without frames, sessions speak gRPC.
    pub(super) fn client(&self, frames: bool) -> Result<Client, Failure> {
        let scheme = if self.https { "https://" } else { "" };
        let mut endpoints = vec![format!("{scheme}{}", self.address)];
        if !frames {
            endpoints.push(format!("grpc://{}", self.address));
        }
        self.credentials.client_of(endpoints.iter().map(String::as_str))
    }

    /// A slice for so many sessions, and what its process needs in it.
    pub(super) fn window(&self, sessions: usize, time: Duration) -> (Window, Meter) {
        let window = Window::new(sessions + 1, time);
        (window.clone(), Meter::start(window, self.pid))
    }

    /// Its address.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// The lockspace of all resources.
    pub(super) fn lockspace(&self) -> &str {
        &self.lockspace
    }

    /// Connections for so many sessions to share.
    pub(super) async fn channels(&self, sessions: usize) -> Result<Vec<Channel>, Failure> {
        let connections = self.connections.max(sessions.div_ceil(SESSIONS_PER_CONNECTION));
        self.connect(connections.min(sessions)).await
    }

    /// So many connections.
    pub(super) async fn connect(&self, connections: usize) -> Result<Vec<Channel>, Failure> {
        let mut channels = Vec::new();
        for _ in 0..connections {
            let endpoint = Endpoint::from_shared(format!("http://{}", self.address))
                .map_err(|error| unreachable(&self.address, &error))?
                .initial_connection_window_size(WINDOW_BYTES)
                .initial_stream_window_size(WINDOW_BYTES)
                .tcp_nodelay(true);
            channels.push(endpoint.connect().await.map_err(|error| unreachable(&self.address, &error))?);
        }
        Ok(channels)
    }

    /// Resources that nobody else uses: one for each place in each session, or the same one for all.
    pub(super) fn resources(
        &self,
        workload: &str,
        sessions: usize,
        places: usize,
        shared: bool,
    ) -> Vec<Vec<v1::Resource>> {
        let run = std::process::id();
        let resource = |session: usize, place: usize| {
            let (session, place) = if shared { (0, 0) } else { (session, place) };
            let name = format!("bench/{run}/{workload}/{session:03}/{place:03}");
            v1::Resource { lockspace: self.lockspace.clone(), name }
        };
        (0..sessions).map(|session| (0..places).map(|place| resource(session, place)).collect()).collect()
    }
}

pub(super) fn unreachable(address: &Address, error: &(dyn Error + 'static)) -> Failure {
    let detail = deepest(error).to_lowercase();
    Failure::new(exit::UNREACHABLE, format_args!("no broker answered at `{address}`: {detail}"))
        .hint("start one with `sixpin serve`, or measure one of its own with `--spawn`")
}

/// A connection for a session alone, on which frames are spoken.
pub(super) async fn frames(address: &Address) -> Result<Framed<TcpStream, SessionFrames>, Failure> {
    let mut answer = [0; GREETING.len()];
    let connected = async {
        let mut socket = TcpStream::connect(address.as_str()).await?;
        socket.set_nodelay(true)?;
        socket.write_all(&GREETING).await?;
        socket.read_exact(&mut answer).await?;
        Ok(socket)
    };
    let socket = connected.await.map_err(|error: std::io::Error| unreachable(address, &error))?;
    if answer != GREETING {
        return Err(Failure::new(exit::FAILURE, format_args!("what answers at `{address}` does not speak frames")));
    }
    Ok(Framed::new(socket, SessionFrames::new(MESSAGE_BYTES_MAX)))
}

/// What a broker's refusal means.
pub(super) fn refused(status: &Status) -> Failure {
    let text = if status.source().is_some() { deepest(status) } else { status.message().to_owned() };
    Failure::new(exit::FAILURE, text)
}

/// The innermost cause, which is what a person can act on: "connection refused" and not "transport error".
fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
