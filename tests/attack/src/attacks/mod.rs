//! The attacks. Each runs from one address until its time is over, with as many connections as it says.
//!
//! * [`floods`]: frames that cost their sender nothing;
//! * [`hoards`]: what is opened, asked for or begun, and then left;
//! * [`noise`]: bytes that are no HTTP/2, or hardly;
//! * [`plain`]: all of that on connections without HTTP/2;
//! * [`http`], [`websockets`]: JSON, over HTTP/1.1, HTTP/2 and WebSocket;
//! * [`handshakes`]: TLS that is begun, over and over, slowly or wrongly;
//! * [`certificates`]: those that cost the broker more than whoever shows them;
//! * [`records`]: what TLS has beside what it carries;
//! * [`strangers`]: who has no token, or a wrong one, or speaks without TLS.

mod certificates;
mod floods;
mod handshakes;
mod hoards;
mod http;
mod noise;
mod plain;
mod records;
mod strangers;
mod websockets;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::io::{AsyncRead, AsyncWrite, WriteHalf};

use crate::target::Target;

/// Where a call goes.
mod path {
    pub(super) const SESSION: &str = "/sixpin.v1.LockService/Session";
    pub(super) const OPEN: &str = "/sixpin.v1.LockService/OpenSession";
    pub(super) const LIST: &str = "/sixpin.v1.InspectService/ListResources";
    pub(super) const CLAIMS: &str = "/sixpin.v1.InspectService/ListClaims";
    pub(super) const WATCH: &str = "/sixpin.v1.InspectService/WatchResource";
    pub(super) const STATUS: &str = "/sixpin.v1.InspectService/GetStatus";
}

/// One attack.
pub struct Attack {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// It needs a broker with TLS.
    pub tls: bool,
    run: fn(Target, Until) -> Running,
}

type Running = Pin<Box<dyn Future<Output = ()>>>;

impl Attack {
    /// Attacks for as long as `time`.
    pub async fn run(&self, target: Target, time: Duration) {
        let until = Until(Instant::now() + time);
        // What waits for the broker may wait longer than the attack lasts.
        let _ = tokio::time::timeout(time, (self.run)(target, until)).await;
    }
}

/// When an attack ends.
#[derive(Debug, Clone, Copy)]
struct Until(Instant);

impl Until {
    fn over(self) -> bool {
        Instant::now() >= self.0
    }

    /// Stays until the end.
    async fn wait(self) {
        tokio::time::sleep_until(self.0.into()).await;
    }
}

/// The same on many connections. A connection that ends is made anew, as an attacker would, but at most ten times a
/// second.
async fn on_each<A>(connections: usize, until: Until, attack: A)
where
    A: AsyncFn() -> io::Result<()>,
{
    again(connections, Duration::from_millis(100), until, attack).await;
}

/// The same with a pause of one's own.
async fn again<A>(connections: usize, pause: Duration, until: Until, attack: A)
where
    A: AsyncFn() -> io::Result<()>,
{
    join_all((0..connections).map(async |_| {
        while !until.over() {
            let _ = attack().await;
            tokio::time::sleep(pause).await;
        }
    }))
    .await;
}

/// Says something on a connection of which the answers are read, and looked at by nobody.
async fn reading_along<S, A>(stream: S, say: A) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
    A: AsyncFnOnce(&mut WriteHalf<S>) -> io::Result<()>,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let reading = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
    let said = say(&mut writer).await;
    reading.abort();
    said
}

macro_rules! attack {
    ($name:literal, $what:literal, $run:path) => {
        attack!($name, $what, $run, false)
    };
    ($name:literal, $what:literal, $run:path, tls) => {
        attack!($name, $what, $run, true)
    };
    ($name:literal, $what:literal, $run:path, $tls:literal) => {
        Attack { name: $name, what: $what, tls: $tls, run: |target, until| Box::pin($run(target, until)) }
    };
}

