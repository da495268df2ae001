//! Replays the corpus of the fuzz target `frames` with the ordinary compiler, and whatever is cut off or changed of it.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

#[test]
fn frames_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/frames");
    let mut files = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let data = std::fs::read(entry.unwrap().path()).unwrap();
        files += 1;
        support::frames(&data);
        for cut in 0..data.len() {
            support::frames(&data[..cut]);
            let mut changed = data.clone();
            changed[cut] ^= 1 << (cut % 8);
            support::frames(&changed);
        }
    }
    assert!(files > 0);
}

#[test]
fn made_up_bytes_are_harmless() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for length in 0..2_000 {
        let data: Vec<u8> = std::iter::repeat_with(|| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Many zeros, so that some of it is a length.
            if random & 3 == 0 { (random >> 8) as u8 } else { (random >> 8) as u8 & 7 & (random >> 16) as u8 }
        })
        .take(length % 300)
        .collect();
        support::frames(&data);
    }
}

/// Writes the seeds of the target; run it by name after a change of the messages.
#[test]
#[ignore = "writes files"]
fn write_seeds() {
    use bytes::BytesMut;
    use sixpin_proto::frames::Frames;
    use sixpin_proto::v1::session_request::Body;
    use sixpin_proto::v1::{self, SessionRequest};
    use tokio_util::codec::Encoder as _;

    let resource = Some(v1::Resource { lockspace: "orders".into(), name: "invoice/1".into() });
    let lock = v1::Lock {
        claim: 1,
        operation: 1,
        resource: resource.clone(),
        what: Some(v1::Mode::Ex.into()),
        timeout_ms: Some(500),
        label: "seed".into(),
        ..Default::default()
    };
    let convert = v1::Convert { claim: 1, operation: 2, what: Some(v1::Mode::Pr.into()), ..Default::default() };
    let live = v1::LiveClaim { claim: 1, resource, last_operation: 2, grant_seq: 7, ..Default::default() };
    let resume = v1::Resume {
        token: "s~t".into(),
        move_number: 1,
        next_claim: 2,
        claims: vec![live],
        void_claims: vec![3, 4],
        ..Default::default()
    };
    let talks = [
        vec![
            Body::Open(v1::Open { ttl_ms: Some(9_000), label: "seed".into(), ..Default::default() }),
            Body::Lock(lock),
        ],
        vec![Body::Resume(resume), Body::Convert(convert), Body::KeepAlive(v1::KeepAlive { move_number: 1 })],
        vec![Body::Unlock(v1::Unlock { claim: 1, operation: 3, ..Default::default() }), Body::Close(v1::Close {})],
    ];
    for (number, talk) in talks.into_iter().enumerate() {
        let (mut frames, mut bytes) = (Frames::<SessionRequest, SessionRequest>::new(0), BytesMut::new());
        for (request, body) in (1..).zip(talk) {
            frames.encode(SessionRequest { request, body: Some(body) }, &mut bytes).unwrap();
        }
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/frames");
        std::fs::write(corpus.join(format!("seed-{number}")), bytes).unwrap();
    }
}
