//! Where an attack comes from and where it goes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::{ClientConfig, version};
use sixpin_client::{Client, Credentials};
use sixpin_proto::frames::{ALPN, GREETING};
use sixpin_proto::v1;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use v1::session_request::Body;

use crate::hello::{self, HTTP2};
use crate::secrets::Stolen;
use crate::socket::Socket;
use crate::wire::{PREFACE, block, flag, frame, header_block, kind, message, say, window};

/// One attacker and its broker.
#[derive(Clone, Copy)]
pub struct Target {
    /// The broker.
    pub broker: SocketAddr,
    /// The attacker's own address.
    pub from: IpAddr,
    /// What it has where the broker speaks TLS and wants to know who asks.
    pub stolen: Option<&'static Stolen>,
}

impl Target {
    /// TCP alone, whatever the broker wants.
    pub async fn dial(self) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(self.from, 0))?;
        let stream = socket.connect(self.broker).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// TLS, however it is begun.
    pub async fn shake_hands(self, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(config).connect(self.broker.ip().into(), self.dial().await?).await
    }

    /// A connection for HTTP/2 on which nothing has been said.
    pub async fn connect(self) -> io::Result<Socket> {
        self.connect_for(HTTP2).await
    }

    /// The same for frames.
    pub async fn connect_for_frames(self) -> io::Result<Socket> {
        self.connect_for(ALPN).await
    }

    /// The same for HTTP/1.1.
    pub async fn connect_for_http1(self) -> io::Result<Socket> {
        self.connect_for(b"http/1.1").await
    }

    async fn connect_for(self, alpn: &[u8]) -> io::Result<Socket> {
        if self.stolen.is_none() {
            return self.dial().await.map(Socket::Left);
        }
        let config = hello::config(&version::TLS13, alpn, None)?;
        self.shake_hands(config).await.map(Box::new).map(Socket::Right)
    }

    /// A connection that has introduced itself and gives each stream this window.
    pub async fn greet(self, size: u32) -> io::Result<Socket> {
        let mut stream = self.connect().await?;
        say(&mut stream, &[PREFACE, &window(size)].concat()).await?;
        Ok(stream)
    }

    /// The same without HTTP/2.
    pub async fn greet_with_frames(self) -> io::Result<Socket> {
        let mut stream = self.connect_for_frames().await?;
        let authenticate = self.stolen.map(|stolen| authenticate(&stolen.token)).unwrap_or_default();
        say(&mut stream, &[&GREETING, &authenticate[..]].concat()).await?;
        Ok(stream)
    }

    /// The headers of a gRPC call that is let in.
    pub fn headers(self, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
        let Some(stolen) = self.stolen else { return header_block(path, more) };
        let bearer = format!("Bearer {}", stolen.token);
        header_block(path, &[&[("authorization", bearer.as_str())], more].concat())
    }

    /// The headers of a request with JSON that is let in.
    pub fn json_headers(self, method: &str, path: &str) -> Vec<u8> {
        self.json_headers_with(method, path, &[])
    }

    /// The same with more of them.
    pub fn json_headers_with(self, method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
        let (broker, bearer) = (self.broker.to_string(), self.stolen.map(|stolen| format!("Bearer {}", stolen.token)));
        let scheme = if self.stolen.is_some() { "https" } else { "http" };
        let fixed = [(":method", method), (":scheme", scheme), (":path", path), (":authority", broker.as_str())];
        let bearer = bearer.as_deref().map(|bearer| ("authorization", bearer));
        let json = [("content-type", "application/json")];
        block(fixed.into_iter().chain(json).chain(bearer).chain(more.iter().copied()))
    }

    /// The beginning of a call.
    pub fn call(self, stream: u32, path: &str) -> Vec<u8> {
        frame(kind::HEADERS, flag::END_HEADERS, stream, &self.headers(path, &[]))
    }

    /// A whole call.
    pub fn unary(self, stream: u32, path: &str, request: &impl prost::Message) -> Vec<u8> {
        let mut bytes = self.call(stream, path);
        bytes.extend(frame(kind::DATA, flag::END_STREAM, stream, &message(&request.encode_to_vec())));
        bytes
    }

    /// A client that keeps the rules.
    pub fn client(self) -> Result<Client, sixpin_client::Error> {
        let credentials = self.stolen.map_or_else(Credentials::new, |stolen| stolen.credentials.clone());
        Client::builder([self.broker.to_string()]).credentials(credentials).build()
    }
}

/// A message without HTTP/2.
pub fn framed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

/// A request without HTTP/2.
pub fn request(request: u64, body: Body) -> Vec<u8> {
    use prost::Message as _;
    framed(&v1::SessionRequest { request, body: Some(body) }.encode_to_vec())
}

/// Says who asks.
pub fn authenticate(token: &str) -> Vec<u8> {
    request(0, Body::Authenticate(v1::Authenticate { token: token.into() }))
}
