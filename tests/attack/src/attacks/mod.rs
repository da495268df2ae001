//! The attacks. Each runs from one address until its time is over, with as many connections as it says.
//!
//! * [`floods`]: frames that cost their sender nothing;
//! * [`hoards`]: what is opened, asked for or begun, and then left;
//! * [`noise`]: bytes that are no HTTP/2, or hardly;
//! * [`plain`]: all of that on connections without HTTP/2.

mod floods;
mod hoards;
mod noise;
mod plain;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::wire::Target;

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
    join_all((0..connections).map(async |_| {
        while !until.over() {
            let _ = attack().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }))
    .await;
}

macro_rules! attack {
    ($name:literal, $what:literal, $run:path) => {
        Attack { name: $name, what: $what, run: |target, until| Box::pin($run(target, until)) }
    };
}

/// All of them.
pub const ATTACKS: &[Attack] = &[
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
];

/// The attack of this name.
pub fn named(name: &str) -> Option<&'static Attack> {
    ATTACKS.iter().find(|attack| attack.name == name)
}
