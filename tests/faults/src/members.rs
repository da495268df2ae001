//! What is done to members of a store, and how soon brokers grant again.
//!
//! One fault at a time: before each, all members work together. While one member is away, no client may lose its session,
//! and every broker grants again as soon as the others have a leader; how soon that is, is told and not asserted, because
//! a busy machine would break any bound.

use std::fmt::Write as _;
use std::time::Duration;

use sixpin_client::{Client, Mode as LockMode};
use sixpin_testkit::members::Members;
use sixpin_testkit::proxy::Mode;
use tokio::time::{Instant, sleep, timeout};

use crate::faults::Fault;
use crate::history::now;
use crate::run::Running;
use crate::world::PATIENCE;

/// How long a member is away: longer than a session of ten seconds lives without its broker.
const AWAY: Duration = Duration::from_secs(12);
/// How long most of them are.
const MOST_AWAY: Duration = Duration::from_secs(5);
/// No session of ten seconds can be kept where the others take longer than this to agree on a leader.
const WITHOUT_LEADER: Duration = Duration::from_secs(8);
/// Of the sessions that look when brokers grant again. After a loss of memory nothing is granted for the longest TTL, so it
/// is no longer than that of others.
const PROBE_TTL: Duration = Duration::from_secs(10);
/// How often one is looked for who leads.
const LOOK: Duration = Duration::from_millis(50);

/// Does it, undoes it, and waits until the store is whole again.
pub(crate) async fn strike(running: &mut Running, fault: Fault, number: usize) {
    let members = running.world.store.members();
    members.become_whole().await.expect("the store is whole before it is troubled");
    let leader = led(members, None).await;
    let most = Fault::OF_A_MAJORITY.contains(&fault);
    let struck = match fault {
        Fault::KillLeader | Fault::FreezeLeader | Fault::CutLeader => vec![leader],
        _ if most => members.majority(leader).await,
        _ => vec![(leader + 1 + number % (members.count() - 1)) % members.count()],
    };
    let leads_not = Some(leader).filter(|leader| struck.contains(leader));
    let brokers: Vec<String> = running.world.brokers.iter().map(super::world::Broker::endpoint).collect();
    let probes = brokers.into_iter().map(|broker| tokio::spawn(open_probe(broker)));
    let probes = futures::future::join_all(probes).await.into_iter().map(|probe| probe.expect("it does not panic"));

    let amnesias = running.amnesias();
    let (begun, begun_at) = (Instant::now(), now());
    for &member in &struck {
        match fault {
            Fault::KillLeader | Fault::KillMember | Fault::KillMajority => members.kill(member),
            Fault::FreezeLeader | Fault::FreezeMember | Fault::FreezeMajority => members.freeze(member),
            // In turn: what breaks, and what stays silent.
            _ => members.cut_off(member, if number.is_multiple_of(2) { Mode::Cut } else { Mode::BlackHole }),
        }
    }
    let granting = probes.map(|probe| tokio::spawn(granted(probe, begun))).collect::<Vec<_>>();
    let again = if most { None } else { timeout(AWAY, led(members, leads_not)).await.ok().map(|_| begun.elapsed()) };
    tokio::time::sleep_until(begun + if most { MOST_AWAY } else { AWAY }).await;
    match fault {
        Fault::KillLeader | Fault::KillMember | Fault::KillMajority => {
            let restarts = futures::future::join_all(struck.iter().map(|member| members.restart(*member))).await;
            for restart in restarts {
                restart.expect("a member starts again");
            }
        }
        Fault::FreezeLeader | Fault::FreezeMember | Fault::FreezeMajority => {
            for member in &struck {
                members.resume(*member);
            }
        }
        _ => members.heal(),
    }
    let whole = members.become_whole().await;
    let mut text = format!("{fault:?} {struck:?}:");
    match again.filter(|_| leads_not.is_some()) {
        Some(again) => {
            let _ = write!(text, " another leads after {:.1} s,", again.as_secs_f64());
        }
        None if leads_not.is_some() && !most => text += " nobody else leads meanwhile,",
        None => {}
    }
    text += " brokers granted again after";
    for granting in granting {
        match granting.await.expect("it does not panic") {
            Some(time) => {
                let _ = write!(text, " {:.1}", time.as_secs_f64());
            }
            None => text += " (never)",
        }
    }
    let _ = write!(text, " s, whole after {:.1} s", begun.elapsed().as_secs_f64());
    let leaderless = most || again.is_none_or(|again| again > WITHOUT_LEADER);
    let forgot = running.amnesias() > amnesias;
    if forgot {
        text += ", and the store had lost its last writes";
    }
    running.struck(text, (leaderless || forgot).then_some((begun_at, now())));
    whole.expect("the store becomes whole again");
}

/// Waits for a member that leads, and is not this one.
async fn led(members: &Members, not: Option<usize>) -> usize {
    loop {
        if let Some(leader) = members.leader().await.filter(|leader| Some(*leader) != not) {
            return leader;
        }
        sleep(LOOK).await;
    }
}

/// A client of one broker, and its session.
struct Probe {
    broker: String,
    session: Option<sixpin_client::Session>,
}

async fn open_probe(broker: String) -> Probe {
    let client = Client::new([broker.clone()]).expect("an address is good");
    let session = client.session().ttl(PROBE_TTL).open().await.ok();
    Probe { broker, session }
}

/// When a broker first granted and released something that was asked for after `begun`.
async fn granted(probe: Probe, begun: Instant) -> Option<Duration> {
    let Probe { broker, mut session } = probe;
    let trying = async {
        loop {
            if session.as_ref().is_none_or(|session| !session.is_valid()) {
                session = open_probe(broker.clone()).await.session;
            }
            if let Some(session) = &session
                && let Ok(guard) = session.lock(format!("probe/{broker}"), LockMode::EX).await
                && guard.release().await.is_ok()
            {
                return begun.elapsed();
            }
            sleep(LOOK).await;
        }
    };
    let time = timeout(PATIENCE, trying).await.ok();
    if let Some(session) = session {
        let _ = timeout(PATIENCE, session.close()).await;
    }
    time
}
