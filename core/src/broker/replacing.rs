//! An administrator has a damaged record replaced.

use std::time::Duration;

use super::Broker;
use super::api::{ClientInfo, LogLevel, Reply, ReplyTo, RequestError};
use super::damage::Damage;
use super::shard::{Pending, Purpose, Stored};
use super::table::{Claim, Life, Session};
use crate::command::{Command, LockCommand, Options, Outcome, Refusal};
use crate::limits::{SESSION_TTL_MAX, with_tolerance};
use crate::mode::Mode;
use crate::name::{ClaimId, ClaimNumber, Label, OperationNumber, ResourceId, SessionId, Version};
use crate::planted::Bug;
use crate::resource::Resource;

/// What people see of the session that holds the place of a damaged record.
const GUARDIAN: &str = "damaged record removed";
/// The only operation of its only claim.
const ONCE: (ClaimNumber, OperationNumber) = (ClaimNumber(1), OperationNumber(1));

/// An administrator has a damaged record replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replacing {
    to: ReplyTo,
    /// The version that was seen damaged.
    version: Version,
    /// The session that holds the place; with `now` there is none of that name.
    guardian: SessionId,
}

impl Replacing {
    /// This is the version that was seen damaged.
    pub(super) fn is_of(&self, version: Version) -> bool {
        self.version == version
    }

    /// Whether it may be applied to this state now. A copy whose outcome was in doubt may have been written.
    pub(super) fn may_apply(&self, damage: &Damage, resource: &Resource, pending: &Pending) -> bool {
        let written = matches!(pending.command, Command::Bury { .. }) || resource.claim(self.claim()).is_some();
        damage.is_replacing(self.version) || (pending.doubtful && written)
    }

    pub(super) fn claim(&self) -> ClaimId {
        ClaimId { session: self.guardian, number: ONCE.0 }
    }
}

impl Broker {
    /// An administrator says that a damaged record is to go.
    pub(super) fn remove_damaged(
        &mut self,
        from: ReplyTo,
        resource: &ResourceId,
        version: Version,
        now: bool,
    ) -> Result<(), RequestError> {
        self.check_may_vouch()?;
        self.next_serial += 1;
        let belief = (self.longest_belief() + self.config.broker_ttl * 2).min(SESSION_TTL_MAX);
        let (opener, serial) = (self.config.incarnation, self.next_serial);
        let guardian = SessionId { opener, serial, ttl_ms: belief.as_millis() as u32 };
        let claim = ClaimId { session: guardian, number: ONCE.0 };
        let purpose = Purpose::Replace(Replacing { to: from, version, guardian });
        if now || self.planted.has(Bug::DamagedRecordForgotten) {
            self.push_command(resource, Command::Bury { session: guardian }, purpose, None);
        } else {
            self.open_guardian(claim, resource);
            self.push_command(resource, guard(claim), purpose, Some(claim));
        }
        let at = self.lane_of(resource);
        if let Some(entry) = self.shards[at].entries.get_mut(resource).filter(|entry| !entry.in_flight) {
            entry.stored = Stored::Unread;
        }
        Ok(())
    }

    fn open_guardian(&mut self, claim: ClaimId, resource: &ResourceId) {
        let label = Label::new(GUARDIAN).unwrap_or_default();
        let client = ClientInfo { label, ..ClientInfo::default() };
        let mut session = Session::new(client, false, Life::Vouching, self.now.mono);
        // Its whole TTL passes before it is buried.
        session.came_back = true;
        session.claim(claim.number, || Claim::new(resource.clone(), ONCE.1));
        self.insert_session(claim.session, session);
        self.arm_session(claim.session);
    }

    /// What an administrator wanted was done, or could not be done.
    pub(super) fn answer_replaced(
        &mut self,
        id: &ResourceId,
        replacing: &Replacing,
        outcomes: Vec<Outcome>,
        version: Version,
    ) {
        if let [Outcome::Refused { refusal: Refusal::NotFound }] = outcomes.as_slice() {
            let text = format!(
                "the record of `{id}` is not damaged at version {}, so nothing was removed: look at it again",
                replacing.version
            );
            self.end_replacing(replacing, RequestError::NotFound(text));
            return;
        }
        for outcome in outcomes {
            self.tell_one(outcome, version);
        }
        let now = self.now.mono;
        let free_in = self.sessions.get_mut(&replacing.guardian).map_or(Duration::ZERO, |session| {
            // Its time counts from now on.
            session.heard = now;
            with_tolerance(replacing.guardian.ttl())
        });
        let detail = format!("version {}, nothing is granted there for {} ms", replacing.version, free_in.as_millis());
        self.log(LogLevel::Warn, "damaged record removed", id.to_string(), detail);
        self.sweeps.want_soon();
        self.reply(replacing.to, Reply::DamagedRemoved { free_in });
    }

    /// Nothing was replaced.
    pub(super) fn end_replacing(&mut self, replacing: &Replacing, error: RequestError) {
        self.end_abandoned(replacing.guardian);
        self.reply_error(replacing.to, error);
    }
}

/// Holds the place of a damaged record.
fn guard(claim: ClaimId) -> Command {
    Command::Lock(LockCommand {
        claim,
        operation: ONCE.1,
        mode: Mode::EX,
        options: Options::empty(),
        conversion_deadlock: None,
        blocking: false,
        owner: Label::default(),
        label: Label::new(GUARDIAN).unwrap_or_default(),
    })
}
