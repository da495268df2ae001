//! What a broker shows of itself: classes of names in its metrics, and where its spans go.

use std::collections::BTreeMap;

use sixpin_core::name::ResourceName;

use super::check::{Checked, Key, wrong};
use super::file;
use crate::metrics::CLASSES_MAX;
use crate::traces::TracesConfig;

/// Names of classes are for series, of which there must not be many.
pub(super) fn classes(given: BTreeMap<String, String>) -> Checked<BTreeMap<String, String>> {
    if given.len() > CLASSES_MAX {
        return wrong(
            Key::of(&["metrics", "classes"]),
            format!("`metrics.classes` has more than {CLASSES_MAX} classes"),
        );
    }
    for (beginning, class) in &given {
        let key = Key::of(&["metrics", "classes", beginning]);
        if ResourceName::new(beginning).is_err() {
            return wrong(
                key.clone(),
                format!("`{key}`: no name begins so: a name has 1 to 1024 bytes and no control characters"),
            );
        }
        let fits =
            |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || "-_.".contains(character);
        if class.is_empty() || class.len() > 64 || !class.chars().all(fits) {
            return wrong(
                key.clone(),
                format!("`{key}`: a class has 1 to 64 characters of a-z, 0-9, `-`, `_` and `.`"),
            );
        }
    }
    Ok(given)
}

/// Where spans go.
pub(super) fn traces(given: file::Traces) -> Checked<TracesConfig> {
    let Some(endpoint) = given.endpoint else {
        return wrong(
            Key::of(&["traces"]),
            "`traces` has no `endpoint`: say where the collector is, as in http://127.0.0.1:4317",
        );
    };
    let sample = given.sample.map_or(1.0, |share| share.0);
    if !(0.0..=1.0).contains(&sample) {
        return wrong(Key::of(&["traces", "sample"]), format!("`traces.sample` is {sample}: it may be 0 to 1"));
    }
    Ok(TracesConfig { endpoint: collector(&endpoint)?, sample })
}

/// What is written is not repeated where it has a login.
fn collector(endpoint: &str) -> Checked<http::Uri> {
    let key = Key::of(&["traces", "endpoint"]);
    let uri = endpoint.parse::<http::Uri>().ok();
    let authority = uri.as_ref().and_then(http::Uri::authority).map(http::uri::Authority::as_str).unwrap_or_default();
    if endpoint.contains('@') {
        return wrong(
            key,
            "`traces.endpoint` has a login: the collector is asked without one, write `http://host:port`",
        );
    }
    match &uri {
        Some(uri) if uri.scheme_str() == Some("https") => {
            let text = format!(
                "`traces.endpoint` is `{endpoint}`: there is no TLS to a collector; run one beside the broker, as in http://127.0.0.1:4317, and let it go on with TLS"
            );
            wrong(key, text)
        }
        Some(uri)
            if uri.scheme_str() == Some("http")
                && uri.port_u16().is_some()
                && !authority.starts_with(':')
                && uri.path_and_query().is_none_or(|path| path == "/") =>
        {
            Ok(uri.clone())
        }
        _ => wrong(
            key,
            format!(
                "`traces.endpoint` is `{endpoint}`: write `http://host:port`, as in http://127.0.0.1:4317 (OTLP over gRPC)"
            ),
        ),
    }
}
