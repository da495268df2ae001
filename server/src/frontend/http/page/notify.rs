//! What asks a holder to let go. It takes nothing away, so no name has to be typed; a form of another page is refused all the same.

use axum::response::Response;
use http::StatusCode;
use sixpin_core::access::{Place, Verb};
use sixpin_core::broker::api::RequestError;
use sixpin_core::name::{ClaimId, ClaimNumber};
use sixpin_proto::v1;

use super::super::problem::Problem;
use super::act::{self, Claim};
use super::html::Html;
use super::visit::Visit;
use super::{View, frame, parts};
use crate::frontend::messages::views;

const NOTIFY: &str = "notify";

/// The button beside a claim that holds, for whoever may ask its holder.
pub(super) fn button(html: &mut Html, visit: &Visit, claim: &Claim) {
    html.markup("<form method=\"post\" action=\"/notify\">");
    claim.fields(html);
    act::seal(html, visit, &claim.sealed(NOTIFY));
    html.markup("<button class=\"quiet\" title=\"Ask its client to let go\">Notify</button></form>");
}

/// Asks the holder.
pub(super) async fn notify(visit: Visit) -> Result<Response, Problem> {
    let claim = Claim::of(&visit)?;
    if !act::is_ours(&visit, &claim.sealed(NOTIFY)) {
        visit.door.api.check(&visit.from, Verb::Notify, Place::Resource(&claim.id))?;
        return Ok(frame::whole(
            &visit,
            StatusCode::FORBIDDEN,
            &said(&claim, "Not told", |main| {
                main.markup(act::NOT_OURS);
            }),
        ));
    }
    let request = v1::NotifyHolderRequest {
        resource: Some(claim.resource()),
        session: claim.session.to_string(),
        claim: claim.number,
    };
    let (calls, from) = (visit.administrators()?.calls.clone(), visit.from.clone());
    let answer = act::answer(async move { calls.notify_holder(&from, request).await }).await?;
    let answer =
        answer.ok_or_else(|| RequestError::Unknown("the broker gave no answer in time: try once more".into()))?;
    let is_told = !answer.told.is_empty();
    let wanted = if is_told { wanted(&visit, &claim).await } else { v1::Mode::Unspecified };
    let view = said(&claim, if is_told { "Told" } else { "Not told" }, |main| {
        main.markup(if is_told { "Told claim " } else { "Claim " }).text(&claim.number.to_string());
        main.markup(" of session ");
        parts::session(main, &claim.session.to_string());
        if !is_told {
            main.markup(": its client does not listen for that. It did not ask to hear when its lock is wanted.");
            return;
        }
        main.markup(" that ");
        if wanted == v1::Mode::Unspecified {
            main.markup("its lock");
        } else {
            parts::mode(main, wanted);
        }
        main.markup(" is wanted. Whether it lets go is up to it.");
    });
    Ok(frame::whole(&visit, StatusCode::OK, &view))
}

/// The mode that others want, as far as whoever asks may see it.
async fn wanted(visit: &Visit, claim: &Claim) -> v1::Mode {
    if !visit.from.may(Verb::Inspect, Place::Resource(&claim.id)) {
        return v1::Mode::Unspecified;
    }
    let id = ClaimId { session: claim.session, number: ClaimNumber(claim.number) };
    match visit.door.api.resource(&visit.from, &claim.id).await {
        Ok(Some((_, Ok(resource)))) => {
            resource.claim(id).map_or(v1::Mode::Unspecified, |view| views::claim_on(&claim.id, &view).told())
        }
        _ => v1::Mode::Unspecified,
    }
}

/// What came of it, with the way back.
fn said(claim: &Claim, title: &'static str, what: impl FnOnce(&mut Html)) -> View {
    let mut main = Html::default();
    main.markup("<section class=\"done\" role=\"status\"><h1>").markup(title).markup("</h1><p>");
    what(&mut main);
    main.markup("</p><p>Back to ");
    parts::resource(&mut main, Some(&claim.resource()));
    main.markup("</p></section>");
    View { title: title.into(), main, live: String::new() }
}
