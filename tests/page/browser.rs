//! The page in a real browser.

use bytes::Bytes;
use http::Method;
use serde_json::json;
use sixpin_client::{ClaimEvent, Mode};

use super::driver::Browser;
use super::{HOSTILE, Tokens, World, encoded, with};
use crate::support::until;

/// Waits until people read this there.
async fn reads(browser: &Browser, selector: &str, text: &str) {
    until(text, async || browser.text(selector).await.contains(text)).await;
}

fn resource(world: &World, name: &str) -> String {
    format!("{}/resource?lockspace=default&name={}", world.address(), encoded(name))
}

#[tokio::test]
async fn it_follows_what_clients_do_and_keeps_the_focus() {
    let world = World::start().await;
    let browser = Browser::start().await;
    browser.open(&world.address()).await;
    assert_eq!(browser.title().await, "Overview – sixpin");
    reads(&browser, "footer", "Live").await;
    assert!(browser.text("main").await.contains("Nobody waits at this broker"));
    let (holder, waiter) = (world.session("holder").await, world.session("waiter").await);
    let held = holder.lock("orders/7", Mode::EX).label("first").await.unwrap();
    let waiting = tokio::spawn(waiter.lock("orders/7", Mode::EX).label("second").into_future());
    reads(&browser, "main", "orders/7").await;
    reads(&browser, "#news", "Waiting 1").await;
    let main = browser.text("main").await;
    assert!(main.contains("first") && main.contains("second"), "{main}");

    browser.follow("orders/7").await;
    reads(&browser, "footer", "Live").await;
    assert_eq!(browser.title().await, "orders/7 – sixpin");
    // The link that has the focus belongs to a row that moves to another table.
    browser.value("document.querySelector('.queue + .queue td a').focus()").await;
    browser.value("document.querySelector('#q').value = 'half typed'").await;
    held.release().await.unwrap();
    until("it is granted", async || !browser.text("main").await.contains("first")).await;
    assert!(browser.text("main").await.contains("second"));
    assert_eq!(browser.value("document.querySelector('#q').value").await, "half typed");
    assert_eq!(browser.complaints().await, json!([]), "nothing was blocked or failed");

    browser.value("document.activeElement.blur()").await;
    browser.value("document.querySelector('#q').value = ''").await;
    browser.press("/").await;
    assert_eq!(browser.value("document.activeElement.id").await, "q");
    browser.press("ord\u{e007}").await;
    reads(&browser, "h1", "Resources that begin with ord").await;
    reads(&browser, "main", "orders/7").await;
    drop(waiting.await.unwrap().unwrap());
}

#[tokio::test]
async fn a_row_that_stays_keeps_the_focus_while_others_come_and_go() {
    let world = World::start().await;
    let browser = Browser::start().await;
    let (holder, other) = (world.session("holder").await, world.session("other").await);
    let _held = holder.lock("r", Mode::PR).label("stays").await.unwrap();
    let first = other.lock("r", Mode::PR).label("goes").await.unwrap();
    browser.open(&resource(&world, "r")).await;
    reads(&browser, "footer", "Live").await;
    let link = "[...document.querySelectorAll('tr')].find(row => row.textContent.includes('stays')).querySelector('a')";
    browser.value(&format!("{link}.focus()")).await;
    first.release().await.unwrap();
    let _second = other.lock("r", Mode::PR).label("comes").await.unwrap();
    until("the other one comes", async || {
        let main = browser.text("main").await;
        main.contains("comes") && !main.contains("goes")
    })
    .await;
    assert_eq!(browser.value(&format!("document.activeElement === {link}")).await, true);
}

#[tokio::test]
async fn a_claim_is_taken_away_by_typing_its_name() {
    let tokens = Tokens::new();
    let world = World::configured(&tokens.settings).await;
    let holder = world.client_of(&tokens.operator).session().open().await.unwrap();
    let guard = holder.lock("nightly", Mode::EX).await.unwrap();
    let browser = Browser::start().await;
    browser.open(&resource(&world, "nightly")).await;
    reads(&browser, "h1", "Sign in").await;
    browser.type_into("#credential", tokens.operator.reveal()).await;
    browser.click(".act button").await;
    reads(&browser, "header", "token:operator").await;
    browser.open(&resource(&world, "nightly")).await;
    browser.follow("Force-unlock").await;
    reads(&browser, "h1", "Take a claim away").await;
    browser.type_into("#typed", "nightl").await;
    browser.click("button.danger").await;
    reads(&browser, "[role=alert]", "another one").await;
    assert!(guard.is_valid());
    browser.type_into("#typed", "nightly").await;
    browser.click("button.danger").await;
    reads(&browser, "h1", "Taken away").await;
    until("the holder knows", async || !guard.is_valid()).await;
    browser.click("header form button").await;
    reads(&browser, "h1", "Sign in").await;
}

