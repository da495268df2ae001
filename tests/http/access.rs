//! Who may do what over HTTP: every operation of the description, asked by who may not.
//!
//! What a principal may do is decided behind the door, and shown there for gRPC (`access`). Here it is that no operation forgets
//! to say who asks, and that what is refused is refused so.

use serde_json::{Value, json};
use sixpin_server::access::token::Token;

use crate::support::Broker;
use crate::support::http::{Answer, Http};

/// What a request of an operation is made with, so that nothing but who asks can be wrong with it.
fn body(operation: &str) -> Value {
    let (resource, session) = (json!({ "name": "a/r" }), "0000000000000001-1-1000");
    match operation {
        "postLeases" => json!({ "resource": "a/r", "mode": "EX" }),
        "postSessionsSessionClaims" => json!({ "claim": 1, "operation": 1, "resource": resource, "mode": "EX" }),
        "postSessionsSessionClaimsClaimConvert" => json!({ "operation": 1, "mode": "EX" }),
        "postSessionsSessionResume" => json!({ "moveNumber": 1, "nextClaim": 1 }),
        "postResourcesGet" => json!({ "resource": resource }),
        "postResourcesNameForceUnlock" => json!({ "session": session }),
        "postResourcesForceUnlock" => json!({ "resource": resource, "session": session }),
        "postResourcesNameNotifyHolder" => json!({ "session": session }),
        "postResourcesNotifyHolder" => json!({ "resource": resource, "session": session }),
        "postResourcesNamePurgeOrphans" => json!({ "all": true }),
        "postResourcesPurgeOrphans" => json!({ "resource": resource, "all": true }),
        "postResourcesNameRemoveDamaged" => json!({ "version": "1" }),
        "postResourcesRemoveDamaged" => json!({ "resource": resource, "version": "1" }),
        _ => json!({}),
    }
}

async fn ask(http: &Http, method: &str, template: &str, operation: &str) -> Answer {
    let path = template
        .replace("{session}", "0000000000000001-1-1000")
        .replace("{lease}", "0000000000000001-1-1000")
        .replace("{claim}", "1")
        .replace("{name}", "a%2Fr");
    let query = match operation {
        "getClaims" => "?session=0000000000000001-1-1000",
        "deleteSessionsSessionClaimsClaim" => "?operation=1",
        // One answer, at once.
        "getResourcesNameWatch" => "?version=7",
        _ => "",
    };
    let token = "sxs1~default~0000000000000001-1-1000~00000000000000000000000000000000";
    let http =
        if template.contains("{session}") || template.contains("{lease}") { http.of(token) } else { http.clone() };
    let body = (method == "post").then(|| body(operation));
    http.ask(method.to_uppercase().parse().unwrap(), &format!("{path}{query}"), body).await
}

#[tokio::test]
async fn every_operation_asks_who_it_is_and_refuses_who_may_not() {
    let (right, other, bare) =
        (Token::new("right").unwrap(), Token::new("other").unwrap(), Token::new("bare").unwrap());
    let settings = format!(
        "[access.roles.all]\nrules = [{{ lockspace = \"*\", prefix = \"\", allow = [\"lock\", \"inspect\", \"watch\", \"notify\", \
         \"force\", \"expire\", \"purge\", \"metrics\"] }}]\n[access.roles.other]\nrules = [{{ lockspace = \"*\", prefix = \"b/\", allow = [\"lock\", \
         \"inspect\", \"watch\", \"notify\", \"force\", \"expire\", \"purge\", \"drain\"] }}]\n\
         [access.tokens.right]\nsha256 = \"{}\"\nroles = [\"all\"]\n[access.tokens.other]\nsha256 = \"{}\"\nroles = [\"other\"]\n\
         [access.tokens.bare]\nsha256 = \"{}\"\nroles = []\n",
        right.digest(),
        other.digest(),
        bare.digest()
    );
    let broker = Broker::configured(&settings).await;
    broker.use_sockets();
    let description = Http::clients_of(&broker).get("/openapi.json").await.is(200);
    let mut asked = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            let administers = operation["tags"][0] == "administration";
            let http = if administers { Http::administrators_of(&broker) } else { Http::clients_of(&broker) };
            let with = |token: &Token| http.with("authorization", &format!("Bearer {}", token.reveal()));
            // A WebSocket may say first who asks: see there.
            if id == "getStream" {
                continue;
            }
            if operation["security"] == json!([]) {
                assert!(ask(&http, method, path, id).await.status.is_success(), "{id} is for everybody");
                continue;
            }
            for (asker, http) in
                [("nobody", http.clone()), ("a wrong token", http.with("authorization", "Bearer sxp_x_y"))]
            {
                let problem = ask(&http, method, path, id).await.is(401);
                assert_eq!(problem["reason"], "UNAUTHENTICATED", "{id} by {asker}");
            }
            let answer = ask(&with(&bare), method, path, id).await;
            // What may not be seen is left out of lists.
            let lists = ["getClaims", "getResources", "getWaits", "getContended"].contains(&id);
            let empty = lists && answer.status == 200 && !answer.body.to_string().contains("a/r");
            assert!([401, 403].contains(&answer.status.as_u16()) || empty, "{id} without a role: {}", answer.body);
            let answer = ask(&with(&right), method, path, id).await;
            let drains = id == "postBrokerDrain";
            // The session of these requests is nobody's.
            let refused = ["UNAUTHENTICATED", "DENIED"].contains(&answer.body["reason"].as_str().unwrap_or_default());
            assert_eq!(refused, drains, "{id} by who may: {}", answer.body);
            let about_the_resource = path.contains("/resources") && path != "/v1/resources" || path == "/v1/leases";
            if about_the_resource || administers {
                assert_eq!(ask(&with(&other), method, path, id).await.is(403)["reason"], "DENIED", "{id} elsewhere");
            }
            asked += 1;
        }
    }
    assert!(asked >= 25, "{asked} operations");
}
