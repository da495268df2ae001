//! A client that speaks HTTP/1.1, or HTTP/2 if it is told to, and JSON.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::{Broker, soon};

/// One who asks.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
    headers: HeaderMap,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Http {
    pub fn to(address: SocketAddr) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, address, headers: HeaderMap::new() }
    }

    pub fn clients_of(broker: &Broker) -> Self {
        Self::to(broker.server.address)
    }

    pub fn administrators_of(broker: &Broker) -> Self {
        Self::to(broker.server.admin_address.unwrap())
    }

    /// The same over HTTP/2.
    pub fn over_http2(self) -> Self {
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        Self { client, ..self }
    }

    /// The same, with this header in all requests.
    pub fn with(&self, name: &'static str, value: &str) -> Self {
        let mut with = self.clone();
        with.headers.insert(name, value.parse().unwrap());
        with
    }

    /// A header of all requests.
    pub fn header(&self, name: &str) -> String {
        self.headers[name].to_str().unwrap().to_owned()
    }

    /// With the token of a session or lease.
    pub fn of(&self, token: &str) -> Self {
        self.with("sixpin-token", token)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(body)).await
    }

    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let (kind, bytes) = match body {
            Some(body) => (Some("application/json"), Bytes::from(body.to_string())),
            None => (None, Bytes::new()),
        };
        self.send(method, path, kind, bytes).await
    }

    pub async fn send(&self, method: Method, path: &str, kind: Option<&str>, body: Bytes) -> Answer {
        let response = self.begin(method, path, kind, body).await;
        let (parts, body) = response.into_parts();
        let bytes = soon("the body", body.collect()).await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// The beginning of an answer.
    pub async fn begin(&self, method: Method, path: &str, kind: Option<&str>, body: Bytes) -> http::Response<Incoming> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        let headers = request.headers_mut().unwrap();
        headers.extend(self.headers.clone());
        if let Some(kind) = kind {
            headers.insert(http::header::CONTENT_TYPE, kind.parse().unwrap());
        }
        soon("an answer", self.client.request(request.body(Full::new(body)).unwrap())).await.unwrap()
    }
}

impl Answer {
    /// What it says, if it is this status.
    #[track_caller]
    pub fn is(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        if status >= 400 {
            let kind = self.headers.get(http::header::CONTENT_TYPE).unwrap();
            assert_eq!(kind, "application/problem+json");
            assert_eq!(self.body["status"], status);
        }
        self.body
    }
}

/// The events of a stream of them, each with its name, its id and its data.
pub struct Events {
    body: Incoming,
    come: String,
}

impl Events {
    pub fn new(response: http::Response<Incoming>) -> Self {
        assert_eq!(response.headers()[http::header::CONTENT_TYPE], "text/event-stream");
        Self { body: response.into_body(), come: String::new() }
    }

    pub async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            if let Some((event, rest)) = self.come.split_once("\n\n") {
                let line = |name: &str| {
                    let found = event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                    found.unwrap_or_default().trim_start().to_owned()
                };
                let said = (line("event"), line("id"), serde_json::from_str(&line("data")).unwrap_or_default());
                self.come = rest.into();
                return Some(said);
            }
            let frame = tokio::time::timeout(Duration::from_secs(20), self.body.frame()).await.unwrap()?;
            self.come += std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap();
        }
    }
}
