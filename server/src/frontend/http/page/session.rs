//! One session: whose it is, how it does, and its claims.

use sixpin_core::access::{Place, Verb};
use sixpin_core::name::{Lockspace, SessionId};
use sixpin_proto::v1;

use super::super::problem::Problem;
use super::html::{Column, Html, time};
use super::visit::{Visit, url};
use super::{View, parts};

const CLAIMS: &[Column] = &[
    ("Claim", true),
    ("Resource", false),
    ("Mode", false),
    ("Queue", false),
    ("For", true),
    ("Label", false),
    ("Fence", true),
    ("Action", false),
];

pub(super) async fn view(visit: Visit) -> Result<View, Problem> {
    let id = visit.session("id")?;
    let session = id.to_string();
    let list = v1::ListSessionsRequest { sessions: vec![session.clone()], ..Default::default() };
    let found = visit.door.inspection.sessions(&visit.from, list).await?.sessions.into_iter().next();
    let mut main = Html::default();
    main.markup("<div class=\"title\"><p class=\"kind\">Session</p><h1><code>").text(&session).markup("</code></h1>");
    match found {
        None => elsewhere(&mut main, &visit, id).await?,
        Some(info) => {
            parts::session_state(&mut main, &info);
            main.markup("</div>");
            facts(&mut main, &info);
            let lockspace = visit.door.api.lockspace_of(&visit.from, id).await?.unwrap_or_default();
            claims(&mut main, &visit, id, &lockspace).await?;
            action(&mut main, &visit, id, &lockspace);
        }
    }
    let fields = [("id", session.as_str()), ("after", visit.field("after"))];
    Ok(View { title: format!("Session {session}"), main, live: url("/live/session", &fields) })
}

async fn elsewhere(html: &mut Html, visit: &Visit, id: SessionId) -> Result<(), Problem> {
    html.badge("plain", "not here")
        .markup("</div><p>This broker does not vouch for it: it is over, or lives at another broker. ");
    let opener = id.opener.to_string();
    let brokers = visit.door.inspection.brokers(&visit.from).await?.brokers;
    match brokers.into_iter().find(|broker| broker.incarnation == opener) {
        Some(broker) if broker.own => html.markup("This broker opened it."),
        Some(broker) => {
            html.markup("It was opened by ").name(&broker.name).markup(", whose administrators' address is ");
            html.name_or_dash(&broker.admin_address).markup(".")
        }
        None => html.markup("The broker that opened it is gone."),
    };
    html.markup("</p>");
    Ok(())
}

fn facts(html: &mut Html, info: &v1::SessionInfo) {
    html.markup("<dl class=\"figures\">");
    html.fact("Holds", |html| {
        html.number(info.held.into());
    });
    html.fact("Waits for", |html| {
        html.number(info.waiting.into());
    });
    html.fact("Silent for", |html| {
        html.age(info.silence_ms);
    });
    html.fact("Time left", |html| parts::left(html, info));
    html.markup("</dl><section><h2>Client</h2><dl class=\"facts\">");
    html.fact("Label", |html| {
        html.name_or_dash(&info.label);
    });
    html.fact("Whose", |html| {
        html.name_or_dash(&info.principal);
    });
    html.fact("Address", |html| {
        html.name_or_dash(&info.client_address);
    });
    html.fact("Program", |html| {
        html.name_or_dash(&info.program);
    });
    html.fact("TTL", |html| {
        html.text(&time(info.ttl_ms.into()));
    });
    html.fact("Here for", |html| {
        html.age(info.age_ms);
    });
    html.fact("Moves", |html| {
        html.number(info.move_number.into());
    });
    html.fact("Ends with its connection", |html| {
        html.markup(if info.connection_bound { "yes" } else { "no" });
    });
    html.markup("</dl></section>");
}

async fn claims(html: &mut Html, visit: &Visit, id: SessionId, lockspace: &Lockspace) -> Result<(), Problem> {
    let session = id.to_string();
    let list = v1::ListClaimsRequest {
        whose: Some(v1::list_claims_request::Whose::Session(session.clone())),
        lockspace: lockspace.as_str().into(),
        after: visit.field("after").into(),
        ..Default::default()
    };
    let page = visit.door.inspection.claims(&visit.from, list).await?;
    html.markup("<section><h2>Claims</h2>");
    if page.claims.is_empty() {
        parts::nothing(html, "It holds nothing, and waits for nothing.");
    } else {
        html.table("Claims of the session", CLAIMS, |rows| {
            for claim in &page.claims {
                rows.row(&format!("{} {}", claim.claim, parts::key(claim.resource.as_ref())), |cells| {
                    cells.cell(|html| {
                        html.text(&claim.claim.to_string());
                    });
                    row(cells, claim);
                    cells.cell(|html| force(html, visit, claim));
                });
            }
        });
    }
    let next = url("/session", &[("id", &session), ("after", &page.next)]);
    parts::next_page(html, (!page.next.is_empty()).then_some(&next));
    html.markup("</section>");
    Ok(())
}

/// What a claim is, where claims of several resources are listed.
pub(super) fn row(cells: &mut super::html::Cells<'_>, claim: &v1::ClaimInfo) {
    cells.cell(|html| parts::resource(html, claim.resource.as_ref()));
    cells.cell(|html| parts::modes(html, claim));
    cells.cell(|html| match claim.queue() {
        v1::Queue::Granted => {
            html.badge("good", "granted");
        }
        v1::Queue::Converting => {
            html.badge("warn", "converting");
        }
        v1::Queue::Waiting => {
            html.badge("warn", "waiting");
        }
        v1::Queue::Unspecified => {}
    });
    cells.cell(|html| {
        html.age(claim.age_ms);
    });
    cells.cell(|html| parts::whose(html, claim));
    cells.cell(|html| match claim.fence {
        0 => {
            html.markup("<span class=\"none\">–</span>");
        }
        fence => {
            html.text(&fence.to_string());
        }
    });
}

fn force(html: &mut Html, visit: &Visit, claim: &v1::ClaimInfo) {
    let Some(resource) = &claim.resource else { return };
    let number = claim.claim.to_string();
    let fields = [
        ("lockspace", resource.lockspace.as_str()),
        ("name", resource.name.as_str()),
        ("session", &claim.session),
        ("claim", &number),
    ];
    let names = crate::frontend::api::names::Names::default().resource(&resource.lockspace, &resource.name);
    if names.is_ok_and(|id| visit.from.may(Verb::Force, Place::Resource(&id))) {
        html.link(&url("/force-unlock", &fields), |html| {
            html.markup("Force-unlock…");
        });
    } else {
        html.markup("<span class=\"none\">–</span>");
    }
}

fn action(html: &mut Html, visit: &Visit, id: SessionId, lockspace: &Lockspace) {
    if visit.from.may(Verb::Expire, Place::Everywhere) {
        let address = url("/expire", &[("session", &id.to_string()), ("lockspace", lockspace.as_str())]);
        html.markup("<p><a class=\"danger\" href=\"").text(&address).markup("\">Expire the session…</a></p>");
    }
}
