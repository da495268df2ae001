//! Lists, a page at a time, and where a search leads.

use axum::response::Response;
use sixpin_proto::v1;

use super::super::problem::Problem;
use super::html::{Column, Html};
use super::visit::{Visit, url};
use super::{PAGE, View, parts, see_other, session};
use crate::frontend::api::Checked;
use crate::frontend::api::errors::invalid;

/// Sessions that are looked through for a page of those with a label.
const LABEL_SCAN_MAX: usize = 5_000;
/// Sessions of one step of that.
const LABEL_SCAN_STEP: usize = 500;

const RESOURCES: &[Column] = &[
    ("Resource", false),
    ("Held in", false),
    ("Granted", true),
    ("Converting", true),
    ("Waiting", true),
    ("Held for", true),
    ("Longest wait", true),
];
const SESSIONS: &[Column] = &[
    ("Session", false),
    ("Label", false),
    ("State", false),
    ("Holds", true),
    ("Waits for", true),
    ("Silent for", true),
    ("Time left", true),
    ("Here for", true),
    ("Client", false),
    ("Whose", false),
];
const OWNED: &[Column] = &[
    ("Resource", false),
    ("Mode", false),
    ("Queue", false),
    ("For", true),
    ("Label", false),
    ("Fence", true),
    ("Session", false),
];

/// What a page shows of a list that is found in steps, each of which may find more than a page.
struct Part<T> {
    rows: Vec<T>,
    /// The step with which the list goes on; empty: from the beginning.
    after: String,
    /// With which row of that step; empty: the first.
    first: String,
}

impl<T> Part<T> {
    /// The part that is asked for of what a step found, after which the list goes on at `next`.
    fn of(visit: &Visit, found: Vec<T>, next: String) -> Checked<Self> {
        let first = visit.number("first")? as usize;
        let end = first.saturating_add(PAGE);
        let (after, next_first) =
            if found.len() > end { (visit.field("after").to_owned(), end.to_string()) } else { (next, String::new()) };
        Ok(Self { rows: found.into_iter().skip(first).take(PAGE).collect(), after, first: next_first })
    }

    /// Where the list goes on, if it does.
    fn next(&self, path: &'static str, fields: &[(&'static str, &str)]) -> Option<String> {
        let goes_on = !(self.after.is_empty() && self.first.is_empty());
        let place = [("after", self.after.as_str()), ("first", &self.first)];
        goes_on.then(|| url(path, &[fields, &place].concat()))
    }
}

/// Leads to what is looked for.
pub(super) fn search(visit: Visit) -> Result<Response, Problem> {
    let (text, lockspace) = (visit.field("q"), visit.field("lockspace"));
    let address = match visit.field("by") {
        "" | "resource" => url("/resources", &[("lockspace", lockspace), ("prefix", text)]),
        "session" => url("/session", &[("id", text.trim())]),
        "owner" => url("/owner", &[("lockspace", lockspace), ("owner", text)]),
        "label" => url("/sessions", &[("label", text)]),
        _ => return Err(invalid("one can look for a resource, a session, an owner or a label").into()),
    };
    Ok(see_other(&address))
}

pub(super) async fn resources(visit: Visit) -> Result<View, Problem> {
    let (lockspace, prefix) = (visit.field("lockspace"), visit.field("prefix"));
    let list = v1::ListResourcesRequest {
        lockspace: lockspace.into(),
        prefix: prefix.into(),
        limit: PAGE as u32,
        after: visit.field("after").into(),
    };
    let page = visit.door.inspection.resources(&visit.from, list).await?;
    let mut main = Html::default();
    main.markup("<div class=\"title\"><p class=\"kind\">In lockspace ");
    main.name(if lockspace.is_empty() { "default" } else { lockspace }).markup("</p><h1>Resources");
    if !prefix.is_empty() {
        main.markup(" that begin with ").name(prefix);
    }
    main.markup("</h1></div>");
    if page.resources.is_empty() {
        parts::nothing(&mut main, "Nobody has a claim on any such resource.");
    } else {
        main.table("Resources that somebody has a claim on, by name", RESOURCES, |rows| {
            for summary in &page.resources {
                rows.row(&parts::key(summary.resource.as_ref()), |cells| {
                    cells.cell(|html| parts::resource(html, summary.resource.as_ref()));
                    cells.cell(|html| {
                        if summary.damage.is_empty() {
                            summary.modes().for_each(|mode| parts::mode(html, mode));
                        } else {
                            html.badge("bad", "damaged");
                        }
                    });
                    for number in [summary.granted, summary.converting, summary.waiting] {
                        cells.cell(|html| {
                            html.number(number.into());
                        });
                    }
                    cells.cell(|html| age(html, summary.granted > 0, summary.held_ms));
                    cells.cell(|html| age(html, summary.converting + summary.waiting > 0, summary.waiting_ms));
                });
            }
        });
    }
    let next = url("/resources", &[("lockspace", lockspace), ("prefix", prefix), ("after", &page.next)]);
    parts::next_page(&mut main, (!page.next.is_empty()).then_some(&next));
    Ok(View { title: "Resources".into(), main, live: String::new() })
}