/// All of them.
const ATTACKS: &[Attack] = &[
    attack!("settings", "20 connections send SETTINGS without end", floods::settings),
    attack!("pings", "20 connections send PING without end", floods::pings),
    attack!("windows", "20 connections send WINDOW_UPDATE without end", floods::windows),
    attack!("priorities", "20 connections send PRIORITY without end", floods::priorities),
    attack!("resets", "20 connections open calls and reset them at once", floods::resets),
    attack!("continuations", "20 connections send headers that never end", floods::continuations),
    attack!("empty-data", "20 connections send DATA without a byte", floods::empty_data),
    attack!("large-headers", "20 connections send 200 kB of headers with each call", floods::large_headers),
    attack!(
        "unread-listings",
        "20 connections ask for 126 listings of 1,000 names each and read none",
        hoards::unread_listings
    ),
    attack!("slow-listings", "the same, and one byte of each is let through now and then", hoards::slow_listings),
    attack!("deaf-listings", "the same with an open window, on connections that are never read", hoards::deaf_listings),
    attack!("readers", "128 readers list 1,000 names of 1 kB", hoards::readers),
    attack!("status", "128 readers ask for the broker's status", hoards::status),
    attack!("watches", "300 connections watch 126 resources each", hoards::watches),
    attack!("empty-streams", "300 connections open 126 session streams each and say nothing", hoards::empty_streams),
    attack!("sessions", "sessions with a TTL of an hour, as many and as fast as they come", hoards::sessions),
    attack!("deaf-sessions", "sessions that send keepalives and never read an answer", hoards::deaf_sessions),
    attack!("slow-bodies", "200 connections begin 100 messages of 60 kB each and end none", hoards::slow_bodies),
    attack!("half-open", "12,000 connections that say nothing, or no more than hello", noise::half_open),
    attack!("noise", "random bytes, with and without hello before them", noise::random),
    attack!("frames", "random frames with random contents", noise::frames),
    attack!("plain-greetings", "12,000 connections that begin to greet, or greet and say nothing", plain::greetings),
    attack!("plain-noise", "20 connections greet, and send random bytes", plain::noise),
    attack!("plain-floods", "20 connections greet, and send keepalives without end", plain::floods),
    attack!("plain-deaf", "200 connections do so and never read an answer", plain::deaf),
    attack!("plain-halves", "300 connections greet, and begin a message of 60 kB that never ends", plain::halves),
    attack!("http-slow-heads", "300 connections begin a head, and go on with a byte a second", http::slow_heads),
    attack!("http-slow-bodies", "the same with a body of 60 kB", http::slow_bodies),
    attack!("http-slow-streams", "200 connections of HTTP/2 begin 126 bodies each and end none", http::slow_streams),
    attack!("http-large", "20 connections send bodies of 8 MiB, and heads of 1 MiB", http::large),
    attack!("http-deep", "20 connections send JSON that is very deep, or has very many parts", http::deep),
    attack!("http-floods", "20 connections ask for leases, sessions, states and what is not there", http::floods),
    attack!("http-keys", "leases with an Idempotency-Key that wait, whose callers are gone", http::keys),
    attack!("http-polls", "2,000 connections, and 100 with 126 streams, wait for another version", http::polls),
    attack!("http-events", "300 connections watch what changes all the time, and read none of it", http::events),
    attack!("http-listeners", "25 connections listen to 32 sessions each, and 100 to one in turn", http::listeners),
    attack!("http-resets", "20 connections of HTTP/2 ask for leases and reset that at once", http::resets),
    attack!("http-smuggling", "100 connections say in two ways where a request ends", http::smuggling),
    attack!("websockets", "12,000 WebSockets with a session each", websockets::open),
    attack!("websocket-silence", "12,000 WebSockets that say nothing", websockets::silent),
    attack!("websocket-pings", "20 WebSockets send pings without end", websockets::pings),
    attack!(
        "websocket-empties",
        "20 WebSockets send a message of empty fragments that never ends",
        websockets::empties
    ),
    attack!("websocket-splinters", "20 WebSockets send long messages in fragments of one byte", websockets::splinters),
    attack!("websocket-floods", "20 WebSockets send keepalives without end", websockets::keepalives),
    attack!("websocket-deaf", "200 do so and never read an answer", websockets::deaf),
    attack!("websocket-huge", "100 WebSockets send a message without an end", websockets::huge),
    attack!("tls-handshakes", "100 connections shake hands and end, without a pause", handshakes::whole, tls),
    attack!("tls-one-by-one", "one connection does, the next one after it", handshakes::one_by_one, tls),
    attack!("tls-hellos", "100 connections begin to shake hands and end, without a pause", handshakes::hellos, tls),
    attack!("tls-halves", "12,000 connections say hello, and nothing more", handshakes::halves, tls),
    attack!("tls-slow", "200 connections say hello, a byte a second", handshakes::slow, tls),
    attack!("tls-splinters", "100 connections say hello in records of one byte", handshakes::splinters, tls),
    attack!(
        "tls-long-hellos",
        "200 connections say a hello of 64 KiB or 16 MiB that never ends",
        handshakes::long,
        tls
    ),
    attack!("tls-noise", "100 connections say hello, and then random or huge records", handshakes::noise, tls),
    attack!(
        "tls-certificates",
        "100 connections show a certificate without a role, again and again",
        certificates::good,
        tls
    ),
    attack!(
        "tls-chains",
        "100 connections show a certificate with 90 that could have signed it",
        certificates::chains,
        tls
    ),
    attack!(
        "tls-labyrinths",
        "the same, and each of them says that another one has signed it",
        certificates::labyrinths,
        tls
    ),
    attack!("tls-key-updates", "20 connections ask for new keys without end", records::key_updates, tls),
    attack!("tls-paid-updates", "20 connections ask for new keys with every byte", records::paid_key_updates, tls),
    attack!("tls-data-splinters", "20 connections send messages in records of one byte", records::splinters, tls),
    attack!("tls-renegotiations", "100 connections shake hands, and begin again", records::renegotiations, tls),
    attack!("tls-plaintext", "100 connections speak without TLS", strangers::plaintext, tls),
    attack!("wrong-tokens", "100 connections make 100 calls at once with wrong tokens", strangers::wrong_tokens, tls),
    attack!("plain-wrong-tokens", "100 connections greet with wrong tokens", strangers::wrong_tokens_in_frames, tls),
    attack!("no-tokens", "100 connections call and greet without a token", strangers::no_tokens, tls),
];

/// Those that there are on a broker without TLS, or with it.
pub fn all(tls: bool) -> impl Iterator<Item = &'static Attack> {
    ATTACKS.iter().filter(move |attack| tls || !attack.tls)
}

/// The attack of this name.
pub fn named(name: &str) -> Option<&'static Attack> {
    ATTACKS.iter().find(|attack| attack.name == name)
}
