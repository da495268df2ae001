//! What takes something away. First it is said what will happen and when, and asked for the name; then it is done, by the call that
//! everybody has for it and in the name of whoever sent the form. What takes nothing away is [`notify`](super::notify).

use std::time::Duration;

use axum::response::Response;
use http::StatusCode;
use sixpin_core::access::{Place, Verb};
use sixpin_core::broker::api::RequestError;
use sixpin_core::limits::with_tolerance;
use sixpin_core::name::{ResourceId, SessionId};
use sixpin_proto::v1;
use tokio::sync::Semaphore;

use super::super::problem::Problem;
use super::html::{Html, shown, time};
use super::visit::{Visit, url, url_of};
use super::{View, frame, parts};

use crate::frontend::api::{Checked, checks};

const FORCE: &str = "force-unlock";
const EXPIRE: &str = "expire";

/// What is said of a form that is none of ours.
pub(super) const NOT_OURS: &str = "Nothing was changed: this form was not made by this broker for you, or the broker was started anew. Try once more.";

/// How long it is waited to hear what became of it.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// So many things may be on their way at once, also while nobody waits for them any more.
const UNDER_WAY_MAX: usize = 64;
static UNDER_WAY: Semaphore = Semaphore::const_new(UNDER_WAY_MAX);

/// A claim that something is to be done about.
pub(super) struct Claim {
    pub(super) id: ResourceId,
    pub(super) session: SessionId,
    pub(super) number: u64,
}

impl Claim {
    pub(super) fn of(visit: &Visit) -> Checked<Self> {
        let number = checks::claim_number(visit.number("claim")?)?.0;
        Ok(Self { id: visit.resource()?, session: visit.session("session")?, number })
    }

    /// What a form is about that does this to it.
    pub(super) fn sealed(&self, what: &str) -> [String; 5] {
        let (session, number) = (self.session.to_string(), self.number.to_string());
        [what.into(), self.id.lockspace.to_string(), self.id.name.to_string(), session, number]
    }

    /// The resource that it is on.
    pub(super) fn resource(&self) -> v1::Resource {
        v1::Resource { lockspace: self.id.lockspace.to_string(), name: self.id.name.to_string() }
    }

    /// What a form says of it.
    pub(super) fn fields(&self, html: &mut Html) {
        html.hidden("lockspace", self.id.lockspace.as_str()).hidden("name", self.id.name.as_str());
        html.hidden("session", &self.session.to_string()).hidden("claim", &self.number.to_string());
    }
}

pub(super) fn ask_to_force(visit: Visit) -> Result<View, Problem> {
    let claim = Claim::of(&visit)?;
    visit.door.api.check(&visit.from, Verb::Force, Place::Resource(&claim.id))?;
    Ok(force_view(&visit, &claim, None))
}

fn force_view(visit: &Visit, claim: &Claim, wrong: Option<&'static str>) -> View {
    let mut main = Html::default();
    main.markup("<section class=\"ask\"><h1>Take a claim away</h1><p>Claim ")
        .text(&claim.number.to_string())
        .markup(" of session ");
    parts::session(&mut main, &claim.session.to_string());
    main.markup(" on ").name(claim.id.name.as_str()).markup(" in lockspace ").name(claim.id.lockspace.as_str());
    main.markup(" is taken away. Its holder is told that it has lost it, and others are granted it once the holder has confirmed: ");
    main.markup("in at most ").text(&time(with_tolerance(claim.session.ttl()).as_millis() as u64));
    main.markup(", its TTL and a tolerance. The session goes on, with all its other claims.</p>");
    begin_form(&mut main, "/force-unlock", wrong);
    claim.fields(&mut main);
    let back = url_of(&claim.resource());
    end_form(
        &mut main,
        visit,
        &claim.sealed(FORCE),
        "name of the resource",
        claim.id.name.as_str(),
        "Force-unlock",
        &back,
    );
    View { title: "Take a claim away".into(), main, live: String::new() }
}

