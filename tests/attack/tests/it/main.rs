//! Every attack for a short while. `make attack TIME=1m` does it for longer.

use std::process::Command;

#[test]
fn honest_clients_do_not_notice() {
    // One after the other: together they would attack each other's broker too, by the processor.
    for tls in [None, Some("--tls")] {
        // The TTL leaves room for a machine on which other tests run.
        let arguments = ["run", "--time", "1s", "--ttl", "30s"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_sixpin-attack"));
        let output = command.args(arguments).args(tls).output().expect("the program runs");
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{said}{complained}");
    }
}
