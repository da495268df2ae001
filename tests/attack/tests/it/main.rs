//! Every attack for a short while. `make attack TIME=1m` does it for longer.

use std::process::Command;

fn attack(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sixpin-attack")).args(arguments).output().expect("the program runs");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complained}");
    said.into_owned()
}

/// The TTL leaves room for a machine on which other tests run.
const BRIEFLY: [&str; 5] = ["run", "--time", "1s", "--ttl", "30s"];

/// One after the other: together they would attack each other's broker too, by the processor.
#[test]
fn honest_clients_do_not_notice() {
    attack(&BRIEFLY);
    // With TLS those that are about it; `run --tls` alone does all others through it as well.
    let listed = attack(&["list"]);
    let about_tls: Vec<&str> = listed
        .lines()
        .filter(|line| line.contains("(with --tls)"))
        .filter_map(|line| line.split_whitespace().next())
        .flat_map(|name| ["--only", name])
        .collect();
    assert!(about_tls.len() > 20, "{listed}");
    attack(&[&BRIEFLY[..], &["--tls"], &about_tls].concat());
}
