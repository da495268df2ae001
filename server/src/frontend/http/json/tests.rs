use serde_json::{Value, json};
use sixpin_core::broker::api::RequestError;
use sixpin_proto::v1;

use super::*;

fn lock(json: Value) -> Result<v1::Lock, RequestError> {
    read(json.as_object().unwrap())
}

#[test]
fn a_request_says_what_its_message_says() {
    let said = lock(json!({
        "claim": "7", "operation": 1, "resource": { "name": "a/b" }, "mode": "PR", "timeout": "1m 30s", "no_order": true,
    }));
    let resource = v1::Resource { name: "a/b".into(), ..Default::default() };
    let what = Some(v1::lock::What::Mode(v1::Mode::Pr.into()));
    let expected = v1::Lock {
        claim: 7,
        operation: 1,
        resource: Some(resource),
        what,
        timeout_ms: Some(90_000),
        no_order: true,
        ..Default::default()
    };
    assert_eq!(said.unwrap(), expected);
    let unlock = json!({ "claim": 1, "value": { "text": "é" } });
    assert_eq!(read::<v1::Unlock>(unlock.as_object().unwrap()).unwrap().value, "é".as_bytes());
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    for (json, text) in [
        (json!({ "mod": "EX" }), "`mod` is not known: there is `claim`, `operation`"),
        (json!({ "resource": { "nam": "a" } }), "`resource.nam` is not known"),
        (json!({ "mode": "XX" }), "`mode` must be one of NL, CR, CW, PR, PW, EX"),
        (json!({ "mode": 6 }), "`mode` must be one of"),
        (json!({ "mode": "EX", "permits": { "count": 1 } }), "say the same thing"),
        (json!({ "timeout": "1s", "timeoutMs": 5 }), "say the same thing"),
        (json!({ "timeout": 5 }), "`timeout` is a time with a unit"),
        (json!({ "timeout": "18446744073709551615s 1000ms" }), "`timeout` is a time with a unit"),
        (json!({ "claim": -1 }), "`claim` must be a number from 0 to 18446744073709551615"),
        (json!({ "claim": "+1" }), "`claim` must be a number"),
        (json!({ "claim": 1.5 }), "`claim` must be a number"),
        (json!({ "operation": 4_294_967_296_u64 }), "`operation` must be a number from 0 to 4294967295"),
        (json!({ "blocking": 1 }), "`blocking` must be true or false"),
        (json!({ "resource": "a" }), "`resource` must be an object"),
        (json!({ "label": 1 }), "`label` must be a text"),
    ] {
        let error = lock(json.clone()).unwrap_err().to_string();
        assert!(error.contains(text), "{json}: {error}");
    }
}

#[test]
fn what_is_said_twice_is_refused_by_name() {
    for (text, error) in [
        (r#"{"mode":"EX","mode":"NL"}"#, "the key `mode` appears twice"),
        (r#"{"resource":{"name":"a","lockspace":"b","name":"c"}}"#, "the key `name` appears twice"),
        (r#"{"claims":[{"a":1,"\u0061":2}]}"#, "the key `a` appears twice"),
        ("[]", "must be an object of JSON"),
        ("{", "no JSON that can be read"),
        ("{} {}", "no JSON that can be read"),
    ] {
        let refused = parse(text.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains(error), "{text}: {refused}");
    }
    let deep = "[".repeat(10_000);
    assert!(parse(deep.as_bytes()).is_err());
    let all = json!({ "a": [1, -1, 1.5, true, null, "x", { "a": {} }], "b": { "a": "é" } });
    assert_eq!(Value::from(parse(all.to_string().as_bytes()).unwrap()), all);
}

#[test]
fn an_answer_says_all_that_its_message_says() {
    let completion = v1::Completion {
        claim: 1,
        status: v1::Status::Granted.into(),
        held: v1::Mode::Ex.held(),
        fence: u64::MAX,
        value: Some(v1::Value { bytes: Some(b"hello\0\0".to_vec().into()), seq: 3, invalid: false }),
        ..Default::default()
    };
    let expected = json!({
        "claim": "1", "operation": 0, "status": "GRANTED", "mode": "EX", "fence": "18446744073709551615", "grantSeq": 0,
        "immediate": false, "demoted": false, "alternate": false, "blockers": [],
        "value": { "bytes": "aGVsbG8AAA==", "text": "hello", "seq": "3", "invalid": false },
    });
    assert_eq!(Value::from(write(&completion)), expected);
    let state = v1::ClaimInfo { age_ms: 5, queue: v1::Queue::Waiting.into(), ..Default::default() };
    let said = write(&state);
    assert_eq!((&said["ageMs"], &said["queue"], said.get("granted")), (&json!(5), &json!("WAITING"), None));
}
