//! What is not JSON, not HTTP, not for this door, or too much.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::broker;
use crate::support::http::Http;
use crate::support::{Broker, soon};

#[tokio::test]
async fn both_versions_of_http_say_the_same() {
    let (_broker, http) = broker().await;
    for http in [http.clone(), http.over_http2()] {
        assert_eq!(http.get("/livez").await.status, 200);
        assert_eq!(http.get("/readyz").await.body, "ready\n");
        assert_eq!(http.get("/v1/status").await.is(200)["backends"][0]["state"], "SERVING");
        assert_eq!(http.get("/openapi.json").await.is(200)["openapi"], "3.1.0");
        let lease = http.post("/v1/leases", json!({ "resource": "r", "mode": "PR" })).await.is(200);
        assert_eq!(lease["mode"], "PR");
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_meant_is_told_why() {
    let (_broker, http) = broker().await;
    let send = async |kind: Option<&str>, body: &str| {
        http.send(Method::POST, "/v1/leases", kind, Bytes::copy_from_slice(body.as_bytes())).await
    };
    let text = |answer: serde_json::Value| answer["detail"].as_str().unwrap().to_owned();
    let form = Some("application/x-www-form-urlencoded");
    assert!(text(send(form, "{}").await.is(400)).contains("Content-Type: application/json"));
    assert!(text(send(Some("application/json"), "[1]").await.is(400)).contains("object"));
    assert!(text(send(Some("application/json; charset=utf-8"), "{").await.is(400)).contains("no JSON"));
    let long = format!("{{\"resource\":\"{}\"}}", "x".repeat(300_000));
    send(Some("application/json"), &long).await.is(413);
    assert!(text(http.get("/v1/nothing").await.is(404)).contains("/openapi.json"));
    let other = http.ask(Method::PUT, "/v1/leases", None).await;
    assert_eq!(other.headers[http::header::ALLOW], "POST");
    other.is(405);
    let twice = r#"{"resource":"r","mode":"NL","mode":"EX"}"#;
    assert!(text(send(Some("application/json"), twice).await.is(400)).contains("the key `mode` appears twice"));
    http.get("/v1/resources?limit=1&limit=2").await.is(400);
    http.get("/v1/resources/a:watch?version=1&wait=18446744073709551615s+1000ms").await.is(400);
    http.get("/v1/resources?limit=1001").await.is(400);
    http.get("/v1/resources?nonsense=1").await.is(400);
    http.get("/v1/resources/%ff").await.is(400);
    http.get("/v1/resources/a%00b").await.is(400);
    http.post("/v1/leases?resource=a", json!({ "resource": "b", "mode": "EX" })).await.is(400);
}

#[tokio::test]
async fn answers_have_the_type_that_the_description_names() {
    let (broker, http) = broker().await;
    let described = http.get("/openapi.json").await.is(200);
    let mut asked = 0;
    for (path, operations) in described["paths"].as_object().unwrap() {
        let is_whole = operations.get("get").is_some() && !path.contains('{') && path != "/v1/stream";
        let wants_more = path == "/v1/claims";
        if !is_whole || wants_more {
            continue;
        }
        let answer = Http::administrators_of(&broker).get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let kind = answer.headers[http::header::CONTENT_TYPE].to_str().unwrap();
        let kind = kind.split(';').next().unwrap();
        assert!(operations["get"]["responses"]["200"]["content"].get(kind).is_some(), "{path} is {kind}");
        asked += 1;
    }
    assert!(asked >= 9, "only {asked}");
}

#[tokio::test]
async fn a_list_stands_in_a_query_as_often_as_it_has_entries() {
    let (_broker, http) = broker().await;
    let mut names = Vec::new();
    for _ in 0..3 {
        names.push(http.post("/v1/sessions", json!({})).await.is(200)["session"].as_str().unwrap().to_owned());
    }
    let asked = format!("/v1/sessions?sessions={}&sessions={}", names[0], names[2]);
    let shown = http.get(&asked).await.is(200)["sessions"].clone();
    let mut shown: Vec<&str> = shown.as_array().unwrap().iter().map(|one| one["session"].as_str().unwrap()).collect();
    shown.sort_unstable();
    let mut expected = [names[0].as_str(), names[2].as_str()];
    expected.sort_unstable();
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn pages_of_other_sites_may_not_ask() {
    let (broker, http) = broker().await;
    let own = format!("http://{}", broker.server.address);
    let lease = json!({ "resource": "r", "mode": "NL" });
    http.with("origin", &own).post("/v1/leases", lease.clone()).await.is(200);
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(http.with("origin", origin).post("/v1/leases", lease.clone()).await.is(403)["reason"], "DENIED");
        Http::administrators_of(&broker).with("origin", origin).post("/v1/broker:drain", json!({})).await.is(403);
    }
    http.with("sec-fetch-site", "cross-site").get("/v1/status").await.is(403);
    http.with("sec-fetch-site", "same-origin").get("/v1/status").await.is(200);
    // A name that somebody had lead here.
    let named = http.with("host", "evil.example:6616").with("origin", "http://evil.example:6616");
    assert!(named.get("/v1/status").await.is(403)["detail"].as_str().unwrap().contains("evil.example"));
    named.with("authorization", "Bearer of-nobody").get("/v1/status").await.is(403);
    http.with("host", "localhost:1").get("/v1/status").await.is(200);
    http.with("host", "[::1]:1").get("/v1/status").await.is(200);
}

#[tokio::test]
async fn pages_that_are_configured_may_ask() {
    let settings = "[http]\norigins = ['https://ops.example.org']\nhosts = ['locks.example.org']";
    let broker = Broker::configured(settings).await;
    let http = Http::clients_of(&broker);
    let from = http.with("sec-fetch-site", "cross-site");
    from.with("origin", "https://ops.example.org").get("/v1/status").await.is(200);
    for other in ["http://ops.example.org", "https://ops.example.org:444", "https://x.ops.example.org", "null"] {
        from.with("origin", other).get("/v1/status").await.is(403);
    }
    http.with("host", "locks.example.org:6616").get("/v1/status").await.is(200);
    http.with("host", "x.locks.example.org").get("/v1/status").await.is(403);
}

/// What a raw connection is answered.
async fn raw(http: &std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(http).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon("the end", socket.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// What is in between may see another end of such a request, and take the rest for one of somebody else.
#[tokio::test]
async fn nothing_is_heard_after_a_request_that_may_have_two_ends() {
    let (broker, http) = broker().await;
    let address = broker.server.address;
    for (shape, status) in [
        // The chunks count, and the connection ends (RFC 9112, section 6.3).
        ("content-length: 5\r\ntransfer-encoding: chunked", 200),
        ("content-length: 5\r\ncontent-length: 6", 400),
        ("content-length: 5, 6", 400),
        ("content-length: +5", 400),
        ("content-length: 99999999999999999999", 400),
        ("transfer-encoding: chunked, identity", 400),
        ("transfer-encoding: xchunked", 400),
        ("transfer-encoding : chunked", 400),
        ("x: y\r\n transfer-encoding: chunked", 400),
    ] {
        let head = format!("POST /v1/sessions HTTP/1.1\r\nhost: {address}\r\n{shape}\r\n\r\n0\r\n\r\n");
        let smuggled = format!("POST /v1/sessions HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\n\r\n");
        let answer = raw(&address, (head + &smuggled).as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{shape}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{shape}: {answer}");
    }
    assert_eq!(http.get("/v1/sessions").await.is(200)["total"], "1");
}

#[tokio::test]
async fn what_is_no_http_is_closed() {
    let (broker, http) = broker().await;
    let address = broker.server.address;
    let many = "x: 1\r\n".repeat(100);
    for (bytes, status) in [
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), "400"),
        ("G\u{1}T / HTTP/1.1\r\n\r\n".to_owned(), "400"),
        (format!("GET /livez HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(20_000)), "431"),
        (format!("GET /livez HTTP/1.1\r\nhost: a\r\n{many}\r\n"), "431"),
        ("POST /v1/leases HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = raw(&address, bytes.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{bytes:.60}: {answer}");
    }
    // One that begins and does not go on is not waited for long.
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /livez HT").await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(15), slow.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "a head that never ends");
    assert_eq!(http.get("/livez").await.status, 200);
}
