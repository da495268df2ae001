//! `sixpin token` and `sixpin access`.

use super::program::{Said, program};

fn said(arguments: &[&str]) -> Said {
    Said::from(program().args(arguments).output().unwrap())
}

const RULES: &str = "[access]\nanonymous = [\"reader\"]\n[access.roles.reader]\nrules = [{ lockspace = \"*\", prefix = \"\", \
                     allow = [\"inspect\"] }]\n[access.roles.billing]\nrules = [{ lockspace = \"orders\", prefix = \
                     \"invoice/\", allow = [\"lock\"] }]\n[access.certificates]\n\"spiffe://e/ops/*\" = [\"reader\"]\n";

#[test]
fn what_is_made_is_known_and_what_decides_is_said() {
    let made = said(&["token", "new", "billing-1", "--roles", "billing"]);
    assert_eq!((made.status, made.stderr.as_str()), (Some(0), ""));
    let (_, stanza) = made.stdout.split_once("\n[").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sixpin.toml");
    std::fs::write(&file, format!("{RULES}[{stanza}")).unwrap();
    let config = file.to_str().unwrap();
    let check = |principal: &str, more: &[&str]| {
        said(&[&["access", "check", "--config", config, "--principal", principal], more].concat())
    };
    let invoice = ["--lockspace", "orders", "--name", "invoice/7", "--verb", "lock:ex"];
    let yes = check("token:billing-1", &invoice);
    assert_eq!(yes.status, Some(0), "{yes:?}");
    assert!(yes.stdout.contains("yes") && yes.stdout.contains("rule 1 of role `billing`"), "{yes:?}");
    let no = check("anonymous", &invoice);
    assert_eq!(no.status, Some(1), "{no:?}");
    assert!(no.stdout.contains("no rule of `anonymous` allows `lock:ex`"), "{no:?}");
    let edge = check("token:billing-1", &["--lockspace", "orders", "--name", "invoice", "--verb", "lock"]);
    assert_eq!((edge.status, edge.stdout.lines().count()), (Some(1), 6), "{edge:?}");
    let ops = check("certificate:spiffe://e/ops/anna", &["--lockspace", "*", "--verb", "inspect", "--output", "json"]);
    assert_eq!(ops.status, Some(0), "{ops:?}");
    let json: serde_json::Value = serde_json::from_str(&ops.stdout).unwrap();
    assert_eq!(json[0]["by"]["role"], "reader");
    let unknown = check("token:nobody", &invoice);
    assert!(unknown.status == Some(1) && unknown.stderr.contains("`token:nobody`"), "{unknown:?}");
    let shown = said(&["access", "show", "--config", config]);
    for words in ["token:billing-1", "certificate:spiffe://e/ops/*", "invoice/", "lock:ex", "anonymous"] {
        assert!(shown.stdout.contains(words), "{words}: {}", shown.stdout);
    }
    assert_eq!(said(&["token", "new", "a_b"]).status, Some(2));
    assert_eq!(said(&["access", "check", "--principal", "a", "--verb", "lockk"]).status, Some(2));
}
