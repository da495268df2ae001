//! `sixpin bench`: that it measures; how much is not for a test.

use super::program::{Broker, Said, program};

#[test]
fn one_command_gives_figures() {
    // More sessions on a connection than may be without one at once.
    let arguments = ["bench", "--spawn", "--floor", "--sessions", "40", "--connections", "1", "--streams", "2"];
    let workloads = ["closed", "programs", "pipelined", "contended", "unary"];
    let short = ["--pipeline", "16", "--contend", "40", "--seconds", "3", "--slice", "300ms", "--output", "json"];
    let said = Said::from(program().args(arguments).args(short).args(workloads).output().unwrap());
    assert_eq!(said.status, Some(0), "{said:?}");
    let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let findings = report["workloads"].as_array().unwrap();
    let names: Vec<&str> = findings.iter().map(|workload| workload["workload"].as_str().unwrap()).collect();
    assert_eq!(names, workloads);
    for workload in findings {
        assert!(workload["pairs_per_second"].as_f64().unwrap() > 0.0, "{workload}");
        assert!(workload["lock"]["p50_us"].as_f64().unwrap() > 0.0, "{workload}");
        let contended = workload["workload"] == "contended";
        assert_eq!(workload["handover"].is_object(), contended, "{workload}");
        assert_eq!(workload["floor"]["sessions"], if contended { 10.into() } else { workload["sessions"].clone() });
        assert!(workload["floor"]["ratio"].as_f64().unwrap() > 0.0, "{workload}");
    }
}

#[test]
fn a_broker_that_runs_can_be_measured_and_is_left_clean() {
    let broker = Broker::start();
    let said = broker.ask(&["bench", "closed", "--client", "--sessions", "2", "--seconds", "1"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stdout.contains("closed (library)"), "{said:?}");
    assert_eq!(broker.json(&["ls"])["resources"], serde_json::json!([]));
    assert_eq!(broker.json(&["sessions"])["sessions"], serde_json::json!([]));
}

#[test]
fn memory_is_measured_where_it_can_be_seen() {
    let arguments = ["bench", "memory", "--spawn", "--sessions", "500", "--locks", "500", "--output", "json"];
    let said = Said::from(program().args(arguments).output().unwrap());
    let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
    assert_eq!((&report["memory"]["sessions"], &report["memory"]["locks"]), (&500.into(), &500.into()));
    let broker = Broker::start();
    assert_eq!(broker.ask(&["bench", "memory"]).status, Some(2));
}
