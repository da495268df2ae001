//! What the page shows, without a browser.

use std::collections::BTreeSet;

use http::Method;
use sixpin_client::Mode;
use sixpin_core::limits::RESOURCE_NAME_BYTES_MAX;

use crate::support::until;

use super::{HOSTILE, World, encoded, escaped, header, html};

#[tokio::test]
async fn every_view_says_who_holds_and_who_waits_without_any_script() {
    let world = World::start().await;
    let (holder, waiter) = (world.session("billing").await, world.session("mailer").await);
    let guard = holder.lock("invoice/42", Mode::EX).owner("task-7").label("nightly run").value_block().await.unwrap();
    let waiting = tokio::spawn(waiter.lock("invoice/42", Mode::PR).label("report").into_future());
    until("it waits", async || world.waiting("invoice/42").await == 1).await;
    let get = async |path: &str| world.page.get(path).await;
    let (id, other) = (holder.id(), waiter.id());

    let home = get("/").await;
    let home = html(&home, 200);
    for text in [
        "invoice/42",
        "nightly run",
        "report",
        "north",
        "serving",
        "Longest waits",
        "Most contended",
        "lost no session",
    ] {
        assert!(home.contains(text), "{text}: {home}");
    }
    let resource = get("/resource?lockspace=default&name=invoice%2F42").await;
    let resource = html(&resource, 200);
    for text in [
        "task-7",
        "nightly run",
        "report",
        &id,
        &other,
        ">EX<",
        ">PR<",
        "Force-unlock",
        "all zeroes",
        "Who blocks whom",
    ] {
        assert!(resource.contains(text), "{text}: {resource}");
    }
    assert!(resource.find(&guard.fence().to_string()).is_some());
    let order = ["Granted <span", "Waiting <span"].map(|title| resource.find(title).unwrap());
    assert!(order.is_sorted());
    let session = get(&format!("/session?id={id}")).await;
    for text in ["billing", "invoice/42", "anonymous", "Expire the session"] {
        assert!(html(&session, 200).contains(text), "{text}: {}", session.body);
    }
    for (path, text) in [
        ("/resources?prefix=inv", "invoice/42"),
        ("/resources?prefix=other", "Nobody has a claim"),
        ("/sessions", "mailer"),
        ("/sessions?label=bill", "billing"),
        ("/sessions?label=nobody", "None."),
        ("/owner?owner=task-7", "invoice/42"),
        ("/resource?name=other", "Nobody has a claim"),
        ("/session?id=0000000000000001-1-1000", "does not vouch for it"),
    ] {
        assert!(html(&get(path).await, 200).contains(text), "{path}");
    }
    for (query, place) in [
        ("by=resource&q=a/b&lockspace=x", "/resources?lockspace=x&prefix=a%2Fb"),
        ("by=session&q=s", "/session?id=s"),
        ("by=owner&q=o", "/owner?owner=o"),
        ("by=label&q=l", "/sessions?label=l"),
    ] {
        let found = get(&format!("/search?{query}")).await;
        assert_eq!((found.status.as_u16(), header(&found.headers, "location")), (303, place));
    }
    waiting.abort();
}

