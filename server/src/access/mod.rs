//! Who asks: credentials, and the principals and roles that the configuration gives them.
//!
//! This is the one place that says who somebody is. What a principal may do is decided by its rules, in `sixpin_core::access`, for
//! every front end alike.
//!
//! # Invariants
//!
//! * A request has exactly one principal. A token and a certificate together: the token counts.
//! * Without `[access]` in the configuration everybody is nobody in particular, and may do everything.
//! * With it, whoever has no role is told no more than that. What was wrong with a credential is only in the log.
//! * No secret is kept: of a token its SHA-256 is configured.
//!
//! # Layout, in reading order
//!
//! * [`token`]: static tokens; [`jwt`]: those of an issuer; [`policy`]: who has which roles, and what they allow;
//! * `watches`: how many streams watch for somebody; [`signed`]: who has signed in at the operator's page;
//! * this file: from a credential to a principal.

pub mod jwt;
pub mod policy;
pub mod signed;
pub mod token;
mod watches;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use sixpin_core::access::{ANONYMOUS, NOBODY, Principal, Quotas};
use sixpin_core::broker::api::{Client, RequestError};

use crate::audit::Audit;
use crate::frontend::listener::Shown;
use crate::tls::files::BadFile;
use jwt::Jwt;
use policy::Policy;
use token::Token;
pub(crate) use watches::Watching;

/// What the program is called that a broker is inside of.
pub(crate) const PROGRAM: &str = "program";

/// Access control of one process.
#[derive(Debug)]
pub struct Access {
    /// Absent: everybody may do everything.
    policy: RwLock<Option<Arc<InForce>>>,
    /// Counts the policies that were in force: the edition of the rules of principals.
    edition: AtomicU64,
    watches: watches::Watches,
    signed: signed::SignedIn,
    audit: Arc<Audit>,
}

/// A policy, and what was read of the files that it names.
struct InForce {
    policy: Policy,
    jwt: Option<Jwt>,
}

/// Who asks on a connection or in a call, and until when that is known. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Who {
    principal: Principal,
    credential: Arc<Credential>,
    /// From then on the credential is none any more; absent: it never ends.
    expires: Option<SystemTime>,
    /// Of the policy that gave the principal its rules.
    edition: u64,
}

/// How somebody has proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Not at all.
    None,
    /// It is the program that the broker is inside of.
    ThisProgram,
    /// By a static token with this name, whose digest was this.
    Token {
        /// Its name.
        id: String,
        /// SHA-256 of the whole.
        digest: token::Digest,
    },
    /// By a JSON web token.
    Jwt {
        /// Who made it.
        issuer: String,
        /// For whom.
        subject: String,
        /// What it lists as roles.
        roles: Vec<String>,
        /// Until when it is valid.
        expires: SystemTime,
    },
    /// By a certificate for this name.
    Certificate {
        /// A URI or a DNS name.
        name: String,
        /// Until when it is valid.
        not_after: SystemTime,
    },
}

/// The name of a principal: `anonymous`, `token:ID`, `certificate:NAME`, `jwt:ISSUER#SUBJECT`.
impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str(NOBODY),
            Self::ThisProgram => f.write_str(PROGRAM),
            Self::Token { id, .. } => write!(f, "token:{id}"),
            Self::Jwt { issuer, subject, .. } => write!(f, "jwt:{issuer}#{subject}"),
            Self::Certificate { name, .. } => write!(f, "certificate:{name}"),
        }
    }
}

/// Why somebody is not known. For the log alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// Neither token nor certificate, and nobody in particular has no role.
    #[error("no credential")]
    NoCredential,
    /// What stands in the header is none.
    #[error("the credential is not `Bearer` and a token")]
    NoBearer,
    /// A text that is no token of sixpin.
    #[error("the token is none of sixpin's")]
    NoToken,
    /// A token that is not configured, or has another secret.
    #[error("token `{0}` is not configured, or has another secret")]
    WrongToken(String),
    /// A JSON web token that is not taken.
    #[error("the JSON web token is not taken: {0}")]
    BadJwt(String),
    /// A token or a certificate that has expired.
    #[error("the credential of `{0}` has expired")]
    Expired(String),
    /// A certificate whose name has no role.
    #[error("no role is given to `{0}`")]
    NoRole(String),
}

