//! Who asks, and what that one may do.
//!
//! A *principal* is whoever has proved who it is, or nobody in particular. It has *rules*; a rule allows, and what none allows is
//! refused. There is no rule that forbids, so that the order of rules means nothing, and none takes back what another gives.
//!
//! Who is allowed what is decided here and nowhere else: the machine asks for each request about a lock, front ends for everything
//! else. Who somebody is, is not decided here: the shell looks at credentials.
//!
//! Invariant: a rule about the names that begin with `a/` says nothing about `a` or `ab`: a prefix is empty or ends with `/`.

mod denied;
mod rules;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::broker::api::RequestError;
use crate::command::Options;
use crate::limits::{CLAIMS_PER_PRINCIPAL_MAX, SESSIONS_PER_PRINCIPAL_MAX, WAITING_PER_PRINCIPAL_MAX};
use crate::mode::Mode;
use crate::name::{Lockspace, ResourceId, ResourceName};
pub use denied::Denied;
pub use rules::Rules;

/// What can be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// To hold a lock in this mode.
    Lock(Mode),
    /// To see who holds and who waits.
    Inspect,
    /// To be told when that changes; what is told needs [`Verb::Inspect`] too.
    Watch,
    /// To ask holders to let go.
    Notify,
    /// To take locks away from others.
    Force,
    /// To end sessions of others.
    Expire,
    /// To remove what sessions that ended left behind.
    Purge,
    /// To end a broker.
    Drain,
    /// To read what a broker counts.
    Metrics,
}

impl Verb {
    /// All of them.
    pub const ALL: [Verb; 14] = [
        Verb::Lock(Mode::NL),
        Verb::Lock(Mode::CR),
        Verb::Lock(Mode::CW),
        Verb::Lock(Mode::PR),
        Verb::Lock(Mode::PW),
        Verb::Lock(Mode::EX),
        Verb::Inspect,
        Verb::Watch,
        Verb::Notify,
        Verb::Force,
        Verb::Expire,
        Verb::Purge,
        Verb::Drain,
        Verb::Metrics,
    ];

    fn bit(self) -> u16 {
        1 << match self {
            Self::Lock(mode) => mode.number(),
            Self::Inspect => 6,
            Self::Watch => 7,
            Self::Force => 8,
            Self::Expire => 9,
            Self::Purge => 10,
            Self::Drain => 11,
            Self::Metrics => 12,
            Self::Notify => 13,
        }
    }
}

/// As it is written in a rule: `inspect`, `lock:ex`.
impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Lock(mode) => return write!(f, "lock:{}", mode.to_string().to_lowercase()),
            Self::Inspect => "inspect",
            Self::Watch => "watch",
            Self::Notify => "notify",
            Self::Force => "force",
            Self::Expire => "expire",
            Self::Purge => "purge",
            Self::Drain => "drain",
            Self::Metrics => "metrics",
        };
        f.write_str(word)
    }
}

/// A set of verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verbs(u16);

impl Verbs {
    /// All that locks, in whatever mode.
    const LOCK: Self = Self(0b11_1111);

    /// The verb is in it.
    pub fn has(self, verb: Verb) -> bool {
        self.0 & verb.bit() != 0
    }

    /// The verbs in it.
    pub fn iter(self) -> impl Iterator<Item = Verb> {
        Verb::ALL.into_iter().filter(move |verb| self.has(*verb))
    }

    /// With those of another set.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }
}

impl FromIterator<Verb> for Verbs {
    fn from_iter<I: IntoIterator<Item = Verb>>(verbs: I) -> Self {
        Self(verbs.into_iter().fold(0, |bits, verb| bits | verb.bit()))
    }
}

/// A text that names no verbs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no verb: write lock, lock: with modes (as in lock:nl,cr,pr), inspect, watch, notify, force, expire, purge, \
     drain or metrics"
)]
pub struct NoVerb(String);

/// `inspect`, `lock` (in every mode) or `lock:` and modes with commas.
impl FromStr for Verbs {
    type Err = NoVerb;

    fn from_str(text: &str) -> Result<Self, NoVerb> {
        let wrong = || NoVerb(text.to_owned());
        if text == "lock" {
            return Ok(Self::LOCK);
        }
        if let Some(modes) = text.strip_prefix("lock:") {
            let modes = modes.split(',').map(|mode| mode.trim().parse().map(Verb::Lock));
            return modes.collect::<Result<_, _>>().map_err(|_| wrong());
        }
        let named = Verb::ALL.into_iter().find(|verb| verb.to_string() == text).ok_or_else(wrong)?;
        Ok(Self::from_iter([named]))
    }
}

