//! What a browser shows that has signed in: a cookie.
//!
//! Browsers keep cookies for a host and all its ports. So each broker of a host has a name for its own, and of what comes all
//! that could be meant is tried.

use http::HeaderMap;
use http::header::COOKIE;

use crate::access::signed::Ticket;

const PREFIX: &str = "sixpin-page-";
/// So many are tried.
const TRIED_MAX: usize = 16;

/// The name of the cookie of a broker with this port.
pub(crate) fn name(port: u16) -> String {
    format!("{PREFIX}{port}")
}

/// What the cookies of a request show.
pub(crate) fn tickets(headers: &HeaderMap) -> impl Iterator<Item = Ticket> + '_ {
    let all = headers.get_all(COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| name.starts_with(PREFIX)).take(TRIED_MAX).map(|(_, value)| Ticket::shown(value))
}
