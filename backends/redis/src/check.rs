//! Whether a server is fit to keep locks: looked at before the store opens and every ten seconds after.
//!
//! Looking and judging are apart, so that every rule can be tested without a server that breaks it.

use std::collections::BTreeMap;

use redis::Value;
use sixpin_core::backend::{Durability, OpenError};

use crate::config::Statement;
use crate::connection::{Failure, Link};

/// The oldest version: RESP3, access control lists, and scripts that may write after reading the clock.
const VERSION_MIN: (u32, u32) = (6, 0);
/// From this version on nothing is known that speaks against it.
const VERSION_GOOD: (u32, u32) = (7, 2);

/// What was found out about a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// What `INFO` says: names and values of all sections.
    pub(crate) info: BTreeMap<String, String>,
    /// `appendfsync` and `no-appendfsync-on-rewrite`; absent if reading the configuration is refused.
    pub(crate) flushing: Option<(String, String)>,
    /// One failed snapshot makes the server refuse every write.
    pub(crate) stops_when_a_snapshot_fails: bool,
}

/// How the server is reached, as far as it matters for judging it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Circumstances {
    /// How durable it has to be.
    pub(crate) require: Durability,
    /// What the operator states.
    pub(crate) stated: Option<Statement>,
    /// Another server may take over by itself: Sentinel or Cluster.
    pub(crate) fails_over: bool,
    /// It has to be a node of a cluster; otherwise it must not be one.
    pub(crate) cluster: bool,
}

/// A server that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// How durable an acknowledged write is.
    pub(crate) durability: Durability,
    /// What an operator should know all the same.
    pub(crate) warnings: Vec<String>,
}

/// Asks a server for everything that matters.
pub(crate) async fn look(link: &Link) -> Result<Facts, Failure> {
    let info = link.send(redis::cmd("INFO").arg("default")).await?;
    let flushing = match (setting(link, "appendfsync").await?, setting(link, "no-appendfsync-on-rewrite").await?) {
        (Some(policy), Some(rewrite)) => Some((policy, rewrite)),
        _ => None,
    };
    let snapshots = setting(link, "save").await?.is_some_and(|when| !when.is_empty());
    let stops = setting(link, "stop-writes-on-bgsave-error").await?.is_some_and(|answer| answer == "yes");
    Ok(Facts { info: fields_of(&info), flushing, stops_when_a_snapshot_fails: snapshots && stops })
}

/// A setting of the server; absent if reading its configuration is refused.
async fn setting(link: &Link, name: &str) -> Result<Option<String>, Failure> {
    match link.send(redis::cmd("CONFIG").arg("GET").arg(name)).await {
        Ok(Value::Map(pairs)) => Ok(pairs.first().map(|(_, value)| text_of(value))),
        Ok(_) | Err(Failure::Refused { .. }) => Ok(None),
        // A server that does not know the command at all (renamed by the operator) answers ERR.
        Err(Failure::Doubt(text)) if text.contains("unknown command") => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The names and values in an answer of `INFO`.
pub(crate) fn fields_of(answer: &Value) -> BTreeMap<String, String> {
    let text = text_of(answer);
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim_end().to_owned())).collect()
}

/// The history of a server as a number, the same for all who ask: another process has another one, and so has a replica
/// that became a master.
pub(crate) fn history_in(info: &BTreeMap<String, String>) -> u64 {
    let field = |name: &str| info.get(name).map_or("", String::as_str);
    sixpin_core::standing::History::named(&format!("{} {}", field("run_id"), field("master_replid"))).0
}

fn text_of(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text.clone(),
        _ => String::new(),
    }
}