/// Whose names a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// One resource.
    Exactly(ResourceName),
    /// All that begin so: it is empty or ends with `/`.
    Under(String),
}

/// A prefix that would cut names at no boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a prefix is empty or ends with `/`: `a/` is about `a/b` and neither about `a` nor about `ab`")]
pub struct BadPrefix;

impl Names {
    /// All names that begin so.
    pub fn under(prefix: impl Into<String>) -> Result<Self, BadPrefix> {
        let prefix = prefix.into();
        if prefix.is_empty() || prefix.ends_with('/') { Ok(Self::Under(prefix)) } else { Err(BadPrefix) }
    }

    fn include(&self, name: &str) -> bool {
        match self {
            Self::Exactly(only) => only.as_str() == name,
            Self::Under(prefix) => name.starts_with(prefix.as_str()),
        }
    }

    /// Those of them that begin so.
    fn within(&self, prefix: &str) -> Option<Part> {
        match self {
            Self::Exactly(name) => name.as_str().starts_with(prefix).then(|| Part::Name(name.clone())),
            Self::Under(own) if own.starts_with(prefix) => Some(Part::Under(own.clone())),
            Self::Under(own) => prefix.starts_with(own.as_str()).then(|| Part::Under(prefix.to_owned())),
        }
    }

    fn are_all(&self) -> bool {
        matches!(self, Self::Under(prefix) if prefix.is_empty())
    }
}

/// A part of a lockspace. Wider ones come first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// All names that begin so.
    Under(String),
    /// One name.
    Name(ResourceName),
}

impl Part {
    fn covers(&self, other: &Self) -> bool {
        let other = match other {
            Self::Under(prefix) => prefix.as_str(),
            Self::Name(name) => name.as_str(),
        };
        match self {
            Self::Under(prefix) => other.starts_with(prefix.as_str()),
            Self::Name(name) => name.as_str() == other,
        }
    }
}

/// What is allowed where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The role that it belongs to, for people.
    pub role: Arc<str>,
    /// Its place in the role, counted from 1, for people.
    pub number: usize,
    /// In which lockspace; absent: in all.
    pub lockspace: Option<Lockspace>,
    /// On which resources.
    pub names: Names,
    /// What.
    pub allow: Verbs,
}

impl Rule {
    fn is_about(&self, lockspace: &Lockspace) -> bool {
        self.lockspace.as_ref().is_none_or(|own| own == lockspace)
    }

    fn covers(&self, place: Place<'_>) -> bool {
        match place {
            Place::Resource(id) => self.is_about(&id.lockspace) && self.names.include(id.name.as_str()),
            Place::Lockspace(asked) => self.is_about(asked) && self.names.are_all(),
            Place::Everywhere => self.lockspace.is_none() && self.names.are_all(),
        }
    }
}

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// One resource.
    Resource(&'a ResourceId),
    /// A lockspace as a whole.
    Lockspace(&'a Lockspace),
    /// The broker as a whole.
    Everywhere,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(id) => write!(f, "`{}` in lockspace `{}`", id.name, id.lockspace),
            Self::Lockspace(lockspace) => write!(f, "all of lockspace `{lockspace}`"),
            Self::Everywhere => f.write_str("all lockspaces (`*`)"),
        }
    }
}

/// Who asks, with its rules. Cheap to clone. The default is what a broker without access control takes everybody for: nobody in
/// particular, who may do everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Principal(Option<Arc<Known>>);

#[derive(Debug, PartialEq, Eq)]
struct Known {
    name: Box<str>,
    digest: u128,
    /// Those of each of its roles. Principals with the same roles share them.
    roles: Vec<Arc<Rules>>,
    quotas: Quotas,
}

impl Known {
    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.roles.iter().flat_map(|role| role.iter())
    }
}

/// How much one principal may have at one broker; nobody in particular, from each address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Sessions.
    pub sessions: usize,
    /// Claims, over all sessions.
    pub claims: usize,
    /// Claims that wait, over all sessions.
    pub waiting: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            sessions: SESSIONS_PER_PRINCIPAL_MAX,
            claims: CLAIMS_PER_PRINCIPAL_MAX,
            waiting: WAITING_PER_PRINCIPAL_MAX,
        }
    }
}

/// The digest of nobody in particular: sessions that were opened so belong to whoever shows their token.
pub const ANONYMOUS: u128 = 0;
/// What nobody in particular is called.
pub const NOBODY: &str = "anonymous";

