//! The look at a cluster before it is trusted.

use futures::future::join_all;
use sixpin_core::backend::OpenError;

use crate::commit::BATCH_WRITES_MAX;
use crate::connection::Connection;
use crate::keys::Keys;
use crate::outcome::Failure;
use crate::wire::{
    AlarmType, StatusResponse, Txn, TxnOp, TxnResponse, absent, at_revision, delete, get, get_at, into_txn, present,
    put,
};

/// Numbers of operations that are tried, until the cluster allows one.
const WRITES_TRIED: [usize; 4] = [BATCH_WRITES_MAX, 56, 24, 8];
/// The quota of a member that does not tell it: etcd's default.
const QUOTA_DEFAULT: i64 = 2 * 1024 * 1024 * 1024;
/// A cluster that has written this much and still has its first revision was never compacted.
const NEVER_COMPACTED: i64 = 100_000;

/// What was found out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Findings {
    /// Members that vote.
    pub(crate) voters: usize,
    /// Nested transactions in one transaction.
    pub(crate) batch_writes_max: usize,
}

/// Refuses a cluster that cannot keep the contract, and warns of one that may not for long.
pub(crate) async fn check(connection: &Connection, keys: &Keys, compacts: bool) -> Result<Findings, OpenError> {
    let statuses = statuses(connection).await?;
    let members = connection.member_list().await.map_err(Failure::of_open)?;
    let voters = members.members().iter().filter(|member| !member.is_learner()).count();
    for (url, status) in &statuses {
        check_version(url, &status.version, voters)?;
        check_size(url, status);
    }
    match voters {
        0 | 1 => tracing::info!("etcd has one member: locks survive its restart, not its loss"),
        _ if voters % 2 == 0 => {
            tracing::warn!(voters, "etcd has an even number of members: one more would let it survive more failures");
        }
        _ => {}
    }
    check_alarms(connection).await?;
    let batch_writes_max = trial(connection, keys).await?;
    if !compacts {
        check_compaction(connection, keys).await?;
    }
    Ok(Findings { voters, batch_writes_max })
}

/// Asks every endpoint. One that can be used is enough; all must be of one cluster.
async fn statuses(connection: &Connection) -> Result<Vec<(String, StatusResponse)>, OpenError> {
    let urls: Vec<String> = connection.urls().map(String::from).collect();
    let answers = join_all((0..urls.len()).map(|endpoint| connection.status(endpoint))).await;
    let mut good = Vec::new();
    let mut first_failure = None;
    let mut start = None;
    for (endpoint, (url, answer)) in urls.into_iter().zip(answers).enumerate() {
        match answer {
            Ok(status) if status.is_learner => {
                tracing::warn!(url, "this member of etcd only learns: it is not used until it votes");
            }
            Ok(status) => {
                start.get_or_insert(endpoint);
                good.push((url, status));
            }
            Err(failure) => {
                tracing::warn!(url, %failure, "this endpoint of etcd cannot be used now");
                first_failure.get_or_insert(failure);
            }
        }
    }
    let Some(start) = start else {
        return Err(first_failure.map_or_else(
            || OpenError::Unsafe("etcd: all endpoints are learners: name members that vote".into()),
            Failure::of_open,
        ));
    };
    connection.start_at(start);
    let cluster = |status: &StatusResponse| status.header.as_ref().map(|header| header.cluster_id);
    let first = cluster(&good[0].1);
    if let Some((url, _)) = good.iter().find(|(_, status)| cluster(status) != first) {
        return Err(OpenError::BadUrl(format!("{url} and {} are members of different etcd clusters", good[0].0)));
    }
    for (url, status) in &good {
        let errors = status.errors.iter().filter(|text| !text.contains("alarm:")).collect::<Vec<_>>();
        if let Some(text) = errors.first() {
            return Err(OpenError::Unreachable(format!("etcd at {url} is not well: {text}")));
        }
    }
    Ok(good)
}

