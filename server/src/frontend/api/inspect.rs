//! Who holds and who waits.
//!
//! Resources are read from the store, so any broker can be asked; sessions and counters are those of the broker asked. What
//! large answers are made of is shown one by one, so that no page of large records is in memory at once.

use std::time::Duration;

use futures::Stream;
use sixpin_core::access::{Part, Place, Verb};
use sixpin_core::backend::{Durability, Family};
use sixpin_core::broker::api::{BrokerView, Query, Reply, RequestError, SessionView, StatusView};
use sixpin_core::name::{ClaimId, ClaimNumber, Incarnation, Label, Lockspace, ResourceId, SessionId, Version};
use sixpin_core::resource::ClaimView;

use super::errors::unexpected;
use super::identity::Identity;
use super::{Api, Caller, Checked};
use crate::access::Watching;
use crate::lately::Event;
use crate::runtime::EngineHandle;
pub use crate::runtime::lookup::{Stored, bad_after};

/// A watched resource is read again at the latest after this time: a hint may be lost.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Claims of a session that are looked at in one step.
const CLAIMS_STEP: usize = 256;
/// Parts of a lockspace that are looked through for one page.
const PARTS_OF_PAGE_MAX: usize = 32;
/// Resources looked through for one page of an owner's claims.
const OWNER_SCAN_MAX: usize = 1_000;
/// Resources of one step of that.
const OWNER_SCAN_STEP: usize = 32;

/// What stands at a resource: its version and what is stored; none if nobody has a claim on it.
pub type Found = Option<(Version, Stored)>;

/// A page of sessions.
#[derive(Debug, Default)]
pub struct SessionsPage {
    /// In order.
    pub sessions: Vec<SessionView>,
    /// How many there are in all.
    pub total: usize,
    /// From where the next page goes on; empty: there is none.
    pub next: String,
}

/// The process.
#[derive(Debug)]
pub struct ProcessStatus {
    /// The broker's name.
    pub name: String,
    /// Which of its runs this is.
    pub incarnation: Incarnation,
    /// Since when it serves.
    pub uptime: Duration,
    /// Its stores, in the order of the configuration.
    pub backends: Vec<BackendStatus>,
}

/// One store of the process.
#[derive(Debug)]
pub struct BackendStatus {
    /// The kind of store.
    pub kind: &'static str,
    /// How much an acknowledged write survives.
    pub durability: Durability,
    /// Lockspaces that are configured to be there.
    pub lockspaces: Vec<Lockspace>,
    /// Its broker machine.
    pub view: StatusView,
}

impl Api {
    /// One resource.
    pub async fn resource(&self, from: &Caller, id: &ResourceId) -> Result<Found, RequestError> {
        self.check(from, Verb::Inspect, Place::Resource(id))?;
        let (version, stored) = self.engine(&id.lockspace).read(id).await?;
        Ok(stored.map(|stored| (version, stored)))
    }

    /// What happened on a resource lately, as this broker remembers it: the newest first.
    pub(crate) fn happened_on(&self, from: &Caller, id: &ResourceId) -> Checked<Vec<Event>> {
        self.check(from, Verb::Inspect, Place::Resource(id))?;
        Ok(self.lately.on(id))
    }

    /// A resource as it is, and again whenever it has changed. There is no queue: what changes while nobody takes the next one
    /// is merged into it. Ends after an error, one of which is that the caller may not look any more.
    pub fn watch(
        &self,
        from: &Caller,
        id: ResourceId,
    ) -> Checked<impl Stream<Item = Result<Found, RequestError>> + Send + use<>> {
        [Verb::Watch, Verb::Inspect].into_iter().try_for_each(|verb| self.check(from, verb, Place::Resource(&id)))?;
        let identity = Identity::new(self, from.clone());
        let counted = self.access.watch(from.who.last_principal())?;
        let engine = self.engine(&id.lockspace).clone();
        Ok(futures::stream::unfold(
            Watch { engine, identity, _counted: counted, id, said: None, failed: false },
            Watch::next,
        ))
    }