#[tokio::test]
async fn a_holder_is_asked_to_let_go_with_the_keyboard() {
    let world = World::start().await;
    let holder = world.session("holder").await;
    let guard = holder.lock("nightly", Mode::EX).blocking().await.unwrap();
    let browser = Browser::start().await;
    browser.open(&resource(&world, "nightly")).await;
    reads(&browser, "footer", "Live").await;
    browser.value("document.querySelector('td form button').focus()").await;
    browser.press("\u{e007}").await;
    reads(&browser, "h1", "Told").await;
    reads(&browser, "[role=status]", "is wanted").await;
    let event = crate::support::soon("the notification", guard.next_event()).await;
    assert_eq!(event, ClaimEvent::Blocking { wanted: Mode::EX, own: false });
    assert_eq!(browser.complaints().await, json!([]), "nothing was blocked or failed");
    browser.follow("nightly").await;
    reads(&browser, ".lately", "asked to let go").await;
    // What happens while somebody looks comes by itself.
    guard.release().await.unwrap();
    reads(&browser, "footer", "Live").await;
    let _held = holder.lock("nightly", Mode::EX).await.unwrap();
    assert!(holder.lock("nightly", Mode::EX).try_lock().await.is_err());
    reads(&browser, ".lately", "would have waited").await;
}

#[tokio::test]
async fn a_tab_that_nobody_sees_has_no_connection() {
    let tokens = Tokens::new();
    let world = World::configured(&format!("{}[access.quotas]\nwatches = 1\n", tokens.settings)).await;
    let operator = with(&world.page, &tokens.operator);
    let browser = Browser::start().await;
    browser.open(&world.address()).await;
    browser.type_into("#credential", tokens.operator.reveal()).await;
    browser.click(".act button").await;
    reads(&browser, "footer", "Live").await;
    let turn = async |hidden: bool| {
        let property = format!("Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }})");
        browser.value(&format!("({property}, document.dispatchEvent(new Event('visibilitychange')))")).await;
    };
    // A tab that was opened unseen comes to be seen first.
    turn(false).await;
    for _ in 0..2 {
        turn(true).await;
        until("its stream is over", async || {
            operator.begin(Method::GET, "/live/home", None, Bytes::new()).await.status() == 200
        })
        .await;
        browser.value("document.querySelector('#live').textContent = ''").await;
        turn(false).await;
        reads(&browser, "footer", "Live").await;
    }
}

#[tokio::test]
async fn it_works_through_tls_and_keeps_no_token() {
    let tokens = Tokens::new();
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("a.pem"), folder.path().join("a.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = format!("[admin_tls]\ncertificate = \"{}\"\nkey = \"{}\"\n", certificate.display(), key.display());
    let world = World::configured(&format!("{}{tls}", tokens.settings)).await;
    let browser = Browser::start().await;
    browser.open(&world.address().replace("http:", "https:")).await;
    browser.type_into("#credential", tokens.operator.reveal()).await;
    browser.click(".act button").await;
    reads(&browser, "header", "token:operator").await;
    reads(&browser, "footer", "Live").await;
    assert_eq!(browser.value("performance.getEntriesByType('navigation')[0].nextHopProtocol").await, "h2");
    let cookie = &browser.cookies().await[0];
    assert_eq!(
        (&cookie["secure"], &cookie["httpOnly"], &cookie["sameSite"]),
        (&json!(true), &json!(true), &json!("Strict"))
    );
    assert!(!cookie["value"].as_str().unwrap().contains(tokens.operator.reveal()));
    assert_eq!(browser.value("document.cookie").await, "");
    let holder = world.client_of(&tokens.operator).session().open().await.unwrap();
    let guard = holder.lock("orders", Mode::EX).await.unwrap();
    let waiting = tokio::spawn(holder.lock("orders", Mode::EX).label("second").into_future());
    reads(&browser, "main", "second").await;
    browser.follow("orders").await;
    browser.follow("Force-unlock").await;
    browser.type_into("#typed", "orders").await;
    browser.click("button.danger").await;
    reads(&browser, "h1", "Taken away").await;
    until("the holder knows", async || !guard.is_valid()).await;
    waiting.abort();
}

