//! The operator's page: who holds, who waits and for whom, for people with a browser. On the admin listener, from the program itself.
//!
//! Each view is made here, so that it can be read without JavaScript; what JavaScript there is brings the newest state of the same
//! view. What a view shows and what a form does comes from the calls that gRPC and JSON have, in the name of whoever asks.
//!
//! # Invariants
//!
//! * Everything that comes from elsewhere is text ([`html`]), and the browser is told to run nothing but our own file.
//! * Nothing changes by a GET. A form that changes something comes from this page, was made for whoever sends it (`seal`), and does
//!   nothing that its sender may not do.
//! * No view is larger than a page of each of its lists. Brokers and stores are shown all: they are few.
//!
//! # Layout, in reading order
//!
//! * this file: all addresses, and what stands there; `visit`: a request, taken apart; `html`: what answers are made of;
//! * `frame`: what is around every view; `parts`: what several have in common;
//! * `home`, `resource` with `lately`, `session`, `lists`: the views; `live`: a view again whenever it has changed;
//! * `act`: what takes something away, with `seal`; `notify`: what asks to let go; `sign`: signing in and out.

mod act;
mod frame;
mod home;
mod html;
mod lately;
mod lists;
mod live;
mod notify;
mod parts;
mod resource;
pub(super) mod seal;
mod session;
mod sign;
mod visit;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Method, StatusCode, request};

use super::Door;
use super::problem::Problem;
use super::routes::Answered;
use crate::frontend::listener::{Kind, What};
use html::Html;
use live::Watched;
use visit::Visit;

/// Entries of a list on one page.
const PAGE: usize = 100;

/// Nothing from anywhere else, nothing inside of markup, and in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// A view.
struct View {
    /// In a few words: what may be a name.
    title: String,
    /// What it shows.
    main: Html,
    /// Where it comes again whenever it has changed; empty: nowhere.
    live: String,
}

/// What an address stands for.
struct Address {
    method: Method,
    path: &'static str,
    kind: Kind,
    /// Also who is not known is answered.
    for_everybody: bool,
    does: Does,
}

type Made<T> = BoxFuture<'static, Result<T, Problem>>;

enum Does {
    /// Shows a view.
    Show(fn(Visit) -> Made<View>),
    /// Shows it again whenever it has changed, to whoever may watch this.
    Follow(Watched, fn(Visit) -> Made<View>),
    /// Something else, which shows nothing that is not known to whoever asks.
    Answer(fn(Visit) -> Made<Response>),
    /// A file, with its type.
    File(&'static str, &'static str),
}

const fn show(path: &'static str, view: fn(Visit) -> Made<View>) -> Address {
    Address { method: Method::GET, path, kind: Kind::Inspection, for_everybody: false, does: Does::Show(view) }
}

const fn follow(path: &'static str, watched: Watched, view: fn(Visit) -> Made<View>) -> Address {
    Address { method: Method::GET, path, kind: Kind::Watch, for_everybody: false, does: Does::Follow(watched, view) }
}

const fn get(path: &'static str, answer: fn(Visit) -> Made<Response>) -> Address {
    Address { method: Method::GET, path, kind: Kind::Call, for_everybody: true, does: Does::Answer(answer) }
}

const fn post(path: &'static str, for_everybody: bool, answer: fn(Visit) -> Made<Response>) -> Address {
    Address { method: Method::POST, path, kind: Kind::Call, for_everybody, does: Does::Answer(answer) }
}

const fn file(path: &'static str, kind: &'static str, text: &'static str) -> Address {
    Address { method: Method::GET, path, kind: Kind::Call, for_everybody: true, does: Does::File(kind, text) }
}

