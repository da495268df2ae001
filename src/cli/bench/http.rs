//! The same load as JSON over HTTP/1.1, with a connection that is kept for each session.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sixpin_proto::v1;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::plan::Plan;
use super::tally::{Tally, gather};
use super::target::{TTL_MS, Target, unreachable};
use super::unary::{Pairs, work};
use crate::cli::connect::Address;
use crate::cli::exit;
use crate::cli::failure::Failure;

/// One slice.
pub(super) async fn slice(plan: &Plan, target: &Target, time: Duration) -> Result<Tally, Failure> {
    let resources = target.resources(plan.name(), plan.sessions, 1, false);
    let (window, meter) = target.window(plan.sessions, time);
    let mut sessions = JoinSet::new();
    for resource in resources.into_iter().flatten() {
        let (address, window, lockspace) = (target.address().clone(), window.clone(), target.lockspace().to_owned());
        sessions.spawn(async move { work(Session::open(&address, &lockspace, resource).await?, window).await });
    }
    gather(sessions, meter).await
}

/// A session, and a connection that nobody else uses.
struct Session {
    requests: SendRequest<Full<Bytes>>,
    host: String,
    token: String,
    /// The path of the session.
    path: String,
    resource: Value,
}

impl Session {
    async fn open(address: &Address, lockspace: &str, resource: v1::Resource) -> Result<Self, Failure> {
        let connected = async {
            let socket = TcpStream::connect(address.as_str()).await?;
            socket.set_nodelay(true)?;
            Ok(socket)
        };
        let socket = connected.await.map_err(|error: std::io::Error| unreachable(address, &error))?;
        let (requests, connection) =
            http1::handshake(TokioIo::new(socket)).await.map_err(|error| unreachable(address, &error))?;
        // Ends with the session, which says what went wrong.
        tokio::spawn(connection);
        let resource = json!({ "lockspace": resource.lockspace, "name": resource.name });
        let mut session =
            Self { requests, host: address.to_string(), token: String::new(), path: "/v1/sessions".into(), resource };
        let open = json!({ "ttlMs": TTL_MS, "lockspace": lockspace, "label": "sixpin bench" });
        let opened = session.ask(Method::POST, "", &open).await?;
        let text = |field: &str| opened[field].as_str().unwrap_or_default().to_owned();
        session.path = format!("/v1/sessions/{}", text("session"));
        session.token = text("token");
        Ok(session)
    }

    /// What is answered on a path of the session.
    async fn ask(&mut self, method: Method, path: &str, body: &Value) -> Result<Value, Failure> {
        let broken = |error: &dyn std::fmt::Display| Failure::new(exit::FAILURE, format_args!("HTTP: {error}"));
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.path))
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, "application/json")
            .header("sixpin-token", &self.token)
            .body(Full::from(body.to_string()))
            .map_err(|error| broken(&error))?;
        let response = self.requests.send_request(request).await.map_err(|error| broken(&error))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
        let answer: Value = serde_json::from_slice(&body).map_err(|error| broken(&error))?;
        if status.is_success() { Ok(answer) } else { Err(broken(&answer["detail"])) }
    }
}

impl Pairs for Session {
    async fn lock(&mut self, claim: u64) -> Result<(), Failure> {
        let lock = json!({ "claim": claim, "operation": 1, "resource": self.resource, "mode": "EX" });
        expect(&self.ask(Method::POST, "/claims", &lock).await?, "GRANTED")
    }

    async fn unlock(&mut self, claim: u64) -> Result<(), Failure> {
        let unlock = json!({ "operation": 2 });
        expect(&self.ask(Method::DELETE, &format!("/claims/{claim}"), &unlock).await?, "RELEASED")
    }

    async fn close(mut self) -> Result<(), Failure> {
        self.ask(Method::POST, ":close", &json!({})).await.map(drop)
    }
}

fn expect(completion: &Value, status: &str) -> Result<(), Failure> {
    if completion["status"] == status {
        return Ok(());
    }
    Err(Failure::new(exit::FAILURE, format_args!("a lock ended as {}", completion["status"])))
}