impl Principal {
    /// Somebody with this name, who may do what the rules of these roles allow.
    pub fn new(name: &str, roles: Vec<Arc<Rules>>, quotas: Quotas) -> Self {
        let known = Known { digest: digest(name), name: name.into(), roles, quotas };
        Self(Some(Arc::new(known)))
    }

    /// How much it may have; absent: what everybody may.
    pub fn quotas(&self) -> Option<&Quotas> {
        self.0.as_ref().map(|known| &known.quotas)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or(NOBODY, |known| &known.name)
    }

    /// Stands for the name: no two have the same. Sessions that it opens belong to whoever has the same one.
    pub fn digest(&self) -> u128 {
        self.0.as_ref().map_or(ANONYMOUS, |known| known.digest)
    }

    /// Whether it may do this there.
    pub fn may(&self, verb: Verb, place: Place<'_>) -> bool {
        self.0.is_none() || self.why(verb, place).is_some()
    }

    /// The parts of a lockspace, among the names that begin so, in which it may do this; none if that is everywhere. No name is in
    /// two of them, and all that is in one of them is allowed.
    pub fn parts(&self, verb: Verb, lockspace: &Lockspace, prefix: &str) -> Option<Vec<Part>> {
        let known = self.0.as_deref()?;
        let about = |rule: &&Rule| rule.allow.has(verb) && rule.is_about(lockspace);
        let mut parts: Vec<Part> = known.rules().filter(about).filter_map(|rule| rule.names.within(prefix)).collect();
        parts.sort();
        let mut apart: Vec<Part> = Vec::new();
        for part in parts {
            if !apart.iter().any(|wider| wider.covers(&part)) {
                apart.push(part);
            }
        }
        Some(apart)
    }

    /// The rule that allows it. None if there is none, or if everything is allowed without rules.
    pub fn why(&self, verb: Verb, place: Place<'_>) -> Option<&Rule> {
        self.0.as_deref()?.roles.iter().find_map(|role| role.find(verb, place))
    }

    /// Whether it may lock anything anywhere, without which a session is of no use.
    pub fn may_lock_something(&self) -> bool {
        let Some(known) = &self.0 else { return true };
        known.rules().any(|rule| rule.allow.0 & Verbs::LOCK.0 != 0)
    }

    /// Refuses what it may not do. The refusal says nothing of what is there.
    pub fn check(&self, verb: Verb, place: Place<'_>) -> Result<(), RequestError> {
        if self.may(verb, place) { Ok(()) } else { Err(Denied::at(verb, place).into()) }
    }

    /// Refuses a lock that could end in a mode that it may not hold: the one asked for, or an alternate one.
    pub fn check_lock(&self, mode: Mode, options: Options, on: &ResourceId) -> Result<(), RequestError> {
        if self.0.is_none() {
            return Ok(());
        }
        let alternates = [(Options::ALTERNATE_PR, Mode::PR), (Options::ALTERNATE_CW, Mode::CW)];
        let alternates = alternates.into_iter().filter(|(option, _)| options.contains(*option)).map(|(_, mode)| mode);
        let mut modes = std::iter::once(mode).chain(alternates);
        modes.try_for_each(|mode| self.check(Verb::Lock(mode), Place::Resource(on)))
    }
}

fn digest(name: &str) -> u128 {
    if name == NOBODY {
        return ANONYMOUS;
    }
    let full = Sha256::digest(name);
    let mut first = [0; 16];
    first.copy_from_slice(&full[..16]);
    u128::from_be_bytes(first)
}

