//! One resource: its queues in order, who is in whose way, and what is kept with it.

use std::collections::BTreeSet;

use sixpin_core::access::{Place, Verb};
use sixpin_core::name::ResourceId;
use sixpin_core::resource::Resource;
use sixpin_proto::v1;

use super::super::problem::Problem;
use super::act::Claim;
use super::html::{Column, Html, time};
use super::parts::Sessions;
use super::visit::{Visit, url};
use super::{PAGE, View, lately, notify, parts};
use crate::frontend::messages::views;

/// Chains that are shown of the claims that wait.
const CHAINS: usize = 5;
/// Bytes of a value block that are shown.
const VALUE_SHOWN: usize = 256;

const GRANTED: &[Column] = &[
    ("Mode", false),
    ("Held for", true),
    ("Holder", false),
    ("Session", false),
    ("Broker", false),
    ("Time left", true),
    ("Fence", true),
    ("Notes", false),
    ("Action", false),
];
const QUEUED: &[Column] = &[
    ("Mode", false),
    ("Waits", true),
    ("Waiter", false),
    ("Session", false),
    ("Broker", false),
    ("Time left", true),
    ("In its way", false),
    ("Notes", false),
    ("Action", false),
];

/// A claim of the page, and who is in its way.
struct Shown {
    claim: v1::ClaimInfo,
    blocker: Option<v1::ClaimInfo>,
}

/// How many claims are in each queue.
struct Lengths {
    granted: usize,
    converting: usize,
    waiting: usize,
}

pub(super) async fn view(visit: Visit) -> Result<View, Problem> {
    let id = visit.resource()?;
    let found = visit.door.api.resource(&visit.from, &id).await?;
    let mut main = Html::default();
    main.markup("<div class=\"title\"><p class=\"kind\">Resource in lockspace ").name(id.lockspace.as_str());
    main.markup("</p><h1>").name(id.name.as_str()).markup("</h1>");
    match &found {
        None => {
            main.badge("good", "free").markup("</div>");
            parts::nothing(&mut main, "Nobody has a claim on it, and nobody waits for it.");
        }
        Some((version, Err(error))) => {
            main.badge("bad", "damaged").markup("</div><p>Its record, version ").text(&version.to_string());
            main.markup(", cannot be understood: ").name(&error.to_string());
            main.markup(". Nobody can say who has it, and nothing is granted; <code>sixpin purge --damaged</code> removes it.</p>");
        }
        Some((version, Ok(resource))) => {
            let lengths = lengths(resource);
            state(&mut main, &lengths);
            main.markup("</div>");
            let first = visit.number("first")? as usize;
            let shown = claims(&id, resource, first);
            let (value, version) = (value(resource), version.to_string());
            figures(&mut main, &visit, &id, &lengths);
            queues(&mut main, &visit, &id, &lengths, first, &shown).await?;
            value_block(&mut main, &value, &version);
        }
    }
    lately::section(&mut main, &visit, &id)?;
    settings(&mut main, &visit, &id);
    let fields = [("lockspace", id.lockspace.as_str()), ("name", id.name.as_str()), ("first", visit.field("first"))];
    Ok(View { title: id.name.to_string(), main, live: url("/live/resource", &fields) })
}

fn lengths(resource: &Resource) -> Lengths {
    let (granted, converting) = (resource.granted().count(), resource.converting().count());
    Lengths { granted, converting, waiting: resource.waiting().count() }
}

impl Lengths {
    fn sum(&self) -> usize {
        self.granted + self.converting + self.waiting
    }
}

fn state(html: &mut Html, lengths: &Lengths) {
    let (class, word) = match (lengths.converting + lengths.waiting, lengths.granted) {
        (0, 0) => ("good", "free"),
        (0, _) => ("good", "held"),
        _ => ("warn", "waited for"),
    };
    html.badge(class, word);
}

