//! What is around every view: where one is, who one is, and where to look for something.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::Value;

use super::super::problem::Problem;
use super::View;
use super::html::Html;
use super::visit::Visit;

/// By what one can look for something: the word in an address, and the one for people.
const SEARCHES: [(&str, &str); 4] =
    [("resource", "Resource"), ("session", "Session"), ("owner", "Owner"), ("label", "Label")];

/// A view as a whole document.
pub(super) fn whole(visit: &Visit, status: StatusCode, view: &View) -> Response {
    let mut html = Html::default();
    html.markup("<header><div class=\"bar\"><a class=\"brand\" href=\"/\">sixpin</a><span class=\"broker\">broker ");
    html.name(visit.door.api.broker()).markup("</span>");
    html.markup(
        "<nav aria-label=\"Lists\"><a href=\"/resources\">Resources</a><a href=\"/sessions\">Sessions</a></nav>",
    );
    who(visit, &mut html);
    html.markup("</div>");
    search(visit, &mut html);
    html.markup("</header><main id=\"main\" tabindex=\"-1\" data-live=\"").text(&view.live).markup("\">");
    html.append(&view.main).markup("</main>");
    html.markup("<footer><p id=\"live\" role=\"status\">As it was when this page was loaded.</p></footer>");
    document(status, &view.title, &html)
}

/// A document for somebody who is not known, or of whom nothing could be found out.
pub(super) fn bare(status: StatusCode, title: &str, main: &Html) -> Response {
    let mut html = Html::default();
    html.markup("<header><div class=\"bar\"><a class=\"brand\" href=\"/\">sixpin</a></div></header>");
    html.markup("<main id=\"main\" tabindex=\"-1\">").append(main).markup("</main>");
    document(status, title, &html)
}

/// What went wrong, for people.
pub(super) fn problem(problem: Problem) -> Response {
    let (status, said) = problem.into_parts();
    let text = |field: &str| said.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut main = Html::default();
    main.markup("<section class=\"problem\"><h1>").text(&text("title")).markup("</h1><p>").name(&text("detail"));
    let address = text("address");
    if !address.is_empty() {
        main.markup("</p><p>Its broker is at ").name(&address).markup(": do it there.");
    }
    main.markup("</p><p><a href=\"/\">To the first page</a></p></section>");
    bare(status, &text("title"), &main)
}

fn who(visit: &Visit, html: &mut Html) {
    html.markup("<div class=\"who\">").name(&visit.from.who.name());
    if visit.ticket.is_some() {
        html.markup("<form method=\"post\" action=\"/sign-out\"><button class=\"quiet\">Sign out</button></form>");
    } else if visit.door.api.access().is_controlled() {
        html.markup("<a href=\"/sign-in\">Sign in</a>");
    }
    html.markup("</div>");
}

fn search(visit: &Visit, html: &mut Html) {
    html.markup(
        "<form class=\"search\" role=\"search\" action=\"/search\"><label class=\"unseen\" for=\"by\">Look for</label>",
    );
    html.markup("<select id=\"by\" name=\"by\">");
    for (word, title) in SEARCHES {
        html.markup("<option value=\"").markup(word);
        html.markup(if visit.field("by") == word { "\" selected>" } else { "\">" }).markup(title).markup("</option>");
    }
    html.markup("</select><label class=\"unseen\" for=\"q\">Name, or how it begins</label>");
    html.markup(
        "<input id=\"q\" name=\"q\" type=\"search\" maxlength=\"1024\" autocomplete=\"off\" spellcheck=\"false\" ",
    );
    html.markup("placeholder=\"Name, or how it begins ( / )\"><label class=\"unseen\" for=\"in\">Lockspace</label>");
    html.markup("<input id=\"in\" name=\"lockspace\" maxlength=\"64\" autocomplete=\"off\" spellcheck=\"false\" ");
    html.markup("placeholder=\"default\" title=\"Lockspace\" value=\"").text(visit.field("lockspace"));
    html.markup("\"><button>Search</button></form>");
}

fn document(status: StatusCode, title: &str, body: &Html) -> Response {
    let mut html = Html::default();
    html.markup("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    html.markup("<meta name=\"color-scheme\" content=\"light dark\"><title>").text(&super::html::shown(title));
    html.markup(" – sixpin</title><link rel=\"icon\" href=\"/page.svg\"><link rel=\"stylesheet\" href=\"/page.css\">");
    html.markup("<script type=\"module\" src=\"/page.js\"></script></head><body>");
    html.markup("<a class=\"skip\" href=\"#main\">Skip to the content</a>");
    html.append(body).markup("<p id=\"news\" class=\"unseen\" role=\"status\"></p></body></html>");
    let mut response = (status, Body::from(html.into_string())).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}
