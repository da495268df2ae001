//! Client of the sixpin lock broker: distributed locks in six modes, with conversions, value blocks and fences.
//!
//! ```no_run
//! # async fn example() -> Result<(), sixpin_client::Error> {
//! use std::time::Duration;
//! use sixpin_client::{Client, Mode};
//!
//! let client = Client::new(["127.0.0.1:6616"])?;
//! let session = client.session().ttl(Duration::from_secs(10)).open().await?;
//! let guard = session.lock("orders/42", Mode::EX).wait(Duration::from_secs(3)).await?;
//! guard.check()?; // directly before each use: is it still ours?
//! println!("write with fence {}", guard.fence());
//! guard.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A lock that is held can be lost: the machine may be suspended, every broker may be out of reach, an administrator may
//! take it away. [`Guard::check`] reads the clock and says whether it is still held *now*; [`Guard::lost`] resolves when
//! it is lost. Where even a moment between check and use is too long, hand [`Guard::fence`] to what the lock protects
//! and let it refuse smaller ones.
//!
//! # When the program ends
//!
//! A guard that is dropped is released by a task of the runtime, a moment later. A program that ends in that moment, by
//! returning from `main`, by a panic or by [`std::process::exit`], releases nothing: its locks are free when their TTL
//! has passed. So do the work inside [`Client::run`], which closes the client whatever became of the work, a `?`
//! included; or await [`Client::close`], [`Session::close`] or [`Guard::release`] before the end.
//!
//! ```no_run
//! use sixpin_client::{Client, Error, Mode};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Error> {
//!     let client = Client::from_env()?;
//!     client.run(work(&client)).await
//! }
//!
//! async fn work(client: &Client) -> Result<(), Error> {
//!     let guard = client.lock("report", Mode::EX).await?;
//!     guard.check()?; // an error here still releases the lock at once
//!     guard.release().await
//! }
//! ```
//!
//! # When a session is lost
//!
//! Everything that it held is lost with it, and its guards say so for ever. Unless told otherwise the session stays lost,
//! and the program opens another one. [`SessionBuilder::reopen`] makes the handle do that by itself: locks that are asked
//! for after the loss go to the new session. None is taken again by itself, because only the program knows what
//! became of what the lock protects.
//!
//! # Waits
//!
//! [`SessionBuilder::timeout`] and [`LockRequest::wait`] are bounds: what they are given for ends within that time, and
//! half a second for an answer on its way, whether brokers answer or not. A lock that ends so says whether somebody was
//! in the way ([`Refusal::TimedOut`]) or no broker could tell ([`Refusal::Undecided`]).
//!
//! # TLS and tokens
//!
//! Brokers with `https://` in front of their address are reached with TLS. [`Credentials`] say by which authority they are
//! trusted, if it is not one that the system trusts, and who the program is: by a certificate of its own, or by a token, which
//! is sent only with TLS or to this host. A broker that does not let it in is [`Error::Denied`].
//!
//! ```no_run
//! # fn example() -> Result<(), sixpin_client::Error> {
//! use sixpin_client::{Client, Credentials};
//!
//! let credentials = Credentials::new().ca_file("/etc/sixpin/ca.pem").token_file("/run/secrets/sixpin-token");
//! let client = Client::builder(["https://north:6616", "https://south:6616"]).credentials(credentials).build()?;
//! # drop(client);
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//!
//! * [`Client`]: addresses of brokers, and where sessions are opened; [`Client::run`] and [`Client::close`] end them all;
//! * [`Credentials`]: how brokers are trusted, and who the program is to them;
//! * [`Client::lock`]: one lock, in a session of its own;
//! * [`Session`]: one life with a TTL, on one connection; what locks are asked of;
//! * [`Guard`]: one claim that is held; released when it is dropped;
//! * `Client::embedded` (feature `embedded`): a broker inside this program, so that it needs its store and nothing else;
//! * [`Inspection`] and [`Administration`]: calls outside sessions, for tools.

// Four layers, lowest first. `logic` decides everything about a session, without IO; the rest carries it out.
// A file uses only files that stand before it here or in its own group, and never in a circle.

// Words.
mod clock;
mod error;
mod events;
#[cfg(feature = "logic")]
pub mod logic;
#[cfg(not(feature = "logic"))]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "some of it is for those who turn on `logic` alone")]
mod logic;
mod address;
mod mode;

// Who a program is to brokers, and connections to them.
mod files;
mod token;
mod pem;
mod status;
mod tls_trouble;
mod encrypted;
mod tls;
mod credentials;
mod socket;

// Brokers outside sessions, and streams to them.
mod frames;
#[cfg(feature = "embedded")]
mod inside;
mod calls;
mod connect;
mod settings;
mod link;
mod reach;
mod way;

// One session: its task, and what reaches it. Then those of one handle, one after the other.
mod claim;
mod command;
mod handle;
mod news;
mod operation;
mod reopen;
mod shared;
mod succession;
mod task;
mod wake;

// What a program has in its hands.
mod builder;
mod client;
mod convert;
#[cfg(feature = "embedded")]
mod embedded;
mod guard;
mod lock;
mod release;
mod session;
mod single;
mod tools;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use builder::SessionBuilder;
pub use client::{Client, ClientBuilder, ENDPOINTS_DEFAULT, ENDPOINTS_VARIABLE};
pub use convert::{Convert, Converting};
pub use credentials::{
    CA_VARIABLE, CERTIFICATE_VARIABLE, Credentials, KEY_VARIABLE, TOKEN_FILE_VARIABLE, TOKEN_VARIABLE,
};
#[cfg(feature = "embedded")]
pub use embedded::EmbeddedBuilder;
pub use error::{Blocker, Error, Loss, NotGranted, Refusal, Refused, Tried};
pub use events::{SessionEvent, SessionEvents, StateWatch};
pub use guard::Guard;
pub use lock::{LockRequest, Locking};
pub use logic::{ClaimEvent, Grant, Opened, State, ValueBlock};
pub use mode::{Mode, UnknownMode};
pub use release::{Release, Releasing};
pub use session::Session;
pub use single::SingleLock;
/// The messages of the API, which inspection and administration speak.
pub use sixpin_proto::v1 as proto;
#[cfg(feature = "embedded")]
/// The broker as a library. No part of this crate's API: it may change in any release.
pub use sixpin_server as server;
pub use tools::{Administration, Inspection, Watch};
