//! What happened on a resource lately, as the broker that is asked remembers it.

use std::time::Duration;

use sixpin_core::broker::api::Ended;
use sixpin_core::name::ResourceId;

use super::super::problem::Problem;
use super::html::{Column, Html, time};
use super::parts;
use super::visit::Visit;
use crate::frontend::messages::replies;
use crate::lately::{Act, Event, What};
use crate::runtime::clock;

const EVENTS: &[Column] =
    &[("When", true), ("What", false), ("Mode", false), ("For", true), ("Session", false), ("By", false)];

/// The section of it, for whoever may see the resource.
pub(super) fn section(html: &mut Html, visit: &Visit, id: &ResourceId) -> Result<(), Problem> {
    let events = visit.door.api.happened_on(&visit.from, id)?;
    html.markup("<section class=\"lately\"><h2>Lately</h2><p class=\"more\">What waited, was refused, was held for a second or more, or was lost, and what ");
    html.markup(
        "administrators did. This broker alone remembers it, since it started; others have memories of their own.</p>",
    );
    if events.is_empty() {
        parts::nothing(html, "This broker remembers nothing of that.");
    } else {
        let now = clock::wall_ms();
        html.table("What happened on the resource lately", EVENTS, |rows| {
            for event in &events {
                rows.row(&event.number.to_string(), |cells| {
                    cells.cell(|html| {
                        html.age(now.saturating_sub(event.at_ms)).markup(" ago");
                    });
                    cells.cell(|html| what(html, event));
                    cells.cell(|html| parts::mode(html, replies::mode(event.mode)));
                    cells.cell(|html| lasted(html, event.lasted));
                    cells.cell(|html| whose(html, event));
                    cells.cell(|html| {
                        html.name_or_dash(event.by.as_deref().unwrap_or_default());
                    });
                });
            }
        });
    }
    html.markup("</section>");
    Ok(())
}

fn what(html: &mut Html, event: &Event) {
    let (class, words) = words(event.what);
    html.badge(class, words);
    if event.times > 1 {
        html.markup("<span class=\"more\">").number(event.times.into()).markup(" times; the last one is shown</span>");
    }
}

fn words(what: What) -> (&'static str, &'static str) {
    match what {
        What::Held => ("plain", "was held"),
        What::Lost => ("bad", "was held, and lost"),
        What::Did(Act::Notify) => ("warn", "asked to let go"),
        What::Did(Act::ForceUnlock) => ("bad", "force-unlock"),
        What::Did(Act::Expire) => ("bad", "session expired"),
        What::Did(Act::Purge) => ("warn", "orphans purged"),
        What::Did(Act::RemoveDamaged) => ("bad", "damaged record removed"),
        What::Asked(ended) => match ended {
            Ended::Granted => ("good", "waited, and was granted"),
            Ended::WouldWait => ("warn", "refused: would have waited"),
            Ended::Deadlock => ("bad", "refused: deadlock"),
            Ended::TimedOut => ("warn", "timed out"),
            Ended::Cancelled => ("plain", "waited, and was withdrawn"),
            Ended::Released => ("plain", "waited, and was given up"),
            Ended::Lost => ("bad", "waited, and was lost"),
            Ended::Gone => ("plain", "waited for a claim that had ended"),
            Ended::Denied => ("bad", "refused: not allowed"),
            Ended::Limit => ("bad", "refused: a limit"),
            Ended::Unavailable => ("warn", "waited, and was not served"),
            Ended::Unknown => ("warn", "waited; what became of it is unknown"),
            Ended::Invalid => ("warn", "waited, and made no sense"),
        },
    }
}

/// How long something was waited for or held: it is over, and does not go on.
fn lasted(html: &mut Html, lasted: Option<Duration>) {
    match lasted {
        None => html.markup("<span class=\"none\">–</span>"),
        Some(short) if short < Duration::from_secs(1) => html.number(short.as_millis() as u64).markup(" ms"),
        Some(lasted) => html.text(&time(lasted.as_millis() as u64)),
    };
}

fn whose(html: &mut Html, event: &Event) {
    let Some(session) = event.session else {
        html.markup("<span class=\"none\">–</span>");
        return;
    };
    parts::session(html, &session.to_string());
    if let Some(claim) = event.claim {
        html.markup("<span class=\"more\">claim ").text(&claim.0.to_string()).markup("</span>");
    }
}