impl From<Denied> for RequestError {
    fn from(denied: Denied) -> Self {
        Self::Denied(Box::new(denied))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(lockspace: &str, name: &str) -> ResourceId {
        ResourceId { lockspace: Lockspace::new(lockspace).unwrap(), name: ResourceName::new(name).unwrap() }
    }

    fn may(rules: Vec<Rule>) -> Principal {
        Principal::new("a", vec![Arc::new(Rules::new(rules))], Quotas::default())
    }

    fn rule(lockspace: &str, names: Names, allow: &str) -> Rule {
        let lockspace = (lockspace != "*").then(|| Lockspace::new(lockspace).unwrap());
        let allow = allow.split(' ').map(|verb| verb.parse::<Verbs>().unwrap()).fold(Verbs::default(), Verbs::and);
        Rule { role: "r".into(), number: 1, lockspace, names, allow }
    }

    #[test]
    fn verbs_are_read_as_they_are_written() {
        for verb in Verb::ALL {
            let read: Verbs = verb.to_string().parse().unwrap();
            assert_eq!(read.iter().collect::<Vec<_>>(), [verb]);
        }
        let readers: Verbs = "lock:nl,cr,pr".parse().unwrap();
        let modes: Vec<String> = readers.iter().map(|verb| verb.to_string()).collect();
        assert_eq!(modes, ["lock:nl", "lock:cr", "lock:pr"]);
        assert_eq!("lock".parse::<Verbs>().unwrap().iter().count(), 6);
        for wrong in ["", "lock:", "lock:xx", "lock:ex,", "LOCK", "unlock", "inspect,watch", "*"] {
            assert_eq!(wrong.parse::<Verbs>(), Err(NoVerb(wrong.into())));
        }
    }

    #[test]
    fn a_prefix_ends_at_a_boundary() {
        assert_eq!(Names::under("a"), Err(BadPrefix));
        let principal = may(vec![rule("s", Names::under("a/").unwrap(), "inspect")]);
        let may = |lockspace, name| principal.may(Verb::Inspect, Place::Resource(&id(lockspace, name)));
        assert!(may("s", "a/b") && may("s", "a/") && may("s", "a/b/c"));
        assert!(!may("s", "a") && !may("s", "ab") && !may("s", "b/a/") && !may("t", "a/b"));
    }

    #[test]
    fn parts_are_apart_and_within_what_is_asked_for() {
        let rules = ["a/", "a/b/", "c/", ""].map(|prefix| Names::under(prefix).unwrap());
        let [a, ab, c, all] = rules.map(|names| rule("s", names, "inspect"));
        let name = |name: &str| rule("*", Names::Exactly(ResourceName::new(name).unwrap()), "inspect");
        let other = rule("t", Names::under("x/").unwrap(), "inspect");
        let locks = rule("s", Names::under("y/").unwrap(), "lock");
        let s = Lockspace::new("s").unwrap();
        let parts = |rules: Vec<Rule>, prefix: &str| may(rules).parts(Verb::Inspect, &s, prefix).unwrap();
        let (under, only) =
            (|text: &str| Part::Under(text.into()), |text: &str| Part::Name(ResourceName::new(text).unwrap()));
        let rules = vec![ab, name("a/x"), name("d"), c, a, other, locks];
        assert_eq!(parts(rules.clone(), ""), [under("a/"), under("c/"), only("d")]);
        assert_eq!(parts(rules.clone(), "a/b/c"), [under("a/b/c")]);
        assert_eq!(parts(rules.clone(), "d"), [only("d")]);
        assert_eq!(parts(rules, "b"), []);
        assert_eq!(parts(vec![all], "q"), [under("q")]);
        assert_eq!(Principal::default().parts(Verb::Inspect, &s, ""), None);
    }

    #[test]
    fn the_whole_needs_a_rule_about_the_whole() {
        let part = may(vec![rule("s", Names::under("a/").unwrap(), "expire inspect")]);
        let lockspace = may(vec![rule("s", Names::under("").unwrap(), "expire inspect")]);
        let all = may(vec![rule("*", Names::under("").unwrap(), "expire inspect")]);
        let s = Lockspace::new("s").unwrap();
        for (who, on_lockspace, everywhere) in [(&part, false, false), (&lockspace, true, false), (&all, true, true)] {
            assert_eq!(who.may(Verb::Expire, Place::Lockspace(&s)), on_lockspace);
            assert_eq!(who.may(Verb::Inspect, Place::Everywhere), everywhere);
        }
        assert!(!all.may(Verb::Drain, Place::Everywhere));
        assert!(Principal::default().may(Verb::Drain, Place::Everywhere));
    }

    #[test]
    fn every_mode_that_a_lock_could_end_in_must_be_allowed() {
        let ledger = Names::Exactly(ResourceName::new("ledger").unwrap());
        let reader = may(vec![rule("s", ledger, "lock:ex,pr")]);
        let check = |mode, options| reader.check_lock(mode, options, &id("s", "ledger"));
        assert_eq!(check(Mode::EX, Options::empty()), Ok(()));
        assert_eq!(check(Mode::EX, Options::ALTERNATE_PR), Ok(()));
        let refused = check(Mode::EX, Options::ALTERNATE_CW).unwrap_err().to_string();
        assert!(refused.contains("`lock:cw` on `ledger` in lockspace `s`"), "{refused}");
        assert!(reader.check_lock(Mode::EX, Options::empty(), &id("s", "ledger2")).is_err());
        assert!(reader.may_lock_something());
        assert!(!may(vec![rule("*", Names::under("").unwrap(), "inspect")]).may_lock_something());
    }
}
