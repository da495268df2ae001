//! The first page: what an operator has to know first.

use sixpin_core::broker::api::{LostReason, RequestError};
use sixpin_proto::v1;

use super::super::problem::Problem;
use super::html::{Column, Html};
use super::visit::Visit;
use super::{View, parts};
use crate::frontend::api::errors::missing;
use crate::metrics::Loss;
use crate::runtime::clock;

/// Entries of each list.
const FIRST: u32 = 20;
/// In the place of a list that cannot be read.
const SILENT: &str = "Unknown: the store does not answer.";

const WAITS: &[Column] = &[
    ("Resource", false),
    ("Wants", false),
    ("Waits", true),
    ("Waiter", false),
    ("Root of the chain", false),
    ("In between", true),
];
const CONTENDED: &[Column] =
    &[("Resource", false), ("Held in", false), ("Waiting", true), ("Longest wait", true), ("Holders", true)];
const BROKERS: &[Column] = &[
    ("Broker", false),
    ("State", false),
    ("Silent for", true),
    ("Counts for", true),
    ("Store answers in", true),
    ("To bury", true),
    ("Clients", false),
    ("Administrators", false),
    ("Program", false),
];
const STORES: &[Column] = &[
    ("Store", false),
    ("State", false),
    ("Sessions", true),
    ("Claims", true),
    ("Waiting", true),
    ("Commits", true),
    ("Writes", true),
    ("Conflicts", true),
    ("Unknown", true),
    ("Keeps through", false),
];
const LOSSES: &[Column] = &[("Session", false), ("Label", false), ("Lost", true), ("Why", false)];

pub(super) async fn view(visit: Visit) -> Result<View, Problem> {
    let inspection = &visit.door.inspection;
    let mut main = Html::default();
    main.markup("<h1 class=\"unseen\">Overview</h1>");
    let status = if visit.sees_all() { Some(status(&visit, &mut main).await?) } else { None };
    let list = v1::ListWaitsRequest { limit: FIRST, ..Default::default() };
    waits(&mut main, answered(inspection.waits(&visit.from, list).await)?.as_ref());
    let list = v1::ListContendedRequest { limit: FIRST, ..Default::default() };
    contended(&mut main, answered(inspection.contended(&visit.from, list).await)?.as_ref());
    if let Some(status) = status {
        brokers(&mut main, &inspection.brokers(&visit.from).await?.brokers);
        stores(&mut main, &status);
        losses(&mut main, &visit.administrators()?.metrics.losses());
    } else {
        parts::nothing(&mut main, "Brokers, stores and sessions are shown to whoever may inspect all lockspaces.");
    }
    Ok(View { title: "Overview".into(), main, live: "/live/home".into() })
}

/// What the store was asked for; none if it does not answer. That is when the rest of the page is needed most.
fn answered<T>(answer: Result<T, RequestError>) -> Result<Option<T>, RequestError> {
    match answer {
        Err(RequestError::Unavailable(_) | RequestError::Unknown(_)) => Ok(None),
        answer => answer.map(Some),
    }
}

/// How the broker is, in a few large figures.
async fn status(visit: &Visit, html: &mut Html) -> Result<v1::BrokerStatus, Problem> {
    let status = visit.door.inspection.status(&visit.from).await?.status.ok_or_else(|| missing("status"))?;
    let sum = |of: fn(&v1::BackendStatus) -> u64| status.backends.iter().map(of).sum::<u64>();
    html.markup("<dl class=\"figures\">");
    html.fact("State", |html| {
        let worst = status.backends.iter().find(|backend| backend.state() != v1::BackendState::Serving);
        store_state(html, worst.map_or(v1::BackendState::Serving, v1::BackendStatus::state));
    });
    html.fact("Sessions", |html| {
        html.number(sum(|backend| backend.sessions));
    });
    html.fact("Claims", |html| {
        html.number(sum(|backend| backend.claims));
    });
    html.fact("Waiting", |html| {
        html.number(sum(|backend| backend.waiting));
    });
    html.fact("Up for", |html| {
        html.age(status.uptime_ms);
    });
    html.markup("</dl>");
    Ok(status)
}