impl Unknown {
    /// All reasons, as metrics call them.
    pub const REASONS: [&'static str; 7] =
        ["no_credential", "no_bearer", "no_token", "wrong_token", "bad_jwt", "expired", "no_role"];

    /// Why, in a word that names nobody.
    pub fn reason(&self) -> &'static str {
        let place = match self {
            Self::NoCredential => 0,
            Self::NoBearer => 1,
            Self::NoToken => 2,
            Self::WrongToken(_) => 3,
            Self::BadJwt(_) => 4,
            Self::Expired(_) => 5,
            Self::NoRole(_) => 6,
        };
        Self::REASONS[place]
    }
}

impl Access {
    /// For everybody, without any control.
    pub fn open() -> Arc<Self> {
        Self::of(None, Audit::default())
    }

    /// With this policy; absent: everybody may do everything.
    pub fn new(policy: Option<Policy>, audit: Audit) -> Result<Arc<Self>, BadFile> {
        Ok(Self::of(in_force(policy)?, audit))
    }

    fn of(in_force: Option<Arc<InForce>>, audit: Audit) -> Arc<Self> {
        let (policy, watches, signed) =
            (RwLock::new(in_force), watches::Watches::default(), signed::SignedIn::default());
        Arc::new(Self { policy, edition: AtomicU64::new(0), watches, signed, audit: Arc::new(audit) })
    }

    /// From now on this policy is in force, with what is in its files now. If one is bad, nothing changes.
    pub fn replace(&self, policy: Option<Policy>) -> Result<(), BadFile> {
        let new = in_force(policy)?;
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = new;
        self.edition.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// One more watch of this principal, counted until it is dropped. Refused beyond the quota.
    pub(crate) fn watch(&self, principal: &Principal) -> Result<Watching, RequestError> {
        let max = self.policy().map_or(usize::MAX, |now| now.policy.watches);
        self.watches.begin(principal.digest(), max)
    }

    /// Who has signed in at the operator's page.
    pub(crate) fn signed(&self) -> &signed::SignedIn {
        &self.signed
    }

    /// Whether anybody has to say who he is.
    pub(crate) fn is_controlled(&self) -> bool {
        self.policy().is_some()
    }

    /// Where it is written who did what.
    pub fn audit(&self) -> &Arc<Audit> {
        &self.audit
    }

    /// The policy in force.
    fn policy(&self) -> Option<Arc<InForce>> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who asks: by what stands in an `authorization` header, or else by what its connection has shown.
    pub(crate) fn identify(&self, authorization: Option<&[u8]>, shown: &Shown) -> Result<Who, Unknown> {
        let token = authorization.map(bearer).transpose()?;
        self.identify_by(token, shown)
    }

    /// The same by a token, or else by what the connection has shown.
    pub(crate) fn identify_by(&self, token: Option<&str>, shown: &Shown) -> Result<Who, Unknown> {
        // Before the policy, so that a change in between is seen by who looks at the number later.
        let edition = self.edition.load(Ordering::Acquire);
        let Some(now) = self.policy() else {
            let (principal, credential) = (Principal::default(), Arc::new(Credential::None));
            return Ok(Who { principal, credential, expires: None, edition });
        };
        // Also one beside a token must be valid.
        let certificate = certificate(shown)?;
        let credential = match token {
            None => certificate.unwrap_or(Credential::None),
            Some(text) => match (&now.jwt, Token::parse(text)) {
                (_, Some(token)) => Credential::Token { id: token.id().to_owned(), digest: token.digest() },
                (Some(jwt), None) if Jwt::may_be(text) => jwt.check(text)?,
                (_, None) => return Err(Unknown::NoToken),
            },
        };
        let (principal, expires) = resolve(&now.policy, &credential)?;
        Ok(Who { principal, credential: Arc::new(credential), expires, edition })
    }
}

impl Who {
    /// Who asks, with the rules that are in force. Fails once the credential has expired or its roles were taken away.
    pub fn principal(&mut self, access: &Access) -> Result<&Principal, Unknown> {
        let edition = access.edition.load(Ordering::Acquire);
        if edition != self.edition && *self.credential != Credential::ThisProgram {
            let (principal, expires) = match access.policy() {
                Some(now) => resolve(&now.policy, &self.credential)?,
                None => (Principal::default(), None),
            };
            (self.principal, self.expires, self.edition) = (principal, expires, edition);
        }
        match self.expires_in() {
            Some(Duration::ZERO) => Err(Unknown::Expired(self.name())),
            _ => Ok(&self.principal),
        }
    }