/// A version as numbers; what does not look like one sorts before all others.
fn version_number(text: &str) -> (u32, u32, u32) {
    let mut numbers = text.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

fn check_version(url: &str, text: &str, voters: usize) -> Result<(), OpenError> {
    let version = version_number(text);
    let refuse = |why: &str| Err(OpenError::Unsafe(format!("etcd {text} at {url} {why}")));
    match version {
        (0..=2, ..) | (3, 0..=3, _) => refuse("is too old: install 3.5.28, 3.6.9 or newer"),
        (3, 5, 0..=2) => refuse("can corrupt its data after a crash: install 3.5.28 or newer"),
        (3, 4, 0..=20) | (3, 5, 3..=4) if voters < 2 => {
            refuse("can lose what it acknowledged when its only member is killed: install 3.5.28 or newer")
        }
        (3, 4, _) | (3, 5, 0..=27) | (3, 6, 0..=8) => {
            tracing::warn!(url, version = text, "this etcd has known bugs: install 3.5.28, 3.6.9 or newer");
            Ok(())
        }
        _ => Ok(()),
    }
}

fn check_size(url: &str, status: &StatusResponse) {
    let quota = if status.db_size_quota > 0 { status.db_size_quota } else { QUOTA_DEFAULT };
    if status.db_size > quota / 10 * 7 {
        tracing::warn!(
            url,
            size = status.db_size,
            in_use = status.db_size_in_use,
            quota,
            quota_is_known = status.db_size_quota > 0,
            "etcd's database is nearly at its quota: compact and defragment it, or raise --quota-backend-bytes"
        );
    }
}

async fn check_alarms(connection: &Connection) -> Result<(), OpenError> {
    let alarms = match connection.alarms().await {
        Ok(answer) => answer.alarms,
        Err(Failure::Login(text)) => {
            tracing::warn!(text, "etcd's alarms cannot be seen with this login");
            return Ok(());
        }
        Err(failure) => return Err(failure.of_open()),
    };
    for alarm in alarms {
        match alarm.alarm() {
            AlarmType::None => {}
            AlarmType::Nospace => {
                return Err(OpenError::Unsafe(
                    "etcd's database is full (alarm NOSPACE): compact it, defragment every member, then `etcdctl alarm \
                     disarm`"
                        .into(),
                ));
            }
            AlarmType::Corrupt => {
                return Err(OpenError::Unsafe(
                    "etcd says that its data is corrupt (alarm CORRUPT): replace the member that differs".into(),
                ));
            }
        }
    }
    Ok(())
}

/// Does what every commit does, on keys that nobody else uses, and finds out how many writes a batch may have.
async fn trial(connection: &Connection, keys: &Keys) -> Result<usize, OpenError> {
    let name: u64 = rand::random();
    let key = |number: usize| keys.scratch(&format!("{name:016x}/{number}"));
    // The first one holds; for the others to hold, the keys would have to be there.
    let nested = |number: usize| {
        let compare = if number == 0 { absent(key(0)) } else { present(key(number)) };
        let change = if number == 0 { put(key(0), "trial") } else { delete(key(number)) };
        TxnOp::txn(Txn::new().when(vec![compare]).and_then(vec![change]).or_else(vec![get(key(number))]))
    };
    for (attempt, writes) in WRITES_TRIED.into_iter().enumerate() {
        let request = Txn::new()
            .when(vec![absent(key(0)), absent(key(1))])
            .and_then((0..writes).map(nested).collect::<Vec<_>>())
            .or_else(vec![put(key(0), "")]);
        let answer = match connection.txn(request).await {
            Err(Failure::Invalid(text)) if attempt + 1 < WRITES_TRIED.len() && text.contains("too many operations") => {
                continue;
            }
            answer => answer.map_err(Failure::of_open)?,
        };
        let revision = answer.header.as_ref().map_or(0, |header| header.revision);
        let as_expected = decisions(answer)
            == std::iter::once(true).chain(std::iter::repeat_n(false, writes - 1)).collect::<Vec<_>>();
        let removal = Txn::new()
            .when(vec![at_revision(key(0), revision)])
            .and_then(vec![delete(key(0))])
            .or_else(vec![get(key(0))]);
        let answer = connection.txn(Txn::new().and_then(vec![TxnOp::txn(removal)])).await.map_err(Failure::of_open)?;
        if !as_expected || decisions(answer) != [true] {
            return Err(OpenError::Unsafe(
                "etcd does not compare and swap as it should: is there a proxy in between?".into(),
            ));
        }
        if writes < BATCH_WRITES_MAX {
            tracing::warn!(writes, "etcd allows few operations at once (--max-txn-ops), so batches are smaller");
        }
        return Ok(writes);
    }
    Err(OpenError::Unsafe("etcd allows too few operations at once: set --max-txn-ops to 128, its default".into()))
}

/// Which of the nested transactions held.
fn decisions(answer: TxnResponse) -> Vec<bool> {
    let nested = answer.responses.into_iter().filter_map(into_txn);
    nested.map(|nested| nested.succeeded).filter(|_| answer.succeeded).collect()
}

/// Whether the history was ever compacted: the setting itself cannot be seen.
async fn check_compaction(connection: &Connection, keys: &Keys) -> Result<(), OpenError> {
    let now = connection.txn(Txn::new().and_then(vec![get(keys.root())])).await;
    let revision = now.map_err(Failure::of_open)?.header.map_or(0, |header| header.revision);
    if revision < NEVER_COMPACTED {
        return Ok(());
    }
    let first = Txn::new().and_then(vec![get_at(keys.root(), 1)]);
    if connection.txn(first).await.is_ok() {
        tracing::warn!(
            revision,
            "etcd was never compacted: set --auto-compaction-mode and --auto-compaction-retention on its members, \
             or `compact_every` here, before its database is full"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_lose_data_are_refused() {
        for (version, voters, fine) in [
            ("3.3.27", 3, false),
            ("2.3.8", 3, false),
            ("3.4.20", 1, false),
            ("3.4.20", 3, true),
            ("3.4.23", 1, true),
            ("3.5.1", 3, false),
            ("3.5.3", 1, false),
            ("3.5.3", 3, true),
            ("3.5.5", 1, true),
            ("3.6.0-rc.1", 1, true),
            ("3.7.2", 1, true),
            ("4.0.0", 1, true),
            ("nonsense", 1, false),
        ] {
            assert_eq!(check_version("http://a", version, voters).is_ok(), fine, "{version} with {voters}");
        }
    }
}
