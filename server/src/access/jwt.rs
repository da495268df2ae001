//! JSON web tokens (RFC 7519) of one issuer, checked against its keys in a file (a JWK set, RFC 7517).
//!
//! What counts is set in the configuration and nowhere else: the algorithms, the issuer, the audience. Tokens without an end, and
//! keys that both sign and check (HMAC), are not taken.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Credential, Unknown};
use crate::tls::files::{BadFile, File};

/// Keys of one issuer.
const KEYS_MAX: usize = 100;

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum Algorithm {
    /// RSA with SHA-256.
    RS256,
    /// The curve P-256 with SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

/// Which tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtConfig {
    /// Who makes them: the claim `iss`.
    pub issuer: String,
    /// For whom: the claim `aud` has it.
    pub audience: String,
    /// The issuer's keys.
    pub jwks: PathBuf,
    /// How they may be signed.
    pub algorithms: Vec<Algorithm>,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// The claim that lists roles.
    pub roles_claim: String,
}

impl JwtConfig {
    /// Checks the file of keys without using it.
    pub fn check(&self) -> Result<(), BadFile> {
        Jwt::load(self).map(drop)
    }
}

/// What is needed to check tokens.
pub(super) struct Jwt {
    config: JwtConfig,
    keys: Vec<Key>,
}

/// A key of the issuer, and what tokens that it signed must be like.
struct Key {
    id: Option<String>,
    public: DecodingKey,
    validation: Validation,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    exp: u64,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Jwt {
    /// Reads the issuer's keys.
    pub(super) fn load(config: &JwtConfig) -> Result<Self, BadFile> {
        let file = File::new("access.jwt.jwks", &config.jwks);
        let set: JwkSet = serde_json::from_slice(&file.bytes()?)
            .map_err(|error| file.bad(format_args!("it is no JWK set: {error}")))?;
        if set.keys.is_empty() || set.keys.len() > KEYS_MAX {
            return Err(file.bad(format_args!("it has {} keys: 1 to {KEYS_MAX} are allowed", set.keys.len())));
        }
        let mut keys = Vec::new();
        for jwk in &set.keys {
            if matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_)) {
                return Err(file.bad("one of its keys is of HMAC, with which whoever checks can sign"));
            }
            // A key of a kind that is not configured signs nothing here.
            let Some(algorithm) = algorithm_of(jwk).filter(|algorithm| config.algorithms.contains(algorithm)) else {
                continue;
            };
            let public = DecodingKey::from_jwk(jwk)
                .map_err(|error| file.bad(format_args!("one of its keys cannot be used: {error}")))?;
            keys.push(Key { id: jwk.common.key_id.clone(), public, validation: validation(config, algorithm) });
        }
        if keys.is_empty() {
            return Err(file.bad("none of its keys is for one of `access.jwt.algorithms`"));
        }
        Ok(Self { keys, config: config.clone() })
    }

    /// Whether a text looks like a token of this kind: three parts.
    pub(super) fn may_be(text: &str) -> bool {
        text.split('.').count() == 3
    }

    /// Whom a token proves.
    pub(super) fn check(&self, text: &str) -> Result<Credential, Unknown> {
        let wrong = |why: &dyn std::fmt::Display| Unknown::BadJwt(why.to_string());
        let named = decode_header(text).map_err(|error| wrong(&error))?.kid;
        // A token that names no key is tried with each.
        let fits = |kid: &Option<String>| named.is_none() || *kid == named;
        let mut refused = "it names no key of the issuer".to_owned();
        for key in self.keys.iter().filter(|key| fits(&key.id)) {
            match decode::<Claims>(text, &key.public, &key.validation) {
                Ok(decoded) => return Ok(self.credential(decoded.claims)),
                Err(error) => refused = error.to_string(),
            }
        }
        Err(wrong(&refused))
    }

    fn credential(&self, claims: Claims) -> Credential {
        let roles = match claims.others.get(&self.config.roles_claim) {
            Some(Value::Array(roles)) => roles.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
            Some(Value::String(roles)) => roles.split_whitespace().map(ToOwned::to_owned).collect(),
            _ => Vec::new(),
        };
        let expires =
            SystemTime::UNIX_EPOCH + Duration::from_secs(claims.exp.min(u64::from(u32::MAX))) + self.config.leeway;
        Credential::Jwt { issuer: claims.iss, subject: claims.sub, roles, expires }
    }
}

/// What a key signs with, of what can be configured.
fn algorithm_of(jwk: &Jwk) -> Option<Algorithm> {
    match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Some(Algorithm::RS256),
        AlgorithmParameters::EllipticCurve(_) => Some(Algorithm::ES256),
        AlgorithmParameters::OctetKeyPair(_) => Some(Algorithm::EdDSA),
        _ => None,
    }
}

