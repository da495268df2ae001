//! Paths: how the route of a request is found, and what its path names.
//!
//! A path is a template of segments. `{field}` stands for one segment, decoded once; what follows a colon in the last segment is
//! a verb: `/v1/sessions/{session}:keepAlive`. A colon that belongs to a name is written `%3A`, so that none is taken for the other.

use http::Method;
use percent_encoding::percent_decode_str;

use super::routes::{ROUTES, Route};
use crate::frontend::api::Checked;
use crate::frontend::api::errors::invalid;

/// What was found for a path.
pub(super) enum Found {
    /// This route.
    Route(&'static Route),
    /// Others have this path: methods that do.
    OtherMethods(Vec<Method>),
    /// Nothing has.
    Nothing,
}

/// The route of a request on a listener of clients, or on one of administrators.
pub(super) fn find(method: &Method, path: &str, for_administrators: bool) -> Found {
    let fits = |route: &&'static Route| route.is_on(for_administrators) && captures(route.path, path).is_some();
    // What answers GET answers HEAD: the connection leaves the body away.
    let wanted = if method == Method::HEAD { &Method::GET } else { method };
    let mut others = Vec::new();
    for route in ROUTES.iter().filter(fits) {
        if route.method == *wanted {
            return Found::Route(route);
        }
        others.push(route.method.clone());
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
}

/// The segments of a path that its template names, not decoded; none if it does not fit.
fn captures<'t, 'p>(template: &'t str, path: &'p str) -> Option<Vec<(&'t str, &'p str)>> {
    let mut captures = Vec::new();
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(captures),
            (Some(wanted), Some(given)) => {
                let Some(rest) = wanted.strip_prefix('{') else {
                    if wanted == given {
                        continue;
                    }
                    return None;
                };
                let (field, verb) = rest.split_once('}')?;
                let (value, said) = given.split_at(given.rfind(':').unwrap_or(given.len()));
                if value.is_empty() || said != verb {
                    return None;
                }
                captures.push((field, value));
            }
            _ => return None,
        }
    }
}

/// What a path names, by the fields of its template.
pub(super) fn named(template: &str, path: &str) -> Checked<Vec<(String, String)>> {
    let captures = captures(template, path).unwrap_or_default();
    let decoded = captures.into_iter().map(|(field, value)| {
        let value = percent_decode_str(value).decode_utf8();
        let value = value.map_err(|_| invalid(format!("the path's `{field}` is no UTF-8 once it is decoded")))?;
        Ok((field.to_owned(), value.into_owned()))
    });
    decoded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_and_a_verb_what_follows_its_last_colon() {
        let named =
            |template, path| named(template, path).unwrap().into_iter().map(|(_, value)| value).collect::<Vec<_>>();
        assert_eq!(named("/v1/resources/{name}", "/v1/resources/a%2Fb%3Ac%20%25"), ["a/b:c %"]);
        assert_eq!(named("/v1/resources/{name}:watch", "/v1/resources/a%3Awatch:watch"), ["a:watch"]);
        assert_eq!(named("/v1/sessions/{session}/claims/{claim}", "/v1/sessions/s/claims/7"), ["s", "7"]);
        for path in
            ["/v1/resources/a:watch", "/v1/resources/", "/v1/resources/a/b", "/v1/resources", "/v1/resources/a/"]
        {
            assert!(captures("/v1/resources/{name}", path).is_none(), "{path}");
        }
        assert!(super::named("/v1/resources/{name}", "/v1/resources/%ff").is_err());
    }
}