fn store_state(html: &mut Html, state: v1::BackendState) {
    let (class, word) = match state {
        v1::BackendState::Serving => ("good", "serving"),
        v1::BackendState::Starting => ("warn", "starting"),
        v1::BackendState::Settling => ("warn", "settling"),
        v1::BackendState::Draining => ("warn", "draining"),
        v1::BackendState::Silent => ("bad", "store silent"),
        v1::BackendState::Over => ("bad", "over"),
        v1::BackendState::Unspecified => ("warn", "unknown"),
    };
    html.badge(class, word);
}

fn waits(html: &mut Html, list: Option<&v1::ListWaitsResponse>) {
    html.markup("<section><h2>Longest waits</h2>");
    match list.map(|list| list.waits.as_slice()) {
        None => parts::nothing(html, SILENT),
        Some([]) => parts::nothing(html, "Nobody waits at this broker."),
        Some(waits) => {
            html.table("Claims that wait longest at this broker, and who is at the root of each", WAITS, |rows| {
                for wait in waits {
                    let Some(claim) = &wait.claim else { continue };
                    rows.row(&format!("{} {}", claim.session, claim.claim), |cells| {
                        cells.cell(|html| parts::resource(html, claim.resource.as_ref()));
                        cells.cell(|html| parts::modes(html, claim));
                        cells.cell(|html| {
                            html.age(claim.age_ms);
                        });
                        cells.cell(|html| whose(html, claim));
                        cells.cell(|html| root(html, wait));
                        cells.cell(|html| {
                            html.number(wait.chain.len().saturating_sub(1) as u64);
                        });
                    });
                }
            });
        }
    }
    html.markup("</section>");
}

fn whose(html: &mut Html, claim: &v1::ClaimInfo) {
    parts::whose(html, claim);
    html.markup("<span class=\"more\">");
    parts::session(html, &claim.session);
    html.markup("</span>");
}

/// Who is at the end of a chain of waits.
fn root(html: &mut Html, wait: &v1::WaitInfo) {
    let Some(root) = wait.chain.last() else { return };
    parts::whose(html, root);
    html.markup("<span class=\"more\">");
    match root.granted() {
        v1::Mode::Unspecified => html.markup("waits on "),
        held => {
            parts::mode(html, held);
            html.markup("on ")
        }
    };
    parts::resource(html, root.resource.as_ref());
    html.markup(", ");
    parts::session(html, &root.session);
    html.markup("</span>");
    parts::end(html, wait);
}

fn contended(html: &mut Html, list: Option<&v1::ListContendedResponse>) {
    html.markup("<section><h2>Most contended</h2>");
    match list.map(|list| list.resources.as_slice()) {
        None => parts::nothing(html, SILENT),
        Some([]) => parts::nothing(html, "Nothing is waited for at this broker."),
        Some(resources) => {
            html.table("Resources for which most wait", CONTENDED, |rows| {
                for summary in resources {
                    let resource = summary.resource.as_ref();
                    rows.row(&parts::key(resource), |cells| {
                        cells.cell(|html| parts::resource(html, resource));
                        cells.cell(|html| summary.modes().for_each(|mode| parts::mode(html, mode)));
                        cells.cell(|html| {
                            html.number(u64::from(summary.waiting) + u64::from(summary.converting));
                        });
                        cells.cell(|html| {
                            html.age(summary.waiting_ms);
                        });
                        cells.cell(|html| {
                            html.number(summary.granted.into());
                        });
                    });
                }
            });
        }
    }
    html.markup("</section>");
}

