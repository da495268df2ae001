//! What can change while a broker runs: certificates and their keys, who may do what, and limits. Everything else counts from the
//! next start.
//!
//! What is new is read and checked as a whole before any of it counts; if something is wrong, what was read before stays. A limit
//! that is lowered takes nothing away from who has more: it holds for what is asked from then on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use sixpin_core::broker::api::{AdminRequest, Query, Reply};
use sixpin_core::limits::PAGE_MAX;

use crate::access::Access;
use crate::access::policy::Policy;
use crate::audit::{Line, Outcome};
use crate::config::differences::Differences;
use crate::config::{Config, Exposed};
use crate::listening::Gates;
use crate::runtime::Runtime;
use crate::tls::Tls;
use crate::tls::files::BadFile;

/// The parts of a broker that can change.
pub(crate) struct Changing {
    /// As it was read last.
    config: Config,
    tls: Vec<Arc<Tls>>,
    access: Arc<Access>,
    runtime: Runtime,
    gates: Gates,
}

impl Changing {
    /// Of a broker that was started with this configuration.
    pub(crate) fn new(config: Config, tls: Vec<Arc<Tls>>, access: Arc<Access>, runtime: Runtime, gates: Gates) -> Self {
        Self { config, tls, access, runtime, gates }
    }

    /// The files, besides those of the configuration, whose contents count.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let files: BTreeSet<&PathBuf> = self.tls.iter().flat_map(|tls| tls.files()).collect();
        let keys = self.config.access.iter().filter_map(|policy| policy.jwt.as_ref()).map(|jwt| jwt.jwks.clone());
        files.into_iter().cloned().chain(keys).collect()
    }

    /// Takes what can change from a configuration that was read again, and reads the files that it names: certificates and keys on
    /// one side, what the configuration says itself on the other, each as a whole. What is bad on one side does not hold up the
    /// other: a token that was stolen can be taken away whatever the certificates are like.
    pub(crate) async fn take(&mut self, config: Config) -> Result<(), ReloadError> {
        let certificates = self.take_certificates();
        let settings = self.take_settings(config).await;
        let outcome = certificates.and(settings);
        self.access.audit().write(|| match &outcome {
            Ok(()) => Line::new("operator", None, "reload"),
            Err(error) => Line::new("operator", None, "reload").outcome(Outcome::Failed, error),
        });
        outcome?;
        tracing::info!("certificates, keys and configuration were read again");
        Ok(())
    }

    async fn take_settings(&mut self, config: Config) -> Result<(), ReloadError> {
        let differences = Differences::between(&self.config, &config);
        // First, because it may refuse all of it.
        self.take_access(&config).await?;
        self.take_limits(&config).await;
        self.config.log.level = config.log.level;
        differences.log();
        Ok(())
    }

    async fn take_limits(&mut self, config: &Config) {
        if self.config.connections != config.connections {
            self.gates.limit(&config.connections);
            self.config.connections.clone_from(&config.connections);
        }
        let limits = config.limits.clone().in_place_of(&self.config.limits);
        if self.config.limits != limits {
            self.runtime.limit(&limits).await;
            self.config.limits = limits;
        }
    }

    fn take_certificates(&self) -> Result<(), ReloadError> {
        let new = self.tls.iter().map(|tls| tls.read_again()).collect::<Result<Vec<_>, _>>()?;
        for (tls, new) in self.tls.iter().zip(new) {
            tls.replace(new);
        }
        Ok(())
    }

    async fn take_access(&mut self, config: &Config) -> Result<(), ReloadError> {
        // A file that was cut short, or is empty for a moment, has none.
        if self.config.access.is_some() && config.access.is_none() {
            return Err(ReloadError::NoAccess);
        }
        // The listeners are those of the start, whatever addresses the file has now.
        let running = Config { access: config.access.clone(), ..self.config.clone() };
        if let Some(exposed) = running.open_to_others().into_iter().next().filter(|_| !running.insecure) {
            return Err(ReloadError::Exposed(exposed));
        }
        let changed = self.config.access != config.access;
        // Its files may have changed where it has not.
        self.access.replace(config.access.clone())?;
        self.config.access.clone_from(&config.access);
        if let Some(policy) = self.config.access.as_ref().filter(|_| changed) {
            end_sessions_of_strangers(&self.runtime, policy).await;
        }
        Ok(())
    }
}

/// Why something stays as it was read before.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A file is bad.
    #[error(transparent)]
    File(#[from] BadFile),
    /// Access control would be gone.
    #[error("the configuration has no `access` any more: access control ends only with a new start")]
    NoAccess,
    /// A listener would be open to everybody.
    #[error("a running listener would be open: {0}")]
    Exposed(Exposed),
}

/// Ends, as an administrator would, the sessions of those who have no role any more.
async fn end_sessions_of_strangers(runtime: &Runtime, policy: &Policy) {
    for engine in runtime.engines() {
        let mut after = None;
        loop {
            let query = Query::Sessions { after, limit: PAGE_MAX };
            let Ok(Reply::Sessions { sessions, more, .. }) = engine.query(query).await else { break };
            for view in &sessions {
                let (session, principal) = (view.session, view.principal.name());
                if policy.knows(principal) {
                    continue;
                }
                tracing::info!(%session, principal, "a session is ended: whoever it belongs to has no role any more");
                let request = AdminRequest::ExpireSession { session, now: false, no_wait: true };
                if let Err(error) = engine.admin(request).await {
                    tracing::warn!(%session, %error, "the session of somebody without a role could not be ended");
                }
            }
            match sessions.last() {
                Some(last) if more => after = Some(last.session),
                _ => break,
            }
        }
    }
}

/// Files that are looked at for changes: by the moment when they were written, and their length.
#[derive(Debug)]
pub struct Watched(Vec<(PathBuf, Option<(SystemTime, u64)>)>);

impl Watched {
    /// As they are now.
    pub fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(files.into_iter().map(|file| (file.clone(), stamp(&file))).collect())
    }

    /// These as well. A new one counts as changed, because it was perhaps read before it was looked at.
    pub fn also(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        for file in files {
            if !self.0.iter().any(|(known, _)| *known == file) {
                self.0.push((file, None));
            }
        }
    }

    /// Whether one of them is another than it was when this was asked last.
    pub fn changed(&mut self) -> bool {
        let mut changed = false;
        for (file, before) in &mut self.0 {
            let now = stamp(file);
            changed |= now.is_some() && now != *before;
            *before = now;
        }
        changed
    }
}

fn stamp(file: &Path) -> Option<(SystemTime, u64)> {
    let about = std::fs::metadata(file).ok()?;
    Some((about.modified().ok()?, about.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_or_replaced_has_changed_and_one_that_goes_away_has_not() {
        let directory = tempfile::tempdir().unwrap();
        let (file, other) = (directory.path().join("a"), directory.path().join("b"));
        std::fs::write(&file, "1").unwrap();
        let mut watched = Watched::new([file.clone()]);
        assert!(!watched.changed());
        std::fs::write(&file, "22").unwrap();
        assert!(watched.changed() && !watched.changed());
        std::fs::write(&other, "333").unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert!(watched.changed());
        std::fs::remove_file(&file).unwrap();
        assert!(!watched.changed());
        std::fs::write(&file, "333").unwrap();
        assert!(watched.changed());
        watched.also([file.clone()]);
        assert!(!watched.changed());
        std::fs::write(&other, "4").unwrap();
        watched.also([other]);
        assert!(watched.changed() && !watched.changed());
    }
}