/// The claims of one page, in queue order.
fn claims(id: &ResourceId, resource: &Resource, first: usize) -> Vec<Shown> {
    let all = resource.granted().chain(resource.converting()).chain(resource.waiting());
    let blocker = |claim| resource.blocker_of(claim).map(|blocker| views::claim_on(id, &blocker));
    let shown = |view| Shown { claim: views::claim_on(id, &view), blocker: blocker(view.id) };
    all.skip(first).take(PAGE).map(shown).collect()
}

fn figures(html: &mut Html, visit: &Visit, id: &ResourceId, lengths: &Lengths) {
    html.markup("<dl class=\"figures\">");
    for (term, number) in
        [("Granted", lengths.granted), ("Converting", lengths.converting), ("Waiting", lengths.waiting)]
    {
        html.fact(term, |html| {
            html.number(number as u64);
        });
    }
    html.markup("</dl>");
    if !visit.from.may(Verb::Force, Place::Resource(id)) {
        html.markup("<p class=\"nothing\">You may look, and take nothing away: that needs the verb <code>force</code> here.</p>");
    }
}

fn value(resource: &Resource) -> v1::Value {
    v1::Value {
        bytes: Some(resource.value_bytes().to_vec().into()),
        seq: resource.value_seq(),
        invalid: resource.value_invalid(),
    }
}

fn value_block(html: &mut Html, value: &v1::Value, version: &str) {
    let bytes = value.bytes.as_deref().unwrap_or_default();
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    html.markup("<section><h2>Value block</h2><div class=\"value\"><pre tabindex=\"0\" aria-label=\"Value block\">");
    match std::str::from_utf8(&bytes[..end]) {
        Ok("") => html.markup("<span class=\"none\">all zeroes</span>"),
        Ok(text) => {
            let part: String = text.chars().take(VALUE_SHOWN).collect();
            html.name(&part).markup(if part.len() < text.len() { " …" } else { "" })
        }
        Err(_) => {
            let hex: Vec<String> = bytes[..end].iter().take(VALUE_SHOWN).map(|byte| format!("{byte:02x}")).collect();
            html.text(&hex.join(" ")).markup(if end > VALUE_SHOWN { " …" } else { "" })
        }
    };
    html.markup("</pre><p class=\"more\">").number(bytes.len() as u64).markup(" bytes, written ").number(value.seq);
    html.markup(" times, ");
    html.markup(if value.invalid { "invalid: a writer died, these are the last known bytes" } else { "valid" });
    html.markup(". The record has version ").text(version).markup(".</p></div></section>");
}

async fn queues(
    html: &mut Html,
    visit: &Visit,
    id: &ResourceId,
    lengths: &Lengths,
    first: usize,
    shown: &[Shown],
) -> Result<(), Problem> {
    let named = shown.iter().flat_map(|shown| std::iter::once(&shown.claim).chain(&shown.blocker));
    let sessions = Sessions::of(visit, named.map(|claim| claim.session.clone()).take(PAGE * 2).collect()).await?;
    let queue = |queue: v1::Queue| shown.iter().filter(move |shown| shown.claim.queue() == queue);
    let title = |html: &mut Html, title: &'static str, number: usize| {
        html.markup("<section class=\"queue\"><h2>")
            .markup(title)
            .markup(" <span class=\"count\">")
            .number(number as u64);
        html.markup("</span></h2>");
    };
    for (which, name, caption, number) in [
        (v1::Queue::Granted, "Granted", "Claims that are granted", lengths.granted),
        (v1::Queue::Converting, "Converting", "Claims that are granted and wait for another mode", lengths.converting),
        (v1::Queue::Waiting, "Waiting", "Claims that wait", lengths.waiting),
    ] {
        if number == 0 && which != v1::Queue::Granted {
            continue;
        }
        title(html, name, number);
        if queue(which).next().is_none() {
            parts::nothing(html, if number == 0 { "Nobody." } else { "Not on this page of the list." });
        } else {
            let granted = which == v1::Queue::Granted;
            html.table(caption, if granted { GRANTED } else { QUEUED }, |rows| {
                for Shown { claim, blocker } in queue(which) {
                    rows.row(&format!("{} {}", claim.session, claim.claim), |cells| {
                        cells.cell(|html| parts::modes(html, claim));
                        cells.cell(|html| {
                            html.age(claim.age_ms);
                        });
                        cells.cell(|html| parts::whose(html, claim));
                        cells.cell(|html| {
                            parts::session(html, &claim.session);
                            html.markup("<span class=\"more\">claim ").text(&claim.claim.to_string()).markup("</span>");
                        });
                        cells.cell(|html| sessions.broker(visit, html, &claim.session));
                        cells.cell(|html| sessions.left(html, &claim.session));
                        if granted {
                            cells.cell(|html| {
                                html.text(&claim.fence.to_string());
                            });
                        } else {
                            cells.cell(|html| in_the_way(html, claim, blocker.as_ref()));
                        }
                        cells.cell(|html| notes(html, claim));
                        cells.cell(|html| action(html, visit, id, claim));
                    });
                }
            });
        }
        html.markup("</section>");
    }
    pages(html, id, lengths, first);
    chains(html, visit, id, shown).await
}

