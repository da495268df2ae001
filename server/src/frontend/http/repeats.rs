//! What makes something is made once: a request that carries an `Idempotency-Key` is answered as its first copy was.
//!
//! # Invariants
//!
//! * A key belongs to who asks and from where: nobody gets an answer that was meant for somebody else.
//! * A key with another request is refused.
//! * Copies that come at once wait for the first one. It goes on if its caller goes away, so that a copy finds it.
//! * What an answer says of time is right for the copy that gets it: `validForMs` counts from when *that* was sent.
//! * An answer that says that nothing happened is not kept: a copy tries anew.
//! * An answer is kept for [`KEPT_FOR`]; of more than [`KEPT_OF_ONE_MAX`] of one who asks, or [`KEPT_MAX`] in all, the oldest of
//!   those go who have most. What is still in progress stays.
//!
//! A broker that ends forgets them. What a forgotten copy made a second time ends by its TTL.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode, response};
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};
use sixpin_core::broker::api::{Client, RequestError};
use tokio::sync::watch;
use tokio::time::Instant;

use super::asked::Asked;
use super::problem::Problem;
use super::routes::Answered;
use crate::frontend::api::errors::{invalid, over_limit};

/// Answers that are kept, in all and for one who asks.
const KEPT_MAX: usize = 20_000;
const KEPT_OF_ONE_MAX: usize = 1_000;
/// For how long.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// Longest key.
const KEY_BYTES_MAX: usize = 128;
/// Where it stands.
const KEY: &str = "idempotency-key";

/// Who asks, and from where: of those who show no credential the address is all that is known.
type Owner = (String, Client);
/// An answer, once it is there.
type Copy = Option<(StatusCode, HeaderMap, Bytes)>;

/// The answers that are kept. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Repeats(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    of: HashMap<Owner, HashMap<String, Entry>>,
    total: usize,
}

#[derive(Clone)]
struct Entry {
    request: [u8; 32],
    begun: Instant,
    answer: watch::Receiver<Copy>,
}

impl Entry {
    /// Neither an answer nor anybody who makes one.
    fn is_given_up(&self) -> bool {
        self.answer.has_changed().is_err() && self.answer.borrow().is_none()
    }

    fn is_in_progress(&self) -> bool {
        self.answer.borrow().is_none() && !self.is_given_up()
    }

    fn is_over(&self) -> bool {
        self.is_given_up() || !self.is_in_progress() && self.begun.elapsed() >= KEPT_FOR
    }
}

