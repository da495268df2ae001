//! One leader at a time. The leader works until somebody else wants to lead, or until the lock is lost.
//!
//! Start it twice: `cargo run -p sixpin-client --example leader`, with `SIXPIN_ENDPOINTS` for other addresses. Each leads
//! for a while and hands over; stop one with Ctrl-Z and see the other take over when its TTL has passed.
#![allow(clippy::print_stdout)] // an example talks

use std::time::Duration;

use sixpin_client::{ClaimEvent, Client, Error, Guard, Mode};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let terms: u32 = std::env::args().nth(1).and_then(|terms| terms.parse().ok()).unwrap_or(3);
    let session = Client::from_env()?.session().ttl(Duration::from_secs(5)).label("leader");
    // A session that is lost ends a term. The next one begins in a new session.
    let session = session.reopen(Duration::MAX).open().await?;
    for _ in 0..terms {
        let guard = session.lock("examples/leader", Mode::EX).blocking().await?;
        println!("leading, with fence {}", guard.fence());
        lead(&guard).await;
        // Dropping a guard that was lost tells the broker that its work has stopped.
        drop(guard);
    }
    session.close().await
}

/// Works until the lock is lost, or is wanted by somebody else.
async fn lead(guard: &Guard) {
    let enough = tokio::time::sleep(Duration::from_secs(2));
    tokio::pin!(enough);
    loop {
        tokio::select! {
            event = guard.next_event() => match event {
                ClaimEvent::Blocking { .. } => return println!("somebody else wants to lead"),
                ClaimEvent::Lost(loss) => return println!("not leading any more: {loss}"),
                _ => {}
            },
            () = tokio::time::sleep(Duration::from_millis(200)), if guard.is_valid() => {
                println!("at work; the lock is valid for {:?}", guard.valid_for());
            }
            () = &mut enough => return println!("led long enough"),
        }
    }
}
