//! Signing in and out: a browser cannot show a token by itself, so it is given something to show instead (`access::signed`).

use axum::response::Response;
use http::header::SET_COOKIE;
use http::{HeaderValue, StatusCode};
use sixpin_core::broker::api::RequestError;

use super::super::problem::Problem;
use super::html::Html;
use super::visit::Visit;
use super::{frame, see_other};
use crate::access::signed::LASTS;
use crate::frontend::listener::cookie;

pub(super) fn ask() -> Response {
    frame::bare(StatusCode::OK, "Sign in", &form(None))
}

/// The answer to somebody who is not known.
pub(super) fn unknown() -> Response {
    let mut main = form(Some("This page is for those who are known here: sign in, or show a client certificate."));
    // Browsers leave out a strict cookie when a link on another site is followed; here they show it again.
    main.markup("<p class=\"more\">Signed in already, and came by a link? <a href=\"\">Load this page again</a>.</p>");
    frame::bare(StatusCode::UNAUTHORIZED, "Sign in", &main)
}

fn form(wrong: Option<&'static str>) -> Html {
    let mut html = Html::default();
    html.markup("<section class=\"ask\"><h1>Sign in</h1>");
    if let Some(wrong) = wrong {
        html.markup("<p class=\"wrong\" role=\"alert\">").markup(wrong).markup("</p>");
    }
    html.markup(
        "<form class=\"act\" method=\"post\" action=\"/sign-in\"><p><label for=\"credential\">Token</label></p><p>",
    );
    html.markup("<input id=\"credential\" name=\"credential\" type=\"password\" required autocomplete=\"off\" spellcheck=\"false\"></p>");
    html.markup("<p class=\"buttons\"><button>Sign in</button></p><p class=\"more\">A token of this broker, <code>sxp_…</code>, or one of ");
    html.markup("its issuer. The browser keeps something else, which is good for this page alone and for twelve hours.</p></form></section>");
    html
}

pub(super) async fn sign_in(mut visit: Visit) -> Result<Response, Problem> {
    let credential = visit.take("credential");
    let access = visit.door.api.access();
    let visiting = visit.visiting.as_ref().ok_or(RequestError::Unauthenticated)?;
    let Some(who) = visiting.identify(access, credential).await else {
        let main = form(Some("This token is not taken. What is wrong with it is in the broker's log."));
        return Ok(frame::bare(StatusCode::UNAUTHORIZED, "Sign in", &main));
    };
    visit.tickets.iter().for_each(|ticket| access.signed().leave(ticket));
    let ticket = access.signed().enter(who)?;
    Ok(with_cookie(see_other("/"), &visit, ticket.reveal(), LASTS.as_secs()))
}

pub(super) fn sign_out(visit: &Visit) -> Response {
    visit.tickets.iter().for_each(|ticket| visit.door.api.access().signed().leave(ticket));
    with_cookie(see_other("/"), visit, "", 0)
}

fn with_cookie(mut response: Response, visit: &Visit, value: &str, seconds: u64) -> Response {
    let secure = if visit.encrypted { "; Secure" } else { "" };
    let name = cookie::name(visit.door.api.access().signed());
    let cookie = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}