fn age(html: &mut Html, is: bool, milliseconds: u64) {
    if is {
        html.age(milliseconds);
    } else {
        html.markup("<span class=\"none\">–</span>");
    }
}

pub(super) async fn sessions(visit: Visit) -> Result<View, Problem> {
    let label = visit.field("label");
    let (found, next, total) = if label.is_empty() {
        let list =
            v1::ListSessionsRequest { limit: PAGE as u32, after: visit.field("after").into(), ..Default::default() };
        let page = visit.door.inspection.sessions(&visit.from, list).await?;
        (page.sessions, page.next, page.total)
    } else {
        labelled(&visit, label).await?
    };
    let part = Part::of(&visit, found, next)?;
    let next = part.next("/sessions", &[("label", label)]);
    let mut main = Html::default();
    main.markup("<div class=\"title\"><p class=\"kind\">For which this broker vouches: ").number(total);
    main.markup("</p><h1>Sessions");
    if !label.is_empty() {
        main.markup(" labelled ").name(label);
    }
    main.markup("</h1></div>");
    if part.rows.is_empty() {
        parts::nothing(&mut main, if next.is_none() { "None." } else { "None up to here: the list goes on." });
    } else {
        main.table("Sessions that this broker vouches for", SESSIONS, |rows| {
            for info in &part.rows {
                rows.row(&info.session, |cells| {
                    cells.cell(|html| parts::session(html, &info.session));
                    cells.cell(|html| {
                        html.name_or_dash(&info.label);
                    });
                    cells.cell(|html| parts::session_state(html, info));
                    cells.cell(|html| {
                        html.number(info.held.into());
                    });
                    cells.cell(|html| {
                        html.number(info.waiting.into());
                    });
                    cells.cell(|html| {
                        html.age(info.silence_ms);
                    });
                    cells.cell(|html| parts::left(html, info));
                    cells.cell(|html| {
                        html.age(info.age_ms);
                    });
                    cells.cell(|html| {
                        html.name_or_dash(&info.client_address);
                        if !info.program.is_empty() {
                            html.markup("<span class=\"more\">").name(&info.program).markup("</span>");
                        }
                    });
                    cells.cell(|html| {
                        html.name_or_dash(&info.principal);
                    });
                });
            }
        });
    }
    parts::next_page(&mut main, next.as_deref());
    Ok(View { title: "Sessions".into(), main, live: String::new() })
}

/// Sessions whose label has this in it: labels have no index, so a bounded part of them is looked through.
async fn labelled(visit: &Visit, label: &str) -> Result<(Vec<v1::SessionInfo>, String, u64), Problem> {
    let (mut found, mut after, mut total) = (Vec::new(), visit.field("after").to_owned(), 0);
    for _ in 0..LABEL_SCAN_MAX / LABEL_SCAN_STEP {
        let list = v1::ListSessionsRequest { limit: LABEL_SCAN_STEP as u32, after, ..Default::default() };
        let page = visit.door.inspection.sessions(&visit.from, list).await?;
        found.extend(page.sessions.into_iter().filter(|info| info.label.contains(label)));
        (after, total) = (page.next, page.total);
        if after.is_empty() || found.len() >= PAGE {
            break;
        }
    }
    Ok((found, after, total))
}

pub(super) async fn owner(visit: Visit) -> Result<View, Problem> {
    let (lockspace, owner) = (visit.field("lockspace"), visit.field("owner"));
    let list = v1::ListClaimsRequest {
        whose: Some(v1::list_claims_request::Whose::Owner(owner.into())),
        lockspace: lockspace.into(),
        limit: PAGE as u32,
        after: visit.field("after").into(),
    };
    let page = visit.door.inspection.claims(&visit.from, list).await?;
    // A resource may have thousands of them, and is looked at as a whole.
    let part = Part::of(&visit, page.claims, page.next)?;
    let next = part.next("/owner", &[("lockspace", lockspace), ("owner", owner)]);
    let mut main = Html::default();
    main.markup("<div class=\"title\"><p class=\"kind\">Owner in lockspace ");
    main.name(if lockspace.is_empty() { "default" } else { lockspace })
        .markup("</p><h1>")
        .name(owner)
        .markup("</h1></div>");
    if part.rows.is_empty() {
        parts::nothing(
            &mut main,
            if next.is_none() { "It has no claims." } else { "None up to here: the list goes on." },
        );
    } else {
        main.table("Claims of the owner", OWNED, |rows| {
            for claim in &part.rows {
                rows.row(&format!("{} {}", claim.session, claim.claim), |cells| {
                    session::row(cells, claim);
                    cells.cell(|html| parts::session(html, &claim.session));
                });
            }
        });
    }
    parts::next_page(&mut main, next.as_deref());
    Ok(View { title: owner.to_owned(), main, live: String::new() })
}
