//! From a credential to a principal.

use super::*;
use crate::config;
use crate::tls::peer::PeerCertificate;

fn policy(more: &str) -> Policy {
    let text = format!(
        "[access.roles.writer]\nrules = [{{ lockspace = \"orders\", prefix = \"a/\", allow = [\"lock\"] }}]\n\
         [access.roles.reader]\nrules = [{{ lockspace = \"*\", prefix = \"\", allow = [\"inspect\"] }}]\n{more}"
    );
    config::parse(&text, "sixpin.toml", [], toml::Table::new()).unwrap().access.unwrap()
}

fn with_token(token: &Token, more: &str) -> Policy {
    let (id, digest) = (token.id(), token.digest());
    policy(&format!("[access.tokens.{id}]\nsha256 = \"{digest}\"\nroles = [\"writer\"]\n{more}"))
}

fn shown(name: &str, not_after: SystemTime) -> Shown {
    let certificate = PeerCertificate { name: Some(name.into()), not_after };
    Shown { certificate: Some(Arc::new(certificate)) }
}

fn header(token: &Token) -> Vec<u8> {
    format!("Bearer {}", token.reveal()).into_bytes()
}

#[test]
fn without_access_control_everybody_may_do_everything() {
    let access = Access::new(None, Audit::default()).unwrap();
    let who = access.identify(Some(b"Bearer nonsense"), &Shown::default()).unwrap();
    assert_eq!(*who.last_principal(), Principal::default());
}

#[test]
fn a_token_is_known_and_everything_else_is_not() {
    let (token, other) = (Token::new("a").unwrap(), Token::new("a").unwrap());
    let access = Access::new(Some(with_token(&token, "")), Audit::default()).unwrap();
    let who = access.identify(Some(&header(&token)), &Shown::default()).unwrap();
    assert_eq!(who.name(), "token:a");
    assert!(who.last_principal().may_lock_something());
    let refused = |header: Option<&[u8]>| access.identify(header, &Shown::default()).unwrap_err();
    assert_eq!(refused(None), Unknown::NoCredential);
    assert_eq!(refused(Some(&header(&other))), Unknown::WrongToken("a".into()));
    assert_eq!(refused(Some(&header(&Token::new("b").unwrap()))), Unknown::WrongToken("b".into()));
    for wrong in [&b"Basic abc"[..], b"Bearer", b"", b"\xff\xff\xff\xff\xff\xff\xff\xff"] {
        assert_eq!(refused(Some(wrong)), Unknown::NoBearer);
    }
    assert_eq!(refused(Some(b"bearer sxp_a_")), Unknown::NoToken);
}

#[test]
fn whoever_shows_nothing_has_the_roles_of_anonymous() {
    let access = Access::new(Some(policy("[access]\nanonymous = [\"reader\"]\n")), Audit::default()).unwrap();
    let who = access.identify(None, &Shown::default()).unwrap();
    assert_eq!((who.name().as_str(), who.last_principal().digest()), ("anonymous", ANONYMOUS));
    assert!(!who.last_principal().may_lock_something());
}

#[test]
fn a_certificate_counts_unless_there_is_a_token_and_must_be_valid_in_any_case() {
    let token = Token::new("a").unwrap();
    let access = Access::new(
        Some(with_token(&token, "[access.certificates]\n\"spiffe://e/ops/*\" = [\"reader\"]\n")),
        Audit::default(),
    )
    .unwrap();
    let (later, before) = (SystemTime::now() + Duration::from_secs(60), SystemTime::now() - Duration::from_secs(1));
    let anna = shown("spiffe://e/ops/anna", later);
    let who = access.identify(None, &anna).unwrap();
    assert_eq!(who.name(), "certificate:spiffe://e/ops/anna");
    assert!(who.expires_in().is_some());
    assert_eq!(access.identify(Some(&header(&token)), &anna).unwrap().name(), "token:a");
    let old = shown("spiffe://e/ops/anna", before);
    let expired = Unknown::Expired("certificate:spiffe://e/ops/anna".into());
    assert_eq!(access.identify(None, &old).unwrap_err(), expired);
    assert_eq!(access.identify(Some(&header(&token)), &old).unwrap_err(), expired);
    assert_eq!(access.identify(None, &shown("x", later)).unwrap_err(), Unknown::NoRole("x".into()));
    // Somebody else in the same role is somebody else.
    let bert = access.identify(None, &shown("spiffe://e/ops/bert", later)).unwrap();
    assert_ne!(bert.last_principal().digest(), who.last_principal().digest());
}

#[test]
fn a_change_of_the_policy_counts_from_the_next_request_on() {
    let token = Token::new("a").unwrap();
    let access = Access::new(Some(with_token(&token, "")), Audit::default()).unwrap();
    let mut who = access.identify(Some(&header(&token)), &Shown::default()).unwrap();
    let mut soon = with_token(&token, "");
    soon.tokens.get_mut("a").unwrap().expires = Some(SystemTime::now() + Duration::from_secs(60));
    access.replace(Some(soon.clone())).unwrap();
    assert!(who.principal(&access).is_ok() && who.expires_in().is_some());
    soon.tokens.get_mut("a").unwrap().expires = Some(SystemTime::now());
    access.replace(Some(soon)).unwrap();
    assert_eq!(who.principal(&access).unwrap_err(), Unknown::Expired("token:a".into()));
    access.replace(Some(policy(""))).unwrap();
    assert_eq!(who.principal(&access).unwrap_err(), Unknown::WrongToken("a".into()));
    // Who it was is the same once it is known again: its sessions are still its own.
    access.replace(Some(with_token(&token, ""))).unwrap();
    assert_eq!(who.principal(&access).unwrap().digest(), Principal::new("token:a", vec![], Quotas::default()).digest());
}
