//! A broker reached by JSON over HTTP/1.1, for clients that know only gRPC: so the tests of locks are tests of that door too.
//!
//! A call that has a route goes by it, over a socket: its message becomes path, query, header and body, and what is answered, or the
//! problem that there is, becomes the answer of a call again. A session is a WebSocket with texts. How JSON is written and read
//! here shares nothing with the broker, and what it says that the documentation does not promise is a panic.
//!
//! These go by gRPC, because the door does not have them: `Hold`, health and reflection; bytes that are no message; and calls that no
//! URL can say (`routes::Call::request`).

mod json;
mod routes;
mod websocket;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde_json::{Map, Value};
use sixpin_proto::v1;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Error};
use tower::ServiceExt as _;
use tower_service::Service;

use self::routes::Call;
use super::http::Events;
use super::status_of;
pub use websocket::conversation;

/// What stands before a message of gRPC: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A way to a broker, with connections of its own.
#[derive(Clone)]
pub struct OverHttp {
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
    /// For what the door does not have.
    grpc: Channel,
}

impl OverHttp {
    pub fn to(address: SocketAddr) -> Self {
        let grpc = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { client: Client::builder(TokioExecutor::new()).build_http(), address, grpc }
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Error> {
        let Some(call) = Call::of(request.uri().path()) else { return self.grpc.oneshot(request).await };
        let (head, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let asked = message(&bytes).and_then(|message| call.request(message));
        let Some(asked) = asked else {
            let body = Body::new(Full::new(bytes).map_err(|never: Infallible| match never {}));
            return self.grpc.oneshot(Request::from_parts(head, body)).await;
        };
        let answered = self.ask(&call, asked, head.headers).await;
        Ok(answered.unwrap_or_else(Status::into_http))
    }

    async fn ask(&self, call: &Call, asked: routes::Asked, metadata: HeaderMap) -> Result<Response<Body>, Status> {
        loop {
            let mut request = Request::builder().method(asked.method.clone());
            request = request.uri(format!("http://{}{}", self.address, asked.target));
            let headers = request.headers_mut().unwrap();
            headers.extend(metadata.get("authorization").map(|who| (AUTHORIZATION, who.clone())));
            headers.extend(asked.token.as_ref().map(|token| (routes::TOKEN, token.parse().unwrap())));
            if asked.body.is_some() {
                headers.insert("content-type", "application/json".parse().unwrap());
            }
            let body = asked.body.clone().map(|fields| Value::from(fields).to_string()).unwrap_or_default();
            let response = self.client.request(request.body(Full::from(body)).unwrap()).await;
            let response = response.map_err(|error| Status::unavailable(error.to_string()))?;
            if call.is_watch() && response.status() == StatusCode::OK {
                return Ok(watched(call.clone(), Events::new(response)));
            }
            let (status, headers) = (response.status(), response.headers().clone());
            let body = response.into_body().collect().await;
            let body = body.map_err(|error| Status::unavailable(error.to_string()))?.to_bytes();
            let Ok(Value::Object(fields)) = serde_json::from_slice(&body) else {
                panic!("{} answers {status} with {body:?}", asked.target);
            };
            match (status, headers["content-type"].to_str().unwrap()) {
                (StatusCode::OK, "application/json") => return Ok(whole(&call.answer(fields))),
                // It waits, and goes on waiting.
                (StatusCode::ACCEPTED, "application/json") => {
                    json::read(&json::descriptor("sixpin.v1.Queued"), &fields);
                }
                (_, "application/problem+json") => {
                    assert_eq!(fields["status"], status.as_u16(), "{fields:?}");
                    return problem(call, fields);
                }
                other => panic!("{} answers {other:?}", asked.target),
            }
        }
    }
}

/// It never fails. Its error is that of a connection of gRPC, so that callers have one type for both.
impl Service<Request<Body>> for OverHttp {
    type Response = Response<Body>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response<Body>, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.clone().answer(request).boxed()
    }
}

/// The one message of a call.
fn message(bytes: &Bytes) -> Option<Bytes> {
    let mut rest = bytes.clone();
    if rest.remaining() < PREFIX {
        return None;
    }
    let (compressed, length) = (rest.get_u8(), rest.get_u32() as usize);
    (compressed == 0 && rest.remaining() == length).then_some(rest)
}

fn framed(message: &DynamicMessage) -> Frame<Bytes> {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.encoded_len() as u32);
    message.encode(&mut framed).unwrap();
    Frame::data(framed.freeze())
}

fn ended(status: &Status) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).unwrap();
    Frame::trailers(trailers)
}

fn response(frames: impl futures::Stream<Item = Frame<Bytes>> + Send + 'static) -> Response<Body> {
    let body = Body::new(StreamBody::new(frames.map(Ok::<_, Status>)));
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

/// An answer of one message.
fn whole(message: &DynamicMessage) -> Response<Body> {
    response(futures::stream::iter([framed(message), ended(&Status::ok(""))]))
}

/// A stream of states.
fn watched(call: Call, events: Events) -> Response<Body> {
    let frames = futures::stream::unfold(Some((call, events)), |state| async move {
        let (call, mut events) = state?;
        let Some((name, id, Value::Object(said))) = events.next().await else {
            return Some((ended(&Status::ok("")), None));
        };
        match name.as_str() {
            "state" => {
                assert_eq!(said["version"], *id, "an event's id is the version");
                Some((framed(&call.answer(said)), Some((call, events))))
            }
            "error" => Some((ended(&status(&said)), None)),
            other => panic!("an event `{other}`: {said:?}"),
        }
    });
    response(frames)
}

/// An ordinary no has the whole answer with it; everything else is the end of a call.
fn problem(call: &Call, mut fields: Map<String, Value>) -> Result<Response<Body>, Status> {
    match fields.remove("completion") {
        Some(Value::Object(completion)) => {
            assert_eq!((&fields["status"], &fields["reason"]), (&409.into(), &completion["status"]));
            Ok(whole(&call.answer(completion)))
        }
        Some(other) => panic!("a completion is {other}"),
        None => Err(status(&fields)),
    }
}

/// With what a call would end that has this problem.
fn status(problem: &Map<String, Value>) -> Status {
    let said = |field: &str| problem.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let reason = v1::Reason::from_str_name(&format!("REASON_{}", said("reason")));
    let reason = reason.unwrap_or_else(|| panic!("no such reason: {problem:?}"));
    let retry_after_ms = problem.get("retryAfterMs").and_then(Value::as_u64).unwrap_or_default() as u32;
    let error = v1::Error { reason: reason.into(), message: said("detail"), address: said("address"), retry_after_ms };
    let status = status_of(&error);
    if problem.contains_key("code") {
        assert_eq!(said("code"), format!("{:?}", status.code()), "{problem:?}");
    }
    assert_eq!(problem["mayHaveHappened"], reason == v1::Reason::Unknown, "{problem:?}");
    status
}
