//! `examples/with-lease`, as its readers run it.

use std::process::{Output, Stdio};

use tokio::process::Command;

use super::broker;
use crate::support::{Broker, until};

fn with_lease(broker: &Broker, ttl: u32, arguments: &[&str]) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/with-lease"));
    command.args(arguments).env("SIXPIN_URL", format!("http://{}", broker.server.address)).env("TTL", ttl.to_string());
    command.env_remove("SIXPIN_TOKEN").stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn said(output: &Output) -> (Option<i32>, String) {
    (
        output.status.code(),
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
    )
}

#[tokio::test]
async fn a_command_runs_while_its_lease_is_held_and_no_other_does() {
    let (broker, _) = broker().await;
    let first = with_lease(&broker, 30, &["job", "sh", "-c", "echo fence $SIXPIN_FENCE; read line; exit 3"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    until("the lease", async || broker.state("job").await.claims.len() == 1).await;
    let (code, text) = said(&with_lease(&broker, 30, &["job", "echo", "not printed"]).output().await.unwrap());
    assert_eq!((code, text.contains("not printed")), (Some(75), false), "{text}");
    // Its input ends.
    let (code, text) = said(&first.wait_with_output().await.unwrap());
    assert!(code == Some(3) && text.contains("fence 1"), "{code:?} {text}");
    until("nothing", async || broker.state("job").await.claims.is_empty()).await;
}

#[tokio::test]
async fn a_command_ends_before_its_lease_can_be_over() {
    let broker = Broker::start().await;
    broker.use_sockets();
    let command = with_lease(&broker, 10, &["job", "sh", "-c", "sleep 30; echo survived"]).spawn().unwrap();
    until("the lease", async || broker.state("job").await.claims.len() == 1).await;
    broker.server.stop().await;
    let (code, text) = said(&command.wait_with_output().await.unwrap());
    assert!(code == Some(70) && text.contains("the command is ended"), "{code:?} {text}");
    assert!(!text.contains("survived"), "{text}");
}
