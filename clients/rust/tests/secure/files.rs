//! Settings and files that are not good, and files that are replaced.

use std::fs;
use std::path::Path;

use sixpin_client::{Client, Credentials, Error};

use crate::authority::{Authority, Valid, Wants};
use crate::broker::Broker;
use crate::{client, not_opened, open, ordinary};

fn refused(endpoints: &[&str], credentials: Credentials) -> String {
    match Client::builder(endpoints.iter().copied()).credentials(credentials).build() {
        Err(Error::Setting(words)) => words,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_has_tls_with_all_brokers_or_with_none() {
    let authority = Authority::new();
    let mixed = refused(&["http://a:1", "https://b:2"], Credentials::new());
    assert!(mixed.contains("`http://a:1`") && mixed.contains("`https://b:2`"), "{mixed}");
    let plain = refused(&["http://a:1"], Credentials::new().ca_file(&authority.file));
    assert!(plain.contains("`http://a:1` is without TLS, but a CA or a certificate is given"), "{plain}");
    let client = Client::new(["https://a:1", "b:2", "grpc://c:3"]).unwrap();
    assert_eq!(client.endpoints(), ["a:1", "b:2", "c:3"]);
    assert!(Client::new(["http://a:1", "b:2"]).is_ok());
}

#[test]
fn a_bad_file_is_named_with_what_is_wrong() {
    let authority = Authority::new();
    let (own, other) = (authority.sign("me", Valid::Now), authority.sign("you", Valid::Now));
    let ca = |file: &Path| refused(&["a:1"], Credentials::new().ca_file(file));
    let pair = |certificate: &Path, key: &Path| {
        refused(&["a:1"], Credentials::new().ca_file(&authority.file).certificate_files(certificate, key))
    };
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let has = |words: String, parts: &[&str]| {
        assert!(parts.iter().all(|part| words.contains(part)), "{words}");
        assert!(!words.contains("MIG") && !words.contains("-----"), "what is in it is shown: {words}");
    };
    has(ca(Path::new("/nowhere/ca.pem")), &["the CA file `/nowhere/ca.pem` can not be read: no such file"]);
    has(ca(&own.key), &["the CA file `", "-key.pem` has no certificate in it, but a private key"]);
    has(ca(&written("note", "hello")), &["note` has no certificate in it: it is no PEM file"]);
    let pem = fs::read_to_string(&authority.file).unwrap();
    has(ca(&written("half", &pem[..pem.len() / 2])), &["half` is damaged"]);
    has(pair(&own.certificate, &own.certificate), &["the key file `", "has no private key in it, but a certificate"]);
    has(
        pair(&own.certificate, &other.key),
        &["the key in `", "you-Now-key.pem` does not belong to the certificate in `"],
    );
    let locked =
        written("locked", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    has(pair(&own.certificate, &locked), &["locked` is encrypted"]);
}

#[tokio::test]
async fn files_that_are_replaced_are_used_and_bad_ones_are_not() {
    let (first, second) = (Authority::new(), Authority::new());
    let old = Broker::start(Some(ordinary(&first, Wants::Nobody)), false).await;
    let new = Broker::start(Some(ordinary(&second, Wants::Nobody)), false).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    fs::copy(&first.file, &file).unwrap();
    let credentials = Credentials::new().ca_file(&file);
    let at_both = Client::builder([&old.address, &new.address]).credentials(credentials.clone()).build().unwrap();
    assert_eq!(at_both.first_that_answers().await.unwrap(), old.address);
    fs::write(&file, "half of a fi").unwrap();
    assert_eq!(at_both.first_that_answers().await.unwrap(), old.address);
    fs::copy(&second.file, &file).unwrap();
    assert_eq!(at_both.first_that_answers().await.unwrap(), new.address);
    assert!(not_opened(&client(&old.address, credentials.clone())).await.contains("is not signed by a CA of"));
    // Both are trusted while one follows the other.
    let both = fs::read_to_string(&first.file).unwrap() + &fs::read_to_string(&second.file).unwrap();
    fs::write(&file, both).unwrap();
    open(&client(&old.address, credentials.clone())).await.unwrap();
    open(&client(&new.address, credentials)).await.unwrap();
}
