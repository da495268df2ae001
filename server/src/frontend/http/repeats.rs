//! What makes something is made once: a request that carries an `Idempotency-Key` is answered as its first copy was.
//!
//! # Invariants
//!
//! * A key belongs to who asks: nobody gets an answer that was meant for somebody else.
//! * A key with another request is refused.
//! * Copies that come at once wait for the first one. It goes on if its caller goes away, so that a copy finds it.
//! * An answer that says that nothing happened is not kept: a copy tries anew.
//! * There are at most [`KEPT_MAX`] of them, each for [`KEPT_FOR`]; beyond, the oldest goes.
//!
//! A broker that ends forgets them. What a forgotten copy made a second time ends by its TTL.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, response};
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};
use sixpin_core::broker::api::{Client, RequestError};
use tokio::sync::watch;
use tokio::time::Instant;

use super::asked::Asked;
use super::problem::Problem;
use super::routes::Answered;
use crate::frontend::api::errors::invalid;

/// Answers that are kept.
const KEPT_MAX: usize = 10_000;
/// For how long.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// Longest key.
const KEY_BYTES_MAX: usize = 128;
/// Where it stands.
const KEY: &str = "idempotency-key";

/// Who asks, from where, and the key. Of those who show no credential the address is all that is known.
type Name = (String, Client, String);
/// An answer, once it is there. None: nothing happened.
type Copy = Option<Option<(StatusCode, HeaderMap, Bytes)>>;

/// The answers that are kept. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Repeats(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    answers: HashMap<Name, Entry>,
    order: VecDeque<(Instant, Name)>,
}

struct Entry {
    request: [u8; 32],
    answer: watch::Receiver<Copy>,
}

impl Repeats {
    /// Answers with `make`, or as an earlier copy of the request was answered.
    pub(super) async fn once<F>(&self, asked: Asked, make: impl FnOnce(Asked) -> F + Send + 'static) -> Answered
    where
        F: Future<Output = Answered> + Send + 'static,
    {
        let Some(key) = key(&asked.parts.headers)? else { return make(asked).await };
        let name = (asked.from.who.name().clone(), asked.from.client, key);
        let request = asked.digest();
        let (sender, known) = {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.forget();
            match kept.answers.get(&name) {
                Some(known) if known.request != request => {
                    return Err(invalid("this `Idempotency-Key` was used for another request: take a new one").into());
                }
                Some(known) => (None, known.answer.clone()),
                None => {
                    let (sender, answer) = watch::channel(None);
                    kept.order.push_back((Instant::now(), name.clone()));
                    kept.answers.insert(name.clone(), Entry { request, answer: answer.clone() });
                    (Some(sender), answer)
                }
            }
        };
        if let Some(sender) = sender {
            let repeats = self.clone();
            tokio::spawn(async move {
                let answer = repeatable(make(asked).await).await;
                let keeps = answer.0.is_success() || answer.0 == StatusCode::CONFLICT;
                if !keeps {
                    repeats.0.lock().unwrap_or_else(PoisonError::into_inner).answers.remove(&name);
                }
                sender.send_replace(Some(Some(answer)));
            });
        }
        answered(known).await
    }
}

impl Kept {
    fn forget(&mut self) {
        while let Some((since, name)) = self.order.front() {
            if self.order.len() <= KEPT_MAX && since.elapsed() < KEPT_FOR {
                return;
            }
            self.answers.remove(name);
            self.order.pop_front();
        }
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get(KEY) else { return Ok(None) };
    match key.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= KEY_BYTES_MAX => Ok(Some(key.to_owned())),
        _ => Err(invalid(format!("`Idempotency-Key` is 1 to {KEY_BYTES_MAX} bytes of printable ASCII")).into()),
    }
}

async fn answered(mut known: watch::Receiver<Copy>) -> Answered {
    let there = known.wait_for(Option::is_some).await.ok().and_then(|copy| copy.clone().flatten());
    let Some((status, headers, body)) = there else {
        return Err(RequestError::Unknown("the request was given up: repeat it with the same key".into()).into());
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// An answer that can be given again. Those of calls are short.
async fn repeatable(answer: Answered) -> (StatusCode, HeaderMap, Bytes) {
    let response = answer.unwrap_or_else(Problem::into_response);
    let (response::Parts { status, headers, .. }, body) = response.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    (status, headers, body)
}

impl Asked {
    /// What all requests of this door share of it.
    pub(super) fn repeats(&self) -> Repeats {
        self.door.repeats.clone()
    }

    /// Tells requests apart.
    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.parts.uri.path());
        digest.update([0]);
        digest.update(self.said());
        digest.finalize().into()
    }
}