/// All of them.
static ADDRESSES: &[Address] = &[
    show("/", |visit| home::view(visit).boxed()),
    follow("/live/home", Watched::Everything, |visit| home::view(visit).boxed()),
    show("/resource", |visit| resource::view(visit).boxed()),
    follow("/live/resource", Watched::Resource, |visit| resource::view(visit).boxed()),
    show("/session", |visit| session::view(visit).boxed()),
    follow("/live/session", Watched::Everything, |visit| session::view(visit).boxed()),
    show("/resources", |visit| lists::resources(visit).boxed()),
    show("/sessions", |visit| lists::sessions(visit).boxed()),
    show("/owner", |visit| lists::owner(visit).boxed()),
    get("/search", |visit| ready(lists::search(visit)).boxed()),
    show("/force-unlock", |visit| ready(act::ask_to_force(visit)).boxed()),
    post("/force-unlock", false, |visit| act::force(visit).boxed()),
    post("/notify", false, |visit| notify::notify(visit).boxed()),
    show("/expire", |visit| ready(act::ask_to_expire(visit)).boxed()),
    post("/expire", false, |visit| act::expire(visit).boxed()),
    get("/sign-in", |_| ready(Ok(sign::ask())).boxed()),
    post("/sign-in", true, |visit| sign::sign_in(visit).boxed()),
    post("/sign-out", true, |visit| ready(Ok(sign::sign_out(&visit))).boxed()),
    file("/page.css", "text/css; charset=utf-8", include_str!("assets/page.css")),
    file("/page.js", "text/javascript; charset=utf-8", include_str!("assets/page.js")),
    file("/page.svg", "image/svg+xml", include_str!("assets/page.svg")),
];

fn find(method: &Method, path: &str) -> Option<&'static Address> {
    // What answers GET answers HEAD: the connection leaves the body away.
    let wanted = if method == Method::HEAD { &Method::GET } else { method };
    ADDRESSES.iter().find(|address| address.path == path && address.method == *wanted)
}

/// What a request is, if it is for the page.
pub(super) fn what(request: &request::Parts) -> Option<What> {
    let address = find(&request.method, request.uri.path())?;
    Some(What { kind: address.kind, streams_in: false, for_everybody: address.for_everybody, page: true })
}

/// The answer to somebody who is not known: he may sign in.
pub(super) fn unauthenticated() -> Response {
    guarded(sign::unknown())
}

/// Answers a request for the page, or gives it back.
pub(super) async fn answer(door: &Arc<Door>, request: Request) -> Result<Response, Request> {
    let Some(address) = find(request.method(), request.uri().path()) else { return Err(request) };
    let visit = Visit::new(door.clone(), request);
    Ok(guarded(respond(&address.does, visit).await.unwrap_or_else(frame::problem)))
}

/// A file is shown without a look at who asks.
async fn respond(does: &Does, visit: impl Future<Output = Result<Visit, Problem>>) -> Answered {
    match does {
        Does::Show(view) => {
            let visit = visit.await?;
            Ok(frame::whole(&visit, StatusCode::OK, &view(visit.clone()).await?))
        }
        Does::Follow(watched, view) => live::follow(*watched, *view, visit.await?),
        Does::Answer(answer) => answer(visit.await?).await,
        Does::File(kind, text) => Ok(file_of(kind, text)),
    }
}

fn file_of(kind: &'static str, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// What browsers have to know of every answer.
fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Other sites are told nothing. With `no-referrer` a form would not say from which page it comes, and be refused.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    headers.insert(opener, HeaderValue::from_static("same-origin"));
    let resources = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(resources, HeaderValue::from_static("same-origin"));
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Leads to another address.
fn see_other(address: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    // An address is made of signs that a header may have.
    if let Ok(address) = HeaderValue::try_from(address) {
        response.headers_mut().insert(LOCATION, address);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::super::routes::ROUTES;
    use super::*;

    #[test]
    fn an_address_of_the_page_is_none_of_the_calls_and_changes_nothing_by_a_get() {
        for address in ADDRESSES {
            assert!(!address.path.starts_with("/v1"), "{}", address.path);
            assert!(ROUTES.iter().all(|route| route.path != address.path), "{}", address.path);
            let same = ADDRESSES.iter().filter(|other| other.path == address.path && other.method == address.method);
            assert_eq!(same.count(), 1, "{}", address.path);
        }
    }
}
