//! What brokers know of sessions. Each knows those that it vouches for, so all are asked, side by side.
//!
//! Invariant: a broker that does not answer holds nobody up for longer than [`PATIENCE`] for each page, and is named.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sixpin_client::{Error as ClientError, Inspection};
use sixpin_proto::v1;

use super::exit;
use super::failure::{Failure, warn};

/// How long one broker may take for one page.
const PATIENCE: Duration = Duration::from_secs(3);
/// Entries of one page, which is the most that a broker gives at once.
const PAGE: usize = 1_000;

/// The brokers on a store, as one of them sees them.
pub struct Neighbours {
    /// All that it knows.
    pub entries: Vec<v1::BrokerEntry>,
    /// The way to the one that was asked: the address that it tells to others may not be one for us.
    asked: Inspection,
}

/// Asks the first broker that answers for all of them.
pub async fn neighbours(inspection: &Inspection) -> Result<Neighbours, Failure> {
    let (reply, asked) = inspection.list_brokers().await.map_err(Failure::inspecting)?;
    Ok(Neighbours { entries: reply.brokers, asked })
}

/// What one broker said.
pub struct Answer {
    /// The broker that was asked.
    pub broker: v1::BrokerEntry,
    /// Its sessions.
    pub sessions: Result<Vec<v1::SessionInfo>, Failure>,
}

impl Neighbours {
    /// Those that may vouch for sessions. One process on several stores is one broker per store, but answers for all of
    /// them at once.
    pub fn vouching(&self) -> Vec<v1::BrokerEntry> {
        let mut addresses = BTreeSet::new();
        self.living()
            .filter(|entry| asked_at(entry).map_or(entry.own, |address| addresses.insert(address.to_owned())))
            .cloned()
            .collect()
    }

    /// The one that is named, by name, incarnation or address; else all that may vouch for sessions.
    pub fn asked(&self, name: Option<&str>) -> Result<Vec<v1::BrokerEntry>, Failure> {
        let vouching = self.vouching();
        let Some(name) = name else { return Ok(vouching) };
        let named = |broker: &v1::BrokerEntry| {
            [&broker.name, &broker.incarnation, &broker.address].into_iter().any(|known| known == name)
        };
        let asked: Vec<v1::BrokerEntry> = vouching.into_iter().filter(|broker| named(broker)).collect();
        if let Some(broker) = self.inside().into_iter().find(|broker| named(broker)) {
            let (name, program) = (&broker.name, &broker.program);
            let text = format!("broker {name} is inside a program ({program}), and only that can ask it");
            return Err(Failure::new(exit::FAILURE, text)
                .hint("the program may let administrators in: `admin_listen` of its embedded client"));
        }
        if asked.is_empty() {
            return Err(Failure::new(exit::FAILURE, format_args!("there is no broker `{name}`"))
                .hint("see their names with `sixpin brokers`"));
        }
        Ok(asked)
    }

    /// Those that may vouch for sessions and cannot be asked: they are inside programs.
    pub fn inside(&self) -> Vec<&v1::BrokerEntry> {
        self.living().filter(|entry| is_inside(entry)).collect()
    }

    fn living(&self) -> impl Iterator<Item = &v1::BrokerEntry> {
        self.entries.iter().filter(|entry| entry.state() != v1::BrokerState::Gone)
    }

    /// The sessions of these brokers: all, or those that are named.
    pub async fn sessions(&self, brokers: Vec<v1::BrokerEntry>, named: Option<&[String]>) -> Vec<Answer> {
        let answers = brokers.into_iter().map(|broker| async move {
            let sessions = match named {
                Some(named) => self.named(&broker, named).await,
                None => self.all(&broker).await,
            };
            Answer { broker, sessions }
        });
        futures::future::join_all(answers).await
    }

    async fn all(&self, broker: &v1::BrokerEntry) -> Result<Vec<v1::SessionInfo>, Failure> {
        let mut sessions = Vec::new();
        let mut request = v1::ListSessionsRequest { limit: PAGE as u32, ..Default::default() };
        loop {
            let page = self.page(broker, request.clone()).await?;
            sessions.extend(page.sessions);
            request.after = page.next;
            if request.after.is_empty() {
                return Ok(sessions);
            }
        }
    }

    async fn named(&self, broker: &v1::BrokerEntry, named: &[String]) -> Result<Vec<v1::SessionInfo>, Failure> {
        let mut sessions = Vec::new();
        for named in named.chunks(PAGE) {
            let request = v1::ListSessionsRequest { sessions: named.to_vec(), ..Default::default() };
            sessions.extend(self.page(broker, request).await?.sessions);
        }
        Ok(sessions)
    }

    async fn page(
        &self,
        broker: &v1::BrokerEntry,
        request: v1::ListSessionsRequest,
    ) -> Result<v1::ListSessionsResponse, Failure> {
        self.ask(broker, async |way| way.list_sessions(request).await).await
    }

