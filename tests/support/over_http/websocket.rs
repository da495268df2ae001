//! A session on a WebSocket, in texts.

use std::net::SocketAddr;

use futures::stream::{BoxStream, StreamExt as _};
use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde_json::{Map, Value};
use sixpin_proto::v1;
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tonic::Status;
use v1::session_response::Body;

use super::super::status_of;
use super::json;

/// A conversation. What the broker says last is the end, as a status is over gRPC; a WebSocket has no half that is closed, so
/// that whoever has asked everything is not told the rest.
pub async fn conversation(
    address: SocketAddr,
    requests: ReceiverStream<v1::SessionRequest>,
) -> BoxStream<'static, Result<v1::SessionResponse, Status>> {
    let mut request = format!("ws://{address}/v1/stream").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "sixpin.v1.json".parse().unwrap());
    let (socket, _) = connect_async(request).await.unwrap();
    let (sink, answers) = socket.split();
    tokio::spawn(requests.map(|request| Ok(asked(&request))).forward(sink));
    answers.filter_map(async |answer| answered(answer)).boxed()
}

fn asked(request: &v1::SessionRequest) -> Message {
    let descriptor = json::descriptor("sixpin.v1.SessionRequest");
    let request = DynamicMessage::decode(descriptor, request.encode_to_vec().as_slice()).unwrap();
    Message::text(Value::from(json::write(&request)).to_string())
}

fn answered(
    answer: Result<Message, tokio_tungstenite::tungstenite::Error>,
) -> Option<Result<v1::SessionResponse, Status>> {
    let text = match answer {
        Ok(Message::Text(text)) => text,
        Ok(Message::Ping(_) | Message::Close(_)) => return None,
        Ok(other) => panic!("the broker says {other:?}"),
        Err(error) => return Some(Err(Status::unavailable(error.to_string()))),
    };
    let fields: Map<String, Value> = serde_json::from_str(text.as_str()).unwrap();
    let answer = json::read(&json::descriptor("sixpin.v1.SessionResponse"), &fields);
    let answer = v1::SessionResponse::decode(answer.encode_to_vec().as_slice()).unwrap();
    Some(match answer {
        v1::SessionResponse { request: 0, body: Some(Body::Error(error)) } => Err(status_of(&error)),
        answer => Ok(answer),
    })
}
