//! Opening a store: connect, check the server, try what will be done, read or create the root record; then go on
//! checking.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use sixpin_core::backend::{Contract, Durability, OpenError, Profile, Root};
use sixpin_core::limits;
use tokio::task::JoinHandle;

use crate::backend::Store;
use crate::check::{self, Circumstances, History};
use crate::commits::{BATCH_BYTES_MAX, BATCH_WRITES_MAX};
use crate::config::{Place, RedisConfig, Target};
use crate::connection::{Failure, Link, Replicas};
use crate::dial::{Dialer, Way};
use crate::hints::{self, Hints};
use crate::keys::{Keys, Tag};
use crate::routes::{CLUSTER_TAGS, Cluster, Routes};
use crate::scripts::{Call, ROOT, Reply, TRIAL, bytes_of};
use crate::witness::Witness;

/// Between two checks of the server.
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// Begins every root record: the format.
const FORMAT: &str = "sixpin1";

/// See [`RedisBackend::open`](crate::RedisBackend::open).
pub(crate) async fn open(
    config: &RedisConfig,
    require: Durability,
) -> Result<(Arc<Store>, Vec<JoinHandle<()>>), OpenError> {
    let target = config.target()?;
    let cluster = matches!(target.place, Place::Cluster(_));
    let circumstances = Circumstances {
        require,
        stated: config.stated_durability,
        fails_over: !matches!(target.place, Place::Single(_)),
        cluster,
    };
    let keys = Keys::new(&config.prefix, if cluster { CLUSTER_TAGS } else { 1 });
    let witness = Arc::new(Witness::new(keys.tag_count()));
    // Where the operator asks for it, nothing that was acknowledged is lost, and no replica may take over.
    let lasting = require >= Durability::PowerSafe;
    let (routes, listener) = routes(config, target, &keys, &witness, lasting)?;

    let mut warnings = BTreeSet::new();
    let mut histories = Vec::new();
    let mut durability = Durability::FailoverSafe;
    for link in routes.all().await? {
        link.connect().await?;
        let facts = check::look(&link).await.map_err(check_failed)?;
        let verdict = check::judge(&facts, circumstances)?;
        durability = durability.min(verdict.durability);
        warnings.extend(verdict.warnings);
        let mut history = History::default();
        history.compare(&facts);
        histories.push(history);
    }
    for warning in &warnings {
        tracing::warn!("Redis: {warning}");
    }
    for tag in keys.tags() {
        try_out(&routes, &keys, tag).await?;
    }
    let root = root(&routes, &keys).await?;
    witness.opened(beginning(root.identity, keys.tag_count()));
    witness.trust(routes.histories());

    let hints = Hints::new();
    let channel = keys.channel(root.identity);
    let listening = tokio::spawn(hints::listen(hints.clone(), listener, channel.clone()));
    let profile = profile(config, durability);
    let store = Arc::new(Store { routes, keys, witness, hints, root, profile, channel });
    let checking = Checking { circumstances, histories, warned: warnings, refusal: None };
    let checking = tokio::spawn(checking.go_on(Arc::downgrade(&store)));
    Ok((store, vec![listening, checking]))
}

/// How the servers are reached, and how one is reached to listen to.
fn routes(
    config: &RedisConfig,
    target: Target,
    keys: &Keys,
    witness: &Arc<Witness>,
    lasting: bool,
) -> Result<(Routes, Dialer), OpenError> {
    let replicas =
        (config.wait_replicas > 0).then_some(Replicas { count: config.wait_replicas, timeout: config.wait_timeout });
    let way = match &target.place {
        Place::Single(address) => Way::To(address.clone()),
        Place::Sentinel { sentinels, master } => Way::Master { sentinels: sentinels.clone(), name: master.clone() },
        Place::Cluster(seeds) => Way::AnyOf(seeds.clone()),
    };
    let place = target.place.clone();
    let dialer = Dialer::new(config, target, way)?;
    let (maker, keys, witness) = (dialer.clone(), keys.clone(), witness.clone());
    let routes = match place {
        Place::Cluster(seeds) => {
            let make =
                move |way| Link::new(maker.with_way(way), keys.clone(), Vec::new(), witness.clone(), replicas, lasting);
            Routes::Many(Cluster::new(seeds, Box::new(make)))
        }
        Place::Single(_) | Place::Sentinel { .. } => {
            let tags = keys.tags().collect();
            Routes::One(Arc::new(Link::new(maker, keys, tags, witness, replicas, lasting)))
        }
    };
    Ok((routes, dialer))
}