    /// Asks one broker, which may take its time and no more.
    pub async fn ask<T>(
        &self,
        broker: &v1::BrokerEntry,
        call: impl AsyncFnOnce(Inspection) -> Result<T, ClientError>,
    ) -> Result<T, Failure> {
        let answer = async { call(self.way_to(broker)?).await.map_err(Failure::inspecting) };
        let late = || {
            let patience = humantime::format_duration(PATIENCE);
            let address = asked_at(broker).unwrap_or_default();
            let text = format!("broker {} at {address} did not answer within {patience}", broker.name);
            Failure::new(exit::UNREACHABLE, text).hint("see how brokers are with `sixpin brokers`")
        };
        tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| Err(late()))
    }

    fn way_to(&self, broker: &v1::BrokerEntry) -> Result<Inspection, Failure> {
        if broker.own {
            return Ok(self.asked.clone());
        }
        asked_at(broker).and_then(|address| self.asked.of_broker(address).ok()).ok_or_else(|| {
            Failure::new(exit::UNREACHABLE, format_args!("broker {} told no address of its own", broker.name))
                .hint("start it with an address that others can reach")
        })
    }
}

/// Where a broker can be asked about its sessions: both of its listeners know. One inside a program may have neither.
fn asked_at(broker: &v1::BrokerEntry) -> Option<&str> {
    [broker.address.as_str(), broker.admin_address.as_str()].into_iter().find(|address| !address.is_empty())
}

/// Whether a broker is inside a program that nobody else can ask.
fn is_inside(broker: &v1::BrokerEntry) -> bool {
    asked_at(broker).is_none() && !broker.own
}

/// What is known of the sessions that have claims.
#[derive(Default)]
pub struct Vouchers(BTreeMap<String, Voucher>);

/// Where a session lives, and where its client is.
pub struct Voucher {
    /// The name of its broker.
    pub broker: String,
    /// Why the broker did not say more.
    pub silent: Option<&'static str>,
    /// The session, as its broker sees it.
    pub session: v1::SessionInfo,
}

impl Voucher {
    /// The broker, for people.
    pub fn shown(&self) -> String {
        match self.silent {
            Some(why) => format!("{} ({why})", self.broker),
            None => self.broker.clone(),
        }
    }
}

impl Vouchers {
    /// Looks for the sessions of claims. What cannot be found out is told: the claims are true without it.
    pub async fn of(inspection: &Inspection, claims: &[v1::ClaimInfo]) -> Self {
        let living = claims.iter().filter(|claim| !claim.orphan);
        let sessions: BTreeSet<String> = living.map(|claim| claim.session.clone()).collect();
        if sessions.is_empty() {
            return Self::default();
        }
        let sessions: Vec<String> = sessions.into_iter().collect();
        let Ok(neighbours) = neighbours(inspection).await else {
            warn("no broker says who is behind the sessions");
            return Self::default();
        };
        let (mut known, mut unanswered) = (BTreeMap::new(), Vec::new());
        for Answer { broker, sessions } in neighbours.sessions(neighbours.vouching(), Some(&sessions)).await {
            match sessions {
                Ok(found) => known.extend(found.into_iter().map(|session| {
                    (session.session.clone(), Voucher { broker: broker.name.clone(), silent: None, session })
                })),
                Err(_) => unanswered.push(broker),
            }
        }
        for session in sessions {
            if !known.contains_key(&session)
                && let Some(opener) = opener(&session, &neighbours.entries, &unanswered)
            {
                known.insert(session, opener);
            }
        }
        if !unanswered.is_empty() {
            let names: Vec<&str> = unanswered.iter().map(|broker| broker.name.as_str()).collect();
            warn(format_args!("no answer from {}: what it knows of sessions is missing", names.join(", ")));
        }
        Self(known)
    }

    /// What is known of one.
    pub fn get(&self, session: &str) -> Option<&Voucher> {
        self.0.get(session)
    }
}

/// The broker that opened a session, where it cannot say whether the session is still there.
fn opener(session: &str, entries: &[v1::BrokerEntry], unanswered: &[v1::BrokerEntry]) -> Option<Voucher> {
    let (incarnation, _) = session.split_once('-')?;
    let broker = entries.iter().find(|entry| entry.incarnation == incarnation)?;
    let silent = match broker.state() {
        v1::BrokerState::Gone => "gone",
        _ if is_inside(broker) => "inside a program",
        _ if unanswered.iter().any(|other| asked_at(other) == asked_at(broker)) => "no answer",
        _ => return None,
    };
    Some(Voucher { broker: broker.name.clone(), silent: Some(silent), session: v1::SessionInfo::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_of_a_session_is_named_also_when_it_says_nothing() {
        let entry = |incarnation: &str, state: v1::BrokerState, address: &str| v1::BrokerEntry {
            incarnation: incarnation.into(),
            name: format!("broker at {address}"),
            state: state.into(),
            address: address.into(),
            ..Default::default()
        };
        let entries = [
            entry("0a", v1::BrokerState::Alive, "a:1"),
            entry("0b", v1::BrokerState::Silent, "b:1"),
            entry("0c", v1::BrokerState::Gone, "c:1"),
            entry("0e", v1::BrokerState::Alive, ""),
        ];
        let shown = |session: &str| opener(session, &entries, &entries[1..2]).map(|voucher| voucher.shown());
        // It answered and does not know the session, which moved or ended a moment ago.
        assert_eq!(shown("0a-1-10000"), None);
        assert_eq!(shown("0b-1-10000").as_deref(), Some("broker at b:1 (no answer)"));
        assert_eq!(shown("0c-1-10000").as_deref(), Some("broker at c:1 (gone)"));
        assert_eq!(shown("0d-1-10000"), None);
        assert_eq!(shown("0e-1-10000").as_deref(), Some("broker at  (inside a program)"));
    }
}
