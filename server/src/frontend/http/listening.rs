//! The events of a session, for its client who has calls and no stream: Server-Sent Events with the messages that a stream has.
//!
//! What comes first says how the session stands, so that whoever comes back finds out what it missed. There are no ids: an event is
//! told once, and its outcome is learned again by a repeat of the request.

use axum::response::sse;
use futures::StreamExt as _;
use serde_json::{Map, Value};
use sixpin_core::broker::api::{Event, RequestError};
use sixpin_proto::v1;

use super::asked::Asked;
use super::events::{answer, event};
use super::json::write;
use super::problem::Problem;
use super::routes::Answered;
use crate::frontend::messages::replies;

pub(super) async fn listen(mut asked: Asked) -> Answered {
    let token = asked.token_of("session")?;
    let v1::Listen {} = asked.message()?;
    let (listening, events) = asked.door.locks.listen(&token, &asked.from).await?;
    let first = say("listening", write(&listening));
    Ok(answer(futures::stream::iter([first]).chain(events.map(told))))
}

fn told(event: Result<Event, RequestError>) -> sse::Event {
    match event {
        Ok(Event::Done(done)) => {
            let completion = replies::completion(&done);
            let granted = completion.status() == v1::Status::Granted;
            say(if granted { "granted" } else { "ended" }, write(&completion))
        }
        Ok(Event::Blocking { claim, grant_seq, wanted, own }) => {
            say("blocking", write(&replies::blocking(claim, grant_seq, wanted, own)))
        }
        Ok(Event::Lost { reason, claims }) => say("lost", write(&replies::lost(reason, &claims))),
        Ok(Event::Move { addresses }) => say("move", write(&v1::Move { addresses })),
        Err(error) => say("error", Problem::from(error).body()),
    }
}

fn say(name: &str, fields: Map<String, Value>) -> sse::Event {
    event(name, &fields.into())
}
