//! The messages of `sixpin.v1` and the words of the API: translation both ways, for every front end whose clients speak
//! these messages.
//!
//! # Layout, in reading order
//!
//! * [`requests`]: messages to the words of the API;
//! * [`replies`], [`errors`]: the way back;
//! * [`session`]: the stream of one session; [`parts`]: what comes there in several messages.

pub(crate) mod requests;
pub(crate) mod replies;
pub(crate) mod errors;
pub(crate) mod session;
mod parts;
