//! Stores of several members start, lose their leader by a cut and get another one. Death and standing still are what the
//! tests of brokers do to them.

use std::time::Duration;

use sixpin_testkit::members::{Kind, Members};
use sixpin_testkit::proxy::Mode;

const PATIENCE: Duration = Duration::from_secs(60);

async fn led_by(members: &Members, is: impl Fn(usize) -> bool) -> usize {
    let looking = async {
        loop {
            match members.leader().await.filter(|leader| is(*leader)) {
                Some(leader) => return leader,
                None => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("there is such a leader")
}

async fn goes_on_without_a_leader_that_is_cut_off(kind: Kind) {
    let members = Members::start(kind).await.expect("all members start");
    let first = led_by(&members, |_| true).await;
    members.cut_off(first, Mode::Cut);
    // It may believe for a while that it still leads.
    led_by(&members, |leader| leader != first).await;
    members.heal();
    members.become_whole().await.expect("it joins the others");
}

#[tokio::test]
async fn etcd_elects_another() {
    goes_on_without_a_leader_that_is_cut_off(Kind::Etcd).await;
}

#[tokio::test]
async fn sentinels_promote_another() {
    goes_on_without_a_leader_that_is_cut_off(Kind::Sentinel).await;
}

#[tokio::test]
async fn a_cluster_promotes_another() {
    goes_on_without_a_leader_that_is_cut_off(Kind::Cluster).await;
}