pub(super) async fn force(visit: Visit) -> Result<Response, Problem> {
    let claim = Claim::of(&visit)?;
    if let Some(wrong) = wrong(&visit, &claim.sealed(FORCE), claim.id.name.as_str()) {
        visit.door.api.check(&visit.from, Verb::Force, Place::Resource(&claim.id))?;
        return Ok(frame::whole(&visit, wrong.0, &force_view(&visit, &claim, Some(wrong.1))));
    }
    let resource = claim.resource();
    let request = v1::ForceUnlockRequest {
        resource: Some(resource.clone()),
        session: claim.session.to_string(),
        claim: claim.number,
        now: is_now(&visit),
        no_wait: !is_now(&visit),
    };
    let (calls, from) = (visit.administrators()?.calls.clone(), visit.from.clone());
    let taken = answer(async move { calls.force_unlock(&from, request).await }).await?;
    let title = if taken.is_some() { "Taken away" } else { "Being taken away" };
    let mut main = Html::default();
    main.markup("<section class=\"done\" role=\"status\"><h1>").markup(title).markup("</h1><p>Claim ");
    main.text(&claim.number.to_string()).markup(" on ").name(claim.id.name.as_str());
    free(&mut main, taken.map(|taken| taken.free_in_ms));
    main.markup("</p><p>");
    main.markup("Now: ");
    parts::resource(&mut main, Some(&resource));
    main.markup("</p></section>");
    Ok(frame::whole(&visit, StatusCode::OK, &View { title: title.into(), main, live: String::new() }))
}

pub(super) fn ask_to_expire(visit: Visit) -> Result<View, Problem> {
    let session = visit.session("session")?;
    visit.door.api.check(&visit.from, Verb::Expire, Place::Everywhere)?;
    Ok(expire_view(&visit, session, None))
}

fn sealed(visit: &Visit, session: SessionId) -> [String; 3] {
    [EXPIRE.into(), visit.field("lockspace").to_owned(), session.to_string()]
}

fn expire_view(visit: &Visit, session: SessionId, wrong: Option<&'static str>) -> View {
    let name = session.to_string();
    let mut main = Html::default();
    main.markup("<section class=\"ask\"><h1>Expire a session</h1><p>Session ");
    parts::session(&mut main, &name);
    main.markup(" ends, with everything it holds and waits for. Its client is told with its next keepalive; then it loses its locks, in at most ");
    main.text(&time(with_tolerance(session.ttl()).as_millis() as u64));
    main.markup(", its TTL and a tolerance. They are free then, or where their lockspace has a lock-delay, after that. This cannot be undone.</p>");
    begin_form(&mut main, "/expire", wrong);
    main.hidden("session", &name).hidden("lockspace", visit.field("lockspace"));
    let back = url("/session", &[("id", &name)]);
    end_form(&mut main, visit, &sealed(visit, session), "name of the session", &name, "Expire the session", &back);
    View { title: "Expire a session".into(), main, live: String::new() }
}

pub(super) async fn expire(visit: Visit) -> Result<Response, Problem> {
    let session = visit.session("session")?;
    let name = session.to_string();
    if let Some(wrong) = wrong(&visit, &sealed(&visit, session), &name) {
        visit.door.api.check(&visit.from, Verb::Expire, Place::Everywhere)?;
        return Ok(frame::whole(&visit, wrong.0, &expire_view(&visit, session, Some(wrong.1))));
    }
    let request = v1::ExpireSessionRequest {
        session: name.clone(),
        now: is_now(&visit),
        no_wait: !is_now(&visit),
        lockspace: visit.field("lockspace").into(),
    };
    let (calls, from) = (visit.administrators()?.calls.clone(), visit.from.clone());
    let taken = answer(async move { calls.expire_session(&from, request).await }).await?;
    let mut main = Html::default();
    main.markup("<section class=\"done\" role=\"status\"><h1>The session ends</h1><p>What ");
    parts::session(&mut main, &name);
    main.markup(" held");
    let free_in_ms = taken.map(|taken| taken.free_in_ms);
    free(&mut main, free_in_ms);
    if free_in_ms != Some(0) {
        main.markup(" Where its lockspace has a lock-delay, it is then withheld for that long.");
    }
    main.markup("</p></section>");
    Ok(frame::whole(&visit, StatusCode::OK, &View { title: "The session ends".into(), main, live: String::new() }))
}

