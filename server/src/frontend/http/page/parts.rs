//! What several views show alike.

use std::collections::{BTreeMap, BTreeSet};

use sixpin_proto::v1;

use super::html::Html;
use super::visit::{Visit, url, url_of};
use crate::frontend::api::Checked;

/// What tells a resource from others.
pub(super) fn key(resource: Option<&v1::Resource>) -> String {
    resource.map_or_else(String::new, |resource| format!("{}/{}", resource.lockspace, resource.name))
}

/// A mode, as the field's literature writes it.
pub(super) fn mode(html: &mut Html, mode: v1::Mode) {
    let (class, word) = match mode {
        v1::Mode::Nl => ("mode nl", "NL"),
        v1::Mode::Cr => ("mode cr", "CR"),
        v1::Mode::Cw => ("mode cw", "CW"),
        v1::Mode::Pr => ("mode pr", "PR"),
        v1::Mode::Pw => ("mode pw", "PW"),
        v1::Mode::Ex => ("mode ex", "EX"),
        v1::Mode::Unspecified => ("none", "–"),
    };
    html.markup("<span class=\"").markup(class).markup("\">").markup(word).markup("</span>");
}

/// What a claim has and what it waits for.
pub(super) fn modes(html: &mut Html, claim: &v1::ClaimInfo) {
    match (claim.granted(), claim.requested()) {
        (v1::Mode::Unspecified, wanted) => mode(html, wanted),
        (held, v1::Mode::Unspecified) => mode(html, held),
        (held, wanted) => {
            mode(html, held);
            html.markup("<span class=\"to\"> to </span>");
            mode(html, wanted);
        }
    }
}

/// What people are told of whose claim it is.
pub(super) fn whose(html: &mut Html, claim: &v1::ClaimInfo) {
    html.name_or_dash(&claim.label);
    if !claim.owner.is_empty() {
        html.markup("<span class=\"owner\">").name(&claim.owner).markup("</span>");
    }
}

/// A session, with a link to its view.
pub(super) fn session(html: &mut Html, session: &str) {
    html.link(&url("/session", &[("id", session)]), |html| {
        html.markup("<code>").text(session).markup("</code>");
    });
}

/// A resource, with a link to its view.
pub(super) fn resource(html: &mut Html, resource: Option<&v1::Resource>) {
    let Some(resource) = resource else { return };
    html.link(&url_of(resource), |html| {
        html.name(&resource.name);
    });
    if resource.lockspace != "default" {
        html.markup("<span class=\"more\">in ").name(&resource.lockspace).markup("</span>");
    }
}

/// A list that has nothing in it.
pub(super) fn nothing(html: &mut Html, text: &'static str) {
    html.markup("<p class=\"nothing\">").markup(text).markup("</p>");
}

/// Where a list goes on.
pub(super) fn next_page(html: &mut Html, address: Option<&str>) {
    if let Some(address) = address {
        html.markup("<nav class=\"pages\" aria-label=\"Pages\"><a rel=\"next\" href=\"").text(address);
        html.markup("\">Next page</a></nav>");
    }
}

/// A time that the store took.
pub(super) fn microseconds(html: &mut Html, time: u64) {
    match time {
        0 => html.markup("<span class=\"none\">–</span>"),
        1..1_000 => html.text(&format!("{time} µs")),
        _ => html.text(&format!("{}.{} ms", time / 1_000, time % 1_000 / 100)),
    };
}

/// What this broker knows of sessions, for whoever may see it.
#[derive(Default)]
pub(super) struct Sessions {
    known: BTreeMap<String, v1::SessionInfo>,
    /// Names of brokers by incarnation.
    brokers: BTreeMap<String, String>,
}

impl Sessions {
    /// Looks for these, as many as a page has.
    pub(super) async fn of(visit: &Visit, names: BTreeSet<String>) -> Checked<Self> {
        if !visit.sees_all() || names.is_empty() {
            return Ok(Self::default());
        }
        let inspection = &visit.door.inspection;
        let list = v1::ListSessionsRequest { sessions: names.into_iter().collect(), ..Default::default() };
        let sessions = inspection.sessions(&visit.from, list).await?.sessions;
        let brokers = inspection.brokers(&visit.from).await?.brokers;
        Ok(Self {
            known: sessions.into_iter().map(|info| (info.session.clone(), info)).collect(),
            brokers: brokers.into_iter().map(|broker| (broker.incarnation, broker.name)).collect(),
        })
    }

    /// Which broker vouches for it, as far as this one knows.
    pub(super) fn broker(&self, visit: &Visit, html: &mut Html, session: &str) {
        if self.known.contains_key(session) {
            html.name(visit.door.api.broker());
        } else if let Some(opener) = session.split('-').next().and_then(|opener| self.brokers.get(opener)) {
            html.name(opener).markup("<span class=\"more\">opened it</span>");
        } else {
            html.markup("<span class=\"none\">–</span>");
        }
    }

    /// How long it lasts if nothing more is heard of it.
    pub(super) fn left(&self, html: &mut Html, session: &str) {
        match self.known.get(session) {
            Some(info) => left(html, info),
            None => {
                html.markup("<span class=\"none\" title=\"Another broker knows\">–</span>");
            }
        }
    }
}

/// How long a session lasts if nothing more is heard of it.
pub(super) fn left(html: &mut Html, info: &v1::SessionInfo) {
    html.left(u64::from(info.ttl_ms).saturating_sub(info.silence_ms));
}

/// A session's state, where it is not the usual one.
pub(super) fn session_state(html: &mut Html, info: &v1::SessionInfo) {
    let (class, word) = match info.state() {
        v1::SessionState::Vouching if info.connected => ("good", "connected"),
        v1::SessionState::Vouching => ("good", "alive"),
        v1::SessionState::Moving => ("warn", "moving here"),
        v1::SessionState::Ending => ("bad", "taken away"),
        v1::SessionState::Burying => ("bad", "lost"),
        v1::SessionState::Closing => ("warn", "closing"),
        v1::SessionState::Unspecified => ("warn", "unknown"),
    };
    html.badge(class, word);
}

/// How a chain ends, where its root is not all there is to say.
pub(super) fn end(html: &mut Html, wait: &v1::WaitInfo) {
    match wait.end() {
        v1::ChainEnd::Cycle => {
            html.badge("bad", "waits for itself, through others");
        }
        v1::ChainEnd::Elsewhere => {
            html.markup("<span class=\"more\">its own broker knows what it waits for</span>");
        }
        v1::ChainEnd::Long => {
            html.markup("<span class=\"more\">and the chain goes on</span>");
        }
        v1::ChainEnd::Holder | v1::ChainEnd::Unspecified => {}
    }
}