/// Passes a server, or says in one sentence what to change.
pub(crate) fn judge(facts: &Facts, circumstances: Circumstances) -> Result<Verdict, OpenError> {
    let field = |name: &str| facts.info.get(name).map_or("", String::as_str);
    let refuse = |text: String| Err(OpenError::Unsafe(text));
    let mut warnings = Vec::new();

    let version = version_of(field("redis_version"));
    if version < VERSION_MIN {
        return refuse(format!("Redis {} is older than 6.0: upgrade it, best to 7.2 or later", field("redis_version")));
    }
    if version < VERSION_GOOD {
        warnings.push(format!(
            "Redis {} is older than 7.2, the oldest that is still maintained: upgrade it",
            field("redis_version")
        ));
    }
    match (field("redis_mode"), circumstances.cluster) {
        ("sentinel", _) => {
            return Err(OpenError::BadUrl("this is a Sentinel: use redis+sentinel://host:port/master".into()));
        }
        ("cluster", false) => {
            return Err(OpenError::BadUrl("this is a node of a cluster: use redis+cluster://host:port".into()));
        }
        ("standalone", true) => return Err(OpenError::BadUrl("this is not a cluster: use redis://host:port".into())),
        _ => {}
    }
    if field("loading") == "1" {
        return Err(OpenError::Unreachable("Redis is still loading its data: try again".into()));
    }
    if field("role") != "master" {
        return refuse(format!("this Redis is a {}, and only a master can be written to", field("role")));
    }
    let policy = field("maxmemory_policy");
    if policy != "noeviction" {
        return refuse(format!("`maxmemory-policy` is {policy}, which may delete locks: set it to noeviction"));
    }
    let number = |name: &str| field(name).parse::<u64>().unwrap_or(0);
    match (number("used_memory"), number("maxmemory")) {
        (_, 0) => warnings.push(
            "`maxmemory` is 0, so the system may kill Redis when memory runs out: set it below the memory of the host"
                .into(),
        ),
        (used, most) if used > most / 5 * 4 => warnings.push(
            "more than four fifths of `maxmemory` are used: a full Redis takes no new locks, so give it more".into(),
        ),
        _ => {}
    }
    match (field("rdb_last_bgsave_status") == "err", facts.stops_when_a_snapshot_fails) {
        (true, true) => warnings.push(
            "the last snapshot failed, so Redis refuses every write: all locks are lost when that lasts longer than \
             `broker_ttl`. See its log and its disk, or set `stop-writes-on-bgsave-error` to no"
                .into(),
        ),
        (true, false) => warnings.push("the last snapshot failed".into()),
        (false, true) => warnings.push(
            "after a failed snapshot this Redis refuses every write, signs of life too, and all locks are lost: set \
             `stop-writes-on-bgsave-error` to no, because locks are kept by the append-only file"
                .into(),
        ),
        (false, false) => {}
    }

    let file = persistence(facts, circumstances, &mut warnings);
    let replicas = number("connected_slaves");
    let durability = match file {
        Durability::PowerSafe if circumstances.fails_over => Durability::CrashSafe,
        Durability::PowerSafe if replicas > 0 => Durability::CrashSafe,
        other => other,
    };
    if circumstances.fails_over {
        warnings.push("replication is asynchronous: a failover can lose acknowledged locks".into());
    } else if replicas > 0 {
        warnings.push(format!("{replicas} replicas: a promoted one can lack acknowledged locks"));
    }
    if durability < circumstances.require {
        return refuse(shortfall(circumstances, file, durability));
    }
    if circumstances.require >= Durability::CrashSafe && field("aof_last_write_status") == "err" {
        return refuse("Redis fails to write its append-only file: see its log and its disk".into());
    }
    Ok(Verdict { durability, warnings })
}

/// What the append-only file is worth.
fn persistence(facts: &Facts, circumstances: Circumstances, warnings: &mut Vec<String>) -> Durability {
    if facts.info.get("aof_enabled").map(String::as_str) != Some("1") {
        return Durability::Volatile;
    }
    match (&facts.flushing, circumstances.stated) {
        (Some((policy, rewrite)), _) if policy == "always" && rewrite == "no" => Durability::PowerSafe,
        (Some(_), _) => Durability::CrashSafe,
        (None, Some(Statement::PowerSafe)) => Durability::PowerSafe,
        (None, Some(Statement::CrashSafe)) => Durability::CrashSafe,
        (None, None) => {
            warnings.push("CONFIG is refused, so `appendfsync` is not known: state it with `stated_durability`".into());
            Durability::CrashSafe
        }
    }
}

fn shortfall(circumstances: Circumstances, file: Durability, durability: Durability) -> String {
    match circumstances.require {
        Durability::FailoverSafe => {
            "no Redis is failover-safe, because its replication is asynchronous: require power-safe with one server".into()
        }
        Durability::PowerSafe if file > durability => {
            "acknowledged locks can be lost when a replica takes over: for power-safe use one server without replicas, or \
             require only crash-safe"
                .into()
        }
        Durability::PowerSafe => {
            "this Redis can lose the last second at a power cut: set `appendonly yes`, `appendfsync always` and \
             `no-appendfsync-on-rewrite no` (and `stated_durability` if CONFIG is refused), or require only crash-safe"
                .into()
        }
        Durability::CrashSafe | Durability::Volatile => {
            "this Redis has no append-only file and forgets all locks when it ends: set `appendonly yes`, or require only \
             volatile"
                .into()
        }
    }
}

fn version_of(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// Watches from check to check what a single look cannot show.
#[derive(Debug, Default)]
pub(crate) struct History {
    run_id: Option<String>,
    replication_id: Option<String>,
    evicted: Option<u64>,
}

impl History {
    /// Takes in what was found. The text, if there is one, says how the server lost records.
    pub(crate) fn compare(&mut self, facts: &Facts) -> Option<String> {
        let field = |name: &str| facts.info.get(name).cloned();
        let (run_id, replication_id) = (field("run_id"), field("master_replid"));
        let same_run = run_id == self.run_id;
        if self.run_id.is_some() && !same_run {
            tracing::warn!("another Redis process answers: it was restarted, or another server took over");
        } else if self.replication_id.is_some() && replication_id != self.replication_id {
            tracing::warn!("the history of this Redis changed: it has a new replication id");
        }
        let evicted = field("evicted_keys").and_then(|count| count.parse().ok());
        // The count starts anew with the process, and when the statistics are reset.
        let grew = same_run && self.evicted.is_some() && evicted > self.evicted;
        (self.run_id, self.replication_id, self.evicted) = (run_id, replication_id, evicted);
        grew.then(|| "the server evicted keys, and locks may be among them".to_owned())
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
