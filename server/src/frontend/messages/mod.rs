//! The messages of `sixpin.v1` and the words of the API: translation both ways, for every front end whose clients speak
//! these messages.
//!
//! # Layout, in reading order
//!
//! * [`requests`]: messages to the words of the API;
//! * [`replies`], [`errors`]: the way back;
//! * [`session`]: the stream of one session; [`parts`]: what comes there in several messages;
//! * [`locks`], [`inspection`], [`administration`]: calls, message in and message out; [`views`]: what they show.

pub(crate) mod requests;
pub(crate) mod replies;
pub(crate) mod errors;
pub(crate) mod session;
mod parts;
pub(crate) mod locks;
pub(crate) mod inspection;
pub(crate) mod administration;
pub(crate) mod views;