    /// Shows a page of the resources of a lockspace whose names begin so, as far as the caller may look, and says from where the
    /// next one goes on; empty: there is none. A page may be empty and still have a next one.
    pub async fn resources(
        &self,
        from: &Caller,
        lockspace: Lockspace,
        prefix: String,
        after: &str,
        limit: usize,
        mut show: impl FnMut(&ResourceId, Version, &Stored),
    ) -> Result<String, RequestError> {
        let engine = self.engine(&lockspace);
        let (ids, next) = self.names(from, &lockspace, &prefix, after, limit).await?;
        engine.read_all(&ids, |id, version, stored| show(id, version, &stored)).await?;
        Ok(next)
    }

    /// A page of the names in a lockspace that begin so and that the caller may inspect. From where the next page goes on says
    /// nothing of other names either: only the parts that may be inspected are looked through.
    async fn names(
        &self,
        from: &Caller,
        lockspace: &Lockspace,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<(Vec<ResourceId>, String), RequestError> {
        let engine = self.engine(lockspace);
        let family = |prefix: &str| Family::Resources { lockspace: lockspace.clone(), prefix: prefix.to_owned() };
        let Some(parts) = from.who.last_principal().parts(Verb::Inspect, lockspace, prefix) else {
            return engine.list(&family(prefix), after, limit).await;
        };
        let (mut at, mut inner): (usize, String) = match after {
            "" => (0, String::new()),
            after => {
                let (at, inner) = after.split_once(':').ok_or_else(bad_after)?;
                (at.parse().map_err(|_| bad_after())?, inner.to_owned())
            }
        };
        let (mut ids, last) = (Vec::new(), parts.len().min(at.saturating_add(PARTS_OF_PAGE_MAX)));
        while at < last && ids.len() < limit {
            match &parts[at] {
                Part::Name(_) if !inner.is_empty() => return Err(bad_after()),
                Part::Name(name) => ids.push(ResourceId { lockspace: lockspace.clone(), name: name.clone() }),
                Part::Under(prefix) => {
                    let (more, next) = engine.list(&family(prefix), &inner, limit - ids.len()).await?;
                    let nothing = more.is_empty() && !next.is_empty();
                    ids.extend(more);
                    inner = next;
                    // A page without anything is an answer, or this would go on for long.
                    if nothing {
                        break;
                    }
                }
            }
            at += usize::from(inner.is_empty());
        }
        let next = if at < parts.len() { format!("{at}:{inner}") } else { String::new() };
        Ok((ids, next))
    }

    /// Shows a page of a session's claims: where this broker says that they are, what stands there.
    pub async fn claims_of_session(
        &self,
        from: &Caller,
        lockspace: &Lockspace,
        session: SessionId,
        after: &str,
        limit: usize,
        mut show: impl FnMut(&ResourceId, ClaimView<'_>),
    ) -> Result<String, RequestError> {
        let engine = self.engine(lockspace);
        let after = match after {
            "" => 0,
            number => number.parse().map_err(|_| bad_after())?,
        };
        let who = from.who.last_principal();
        if who.parts(Verb::Inspect, lockspace, "").is_some_and(|parts| parts.is_empty()) {
            return Ok(String::new());
        }
        // One more than is shown says whether there is a next page. It goes on from one that was shown.
        let (mut page, mut after) = (Vec::new(), ClaimNumber(after));
        while page.len() <= limit {
            let query = Query::Claims { session, after, limit: CLAIMS_STEP.max(limit + 1) };
            let places: Vec<(ClaimNumber, ResourceId)> = match engine.query(query).await? {
                Reply::Claims(places) => places,
                other => return Err(unexpected(&other)),
            };
            let Some((last, _)) = places.last() else { break };
            after = *last;
            page.extend(places.into_iter().filter(|(_, id)| who.may(Verb::Inspect, Place::Resource(id))));
        }
        let more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().filter(|_| more).map(|(number, _)| number.to_string());
        // One resource may have several claims of the session: each asks for its own.
        for (number, id) in page {
            let (_, Some(Ok(resource))) = engine.read(&id).await? else { continue };
            if let Some(view) = resource.claim(ClaimId { session, number }) {
                show(&id, view);
            }
        }
        Ok(next.unwrap_or_default())
    }

    /// Shows a page of an owner's claims. Owners have no index: the lockspace is looked through, a bounded part of it for each
    /// page. A page may be empty and still have a next one.
    pub async fn claims_of_owner(
        &self,
        from: &Caller,
        lockspace: Lockspace,
        owner: &Label,
        mut after: String,
        limit: usize,
        mut show: impl FnMut(&ResourceId, ClaimView<'_>),
    ) -> Result<String, RequestError> {
        let engine = self.engine(&lockspace);
        let (mut shown, mut scanned) = (0, 0);
        loop {
            let (ids, next) = self.names(from, &lockspace, "", &after, OWNER_SCAN_STEP).await?;
            // What has nothing in it is a step as well.
            scanned += ids.len().max(1);
            engine
                .read_all(&ids, |id, _, stored| {
                    let Ok(resource) = stored else { return };
                    let all = resource.granted().chain(resource.converting()).chain(resource.waiting());
                    for view in all.filter(|view| view.owner == owner) {
                        shown += 1;
                        show(id, view);
                    }
                })
                .await?;
            after = next;
            if after.is_empty() || shown >= limit || scanned >= OWNER_SCAN_MAX {
                return Ok(after);
            }
        }
    }

    /// A page of the sessions of all stores.
    pub async fn sessions(&self, from: &Caller, after: &str, limit: usize) -> Result<SessionsPage, RequestError> {
        self.check(from, Verb::Inspect, Place::Everywhere)?;
        let mut place = Cursor::parse(after)?;
        let (mut page, mut room) = (SessionsPage::default(), limit);
        for (number, engine) in self.runtime.engines().iter().enumerate() {
            // Stores before the place were shown on earlier pages; they still count in the total.
            let shown = number < place.engine || room == 0;
            let after = if number == place.engine { place.session.take() } else { None };
            let query = Query::Sessions { after, limit: if shown { 0 } else { room } };
            let Reply::Sessions { sessions, more, total } = engine.query(query).await? else { continue };
            page.total += total;
            if shown {
                if number > place.engine && page.next.is_empty() && total > 0 {
                    page.next = format!("{number}:");
                }
                continue;
            }
            room = room.saturating_sub(sessions.len());
            if let (true, Some(last)) = (more, sessions.last()) {
                room = 0;
                page.next = format!("{number}:{}", last.session);
            }
            page.sessions.extend(sessions);
        }
        Ok(page)
    }

    /// Those of these sessions that this broker knows.
    pub async fn sessions_named(&self, from: &Caller, names: Vec<SessionId>) -> Result<SessionsPage, RequestError> {
        self.check(from, Verb::Inspect, Place::Everywhere)?;
        let mut page = SessionsPage::default();
        for engine in self.runtime.engines() {
            let query = Query::SessionsNamed { sessions: names.clone() };
            let Reply::Sessions { sessions, total, .. } = engine.query(query).await? else { continue };
            page.total += total;
            page.sessions.extend(sessions);
        }
        Ok(page)
    }

    /// A lockspace of the store in which a session lives that this broker vouches for.
    pub async fn lockspace_of(&self, from: &Caller, session: SessionId) -> Result<Option<Lockspace>, RequestError> {
        self.check(from, Verb::Inspect, Place::Everywhere)?;
        for (number, engine) in self.runtime.engines().iter().enumerate() {
            let query = Query::SessionsNamed { sessions: vec![session] };
            let Reply::Sessions { sessions, .. } = engine.query(query).await? else { continue };
            if !sessions.is_empty() {
                let default = Some(Lockspace::default()).filter(|default| self.engine(default).name() == engine.name());
                return Ok(default.or_else(|| self.runtime.lockspaces_of(number).next().cloned()));
            }
        }
        Ok(None)
    }

    /// The brokers on each store, with the store's name in the configuration.
    pub async fn brokers(&self, from: &Caller) -> Result<Vec<(String, BrokerView)>, RequestError> {
        self.check(from, Verb::Inspect, Place::Everywhere)?;
        let mut brokers = Vec::new();
        for engine in self.runtime.engines() {
            match engine.query(Query::Brokers).await? {
                Reply::Brokers(views) => brokers.extend(views.into_iter().map(|view| (engine.name().into(), view))),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(brokers)
    }

    /// The process that is asked.
    pub async fn status(&self, from: &Caller) -> Result<ProcessStatus, RequestError> {
        self.check(from, Verb::Inspect, Place::Everywhere)?;
        let mut backends = Vec::new();
        for (number, engine) in self.runtime.engines().iter().enumerate() {
            let view = match engine.query(Query::Status).await? {
                Reply::Status(view) => view,
                other => return Err(unexpected(&other)),
            };
            let lockspaces = self.runtime.lockspaces_of(number).cloned().collect();
            let profile = engine.profile();
            backends.push(BackendStatus { kind: profile.name, durability: profile.durability, lockspaces, view });
        }
        Ok(ProcessStatus {
            name: self.runtime.name().into(),
            incarnation: self.runtime.default_engine().incarnation(),
            uptime: self.runtime.started().elapsed(),
            backends,
        })
    }
}

/// Where a listing of sessions goes on: `store:session`, the store by its place in the configuration.
struct Cursor {
    engine: usize,
    session: Option<SessionId>,
}

impl Cursor {
    fn parse(after: &str) -> Checked<Self> {
        if after.is_empty() {
            return Ok(Self { engine: 0, session: None });
        }
        let (engine, session) = after.split_once(':').ok_or_else(bad_after)?;
        let session = match session {
            "" => None,
            session => Some(session.parse().map_err(|_| bad_after())?),
        };
        Ok(Self { engine: engine.parse().map_err(|_| bad_after())?, session })
    }
}

/// What is told needs the right to see it as well. Asked before each look, so that nobody looks on whose right was taken away or
/// whose credential has expired.
fn may_watch(identity: &mut Identity, id: &ResourceId) -> Checked<()> {
    let principal = identity.principal()?;
    [Verb::Watch, Verb::Inspect].into_iter().try_for_each(|verb| principal.check(verb, Place::Resource(id)))
}

/// A watched resource.
struct Watch {
    engine: EngineHandle,
    identity: Identity,
    _counted: Watching,
    id: ResourceId,
    /// The version said last, [`Version::ABSENT`] if nobody had a claim; absent before the first.
    said: Option<Version>,
    failed: bool,
}

impl Watch {
    async fn next(mut self) -> Option<(Result<Found, RequestError>, Self)> {
        if self.failed {
            return None;
        }
        loop {
            let read = match may_watch(&mut self.identity, &self.id) {
                Ok(()) => self.engine.read(&self.id).await,
                Err(error) => Err(error),
            };
            let (version, stored) = match read {
                Ok(read) => read,
                Err(error) => {
                    self.failed = true;
                    return Some((Err(error), self));
                }
            };
            let said = stored.as_ref().map_or(Version::ABSENT, |_| version);
            if self.said != Some(said) {
                self.said = Some(said);
                return Some((Ok(stored.map(|stored| (version, stored))), self));
            }
            self.engine.changed(&self.id, version, WATCH_INTERVAL).await;
        }
    }
}
