//! Which metrics and labels a query names: as much of `PromQL` as is written in `docs/operate`.

use std::collections::BTreeSet;

/// What a query names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Metrics, each with the labels that it is chosen by.
    pub metrics: Vec<(String, BTreeSet<String>)>,
    /// Labels that it is summed up by.
    pub by: BTreeSet<String>,
}

const FUNCTIONS: &[&str] =
    &["sum", "max", "min", "count", "avg", "rate", "increase", "histogram_quantile", "time", "absent"];

/// Reads a query. Panics where it does not understand it, because then nothing is checked.
pub fn read(query: &str) -> Named {
    let mut named = Named::default();
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        let word: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        if word.is_empty() || first.is_ascii_digit() {
            rest = skip(rest, first, &word, query);
        } else {
            rest = name(&word, rest[word.len()..].trim_start(), &mut named, query);
        }
        rest = rest.trim_start();
    }
    named
}

/// What is neither a name nor a choice.
fn skip<'a>(rest: &'a str, first: char, word: &str, query: &str) -> &'a str {
    match first {
        '[' => rest.split_once(']').unwrap_or_else(|| panic!("{query}")).1,
        '(' | ')' | ',' | '+' | '-' | '*' | '/' | '<' | '>' | '=' | '!' => &rest[1..],
        digit if digit.is_ascii_digit() => {
            rest[word.len()..].trim_start_matches(['.', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
        }
        _ => panic!("not understood at `{rest}`: {query}"),
    }
}

fn name<'a>(word: &str, rest: &'a str, named: &mut Named, query: &str) -> &'a str {
    if word == "by" {
        let inner = rest.strip_prefix('(').unwrap_or_else(|| panic!("{query}"));
        let (labels, after) = inner.split_once(')').unwrap_or_else(|| panic!("{query}"));
        named.by.extend(labels.split(',').map(|label| label.trim().to_owned()));
        return after;
    }
    if FUNCTIONS.contains(&word) {
        return rest;
    }
    assert!(!rest.starts_with('('), "unknown function {word}: {query}");
    let (mut labels, mut after) = (BTreeSet::new(), rest);
    if let Some(inner) = rest.strip_prefix('{') {
        let (choices, more) = inner.split_once('}').unwrap_or_else(|| panic!("{query}"));
        for choice in choices.split(',') {
            let (label, value) = choice.split_once(['=', '!']).unwrap_or_else(|| panic!("{query}"));
            assert!(value.ends_with('"'), "{query}");
            labels.insert(label.trim().to_owned());
        }
        after = more;
    }
    named.metrics.push((word.to_owned(), labels));
    after
}

#[test]
fn metrics_and_labels_are_found() {
    let set = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect::<BTreeSet<_>>();
    let named = read("sum by (le, a) (rate(x_bucket{b=~\"1|2\", c!=\"3\"}[5m])) / 2.5 > time() - y");
    let metrics = vec![("x_bucket".to_owned(), set(&["b", "c"])), ("y".to_owned(), set(&[]))];
    assert_eq!(named, Named { metrics, by: set(&["le", "a"]) });
}