    /// Changes with the rules of the principal.
    pub(crate) fn edition(&self) -> u64 {
        self.edition
    }

    /// Who asks, with the rules that were in force when it was asked last.
    pub fn last_principal(&self) -> &Principal {
        &self.principal
    }

    /// Its name, for people.
    pub fn name(&self) -> String {
        self.credential.to_string()
    }

    /// How long the credential is still good; absent: for ever.
    pub fn expires_in(&self) -> Option<Duration> {
        self.expires.map(|moment| moment.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO))
    }

    /// The program that the broker is inside of: it may do everything.
    pub fn this_program() -> Self {
        Self {
            principal: Principal::default(),
            credential: Arc::new(Credential::ThisProgram),
            expires: None,
            edition: 0,
        }
    }

    /// Somebody of whom nothing was found out: it may do nothing.
    pub fn nobody() -> Self {
        let principal = Principal::new(NOBODY, Vec::new(), Quotas::default());
        Self { principal, credential: Arc::new(Credential::None), expires: None, edition: 0 }
    }

    /// In whose share its sessions count: its own, wherever it comes from, or that of the client of its connection.
    pub fn shares(&self, client: Client) -> Client {
        match self.principal.digest() {
            ANONYMOUS => client,
            id => Client { id, trusted: false },
        }
    }
}

fn in_force(policy: Option<Policy>) -> Result<Option<Arc<InForce>>, BadFile> {
    let Some(policy) = policy else { return Ok(None) };
    let jwt = policy.jwt.as_ref().map(Jwt::load).transpose()?;
    Ok(Some(Arc::new(InForce { policy, jwt })))
}

impl fmt::Debug for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InForce").field(&self.policy).finish()
    }
}

fn bearer(header: &[u8]) -> Result<&str, Unknown> {
    let (scheme, token) = header.split_at_checked(7).ok_or(Unknown::NoBearer)?;
    // RFC 9110, section 11.1: the scheme is in whatever case.
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return Err(Unknown::NoBearer);
    }
    std::str::from_utf8(token).map(str::trim).map_err(|_| Unknown::NoBearer)
}

/// What a connection has shown, if it names somebody.
fn certificate(shown: &Shown) -> Result<Option<Credential>, Unknown> {
    let Some(shown) = shown.certificate.as_deref() else { return Ok(None) };
    let Some(name) = shown.name.clone() else { return Ok(None) };
    let credential = Credential::Certificate { name, not_after: shown.not_after };
    in_time(Some(shown.not_after), &credential)?;
    Ok(Some(credential))
}

fn in_time(expires: Option<SystemTime>, credential: &Credential) -> Result<Option<SystemTime>, Unknown> {
    match expires {
        Some(moment) if moment <= SystemTime::now() => Err(Unknown::Expired(credential.to_string())),
        expires => Ok(expires),
    }
}

/// Whom a credential proves, with the rules of its roles, and until when.
fn resolve(policy: &Policy, credential: &Credential) -> Result<(Principal, Option<SystemTime>), Unknown> {
    let (rules, expires) = match credential {
        Credential::None | Credential::ThisProgram => (policy.of_anonymous().ok_or(Unknown::NoCredential)?, None),
        Credential::Token { id, digest } => {
            let known = policy.token(id).filter(|known| known.digests.iter().any(|known| known.is(digest)));
            let known = known.ok_or_else(|| Unknown::WrongToken(id.clone()))?;
            (policy.of_roles(&known.roles), known.expires)
        }
        Credential::Jwt { issuer, roles, expires, .. } => {
            let taken = policy.jwt.as_ref().is_some_and(|jwt| jwt.issuer == *issuer);
            if !taken {
                return Err(Unknown::BadJwt("its issuer is not the one that is configured".into()));
            }
            if !roles.iter().any(|role| policy.roles.contains_key(role.as_str())) {
                return Err(Unknown::NoRole(credential.to_string()));
            }
            (policy.of_roles(roles), Some(*expires))
        }
        Credential::Certificate { name, not_after } => {
            let rules = policy.of_certificate(name).ok_or_else(|| Unknown::NoRole(name.clone()))?;
            (rules, Some(*not_after))
        }
    };
    let expires = in_time(expires, credential)?;
    Ok((Principal::new(&credential.to_string(), rules, policy.quotas), expires))
}

#[cfg(test)]
mod tests;