fn in_the_way(html: &mut Html, claim: &v1::ClaimInfo, blocker: Option<&v1::ClaimInfo>) {
    let Some(blocker) = blocker else {
        html.markup("<span class=\"none\">–</span>");
        return;
    };
    if blocker.session == claim.session {
        html.markup("its own session: claim ").text(&blocker.claim.to_string()).markup(" ");
        parts::modes(html, blocker);
        return;
    }
    parts::modes(html, blocker);
    html.markup(" ").name_or_dash(&blocker.label).markup("<span class=\"more\">");
    parts::session(html, &blocker.session);
    html.markup("</span>");
}

fn notes(html: &mut Html, claim: &v1::ClaimInfo) {
    for (is, class, word) in [
        (claim.orphan, "warn", "orphan"),
        (claim.persistent && !claim.orphan, "plain", "persistent"),
        (claim.demoted, "warn", "demoted"),
    ] {
        if is {
            html.badge(class, word);
        }
    }
    if claim.told() != v1::Mode::Unspecified {
        html.markup("<span class=\"more\">told that it blocks ");
        parts::mode(html, claim.told());
        html.markup("</span>");
    }
}

fn action(html: &mut Html, visit: &Visit, id: &ResourceId, claim: &v1::ClaimInfo) {
    let may = |verb| visit.from.may(verb, Place::Resource(id));
    let holds = claim.granted() != v1::Mode::Unspecified && !claim.orphan;
    let holder = claim.session.parse().ok().filter(|_| holds && may(Verb::Notify));
    if let Some(session) = holder {
        notify::button(html, visit, &Claim { id: id.clone(), session, number: claim.claim });
    }
    if !may(Verb::Force) {
        if holder.is_none() {
            html.markup("<span class=\"none\">–</span>");
        }
        return;
    }
    let number = claim.claim.to_string();
    let fields = [
        ("lockspace", id.lockspace.as_str()),
        ("name", id.name.as_str()),
        ("session", &claim.session),
        ("claim", &number),
    ];
    html.link(&url("/force-unlock", &fields), |html| {
        html.markup("Force-unlock…");
    });
}