fn begin_form(html: &mut Html, address: &'static str, wrong: Option<&'static str>) {
    if let Some(wrong) = wrong {
        html.markup("<p class=\"wrong\" role=\"alert\">").markup(wrong).markup("</p>");
    }
    html.markup("<form class=\"act\" method=\"post\" autocomplete=\"off\" action=\"").markup(address).markup("\">");
}

fn end_form(
    html: &mut Html,
    visit: &Visit,
    sealed: &[String],
    what: &'static str,
    name: &str,
    button: &'static str,
    back: &str,
) {
    seal(html, visit, sealed);
    html.markup("<p><label for=\"typed\">To go on, type the ").markup(what).markup(":</label> ").name(name);
    html.markup("</p><p><input id=\"typed\" name=\"typed\" required autocomplete=\"off\" spellcheck=\"false\" autocapitalize=\"none\"></p>");
    html.markup("<p class=\"now\"><input id=\"now\" name=\"now\" type=\"checkbox\" value=\"yes\"> <label for=\"now\">");
    html.markup("At once, without waiting for the holder. It may still believe that it holds the lock; then only the fence protects what that guards.</label></p>");
    html.markup("<p class=\"buttons\"><button class=\"danger\">")
        .markup(button)
        .markup("</button> <a href=\"")
        .text(back);
    html.markup("\">Leave it as it is</a></p></form></section>");
}

/// What is wrong with a form, if anything is.
fn wrong(visit: &Visit, sealed: &[String], name: &str) -> Option<(StatusCode, &'static str)> {
    if !is_ours(visit, sealed) {
        return Some((StatusCode::FORBIDDEN, NOT_OURS));
    }
    let typed = visit.field("typed");
    // What is not seen of a name can only be typed as it is written out.
    if typed != name && typed != shown(name) {
        return Some((StatusCode::BAD_REQUEST, "Nothing was changed: the name that was typed is another one."));
    }
    None
}

/// Whether a form was made by this broker for whoever sends it, to do this.
pub(super) fn is_ours(visit: &Visit, sealed: &[String]) -> bool {
    visit.door.seals.is_of(visit.field("seal"), &visit.from.who.name(), &texts(sealed))
}

/// The field by which that is known.
pub(super) fn seal(html: &mut Html, visit: &Visit, sealed: &[String]) {
    html.hidden("seal", &visit.door.seals.seal(&visit.from.who.name(), &texts(sealed)));
}

fn is_now(visit: &Visit) -> bool {
    visit.field("now") == "yes"
}

fn texts(sealed: &[String]) -> Vec<&str> {
    sealed.iter().map(String::as_str).collect()
}

/// What was answered; none if nothing was in time. It goes on then, also if whoever asked has gone away, and is written into the audit once it is known how it came out.
pub(super) async fn answer<T: Send + 'static>(
    asked: impl Future<Output = Result<T, RequestError>> + Send + 'static,
) -> Result<Option<T>, RequestError> {
    let limit = |_| RequestError::Limit(format!("{UNDER_WAY_MAX} things that are being done by way of this page"));
    let place = UNDER_WAY.try_acquire().map_err(limit)?;
    let asked = tokio::spawn(async move {
        let _place = place;
        asked.await
    });
    match tokio::time::timeout(ANSWER_WITHIN, asked).await {
        Ok(Ok(answer)) => answer.map(Some),
        Ok(Err(_)) => {
            Err(RequestError::Unknown("the broker gave no answer: see what became of it, and repeat it".into()))
        }
        Err(_) => Ok(None),
    }
}

/// When what was taken away is free. `None`: nobody has said so yet.
fn free(html: &mut Html, free_in_ms: Option<u64>) {
    match free_in_ms {
        None => html.markup(" is being taken away. The store has not confirmed that yet: it may be held until it has."),
        Some(0) => html.markup(" is free."),
        Some(time) => {
            html.markup(" is free in at most ").text(&format!("{}.{} s", time / 1_000, time % 1_000 / 100));
            html.markup(", or as soon as its client has confirmed.")
        }
    };
}
