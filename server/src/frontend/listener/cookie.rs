//! What a browser shows that has signed in: a cookie.
//!
//! Browsers keep cookies for a host and all its ports, and brokers behind tunnels are one host to them. So the name of the cookie is
//! that of those who have signed in at one broker, as long as it runs, and only what comes under it is looked at.

use http::HeaderMap;
use http::header::COOKIE;

use crate::access::signed::{SignedIn, Ticket};

/// So many of one name are tried.
const TRIED_MAX: usize = 16;

/// The name of the cookie of those who have signed in there.
pub(crate) fn name(signed: &SignedIn) -> String {
    format!("sixpin-page-{:08x}", signed.number())
}

/// What the cookies of a request show to the broker where these have signed in.
pub(crate) fn tickets<'a>(headers: &'a HeaderMap, signed: &SignedIn) -> impl Iterator<Item = Ticket> + use<'a> {
    let own = name(signed);
    let all = headers.get_all(COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(move |(name, _)| *name == own).take(TRIED_MAX).filter_map(|(_, value)| Ticket::shown(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Who;

    #[test]
    fn brokers_that_are_one_host_to_a_browser_have_cookies_of_their_own() {
        let (north, south) = (SignedIn::default(), SignedIn::default());
        assert_ne!(name(&north), name(&south));
        let ticket = |signed: &SignedIn| signed.enter(Who::this_program()).unwrap();
        let own = ticket(&north);
        let other = |_| format!("{}={}", name(&south), ticket(&south).reveal());
        let mut shown: Vec<String> = (0..2 * TRIED_MAX).map(other).collect();
        shown.push(format!("{}={}", name(&north), own.reveal()));
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, shown.join("; ").parse().unwrap());
        assert_eq!(tickets(&headers, &north).collect::<Vec<_>>(), [own]);
        assert_eq!(tickets(&headers, &south).count(), TRIED_MAX);
    }
}
