//! Who may do what, as it is written, and as a policy whose references are checked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer};
use sixpin_core::access::{Names, Quotas, Rule, Rules, Verbs};
use sixpin_core::limits::WATCHES_PER_PRINCIPAL_MAX;
use sixpin_core::name::{Lockspace, ResourceName};

use super::check::{Checked, Key, duration, number, wrong};
use crate::access::jwt::{Algorithm, JwtConfig};
use crate::access::policy::{KnownToken, Pattern, Policy};
use crate::access::token::{self, Digest};

/// Rules of one role: a request looks through those of its principal.
const RULES_PER_ROLE_MAX: usize = 1_000;

/// How far the clocks of an issuer and of a broker may differ.
const LEEWAY_MAX: Duration = Duration::from_secs(30);

/// The section `access`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Access {
    quotas: QuotaEntries,
    anonymous: Vec<String>,
    roles: BTreeMap<String, Role>,
    tokens: BTreeMap<String, TokenEntry>,
    certificates: BTreeMap<String, Vec<String>>,
    jwt: Option<JwtEntry>,
}

/// Which JSON web tokens are taken.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JwtEntry {
    issuer: String,
    audience: String,
    jwks: PathBuf,
    algorithms: Vec<Algorithm>,
    #[serde(default, with = "humantime_serde")]
    leeway: Option<Duration>,
    roles_claim: Option<String>,
}

/// How much one principal may have.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct QuotaEntries {
    sessions: Option<usize>,
    claims: Option<usize>,
    waiting: Option<usize>,
    watches: Option<usize>,
}

/// What a role allows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Role {
    rules: Vec<RuleEntry>,
}

/// What is allowed where.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    lockspace: String,
    prefix: Option<String>,
    name: Option<String>,
    allow: Vec<String>,
}

/// A static token.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenEntry {
    #[serde(deserialize_with = "one_or_more")]
    sha256: Vec<Digest>,
    roles: Vec<String>,
    #[serde(default, deserialize_with = "moment")]
    expires: Option<SystemTime>,
}

/// One, or a list.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Digest>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        One(String),
        More(Vec<String>),
    }
    let texts = match Given::deserialize(deserializer)? {
        Given::One(text) => vec![text],
        Given::More(texts) => texts,
    };
    texts.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(serde::de::Error::custom)
}

/// A moment in text, as 2027-01-31T00:00:00Z, or a date of TOML with an offset.
fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Toml(toml::value::Datetime),
        Text(String),
    }
    let text = match Given::deserialize(deserializer)? {
        Given::Toml(date) => date.to_string(),
        Given::Text(text) => text,
    };
    humantime::parse_rfc3339(&text).map(Some).map_err(|_| {
        serde::de::Error::custom(format!("`{text}` is no moment in UTC: write it as 2027-01-31T00:00:00Z"))
    })
}

/// The policy that is written so.
pub(super) fn policy(given: Access) -> Checked<Policy> {
    let mut roles: BTreeMap<Arc<str>, Arc<Rules>> = BTreeMap::new();
    for (name, role) in given.roles {
        let role = rules(&name, role)?;
        roles.insert(name.into(), Arc::new(Rules::new(role)));
    }
    let known = |key: Key, names: Vec<String>| -> Checked<Vec<Arc<str>>> {
        let known = names.into_iter().map(|name| match roles.get_key_value(name.as_str()) {
            Some((role, _)) => Ok(role.clone()),
            None => {
                let all: Vec<&str> = roles.keys().map(|role| &**role).collect();
                let all = if all.is_empty() { "there are none".to_owned() } else { all.join(", ") };
                wrong(key.clone(), format!("`{key}`: `{name}` is none of `access.roles`: {all}"))
            }
        });
        known.collect()
    };
    let mut tokens = BTreeMap::new();
    for (id, entry) in given.tokens {
        let key = Key::of(&["access", "tokens", &id]);
        if !token::is_id(&id) {
            return wrong(
                key.clone(),
                format!("`{key}`: a token's name has 1 to 64 characters of a-z, 0-9, `-` and `.`"),
            );
        }
        let roles = known(key, entry.roles)?;
        tokens.insert(id, KnownToken { digests: entry.sha256, roles, expires: entry.expires });
    }
    let mut certificates = Vec::new();
    for (name, names) in given.certificates {
        let key = Key::of(&["access", "certificates", &name]);
        let pattern = match Pattern::new(&name) {
            Ok(pattern) => pattern,
            Err(error) => return wrong(key.clone(), format!("`{key}`: {error}")),
        };
        certificates.push((pattern, known(key, names)?));
    }
    let anonymous = known(Key::of(&["access", "anonymous"]), given.anonymous)?;
    let jwt = given.jwt.map(jwt).transpose()?;
    let (quotas, watches) = quotas(&given.quotas)?;
    Ok(Policy { roles, quotas, watches, anonymous, tokens, jwt, certificates })
}