fn brokers(html: &mut Html, brokers: &[v1::BrokerEntry]) {
    html.markup("<section><h2>Brokers</h2>");
    html.table("Brokers on the stores, as this one sees them", BROKERS, |rows| {
        for broker in brokers {
            rows.row(&format!("{} {}", broker.backend, broker.incarnation), |cells| {
                cells.cell(|html| {
                    html.name(&broker.name).markup(if broker.own {
                        "<span class=\"more\">this one, on "
                    } else {
                        "<span class=\"more\">on "
                    });
                    html.name(&broker.backend).markup("</span>");
                });
                cells.cell(|html| broker_state(html, broker.state()));
                cells.cell(|html| {
                    html.age(broker.silence_ms);
                });
                cells.cell(|html| {
                    html.text(&super::html::time(broker.broker_ttl_ms.into()));
                });
                cells.cell(|html| parts::microseconds(html, broker.round_trip_us));
                cells.cell(|html| {
                    html.number(broker.burying.into());
                });
                cells.cell(|html| {
                    html.name(&broker.address);
                });
                cells.cell(|html| {
                    html.name_or_dash(&broker.admin_address);
                });
                cells.cell(|html| {
                    html.name(&broker.program)
                        .markup("<span class=\"more\"><code>")
                        .text(&broker.incarnation)
                        .markup("</code></span>");
                    if broker.format_written < broker.format_read {
                        html.markup("<span class=\"more\">writes format ")
                            .number(broker.format_written.into())
                            .markup(" for others</span>");
                    }
                });
            });
        }
    });
    html.markup("</section>");
}

fn broker_state(html: &mut Html, state: v1::BrokerState) {
    let (class, word) = match state {
        v1::BrokerState::Alive => ("good", "alive"),
        v1::BrokerState::Silent => ("warn", "silent"),
        v1::BrokerState::Gone => ("bad", "gone"),
        v1::BrokerState::Draining => ("warn", "draining"),
        v1::BrokerState::Unspecified => ("warn", "unknown"),
    };
    html.badge(class, word);
}

fn stores(html: &mut Html, status: &v1::BrokerStatus) {
    html.markup("<section><h2>Stores</h2>");
    html.table("Stores of this broker", STORES, |rows| {
        for (number, store) in status.backends.iter().enumerate() {
            rows.row(&number.to_string(), |cells| {
                cells.cell(|html| {
                    html.name(&store.name);
                    if !store.lockspaces.is_empty() {
                        html.markup("<span class=\"more\">lockspaces ")
                            .name(&store.lockspaces.join(", "))
                            .markup("</span>");
                    }
                });
                cells.cell(|html| store_state(html, store.state()));
                for number in [
                    store.sessions,
                    store.claims,
                    store.waiting,
                    store.commits,
                    store.writes,
                    store.conflicts,
                    store.unknowns,
                ] {
                    cells.cell(|html| {
                        html.number(number);
                    });
                }
                cells.cell(|html| {
                    html.markup(durability(store.durability()));
                });
            });
        }
    });
    html.markup("</section>");
}

fn durability(durability: v1::Durability) -> &'static str {
    match durability {
        v1::Durability::Volatile => "nothing",
        v1::Durability::CrashSafe => "a crash of the store",
        v1::Durability::PowerSafe => "a loss of power",
        v1::Durability::FailoverSafe => "a failover",
        v1::Durability::Unspecified => "unknown",
    }
}

fn losses(html: &mut Html, losses: &[Loss]) {
    html.markup("<section><h2>Sessions lost lately</h2>");
    if losses.is_empty() {
        parts::nothing(html, "This broker has lost no session since it started.");
    } else {
        let now = clock::wall_ms();
        html.table("Sessions that this broker has lost last", LOSSES, |rows| {
            for loss in losses.iter().take(FIRST as usize) {
                let name = loss.which.as_ref().map_or_else(String::new, |(session, _)| session.to_string());
                rows.row(&format!("{} {name}", loss.at_ms), |cells| {
                    cells.cell(|html| match &loss.which {
                        Some(_) => {
                            html.markup("<code>").text(&name).markup("</code>");
                        }
                        None => {
                            html.number(loss.sessions as u64).markup(" at once");
                        }
                    });
                    let label = loss.which.as_ref().map_or("", |(_, label)| label.as_str());
                    cells.cell(|html| {
                        html.name_or_dash(label);
                    });
                    cells.cell(|html| {
                        html.age(now.saturating_sub(loss.at_ms)).markup(" ago");
                    });
                    cells.cell(|html| {
                        html.markup(why(loss.reason));
                    });
                });
            }
        });
    }
    html.markup("</section>");
}

fn why(reason: LostReason) -> &'static str {
    match reason {
        LostReason::Expired => "its client was not heard for the TTL",
        LostReason::Forced => "an administrator took it away",
        LostReason::Amnesia => "the store or the broker lost its memory",
        LostReason::Moved => "somebody moved it to another broker",
        LostReason::Closed => "closed",
    }
}