/// One algorithm for each key: the header of a token chooses nothing.
fn validation(config: &JwtConfig, algorithm: Algorithm) -> Validation {
    let algorithm = match algorithm {
        Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
    };
    let mut validation = Validation {
        algorithms: vec![algorithm],
        leeway: config.leeway.as_secs(),
        validate_nbf: true,
        // What is absent would not be looked at.
        required_spec_claims: HashSet::from(["exp", "iss", "aud", "sub"].map(ToOwned::to_owned)),
        ..Validation::default()
    };
    validation.set_issuer(&[&config.issuer]);
    validation.set_audience(&[&config.audience]);
    validation
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use rcgen::KeyPair;
    use serde_json::json;

    use super::*;

    struct Issuer {
        key: KeyPair,
        folder: tempfile::TempDir,
    }

    impl Issuer {
        fn new() -> Self {
            Self { key: KeyPair::generate().unwrap(), folder: tempfile::tempdir().unwrap() }
        }

        fn jwk(&self, kid: &str) -> Value {
            let point = self.key.public_key_raw();
            let coordinate = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            json!({ "kty": "EC", "crv": "P-256", "kid": kid, "alg": "ES256", "use": "sig",
                    "x": coordinate(&point[1..33]), "y": coordinate(&point[33..65]) })
        }

        fn config(&self, keys: &[Value]) -> JwtConfig {
            let jwks = self.folder.path().join("jwks.json");
            std::fs::write(&jwks, json!({ "keys": keys }).to_string()).unwrap();
            JwtConfig {
                issuer: "https://issuer.example.org".into(),
                audience: "sixpin".into(),
                jwks,
                algorithms: vec![Algorithm::RS256, Algorithm::ES256],
                leeway: Duration::from_secs(5),
                roles_claim: "roles".into(),
            }
        }

        fn sign(&self, kid: Option<&str>, claims: &Value) -> String {
            let header = Header { kid: kid.map(Into::into), ..Header::new(jsonwebtoken::Algorithm::ES256) };
            encode(&header, claims, &EncodingKey::from_ec_der(&self.key.serialize_der())).unwrap()
        }
    }

    fn now() -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
    }

    fn claims() -> Value {
        json!({ "iss": "https://issuer.example.org", "sub": "anna", "aud": ["sixpin", "x"], "exp": now() + 60,
                "roles": ["billing", 7, "reader"] })
    }

    fn with(field: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[field] = value;
        claims
    }

    fn without(field: &str) -> Value {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(field);
        claims
    }

    #[test]
    fn a_good_token_proves_its_subject_and_lists_roles() {
        let issuer = Issuer::new();
        let jwt = Jwt::load(&issuer.config(&[issuer.jwk("k1")])).unwrap();
        for kid in [Some("k1"), None] {
            let Ok(Credential::Jwt { issuer, subject, roles, .. }) = jwt.check(&issuer.sign(kid, &claims())) else {
                panic!("refused")
            };
            assert_eq!((issuer.as_str(), subject.as_str()), ("https://issuer.example.org", "anna"));
            assert_eq!(roles, ["billing", "reader"]);
        }
        let text = issuer.sign(Some("k1"), &with("roles", json!("a b")));
        assert!(matches!(jwt.check(&text), Ok(Credential::Jwt { roles, .. }) if roles == ["a", "b"]));
    }

    #[test]
    fn every_other_token_is_refused() {
        let (issuer, other) = (Issuer::new(), Issuer::new());
        let jwt = Jwt::load(&issuer.config(&[issuer.jwk("k1")])).unwrap();
        let good = issuer.sign(Some("k1"), &claims());
        let (head, _) = good.rsplit_once('.').unwrap();
        let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), good.split('.').nth(1).unwrap());
        // The public key as the secret of HMAC.
        let confused = encode(
            &Header::new(jsonwebtoken::Algorithm::HS256),
            &claims(),
            &EncodingKey::from_secret(issuer.key.public_key_raw()).unwrap(),
        );
        for (what, text) in [
            ("another key", other.sign(Some("k1"), &claims())),
            ("another key's name", issuer.sign(Some("k2"), &claims())),
            ("no signature", format!("{head}.")),
            ("not signed", unsigned),
            ("another algorithm", confused.unwrap()),
            ("expired", issuer.sign(Some("k1"), &with("exp", json!(now() - 6)))),
            ("not yet", issuer.sign(Some("k1"), &with("nbf", json!(now() + 60)))),
            ("another audience", issuer.sign(Some("k1"), &with("aud", json!("other")))),
            ("another issuer", issuer.sign(Some("k1"), &with("iss", json!("https://issuer.example.org.evil")))),
            ("no end", issuer.sign(Some("k1"), &without("exp"))),
            ("no subject", issuer.sign(Some("k1"), &without("sub"))),
            ("no audience", issuer.sign(Some("k1"), &without("aud"))),
            ("no issuer", issuer.sign(Some("k1"), &without("iss"))),
            ("nothing", "a.b.c".into()),
        ] {
            assert!(matches!(jwt.check(&text), Err(Unknown::BadJwt(_))), "{what}");
        }
        assert!(jwt.check(&issuer.sign(Some("k1"), &with("exp", json!(now() - 3)))).is_ok(), "within the leeway");
    }

    #[test]
    fn a_file_of_keys_that_is_bad_is_named() {
        let issuer = Issuer::new();
        let config = issuer.config(&[]);
        assert!(Jwt::load(&config).is_err_and(|bad| bad.to_string().contains("0 keys")));
        let config = issuer.config(&[json!({ "kty": "oct", "k": "c2VjcmV0" })]);
        assert!(Jwt::load(&config).is_err_and(|bad| bad.to_string().contains("HMAC")));
        std::fs::write(&config.jwks, "{}").unwrap();
        assert!(Jwt::load(&config).is_err_and(|bad| bad.to_string().contains("JWK set")));
    }
}
