//! Session streams over WebSocket, in both subprotocols.

use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use sixpin_proto::prost::Message as _;
use sixpin_proto::v1;
use sixpin_proto::v1::session_request::Body;
use sixpin_proto::v1::session_response::Body as Answer;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::target::unreachable;
use crate::cli::connect::Address;
use crate::cli::exit;
use crate::cli::failure::Failure;

/// A stream.
pub(super) struct WebSocket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Its messages are JSON.
    json: bool,
    /// What waits to be sent.
    waiting: Vec<Message>,
}

impl WebSocket {
    pub(super) async fn open(address: &Address, json: bool) -> Result<Self, Failure> {
        let failed = |error: Error| unreachable(address, &error);
        let mut request = format!("ws://{address}/v1/stream").into_client_request().map_err(failed)?;
        let name = if json { "sixpin.v1.json" } else { "sixpin.v1.proto" };
        request.headers_mut().insert("sec-websocket-protocol", hyper::header::HeaderValue::from_static(name));
        let (socket, _) = connect_async_with_config(request, None, true).await.map_err(failed)?;
        Ok(Self { socket, json, waiting: Vec::new() })
    }

    /// Takes a message, which leaves when the next one is waited for.
    pub(super) fn send(&mut self, message: &v1::SessionRequest) {
        let message = if self.json {
            Message::text(written(message).to_string())
        } else {
            Message::binary(message.encode_to_vec())
        };
        self.waiting.push(message);
        // What ends a session is waited for by nobody: it leaves at once, or with the connection.
        if self.waiting.len() == 1 {
            self.flush().now_or_never();
        }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        for message in self.waiting.drain(..) {
            self.socket.feed(message).await?;
        }
        self.socket.flush().await
    }

    pub(super) async fn next(&mut self) -> Result<Option<v1::SessionResponse>, Failure> {
        let broken = |error: &dyn std::fmt::Display| Failure::new(exit::FAILURE, format_args!("WebSocket: {error}"));
        self.flush().await.map_err(|error| broken(&error))?;
        while let Some(message) = self.socket.next().await {
            match message.map_err(|error| broken(&error))? {
                Message::Binary(bytes) => {
                    return v1::SessionResponse::decode(bytes).map(Some).map_err(|error| broken(&error));
                }
                Message::Text(text) => {
                    let value = serde_json::from_str(text.as_str()).map_err(|error| broken(&error))?;
                    return Ok(Some(read(&value)));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

/// The requests of this load, as JSON.
fn written(message: &v1::SessionRequest) -> Value {
    let request = message.request;
    match &message.body {
        Some(Body::Open(open)) => {
            let open = json!({ "ttlMs": open.ttl_ms, "lockspace": open.lockspace, "label": open.label });
            json!({ "request": request, "open": open })
        }
        Some(Body::Lock(lock)) => {
            let resource = lock.resource.as_ref().map(|of| json!({ "lockspace": of.lockspace, "name": of.name }));
            let lock = json!({ "claim": lock.claim, "operation": lock.operation, "resource": resource, "mode": "EX" });
            json!({ "request": request, "lock": lock })
        }
        Some(Body::Unlock(unlock)) => {
            json!({ "request": request, "unlock": { "claim": unlock.claim, "operation": unlock.operation } })
        }
        Some(Body::Close(_)) => json!({ "request": request, "close": {} }),
        _ => json!({ "request": request, "keepAlive": {} }),
    }
}

/// As much of an answer as this load looks at.
fn read(value: &Value) -> v1::SessionResponse {
    let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
    let body = if let Some(completion) = value.get("completion") {
        let status =
            v1::Status::from_str_name(&format!("STATUS_{}", completion["status"].as_str().unwrap_or_default()));
        let (claim, status) = (number(&completion["claim"]), status.unwrap_or_default().into());
        Some(Answer::Completion(v1::Completion { claim, status, ..Default::default() }))
    } else if let Some(error) = value.get("error") {
        let message = error["message"].as_str().unwrap_or_default().to_owned();
        Some(Answer::Error(v1::Error { message, ..Default::default() }))
    } else {
        value.get("lost").map(|_| Answer::Lost(v1::Lost::default()))
    };
    v1::SessionResponse { request: number(&value["request"]), body }
}
