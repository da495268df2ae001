//! A panic anywhere ends a broker's process with a status of its own, so that whatever supervises it starts another one.

use std::process::Command;

use sixpin_faults::open::PANICS;

#[test]
fn a_panic_in_any_task_is_logged_and_ends_the_process() {
    let arguments = ["broker", "--listen", "127.0.0.1:0", "--admin-listen", "off", "--backend", PANICS];
    let output = Command::new(crate::PROGRAM).args(arguments).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(70), "{log}");
    assert!(log.contains("listening on"), "it ended before it served: {log}");
    assert!(log.contains("a bug in it") && log.contains("the driver of this store is broken"), "{log}");
    assert!(log.contains("open.rs"), "the log does not say where: {log}");
}