#[tokio::test]
async fn browsers_are_told_to_take_nothing_from_elsewhere() {
    let world = World::start().await;
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
                  frame-ancestors 'none'; base-uri 'none'";
    for path in ["/", "/resource?name=a", "/resource", "/sign-in", "/page.js", "/page.css", "/page.svg", "/search?by=x"]
    {
        let answer = world.page.get(path).await;
        assert_eq!(header(&answer.headers, "content-security-policy"), policy, "{path}");
        assert_eq!(header(&answer.headers, "x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header(&answer.headers, "referrer-policy"), "same-origin", "{path}");
        assert!(["no-store", "no-cache"].contains(&header(&answer.headers, "cache-control")), "{path}");
        let text = answer.body.as_str().unwrap();
        assert!(!text.contains("style=\"") && !text.contains("<script>") && !text.contains("onclick"), "{path}");
    }
    let head = world.page.ask(Method::HEAD, "/", None).await;
    assert_eq!(head.status, 200);
    assert_eq!(crate::support::http::Http::to(world.server.address).get("/").await.status, 404, "clients have no page");
}

#[tokio::test]
async fn what_makes_no_sense_is_told_to_people() {
    let world = World::start().await;
    for path in [
        "/resource",
        "/resource?name=%00",
        "/resource?name=%ff",
        "/resource?name=a&lockspace=Bad",
        "/resource?name=a&name=b",
        "/session?id=x",
        "/resources?after=nonsense",
        "/search?by=x",
        "/force-unlock?name=a&session=0000000000000001-1-1000",
    ] {
        assert!(html(&world.page.get(path).await, 400).contains("Bad Request"), "{path}");
    }
    let first = world.session("").await;
    let _held = first.lock("a", Mode::EX).await.unwrap();
    html(&world.page.get("/resource?name=a&first=x").await, 400);
    html(&world.page.get("/resource?name=a&first=18446744073709551615").await, 200);
}

#[tokio::test]
async fn names_are_text_whatever_they_are() {
    let world = World::start().await;
    let long = "<b>".repeat(RESOURCE_NAME_BYTES_MAX / 3) + "x";
    let names = [
        HOSTILE,
        "../..",
        ".",
        "%2e%2e%2f%ff%00",
        "a&amp;b?c=d#e+f",
        "שלום \u{202e}gnp.exe",
        "{{7*7}} ${x} `y`",
        "two  spaces",
        &long,
    ];
    let owner = "<img src=x onerror=alert(1)>\"'";
    let session = world.session("<svg onload=alert(2)>").await;
    let waiter = world.session(owner).await;
    let mut held = Vec::new();
    for name in names {
        held.push(session.lock(name, Mode::EX).owner(owner).label("</title><script>x</script>").await.unwrap());
    }
    let waiting = tokio::spawn(waiter.lock(HOSTILE, Mode::EX).label(owner).into_future());
    until("it waits", async || world.waiting(HOSTILE).await == 1).await;
    let paths = [
        "/",
        "/resources",
        "/sessions",
        &format!("/session?id={}", session.id()),
        &format!("/owner?owner={}", encoded(owner)),
    ];
    let mut pages = Vec::new();
    for path in paths {
        pages.push(world.page.get(path).await);
    }
    for name in names {
        let query = format!("lockspace=default&name={}", encoded(name));
        let page = world.page.get(&format!("/resource?{query}")).await;
        let shown = escaped(&name.replace('\u{202e}', "⟨U+202E⟩").replace("  ", "⟨U+0020⟩⟨U+0020⟩"));
        assert!(html(&page, 200).contains(&format!("<h1><bdi class=\"name\">{shown}</bdi></h1>")), "{name}");
        assert!(html(&page, 200).contains("Granted <span class=\"count\">1<"), "it is this one: {name}");
        let force = format!("/force-unlock?{query}&session={}&claim=1", session.id());
        pages.extend([
            page,
            world.page.get(&force).await,
            world.page.get(&format!("/resources?prefix={}", encoded(name))).await,
        ]);
    }
    for page in &pages {
        let page = html(page, 200);
        for markup in ["<img", "<svg", "<script>", "<b>", "onerror=\""] {
            assert!(!page.contains(markup), "{markup}: {page}");
        }
        let read = page.split('<').filter_map(|part| part.split_once('>'));
        assert!(read.into_iter().all(|(_, text)| !text.contains('\u{202e}')), "{page}");
    }
    waiting.abort();
}

#[tokio::test]
async fn a_long_queue_is_shown_a_page_at_a_time() {
    let world = World::start().await;
    let holder = world.session("holder").await;
    let _held = holder.lock("hot", Mode::EX).await.unwrap();
    let waiter = world.session("waiter").await;
    let waiting: Vec<_> = (0..250).map(|_| tokio::spawn(waiter.lock("hot", Mode::EX).into_future())).collect();
    until("all wait", async || world.waiting("hot").await == 250).await;
    let mut path = "/resource?lockspace=default&name=hot".to_owned();
    let mut rows = Vec::new();
    loop {
        let page = world.page.get(&path).await;
        let page = html(&page, 200);
        rows.push(page.matches("<tr role=\"row\" data-key").count());
        let next = page.split("<a href=\"").find(|link| link.contains(">Next page<"));
        let Some(next) = next else { break };
        path = next.split('"').next().unwrap().replace("&amp;", "&");
    }
    assert_eq!(rows, [100, 100, 51]);
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

/// All rows of a list, page after page: their keys, and how many each page has.
async fn listed(world: &World, path: &str) -> (BTreeSet<String>, Vec<usize>) {
    let (mut path, mut keys, mut rows) = (path.to_owned(), BTreeSet::new(), Vec::new());
    loop {
        let page = world.page.get(&path).await;
        let page = html(&page, 200);
        let of_page: Vec<&str> =
            page.split("<tr role=\"row\" data-key=\"").skip(1).map(|row| row.split('"').next().unwrap()).collect();
        rows.push(of_page.len());
        keys.extend(of_page.into_iter().map(str::to_owned));
        let next = page.split("<a rel=\"next\" href=\"").nth(1);
        let Some(next) = next else { return (keys, rows) };
        path = next.split('"').next().unwrap().replace("&amp;", "&");
    }
}

#[tokio::test]
async fn all_claims_of_an_owner_are_shown() {
    let world = World::start().await;
    let session = world.session("holder").await;
    let lock = |number: usize| session.lock(format!("r{}", number % 12), Mode::CR).owner("busy").into_future();
    let held: Vec<_> = futures::future::join_all((0..620).map(lock)).await.into_iter().map(Result::unwrap).collect();
    let (keys, rows) = listed(&world, "/owner?owner=busy").await;
    assert_eq!((keys.len(), rows), (held.len(), vec![100, 100, 100, 100, 100, 100, 20]));
}

#[tokio::test]
async fn all_sessions_with_a_label_are_shown_a_page_at_a_time() {
    let world = World::start().await;
    let client = world.client();
    let open = |number: usize| client.session().label(format!("busy {number}")).open();
    let sessions: Vec<_> =
        futures::future::join_all((0..130).map(open)).await.into_iter().map(Result::unwrap).collect();
    let (keys, rows) = listed(&world, "/sessions?label=busy").await;
    assert_eq!((keys.len(), rows), (sessions.len(), vec![100, 30]));
}

#[tokio::test]
async fn a_session_that_was_lost_is_listed() {
    let world = World::start().await;
    let mut locks = sixpin_proto::v1::lock_service_client::LockServiceClient::new(
        crate::support::connect(world.server.address).await,
    );
    let open = sixpin_proto::v1::Open { ttl_ms: Some(1_000), label: "silent <one>".into(), ..Default::default() };
    let opened = locks.open_session(crate::support::open_request(open)).await.unwrap().into_inner().opened.unwrap();
    until("it is lost", async || {
        let home = world.page.get("/").await;
        let home = html(&home, 200);
        home.contains("silent &lt;one&gt;")
            && home.contains("its client was not heard")
            && home.contains(&opened.session)
    })
    .await;
}
