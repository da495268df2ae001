//! Certificates that cost the broker more than whoever shows them.

use std::error::Error;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::TLS13;
use sixpin_proto::v1;

use super::handshakes::listen;
use super::{Until, again, path};
use crate::hello::{self, HTTP2, Shown};
use crate::secrets::AUTHORITY;
use crate::target::Target;
use crate::wire::{self, PREFACE};

const CONNECTIONS: usize = 100;
/// So many fit into a handshake, and fewer than a library gives up after.
const CHAIN: usize = 90;
/// Whom they are for.
const BETWEEN: &str = "between";

pub(super) async fn good(target: Target, until: Until) {
    let Some(stolen) = target.stolen else { return };
    let nobody = Target { stolen: None, ..target };
    let call = [PREFACE, &wire::window(65_535), &nobody.unary(1, path::STATUS, &v1::GetStatusRequest {})].concat();
    again(CONNECTIONS, Duration::ZERO, until, async || {
        let shown = (stolen.certificate.clone(), stolen.key.clone_key());
        let mut stream = target.shake_hands(hello::config(&TLS13, HTTP2, Some(shown))?).await?;
        wire::say(&mut stream, &call).await
    })
    .await;
}

pub(super) async fn chains(target: Target, until: Until) {
    show(target, until, AUTHORITY).await;
}

pub(super) async fn labyrinths(target: Target, until: Until) {
    show(target, until, BETWEEN).await;
}

async fn show(target: Target, until: Until, above: &str) {
    let Ok((chain, key)) = chain(above) else { return };
    again(CONNECTIONS, Duration::ZERO, until, async || {
        let shown = (chain.clone(), key.clone_key());
        let stream = target.shake_hands(hello::config(&TLS13, HTTP2, Some(shown))?).await?;
        // The refusal comes once the broker has looked.
        listen(stream).await
    })
    .await;
}

/// A certificate with many that could have signed it, because all have the name that it says. If they say that the broker's
/// authority has signed them, nobody knows better before having looked at every signature; if they say that one of themselves has,
/// there are many more ways than there are certificates.
fn chain(above: &str) -> Result<Shown, Box<dyn Error>> {
    let authority = Issuer::new(named(above, true), KeyPair::generate()?);
    let between = named(BETWEEN, true);
    let key = KeyPair::generate()?;
    let mut chain: Vec<CertificateDer<'static>> = Vec::new();
    for _ in 0..CHAIN {
        chain.push(between.signed_by(&KeyPair::generate()?, &authority)?.der().clone());
    }
    let own = named("nobody", false).signed_by(&key, &Issuer::new(between, KeyPair::generate()?))?;
    chain.insert(0, own.der().clone());
    Ok((chain, PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()))))
}

fn named(name: &str, signs: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if signs {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    } else {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    }
    params
}