fn profile(config: &RedisConfig, durability: Durability) -> Profile {
    Profile {
        name: "redis",
        durability,
        record_bytes_max: limits::RECORD_BYTES_MAX,
        batch_writes_max: BATCH_WRITES_MAX,
        batch_bytes_max: BATCH_BYTES_MAX,
        contract: Contract::Checking,
        // Finding the server, connecting and checking it each take the time for connecting at most; then the request.
        commit_timeout: config.response_timeout + 3 * config.connect_timeout,
    }
}

/// What a server that is about to be checked failed with.
fn check_failed(failure: Failure) -> OpenError {
    match failure {
        Failure::Refused { code, text } if code == "NOPERM" => OpenError::Login(format!(
            "the Redis user may not do what sixpin needs ({text}): see the rule in docs/backends/redis.md"
        )),
        failure => {
            OpenError::Unreachable(format!("Redis stopped answering while it was checked ({failure}): try again"))
        }
    }
}

/// Tries every command that the scripts use on one tag.
async fn try_out(routes: &Routes, keys: &Keys, tag: Tag) -> Result<(), OpenError> {
    let mut call = Call::default();
    for number in 0..4 {
        call.key(keys.trial(tag, number));
    }
    call.argument(keys.channel(0));
    let reply = match routes.link(tag).await {
        Ok(link) => link.call(&TRIAL, &call).await,
        Err(failure) => Err(failure),
    };
    let text = match reply {
        Ok(Reply::Ok(_)) => return Ok(()),
        Ok(Reply::Refused(text) | Reply::Partly(text)) => text,
        Ok(other) => return Err(OpenError::Unsafe(format!("Redis does not run scripts as it should: {other:?}"))),
        Err(Failure::Refused { text, .. } | Failure::Doubt(text)) => text,
        Err(Failure::NotSent(text)) => return Err(OpenError::Unreachable(text)),
    };
    if ["NOPERM", "ACL failure", "permission", "The user executing the script"].iter().any(|word| text.contains(word)) {
        return Err(OpenError::Login(format!(
            "the Redis user may not do what sixpin needs ({text}): see the rule in docs/backends/redis.md"
        )));
    }
    Err(OpenError::Unsafe(format!("Redis refuses to store anything ({text}): see to it that it accepts writes")))
}

/// What the root record of every tag begins with.
fn beginning(identity: u64, tags: u8) -> String {
    format!("{FORMAT} {identity:016x} {tags:02} ")
}

/// The root record of the first tag.
fn root_text(root: &Root, tags: u8) -> String {
    let mut text = beginning(root.identity, tags);
    for byte in root.secret_key {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Reads the root record, or creates it. The first one decides; the other tags get its identity without its key.
async fn root(routes: &Routes, keys: &Keys) -> Result<Root, OpenError> {
    let proposed = Root { secret_key: rand::random(), identity: rand::random() };
    let mut text = root_text(&proposed, keys.tag_count());
    let mut root = None;
    for tag in keys.tags() {
        let stored = stored_root(routes, keys, tag, text.clone()).await?;
        let found = parse_root(&stored, keys.tag_count())?;
        let first = root.get_or_insert_with(|| found.clone());
        if first.identity != found.identity {
            return Err(OpenError::Unsafe(
                "this Redis holds parts of different sixpin stores, so one part was lost: set another `prefix`".into(),
            ));
        }
        text = format!("{}-", beginning(found.identity, keys.tag_count()));
    }
    root.ok_or_else(|| OpenError::BadUrl("a store has at least one tag".into()))
}

async fn stored_root(routes: &Routes, keys: &Keys, tag: Tag, proposed: String) -> Result<String, OpenError> {
    let mut call = Call::default();
    call.key(keys.root(tag)).key(keys.high(tag)).argument(proposed);
    let reply = match routes.link(tag).await {
        Ok(link) => link.call(&ROOT, &call).await,
        Err(failure) => Err(failure),
    };
    match reply {
        Ok(Reply::Ok(parts)) => {
            let stored = parts.first().and_then(|value: &Value| bytes_of(value)).unwrap_or_default();
            Ok(String::from_utf8_lossy(stored).into_owned())
        }
        Ok(Reply::Amnesia(text)) => Err(OpenError::Unsafe(format!(
            "{text}: remove what is left under this `prefix`, when no broker runs, or set another"
        ))),
        Ok(other) => Err(OpenError::Unsafe(format!("the root record cannot be stored: {other:?}"))),
        Err(failure) => Err(OpenError::Unreachable(format!("the root record cannot be read or stored: {failure}"))),
    }
}

fn parse_root(text: &str, tags: u8) -> Result<Root, OpenError> {
    let strange =
        || OpenError::Unsafe("the root record is not one that this program understands: set another `prefix`".into());
    let parts: Vec<&str> = text.split(' ').collect();
    let [FORMAT, identity, stored_tags, secret] = parts.as_slice() else { return Err(strange()) };
    let identity = u64::from_str_radix(identity, 16).map_err(|_| strange())?;
    let stored_tags: u8 = stored_tags.parse().map_err(|_| strange())?;
    if stored_tags != tags {
        return Err(OpenError::BadUrl(format!(
            "this store is divided into {stored_tags} parts and the URL makes it {tags}: a cluster's store is opened by \
             redis+cluster://, any other one is not"
        )));
    }
    let mut secret_key = [0; 32];
    if *secret != "-" {
        if secret.len() != 64 || !secret.is_ascii() {
            return Err(strange());
        }
        for (at, byte) in secret_key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&secret[2 * at..2 * at + 2], 16).map_err(|_| strange())?;
        }
    }
    Ok(Root { secret_key, identity })
}