fn pages(html: &mut Html, id: &ResourceId, lengths: &Lengths, first: usize) {
    if first == 0 && lengths.sum() <= PAGE {
        return;
    }
    let at = |first: usize| {
        let first = if first == 0 { String::new() } else { first.to_string() };
        url("/resource", &[("lockspace", id.lockspace.as_str()), ("name", id.name.as_str()), ("first", &first)])
    };
    html.markup("<nav class=\"pages\" aria-label=\"Pages\">");
    if first > 0 {
        html.link(&at(first.saturating_sub(PAGE)), |html| {
            html.markup("Previous page");
        });
    }
    html.markup("<span>Claims ").number(first.saturating_add(1) as u64).markup(" to ");
    html.number(first.saturating_add(PAGE).min(lengths.sum()) as u64).markup(" of ").number(lengths.sum() as u64);
    html.markup("</span>");
    if first.saturating_add(PAGE) < lengths.sum() {
        html.link(&at(first.saturating_add(PAGE)), |html| {
            html.markup("Next page");
        });
    }
    html.markup("</nav>");
}

/// Who blocks whom up to the root, for the first of those that wait here.
async fn chains(html: &mut Html, visit: &Visit, id: &ResourceId, shown: &[Shown]) -> Result<(), Problem> {
    let queued: Vec<&v1::ClaimInfo> =
        shown.iter().filter(|shown| shown.blocker.is_some()).map(|shown| &shown.claim).collect();
    let sessions: BTreeSet<String> = queued.iter().take(CHAINS).map(|claim| claim.session.clone()).collect();
    if sessions.is_empty() {
        return Ok(());
    }
    let list = v1::ListWaitsRequest {
        lockspace: id.lockspace.as_str().into(),
        prefix: id.name.as_str().into(),
        sessions: sessions.into_iter().collect(),
        ..Default::default()
    };
    let waits = visit.door.inspection.waits(&visit.from, list).await?.waits;
    let of = |claim: &v1::ClaimInfo| {
        let is = |wait: &&v1::WaitInfo| {
            wait.claim.as_ref().is_some_and(|other| {
                other.session == claim.session && other.claim == claim.claim && other.resource == claim.resource
            })
        };
        waits.iter().find(is)
    };
    let found: Vec<&v1::WaitInfo> = queued.into_iter().take(CHAINS).filter_map(of).collect();
    if found.is_empty() {
        return Ok(());
    }
    html.markup("<section><h2>Who blocks whom</h2><p class=\"more\">The first that wait here, each up to the root of its chain.</p><ul class=\"chains\">");
    for wait in found {
        chain(html, wait);
    }
    html.markup("</ul></section>");
    Ok(())
}

fn chain(html: &mut Html, wait: &v1::WaitInfo) {
    let Some(claim) = &wait.claim else { return };
    html.markup("<li data-key=\"").text(&format!("{} {}", claim.session, claim.claim)).markup("\"><ol>");
    let last = wait.chain.len();
    for (number, link) in std::iter::once(claim).chain(&wait.chain).enumerate() {
        html.markup("<li>");
        parts::modes(html, link);
        html.markup(if number == 0 {
            " wanted by "
        } else if link.granted() == v1::Mode::Unspecified {
            " waits before it: "
        } else {
            " held by "
        });
        html.name_or_dash(&link.label).markup(" ");
        parts::session(html, &link.session);
        html.markup(" on ");
        parts::resource(html, link.resource.as_ref());
        if number == last {
            parts::end(html, wait);
        }
        html.markup("</li>");
    }
    html.markup("</ol></li>");
}

fn settings(html: &mut Html, visit: &Visit, id: &ResourceId) {
    let config = visit.door.api.lockspace_config(&id.lockspace);
    html.markup("<section><h2>Lockspace</h2><dl class=\"facts\">");
    html.fact("Name", |html| {
        html.name(id.lockspace.as_str());
    });
    html.fact("Value blocks", |html| {
        html.number(config.value_block_bytes as u64).markup(" bytes");
    });
    html.fact("Orphans are kept", |html| match config.orphan_ttl {
        Some(ttl) => {
            html.text(&time(ttl.as_millis() as u64));
        }
        None => {
            html.markup("until they are purged");
        }
    });
    html.fact("After a death, withheld for", |html| {
        html.text(&time(config.lock_delay.as_millis() as u64));
    });
    html.markup("</dl></section>");
}
