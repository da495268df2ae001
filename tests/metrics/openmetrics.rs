//! A strict reader of the format `OpenMetrics` 1.0, which shares nothing with what writes it.

use std::collections::{BTreeMap, BTreeSet};

pub type Labels = BTreeMap<String, String>;

/// One metric with all its series.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub help: String,
    pub samples: Vec<Sample>,
}

#[derive(Debug)]
pub struct Sample {
    pub name: String,
    pub labels: Labels,
    pub value: f64,
}

/// Reads a text, or says what is wrong with it.
pub fn read(text: &str) -> Result<BTreeMap<String, Family>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("it does not end with # EOF")?;
    let (mut families, mut current) = (BTreeMap::<String, Family>::new(), None::<String>);
    for line in body.lines() {
        let told = |what: &str| format!("{what}: {line}");
        if let Some(about) = line.strip_prefix("# ") {
            let (keyword, rest) = about.split_once(' ').ok_or_else(|| told("no name"))?;
            let (name, text) = rest.split_once(' ').ok_or_else(|| told("no text"))?;
            if !is_name(name) {
                return Err(told("bad name"));
            }
            if current.as_deref() != Some(name) {
                if families.contains_key(name) {
                    return Err(told("a family in two places"));
                }
                families.insert(name.to_owned(), Family::default());
                current = Some(name.to_owned());
            }
            let family = families.get_mut(name).ok_or("no family")?;
            let place = match keyword {
                "HELP" => &mut family.help,
                "TYPE" => &mut family.kind,
                _ => return Err(told("neither HELP nor TYPE")),
            };
            if !place.is_empty() || text.is_empty() || !family.samples.is_empty() {
                return Err(told("said twice, too late or empty"));
            }
            text.clone_into(place);
        } else {
            let name = current.as_ref().ok_or_else(|| told("a sample before its family"))?;
            let sample = sample(line).map_err(|what| told(&what))?;
            let family = families.get_mut(name).ok_or("no family")?;
            let suffix = sample.name.strip_prefix(name.as_str()).ok_or_else(|| told("not of this family"))?;
            if !suffixes(&family.kind).ok_or_else(|| told("unknown type"))?.contains(&suffix) {
                return Err(told("a suffix that its type has not"));
            }
            family.samples.push(sample);
        }
    }
    for (name, family) in &families {
        check(family).map_err(|what| format!("{name}: {what}"))?;
    }
    Ok(families)
}

fn suffixes(kind: &str) -> Option<&'static [&'static str]> {
    Some(match kind {
        "counter" => &["_total"],
        "gauge" => &[""],
        "histogram" => &["_bucket", "_sum", "_count"],
        "info" => &["_info"],
        _ => return None,
    })
}

/// What holds of a family as a whole.
fn check(family: &Family) -> Result<(), String> {
    if family.help.is_empty() || family.kind.is_empty() || family.samples.is_empty() {
        return Err("help, type or samples are missing".into());
    }
    let mut seen = BTreeSet::new();
    for Sample { name, labels, value } in &family.samples {
        if !seen.insert((name, labels)) {
            return Err(format!("a series twice: {labels:?}"));
        }
        let counts = family.kind != "gauge";
        if value.is_nan() || (counts && !(0.0..f64::INFINITY).contains(value)) {
            return Err(format!("a value that cannot be: {value}"));
        }
    }
    if family.kind == "histogram" { histogram(family) } else { Ok(()) }
}

fn histogram(family: &Family) -> Result<(), String> {
    let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    let mut counts = BTreeMap::new();
    for Sample { name, labels, value } in &family.samples {
        if name.ends_with("_bucket") {
            let mut labels = labels.clone();
            let end = match labels.remove("le").ok_or("a bucket without `le`")?.as_str() {
                "+Inf" => f64::INFINITY,
                end => end.parse().map_err(|_| format!("le={end}"))?,
            };
            buckets.entry(labels).or_default().push((end, *value));
        } else if name.ends_with("_count") {
            counts.insert(labels.clone(), *value);
        }
    }
    if buckets.len() != counts.len() {
        return Err("not every count has buckets".into());
    }
    for (labels, buckets) in buckets {
        let rises = buckets.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1);
        let last = buckets.last().ok_or("no bucket")?;
        if !rises || last.0.is_finite() || counts.get(&labels) != Some(&last.1) {
            return Err(format!("buckets that do not add up: {labels:?}"));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    first && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = read_labels(inner, &mut labels)?;
    }
    let value = rest.strip_prefix(' ').ok_or("no blank before the value")?;
    if !is_name(name) || value.contains(' ') {
        return Err("bad name, or more than a value".into());
    }
    let value = value.parse().map_err(|_| "a value that is no number")?;
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// Reads what stands in braces, and gives what comes after.
fn read_labels<'a>(mut rest: &'a str, labels: &mut Labels) -> Result<&'a str, String> {
    loop {
        let (name, quoted) = rest.split_once("=\"").ok_or("a label without a value")?;
        let (mut value, mut chars) = (String::new(), quoted.char_indices());
        let end = loop {
            match chars.next().ok_or("a value without an end")? {
                (at, '"') => break at,
                (_, '\\') => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c @ ('"' | '\\'))) => value.push(c),
                    _ => return Err("a bad escape".into()),
                },
                (_, c) => value.push(c),
            }
        };
        if !is_name(name) || labels.insert(name.to_owned(), value).is_some() {
            return Err(format!("a bad label, or one that stands twice: {name}"));
        }
        rest = &quoted[end + 1..];
        match rest.split_at_checked(1) {
            Some((",", more)) => rest = more,
            Some(("}", after)) => return Ok(after),
            _ => return Err("labels without an end".into()),
        }
    }
}

#[test]
fn what_is_not_the_format_is_refused() {
    let good = "# HELP a b.\n# TYPE a counter\na_total{x=\"1\\\"\",y=\"2\"} 3\n";
    let read_all = |text: &str| read(&format!("{text}# EOF\n"));
    let families = read_all(good).unwrap();
    assert_eq!(families["a"].samples[0].labels["x"], "1\"");
    read(good).unwrap_err();
    for bad in [
        "a_total 3\n",
        "# TYPE a counter\na_total 3\n",
        "# HELP a b.\n# TYPE a counter\na 3\n",
        "# HELP a b.\n# TYPE a counter\na_total -3\n",
        "# HELP a b.\n# TYPE a counter\na_total 3\na_total 4\n",
        "# HELP a b.\n# TYPE a counter\nb_total 3\n",
        "# HELP a b.\n# TYPE a counter\na_total{x=1} 3\n",
        "# HELP a b.\n# TYPE a counter\na_total{x=\"1\"3\n",
        "# HELP a b.\n# TYPE a wonder\na 3\n",
        "# HELP a b.\n# TYPE a gauge\n",
        "# HELP a b.\n# TYPE a gauge\na NaN\n",
        "# HELP a b.\n# TYPE a histogram\na_sum 1\na_count 2\na_bucket{le=\"1.0\"} 1\na_bucket{le=\"+Inf\"} 3\n",
        "# HELP a b.\n# TYPE a histogram\na_sum 1\na_count 2\na_bucket{le=\"1.0\"} 2\n",
    ] {
        assert!(read_all(bad).is_err(), "{bad}");
    }
}