impl Repeats {
    /// Answers with `make`, or as an earlier copy of the request was answered.
    pub(super) async fn once<F>(&self, asked: Asked, make: impl FnOnce(Asked) -> F + Send + 'static) -> Answered
    where
        F: Future<Output = Answered> + Send + 'static,
    {
        let Some(key) = key(&asked.parts.headers)? else { return make(asked).await };
        let come = Instant::now();
        let owner = (asked.from.who.name(), asked.from.client);
        let request = asked.digest();
        let (known, sender) = self.lock().entry(&owner, &key, request)?;
        if let Some(sender) = sender {
            let (repeats, begun) = (self.clone(), known.begun);
            tokio::spawn(async move {
                let answer = repeatable(make(asked).await).await;
                if !answer.0.is_success() && answer.0 != StatusCode::CONFLICT {
                    repeats.lock().remove(&owner, &key, begun);
                }
                sender.send_replace(Some(answer));
            });
        }
        answered(known.answer, come.saturating_duration_since(known.begun)).await
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// What is known under a key; with who makes it, if nothing was.
    fn entry(
        &mut self,
        owner: &Owner,
        key: &str,
        request: [u8; 32],
    ) -> Result<(Entry, Option<watch::Sender<Copy>>), Problem> {
        match self.of.get(owner).and_then(|own| own.get(key)).filter(|known| !known.is_over()) {
            Some(known) if known.request != request => {
                return Err(invalid("this `Idempotency-Key` was used for another request: take a new one").into());
            }
            Some(known) => return Ok((known.clone(), None)),
            None => self.make_room(owner)?,
        }
        let (sender, answer) = watch::channel(None);
        let entry = Entry { request, begun: Instant::now(), answer };
        if self.of.entry(owner.clone()).or_default().insert(key.to_owned(), entry.clone()).is_none() {
            self.total += 1;
        }
        Ok((entry, Some(sender)))
    }

    fn make_room(&mut self, owner: &Owner) -> Result<(), Problem> {
        if self.of.get(owner).is_some_and(|own| own.len() >= KEPT_OF_ONE_MAX) && !self.forget_of(&owner.clone()) {
            return Err(over_limit("requests with an `Idempotency-Key` in progress").into());
        }
        if self.total >= KEPT_MAX {
            let most = self.of.iter().max_by_key(|(_, own)| own.len()).map(|(owner, _)| owner.clone());
            if !most.is_some_and(|most| self.forget_of(&most)) {
                return Err(over_limit("requests with an `Idempotency-Key` at this broker").into());
            }
        }
        Ok(())
    }

    /// Forgets what is over of one who asks, or else the oldest half of what is not in progress. False if all is.
    fn forget_of(&mut self, owner: &Owner) -> bool {
        let Some(own) = self.of.get_mut(owner) else { return false };
        let before = own.len();
        own.retain(|_, entry| !entry.is_over());
        if own.len() == before {
            let mut ages: Vec<Instant> =
                own.values().filter(|entry| !entry.is_in_progress()).map(|entry| entry.begun).collect();
            ages.sort_unstable();
            let middle = ages.get(ages.len() / 2).copied();
            own.retain(|_, entry| entry.is_in_progress() || middle.is_some_and(|middle| entry.begun > middle));
        }
        let forgotten = before - own.len();
        self.total -= forgotten;
        if self.of.get(owner).is_some_and(HashMap::is_empty) {
            self.of.remove(owner);
        }
        forgotten > 0
    }

    /// Forgets one that came to nothing.
    fn remove(&mut self, owner: &Owner, key: &str, begun: Instant) {
        let Some(own) = self.of.get_mut(owner) else { return };
        if own.get(key).is_some_and(|entry| entry.begun == begun) {
            own.remove(key);
            self.total -= 1;
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

/// The answer, to a copy that came so long after the first one.
async fn answered(mut known: watch::Receiver<Copy>, later: Duration) -> Answered {
    let there = known.wait_for(Option::is_some).await.ok().and_then(|copy| copy.clone());
    let Some((status, headers, body)) = there else {
        return Err(RequestError::Unknown("the request was given up: repeat it with the same key".into()).into());
    };
    let mut response = Response::new(Body::from(if later.is_zero() { body } else { aged(body, later) }));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.headers_mut().remove(CONTENT_LENGTH);
    Ok(response)
}

/// What is certain for so long from when the first copy was sent is certain for less from when this one was.
fn aged(body: Bytes, later: Duration) -> Bytes {
    const VALID: &str = "validForMs";
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_slice(&body) else { return body };
    let Some(valid) = fields.get(VALID).and_then(serde_json::Value::as_u64) else { return body };
    // A part of a millisecond counts as one.
    let later = u64::try_from(later.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
    fields.insert(VALID.into(), valid.saturating_sub(later).into());
    serde_json::Value::Object(fields).to_string().into()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> Owner {
        (name.to_owned(), Client::default())
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_asks_much_loses_his_own_answers_and_nobody_elses() {
        let mut kept = Kept::default();
        let (_, victim) = kept.entry(&owner("victim"), "k", [0; 32]).unwrap();
        victim.unwrap().send_replace(Some((StatusCode::OK, HeaderMap::new(), Bytes::new())));
        let mut in_progress = Vec::new();
        for number in 0..3 * KEPT_OF_ONE_MAX {
            tokio::time::advance(Duration::from_millis(1)).await;
            let sender = kept.entry(&owner("flood"), &number.to_string(), [1; 32]).unwrap().1.unwrap();
            if number < 10 {
                in_progress.push(sender);
            } else {
                sender.send_replace(Some((StatusCode::OK, HeaderMap::new(), Bytes::new())));
            }
        }
        assert!(kept.of[&owner("flood")].len() <= KEPT_OF_ONE_MAX);
        assert!((0..10).all(|number: u32| kept.of[&owner("flood")].contains_key(&number.to_string())));
        assert_eq!(kept.total, kept.of.values().map(HashMap::len).sum::<usize>());
        assert!(kept.entry(&owner("victim"), "k", [0; 32]).unwrap().1.is_none(), "it is still known");
        tokio::time::advance(KEPT_FOR).await;
        assert!(kept.entry(&owner("victim"), "k", [9; 32]).unwrap().1.is_some(), "its time is over");
    }

    #[tokio::test]
    async fn what_nobody_makes_any_more_is_made_anew() {
        let mut kept = Kept::default();
        drop(kept.entry(&owner("a"), "k", [0; 32]).unwrap());
        assert!(kept.entry(&owner("a"), "k", [0; 32]).unwrap().1.is_some());
    }

    #[test]
    fn an_answer_says_what_is_left_of_its_time() {
        let aged =
            |later| String::from_utf8(super::aged(Bytes::from(r#"{"validForMs":30000}"#), later).to_vec()).unwrap();
        assert_eq!(aged(Duration::from_secs(10)), r#"{"validForMs":19999}"#);
        assert_eq!(aged(Duration::from_secs(100)), r#"{"validForMs":0}"#);
    }
}
