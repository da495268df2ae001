//! Commands on a record that is damaged.

use std::process::Command;

use sixpin_proto::v1;

use super::program::{Said, program};
use crate::by_hand::{Hand, OFTEN};
use crate::support::store::Place;
use crate::support::{Broker, try_lock};

/// `sixpin` for a broker of this process.
fn sixpin(broker: &Broker, arguments: &[&str]) -> Command {
    let mut command = program();
    command.env("SIXPIN_ENDPOINTS", broker.server.address.to_string());
    command.env("SIXPIN_ADMIN_ENDPOINTS", broker.server.admin_address.unwrap().to_string());
    command.args(arguments);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_record_is_told_by_every_command_and_purged_after_asking() {
    let place = Place::new();
    let broker = Broker::on(&place, OFTEN).await;
    let mut session = broker.session().await;
    session.lock(try_lock(1, "sound", v1::Mode::Ex)).await;
    session.lock(try_lock(2, "broken", v1::Mode::Pr)).await;
    assert_eq!(session.unlock(2, 2).await.status(), v1::Status::Released);
    session.lock(try_lock(3, "broken", v1::Mode::Pr)).await;
    Hand::at(&place).await.damage("broken").await;
    let ask = |arguments: &[&str]| Said::from(sixpin(&broker, arguments).output().unwrap());

    let said = ask(&["ls"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let lines: Vec<Vec<&str>> = said.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((lines[1][0], lines[1][1]), ("broken", "damaged"), "{said:?}");
    assert_eq!((lines[2][0], lines[2][1]), ("sound", "EX"), "{said:?}");
    let said = ask(&["show", "broken"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.stdout.contains("is damaged") && said.stdout.contains("`sixpin purge --damaged 'broken'`"),
        "{said:?}"
    );
    assert_eq!(ask(&["show", "broken", "--exit-code"]).status, Some(3));
    let said = ask(&["run", "--ttl", "4s", "--no-wait", "broken", "--", "true"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.stderr.contains("`sixpin purge --damaged 'broken'`"), "{said:?}");
    let said = ask(&["unlock", "--force", "broken"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.stderr.contains("nobody can say who has `broken`"), "{said:?}");

    let said = ask(&["purge", "--damaged", "sound"]);
    assert_eq!((said.status, said.stderr.contains("is not damaged")), (Some(1), true), "{said:?}");
    let said = ask(&["purge", "--damaged", "broken"]);
    assert_eq!(said.status, Some(2), "{said:?}");
    assert!(said.stderr.contains("`--yes`"), "{said:?}");
    assert!(ask(&["show", "broken"]).stdout.contains("is damaged"), "nothing was done unasked");
    let said = ask(&["purge", "--damaged", "broken", "--yes", "--now"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stdout.starts_with("removed the damaged record of broken") && said.stdout.ends_with("is free\n"));
    assert_eq!(ask(&["run", "--ttl", "4s", "--no-wait", "broken", "--", "true"]).status, Some(0));
}
