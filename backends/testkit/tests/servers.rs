//! The real servers start, come back after a kill with the same address, and stand still when frozen.

use std::time::Duration;

use sixpin_testkit::{ServerPlan, etcd, nats, redis, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn lives_through_trouble(plan: ServerPlan) {
    let question = plan.probe.question.clone();
    let server = plan.start().await.expect("the server starts");
    let address = server.address();
    server.kill();
    assert!(TcpStream::connect(address).await.is_err(), "a killed server accepts nobody");
    server.restart().await.expect("it starts again");
    assert_eq!(server.address(), address);

    server.freeze();
    let mut stream = TcpStream::connect(address).await.expect("the system accepts for a frozen server");
    stream.write_all(question.as_bytes()).await.expect("the system buffers for a frozen server");
    let mut answer = [0; 1];
    let silent = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut answer)).await.is_err();
    assert!(silent, "a frozen server says nothing");
    server.resume();
    let heard = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut answer)).await;
    assert!(matches!(heard, Ok(Ok(1))), "a resumed server goes on");

    server.restart_wiped().await.expect("it starts again with nothing");
    drop(server);
    assert!(until(Duration::from_secs(10), || async { TcpStream::connect(address).await.is_err() }).await);
}

#[tokio::test]
async fn redis_lives_through_trouble() {
    lives_through_trouble(redis()).await;
}

#[tokio::test]
async fn etcd_lives_through_trouble() {
    lives_through_trouble(etcd()).await;
}

#[tokio::test]
async fn nats_lives_through_trouble() {
    lives_through_trouble(nats()).await;
}

#[tokio::test]
async fn a_missing_program_says_what_to_do() {
    let plan = ServerPlan { program: "no-such-server", ..redis() };
    let error = plan.start().await.expect_err("there is no such program").to_string();
    // Where it comes from depends on whether servers are processes or containers.
    assert!(error.contains("scripts/get-servers") || error.contains("scripts/make-test-images"), "{error}");
}

#[tokio::test]
async fn a_server_that_ends_at_once_shows_its_last_words() {
    let error =
        redis().arguments(["--no-such-setting", "1"]).start().await.expect_err("the server refuses").to_string();
    assert!(error.contains("no-such-setting"), "{error}");
}
