//! Who has which roles, and what they allow.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use sixpin_core::access::{NOBODY, Quotas, Rules};

use super::jwt::JwtConfig;
use super::token::Digest;

/// Access control as it is configured. References were checked: a role that is named is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// What each role allows.
    pub roles: BTreeMap<Arc<str>, Arc<Rules>>,
    /// How much one principal may have at one broker.
    pub quotas: Quotas,
    /// How many streams of one principal may watch at one broker.
    pub watches: usize,
    /// Roles of whoever shows nothing.
    pub anonymous: Vec<Arc<str>>,
    /// Static tokens by name.
    pub tokens: BTreeMap<String, KnownToken>,
    /// Which JSON web tokens are taken; absent: none.
    pub jwt: Option<JwtConfig>,
    /// Roles of certificates.
    pub certificates: Vec<(Pattern, Vec<Arc<str>>)>,
}

/// A static token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownToken {
    /// SHA-256 of the whole: more than one while a token is replaced.
    pub digests: Vec<Digest>,
    /// Its roles.
    pub roles: Vec<Arc<str>>,
    /// From then on it is none any more.
    pub expires: Option<SystemTime>,
}

/// Names of certificates: one, or all that differ in their last segment alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// A text that is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`*` stands for a whole last segment, as in spiffe://example.org/ops/*, and nowhere else")]
pub struct BadPattern;

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pattern {
    /// Reads one.
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        let before = text.strip_suffix("/*").unwrap_or(text);
        // There must be something before the segment: a scheme and `//` are not enough.
        let whole = before.split_once("://").map_or(before, |(_, rest)| rest);
        if before.contains('*') || whole.is_empty() { Err(BadPattern) } else { Ok(Self(text.to_owned())) }
    }

    fn includes(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(before) => name.strip_prefix(before).is_some_and(|last| !last.is_empty() && !last.contains('/')),
            None => self.0 == name,
        }
    }
}

impl Policy {
    /// Somebody can prove who it is.
    pub fn authenticates(&self) -> bool {
        !self.tokens.is_empty() || !self.certificates.is_empty() || self.jwt.is_some()
    }

    /// A token by its name.
    pub fn token(&self, id: &str) -> Option<&KnownToken> {
        self.tokens.get(id)
    }

    /// What whoever shows nothing may do; none if that is nobody's business.
    pub(super) fn of_anonymous(&self) -> Option<Vec<Arc<Rules>>> {
        (!self.anonymous.is_empty()).then(|| self.of_roles(&self.anonymous))
    }

    /// What a certificate for this name allows; none if it has no role.
    pub(super) fn of_certificate(&self, name: &str) -> Option<Vec<Arc<Rules>>> {
        self.certificate_roles(name).map(|roles| self.of_roles(&roles))
    }

    fn certificate_roles(&self, name: &str) -> Option<Vec<Arc<str>>> {
        let matching = self.certificates.iter().filter(|(pattern, _)| pattern.includes(name));
        let mut roles: Vec<Arc<str>> = matching.flat_map(|(_, roles)| roles.iter().cloned()).collect();
        roles.sort();
        roles.dedup();
        (!roles.is_empty()).then_some(roles)
    }

    /// Whether a session of this principal may go on: it still has a role, or nobody but its token knows.
    pub fn knows(&self, principal: &str) -> bool {
        principal.starts_with("jwt:") && self.jwt.is_some()
            || self.roles_of(principal).is_some_and(|roles| !roles.is_empty())
    }

    /// What these roles allow, as far as there are such.
    pub fn of_roles(&self, roles: &[impl AsRef<str>]) -> Vec<Arc<Rules>> {
        roles.iter().filter_map(|role| self.roles.get(role.as_ref())).cloned().collect()
    }

    /// The roles of a principal by its name: `anonymous`, `token:ID` or `certificate:NAME`. None if there is none of that name.
    pub fn roles_of(&self, principal: &str) -> Option<Vec<Arc<str>>> {
        if principal == NOBODY {
            return Some(self.anonymous.clone());
        }
        if let Some(id) = principal.strip_prefix("token:") {
            return self.token(id).map(|token| token.roles.clone());
        }
        self.certificate_roles(principal.strip_prefix("certificate:")?)
    }

    /// What a principal may do, by its name.
    pub fn rules_of(&self, principal: &str) -> Option<Vec<Arc<Rules>>> {
        self.roles_of(principal).map(|roles| self.of_roles(&roles))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_a_whole_last_segment() {
        let pattern = Pattern::new("spiffe://example.org/ops/*").unwrap();
        assert!(pattern.includes("spiffe://example.org/ops/anna"));
        for other in [
            "spiffe://example.org/ops/",
            "spiffe://example.org/ops",
            "spiffe://example.org/ops/a/b",
            "spiffe://example.org/opsx/a",
            "spiffe://example.com/ops/anna",
        ] {
            assert!(!pattern.includes(other), "{other}");
        }
        assert!(Pattern::new("a.example.org").unwrap().includes("a.example.org"));
        assert!(!Pattern::new("a.example.org").unwrap().includes("b.a.example.org"));
        for bad in ["*", "/*", "spiffe:///*", "*.example.org", "spiffe://example.org/o*", "a/*/b", ""] {
            assert_eq!(Pattern::new(bad), Err(BadPattern), "{bad}");
        }
    }
}