fn jwt(given: JwtEntry) -> Checked<JwtConfig> {
    let key = |field: &str| Key::of(&["access", "jwt", field]);
    if given.algorithms.is_empty() {
        return wrong(
            key("algorithms"),
            "`access.jwt.algorithms` is empty: name RS256, ES256 or EdDSA, as the issuer signs",
        );
    }
    let leeway = duration(key("leeway"), given.leeway, LEEWAY_MAX, Duration::ZERO..=LEEWAY_MAX)?;
    Ok(JwtConfig {
        issuer: given.issuer,
        audience: given.audience,
        jwks: given.jwks,
        algorithms: given.algorithms,
        leeway,
        roles_claim: given.roles_claim.unwrap_or_else(|| "roles".into()),
    })
}

/// Quotas may be lowered, never raised.
fn quotas(given: &QuotaEntries) -> Checked<(Quotas, usize)> {
    let quota = |name: &str, given: Option<usize>, max: usize| {
        let key = Key::of(&["access", "quotas", name]);
        number(key, given, max, 1..=max)
    };
    let max = Quotas::default();
    let quotas = Quotas {
        sessions: quota("sessions", given.sessions, max.sessions)?,
        claims: quota("claims", given.claims, max.claims)?,
        waiting: quota("waiting", given.waiting, max.waiting)?,
    };
    Ok((quotas, quota("watches", given.watches, WATCHES_PER_PRINCIPAL_MAX)?))
}

fn rules(name: &str, role: Role) -> Checked<Vec<Rule>> {
    let key = Key::of(&["access", "roles", name, "rules"]);
    if role.rules.len() > RULES_PER_ROLE_MAX {
        return wrong(key.clone(), format!("`{key}` has more than {RULES_PER_ROLE_MAX} rules"));
    }
    let role_name: Arc<str> = name.into();
    let numbered = role.rules.into_iter().enumerate();
    let rules = numbered.map(|(place, entry)| match rule(&role_name, place + 1, &entry) {
        Ok(rule) => Ok(rule),
        Err(text) => wrong(key.clone(), format!("`{key}`, rule {}: {text}", place + 1)),
    });
    rules.collect()
}

fn rule(role: &Arc<str>, number: usize, entry: &RuleEntry) -> Result<Rule, String> {
    let lockspace = match entry.lockspace.as_str() {
        "*" => None,
        name => {
            Some(Lockspace::new(name).map_err(|error| format!("`lockspace` is `{name}`: {error}, or `*` for all"))?)
        }
    };
    let names = match (&entry.prefix, &entry.name) {
        (Some(prefix), None) => Names::under(prefix).map_err(|error| format!("`prefix` is `{prefix}`: {error}"))?,
        (None, Some(name)) => {
            Names::Exactly(ResourceName::new(name).map_err(|error| format!("`name` is `{name}`: {error}"))?)
        }
        (Some(_), Some(_)) => return Err("both `prefix` and `name` are given: keep one".into()),
        (None, None) => {
            return Err("neither `prefix` nor `name` is given: `prefix = \"\"` is about all resources".into());
        }
    };
    let verbs: Vec<Verbs> = entry
        .allow
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, _>>()
        .map_err(|error: sixpin_core::access::NoVerb| error.to_string())?;
    if verbs.is_empty() {
        return Err("`allow` is empty, so the rule says nothing".into());
    }
    Ok(Rule {
        role: role.clone(),
        number,
        lockspace,
        names,
        allow: verbs.into_iter().fold(Verbs::default(), Verbs::and),
    })
}
