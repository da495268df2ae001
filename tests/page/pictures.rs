//! The pictures of docs/page.md: `cargo test --test it -- --ignored page::pictures`.

use std::path::Path;
use std::time::Duration;

use sixpin_client::Mode;

use super::World;
use super::driver::Browser;
use crate::support::until;

/// A page is looked at, not downloaded.
const BYTES_MAX: usize = 150 * 1024;

async fn take(browser: &Browser, name: &str) {
    let picture = browser.picture().await;
    assert!(picture.len() < BYTES_MAX, "{name} has {} bytes", picture.len());
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures").join(name), picture).unwrap();
}

#[tokio::test]
#[ignore = "writes the pictures of the documentation"]
async fn the_pictures_of_the_documentation() {
    let world = World::configured("[lockspaces.\"billing\"]\n").await;
    let mut sessions = Vec::new();
    for label in
        ["billing@host-3", "export@host-2", "mailer@host-7", "backup@host-9", "report@host-1", "archive@host-5"]
    {
        sessions.push(world.session(label).await);
    }
    let [billing, export, mailer, backup, report, archive] =
        sessions.try_into().unwrap_or_else(|_| panic!("six sessions"));
    let mut held = vec![archive.lock("invoice/2026/0042", Mode::NL).value_block().await.unwrap()];
    let written = archive.lock("invoice/2026/0042", Mode::PW).await.unwrap();
    written.release().value("next=0043").await.unwrap();
    for (session, name, mode, label, owner) in [
        (&billing, "invoice/2026/0042", Mode::PR, "monthly run", "close-books"),
        (&export, "invoice/2026/0042", Mode::PR, "", "task-12"),
        (&backup, "volume/main", Mode::EX, "snapshot 17", ""),
        (&mailer, "queue/outgoing", Mode::PW, "drain to relay-2", ""),
        (&report, "totals/2026", Mode::PR, "", ""),
    ] {
        held.push(session.lock(name, mode).label(label).owner(owner).await.unwrap());
    }
    let mut waiting = Vec::new();
    for (session, name, mode, label) in [
        (&mailer, "invoice/2026/0042", Mode::EX, "send reminders"),
        (&archive, "invoice/2026/0042", Mode::EX, ""),
        (&backup, "queue/outgoing", Mode::PW, "announce"),
        (&report, "volume/main", Mode::PR, "read totals"),
    ] {
        waiting.push(tokio::spawn(session.lock(name, mode).label(label).into_future()));
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    let browser = Browser::start().await;
    let look = async |path: &str| {
        browser.open(&format!("{}{path}", world.address())).await;
        until("it is live", async || browser.text("footer").await.contains("Live")).await;
    };
    browser.screen(1_280, 960, false).await;
    look("/").await;
    take(&browser, "page-home.png").await;
    look("/resource?lockspace=default&name=invoice%2F2026%2F0042").await;
    take(&browser, "page-resource.png").await;
    look(&format!("/session?id={}", report.id())).await;
    browser.theme("dark").await;
    take(&browser, "page-session-dark.png").await;
    browser.theme("light").await;
    browser.screen(390, 844, true).await;
    look("/").await;
    take(&browser, "page-home-phone.png").await;
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}