/// The checks that go on while the store is open.
struct Checking {
    circumstances: Circumstances,
    histories: Vec<History>,
    // What was warned of. Said again only after it was over.
    warned: BTreeSet<String>,
    refusal: Option<String>,
}

impl Checking {
    /// Checks the servers again and again.
    async fn go_on(mut self, store: std::sync::Weak<Store>) {
        loop {
            tokio::time::sleep(CHECK_EVERY).await;
            let Some(store) = store.upgrade() else { return };
            let Some(verdict) = self.look(&store).await else { continue };
            let refusal = verdict.as_ref().err().cloned();
            store.witness.checked(refusal.clone());
            if refusal != self.refusal {
                if let Some(text) = &refusal {
                    tracing::error!(reason = text, "Redis is not safe any more: nothing is written to it");
                } else {
                    tracing::info!("Redis is safe again");
                }
                self.refusal = refusal;
            }
            if let Ok(warnings) = verdict {
                for warning in warnings.difference(&self.warned) {
                    tracing::warn!("Redis: {warning}");
                }
                self.warned = warnings;
            }
        }
    }

    /// What the servers are found to be: safe, with warnings, or unsafe for a reason. None if they could not be asked.
    async fn look(&mut self, store: &Store) -> Option<Result<BTreeSet<String>, String>> {
        let links = store.routes.all().await.ok()?;
        self.histories.resize_with(links.len(), History::default);
        let mut warnings = BTreeSet::new();
        for (link, history) in links.iter().zip(&mut self.histories) {
            let facts = check::look(link).await.ok()?;
            link.saw_history(check::history_in(&facts.info));
            if let Some(loss) = history.compare(&facts) {
                store.witness.lost(&loss);
            }
            match check::judge(&facts, self.circumstances) {
                Ok(verdict) => warnings.extend(verdict.warnings),
                Err(error) => return Some(Err(error.to_string())),
            }
        }
        Some(Ok(warnings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_record_comes_back_and_a_strange_one_is_refused() {
        let root = Root { secret_key: std::array::from_fn(|at| at as u8), identity: 0xabc };
        assert_eq!(parse_root(&root_text(&root, 1), 1).unwrap(), root);
        assert_eq!(parse_root(&format!("{}-", beginning(7, 16)), 16).unwrap().identity, 7);
        for text in ["", "sixpin2 0 01 -", "sixpin1 x 01 -", "sixpin1 0 01", "sixpin1 0 01 abc", "sixpin1 0 01 - -"] {
            assert!(matches!(parse_root(text, 1), Err(OpenError::Unsafe(_))), "{text}");
        }
        assert!(matches!(parse_root(&format!("{}-", beginning(7, 16)), 1), Err(OpenError::BadUrl(_))));
    }
}