#[tokio::test]
async fn hostile_names_are_shown_and_do_nothing() {
    let world = World::start().await;
    let label = "<img src=x onerror=\"document.title='owned'\">";
    let (holder, waiter) = (world.session(label).await, world.session(label).await);
    let rtl = format!("שלום \u{202e}{}", "x".repeat(900));
    let browser = Browser::start().await;
    let mut held = Vec::new();
    for name in [HOSTILE, &rtl] {
        held.push(holder.lock(name, Mode::EX).label(label).owner(label).await.unwrap());
        held.extend(
            tokio::spawn(waiter.lock(name, Mode::EX).label(label).wait(std::time::Duration::ZERO).into_future())
                .await
                .unwrap(),
        );
    }
    let waiting = tokio::spawn(waiter.lock(HOSTILE, Mode::EX).label(label).into_future());
    for (path, what) in [
        (world.address(), HOSTILE),
        (resource(&world, HOSTILE), HOSTILE),
        (resource(&world, &rtl), "⟨U+202E⟩xxx"),
        (format!("{}/session?id={}", world.address(), holder.id()), label),
        (format!("{}/sessions", world.address()), label),
    ] {
        browser.open(&path).await;
        until("it is shown", async || browser.text("main").await.contains(what)).await;
        assert_ne!(browser.title().await, "owned");
    }
    // And as it comes while one looks.
    browser.open(&world.address()).await;
    reads(&browser, "footer", "Live").await;
    let more = holder.lock(format!("{HOSTILE}2"), Mode::EX).await.unwrap();
    let again = tokio::spawn(waiter.lock(format!("{HOSTILE}2"), Mode::EX).into_future());
    reads(&browser, "main", &format!("{HOSTILE}2")).await;
    assert_eq!(browser.value("document.querySelectorAll('img, main script, main svg').length").await, 0);
    assert_eq!(browser.title().await, "Overview – sixpin");
    assert_eq!(browser.complaints().await, json!([]), "nothing even tried to run");
    again.abort();
    waiting.abort();
    drop(more);
}

#[tokio::test]
async fn it_is_whole_without_javascript() {
    let world = World::start().await;
    let holder = world.session("holder").await;
    let guard = holder.lock("r", Mode::EX).await.unwrap();
    let off = json!({
        "profile.managed_default_content_settings.javascript": 2,
        "webkit.webprefs.javascript_enabled": false,
    });
    let browser = Browser::with_preferences(off).await;
    browser.open(&world.address()).await;
    assert!(browser.text("footer").await.contains("As it was when this page was loaded"));
    browser.type_into("#q", "r").await;
    browser.click(".search button").await;
    reads(&browser, "h1", "Resources that begin with r").await;
    browser.click("td a").await;
    reads(&browser, "h1", "r").await;
    browser.click("td form button").await;
    reads(&browser, "h1", "Not told").await;
    assert!(browser.text("main").await.contains("does not listen for that"));
    browser.open(&resource(&world, "r")).await;
    browser.follow("Force-unlock").await;
    browser.type_into("#typed", "r").await;
    browser.click("button.danger").await;
    reads(&browser, "h1", "Taken away").await;
    until("the holder knows", async || !guard.is_valid()).await;
    assert!(browser.address().await.ends_with("/force-unlock"));
}

#[tokio::test]
async fn it_fits_a_phone_and_follows_the_theme() {
    let world = World::start().await;
    let (holder, waiter) = (world.session("holder").await, world.session(&"w".repeat(64)).await);
    let name = format!("{}{}", "long-name-without-a-break-".repeat(8), "x".repeat(200));
    let _held = holder.lock(&name, Mode::EX).await.unwrap();
    let waiting = tokio::spawn(waiter.lock(&name, Mode::EX).into_future());
    until("it waits", async || world.waiting(&name).await == 1).await;
    let browser = Browser::start().await;
    for (width, phone) in [(360, true), (768, true), (1_280, false)] {
        browser.screen(width, 800, phone).await;
        let paths = [
            world.address(),
            resource(&world, &name),
            format!("{}/sessions", world.address()),
            format!("{}/session?id={}", world.address(), waiter.id()),
            format!("{}/force-unlock?name={name}&session={}&claim=1", world.address(), holder.id()),
        ];
        for path in paths {
            browser.open(&path).await;
            let wide = browser.value("document.documentElement.scrollWidth").await;
            assert!(wide.as_u64().unwrap() <= u64::from(width), "{path} is {wide} wide on a screen of {width}");
        }
    }
    let ground = "getComputedStyle(document.body).backgroundColor";
    browser.theme("light").await;
    let light = browser.value(ground).await;
    browser.theme("dark").await;
    let dark = browser.value(ground).await;
    assert_eq!((light, dark), (json!("rgb(245, 246, 248)"), json!("rgb(16, 20, 27)")));
    waiting.abort();
}

#[tokio::test]
async fn a_browser_ends_with_its_test() {
    let browser = Browser::start().await;
    let profile = browser.profile();
    assert!(processes_of(&profile) > 0);
    drop(browser);
    until("all its processes end", async || processes_of(&profile) == 0).await;
}

/// How many processes name this in their arguments.
fn processes_of(profile: &str) -> usize {
    let all = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.unwrap().path().join("cmdline")).ok());
    all.filter(|arguments| String::from_utf8_lossy(arguments).contains(profile)).count()
}
