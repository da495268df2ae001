//! Paths: how the route of a request is found, and what its path names.
//!
//! A path is a template of segments. `{field}` stands for one segment, decoded once; what follows a colon in the last segment is
//! a verb: `/v1/sessions/{session}:keepAlive`. A colon that belongs to a name is written `%3A`, so that none is taken for the other.

use std::sync::LazyLock;

use http::Method;
use percent_encoding::percent_decode_str;

use super::routes::{ROUTES, Route};
use crate::frontend::api::Checked;
use crate::frontend::api::errors::invalid;

/// No template has as many segments.
const SEGMENTS_MAX: usize = 16;

/// What was found for a path.
pub(super) enum Found {
    /// This route.
    Route(&'static Route),
    /// Others have this path: methods that do.
    OtherMethods(Vec<Method>),
    /// Nothing has.
    Nothing,
}

/// One segment of a template.
enum Segment {
    /// Just this.
    Text(&'static str),
    /// A value, and the verb after it with its colon; empty: none.
    Field { field: &'static str, verb: &'static str },
}

/// A route with its template taken apart, once for all requests.
struct Template {
    segments: Vec<Segment>,
    route: &'static Route,
}

static TEMPLATES: LazyLock<Vec<Template>> =
    LazyLock::new(|| ROUTES.iter().map(|route| Template { segments: segments(route.path), route }).collect());

fn segments(template: &'static str) -> Vec<Segment> {
    let segment = |text: &'static str| match text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        Some((field, verb)) => Segment::Field { field, verb },
        None => Segment::Text(text),
    };
    template.split('/').map(segment).collect()
}

impl Segment {
    /// What a segment of a path says here: its value, or nothing to say. None if it does not fit.
    fn value<'p>(&self, given: &'p str) -> Option<&'p str> {
        match self {
            Self::Text(text) => (*text == given).then_some(""),
            Self::Field { verb, .. } => {
                let (value, said) = given.split_at(given.rfind(':').unwrap_or(given.len()));
                (!value.is_empty() && said == *verb).then_some(value)
            }
        }
    }
}

/// The route of a request on a listener of clients, or on one of administrators.
pub(super) fn find(method: &Method, path: &str, for_administrators: bool) -> Found {
    let given: Vec<&str> = path.split('/').take(SEGMENTS_MAX + 1).collect();
    let fits = |template: &&Template| {
        template.route.is_on(for_administrators)
            && template.segments.len() == given.len()
            && template.segments.iter().zip(&given).all(|(segment, given)| segment.value(given).is_some())
    };
    // What answers GET answers HEAD: the connection leaves the body away.
    let wanted = if method == Method::HEAD { &Method::GET } else { method };
    let mut others = Vec::new();
    for Template { route, .. } in TEMPLATES.iter().filter(fits) {
        if route.method == *wanted {
            return Found::Route(route);
        }
        others.push(route.method.clone());
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
}

/// The segments of a path that its template names, not decoded; none if it does not fit.
fn captures<'p>(template: &'static str, path: &'p str) -> Option<Vec<(&'static str, &'p str)>> {
    let (wanted, mut given) = (segments(template), path.split('/'));
    let mut captures = Vec::new();
    for segment in &wanted {
        let value = segment.value(given.next()?)?;
        if let Segment::Field { field, .. } = segment {
            captures.push((*field, value));
        }
    }
    given.next().is_none().then_some(captures)
}

/// What a path names, by the fields of its template.
pub(super) fn named(template: &'static str, path: &str) -> Checked<Vec<(String, String)>> {
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
