//! The two tables of the lock rules, seen through gRPC: which modes go together, and which conversions a holder gets
//! beside another.

use sixpin_proto::v1;
use v1::session_request::Body as Ask;

use crate::support::{Broker, MODES, convert, try_lock};

/// Row and column in the order of [`MODES`]: may both be held at once?
const TOGETHER: [&str; 6] = ["YYYYYY", "YYYYY.", "YYY...", "YY.Y..", "YY....", "Y....."];

fn together(a: usize, b: usize) -> bool {
    TOGETHER[a].as_bytes()[b] == b'Y'
}

#[tokio::test]
async fn all_36_pairs_of_modes() {
    let broker = Broker::start().await;
    let (mut first, mut second) = (broker.session().await, broker.session().await);
    for (a, &held) in MODES.iter().enumerate() {
        for (b, &wanted) in MODES.iter().enumerate() {
            let claim = (a * 6 + b + 1) as u64;
            let name = format!("{held:?}-{wanted:?}");
            assert_eq!(first.lock(try_lock(claim, &name, held)).await.status(), v1::Status::Granted);
            let completion = second.lock(try_lock(claim, &name, wanted)).await;
            let expected = if together(a, b) { v1::Status::Granted } else { v1::Status::WouldWait };
            assert_eq!(completion.status(), expected, "{name}");
            assert_eq!(completion.blockers.len(), usize::from(!together(a, b)), "{name}");
        }
    }
}

#[tokio::test]
async fn all_36_conversions_of_a_lone_holder() {
    let broker = Broker::start().await;
    let mut session = broker.session().await;
    for (a, &from) in MODES.iter().enumerate() {
        for (b, &to) in MODES.iter().enumerate() {
            let claim = (a * 6 + b + 1) as u64;
            let name = format!("{from:?}-{to:?}");
            let before = session.lock(try_lock(claim, &name, from)).await;
            let after = session.complete(Ask::Convert(convert(claim, 2, to))).await;
            assert_eq!((after.status(), after.mode()), (v1::Status::Granted, to), "{name}");
            // Up and sideways give a new fence; down and the same keep theirs.
            let up = a < b || (from == v1::Mode::Pr && to == v1::Mode::Cw);
            assert_eq!(after.fence > before.fence, up, "{name}");
            assert!(after.fence >= before.fence, "{name}");
        }
    }
}

#[tokio::test]
async fn conversions_beside_a_holder_of_each_mode_they_can_meet() {
    let broker = Broker::start().await;
    let (mut first, mut second) = (broker.session().await, broker.session().await);
    let mut claim = 0;
    for (other, &beside) in MODES.iter().enumerate() {
        for (a, &from) in MODES.iter().enumerate().filter(|(a, _)| together(*a, other)) {
            for (b, &to) in MODES.iter().enumerate() {
                claim += 1;
                let name = format!("{beside:?}-{from:?}-{to:?}");
                assert_eq!(first.lock(try_lock(claim, &name, beside)).await.status(), v1::Status::Granted);
                assert_eq!(second.lock(try_lock(claim, &name, from)).await.status(), v1::Status::Granted);
                let done = second.complete(Ask::Convert(convert(claim, 2, to))).await;
                let (status, mode) =
                    if together(b, other) { (v1::Status::Granted, to) } else { (v1::Status::WouldWait, from) };
                assert_eq!((done.status(), done.mode()), (status, mode), "{name}, from {a}");
            }
        }
    }
}
