//! The lock while it is held: the keeper's loop.
//!
//! The lock is let go when nothing is left that needs it: the command has ended, or it was killed and is gone. What can
//! not be killed keeps the lock for as long as the session can be kept.

use std::time::{Duration, Instant};

use sixpin_client::{Guard, Loss, Session, State};
use sixpin_server::runtime::clock;

use super::cgroup::Cgroup;
use super::command::{Command, Happened};
use super::family::Standing;
use super::front_pipe::Front;
use super::messages::{FromKeeper, Order, ToKeeper};
use super::voice::Voice;

/// How long a release may take.
const RELEASE_WITHIN: Duration = Duration::from_secs(3);
/// How long an acknowledgement may be missing before it is told.
const DOUBT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));

/// A lock that is held for a command.
pub(super) struct Held<'a> {
    order: &'a Order,
    voice: &'a Voice,
    session: &'a Session,
    /// Absent once it was released.
    guard: Option<Guard>,
    command: Command,
    check_every: Duration,
    /// Not released before.
    until: Instant,
    /// The front reads nothing.
    paused: bool,
    front_is_gone: bool,
    /// The newest deadline that the session had.
    deadline: Duration,
    /// Why it is lost, and since when.
    lost: Option<(Loss, Duration)>,
    /// The command must not run any more.
    killing: bool,
    /// What could not be killed, once it was told.
    stuck: Option<String>,
    /// Since when it is doubtful that the lock can be kept, and whether that was told.
    doubt: Option<(Instant, bool)>,
}

impl<'a> Held<'a> {
    pub(super) fn new(
        order: &'a Order,
        voice: &'a Voice,
        session: &'a Session,
        guard: Guard,
        command: Command,
    ) -> Self {
        Self {
            deadline: clock::now().boot + guard.valid_for(),
            order,
            voice,
            session,
            guard: Some(guard),
            command,
            check_every: (order.ttl / 12).clamp(Duration::from_millis(50), Duration::from_millis(500)),
            until: Instant::now() + order.at_least,
            paused: false,
            front_is_gone: false,
            lost: None,
            killing: false,
            stuck: None,
            doubt: None,
        }
    }

    /// Until the lock is released, or lost. False if something of the command runs on without it.
    pub(super) async fn keep(mut self, front: &mut Front) -> bool {
        front.tell_deadline(self.deadline);
        let mut check = tokio::time::interval(self.check_every);
        while !self.may_let_go() {
            let rest = tokio::time::sleep_until(self.until.into());
            tokio::select! {
                biased;
                loss = lost(self.guard.as_ref(), self.lost.is_none()) => self.lose(loss, front),
                () = self.command.changed() => self.reap(front),
                _ = check.tick() => self.check(front),
                () = rest, if self.command.ended && self.until > Instant::now() => {}
                word = front.hear(), if !self.front_is_gone => match word {
                    Some(ToKeeper::Paused) => self.paused = true,
                    Some(ToKeeper::Resumed) => {
                        self.paused = false;
                        front.tell(&FromKeeper::Resumed { at: Some(self.deadline) });
                    }
                    None => self.front_is_gone = true,
                },
            }
            self.enforce();
        }
        front.tell(&FromKeeper::Releasing);
        self.let_go().await
    }

    /// Nothing needs the lock any more, or it can not be kept.
    fn may_let_go(&self) -> bool {
        let rest = self.command.has_children;
        if self.killing {
            return !rest || (self.front_is_gone && self.is_over() && self.stuck.is_some());
        }
        self.command.ended && !(self.order.until_all_exit && rest) && Instant::now() >= self.until
    }

    /// The lock can not be kept any more.
    fn is_over(&self) -> bool {
        self.lost.is_some() || clock::now().boot >= self.deadline
    }

    fn reap(&mut self, front: &mut Front) {
        self.command.reap(|command, happened| match happened {
            Happened::Ready => {
                let cgroup = command.family.cgroup().map(Cgroup::folder);
                let pid = command.family.leader().as_raw();
                front.tell(&FromKeeper::Ready { pid, cgroup: cgroup.map(Into::into) });
            }
            Happened::Stopped(signal) => front.tell(&FromKeeper::Stopped { signal }),
            Happened::Ended(exit) => front.tell(&FromKeeper::Ended(exit)),
        });
    }

    /// Tells the front when the deadline has moved, and people when it does not.
    fn check(&mut self, front: &mut Front) {
        let valid_for = self.guard.as_ref().map(Guard::valid_for).filter(|valid_for| !valid_for.is_zero());
        let Some(valid_for) = valid_for else { return };
        let deadline = clock::now().boot + valid_for;
        if deadline > self.deadline + self.check_every / 2 {
            self.deadline = deadline;
            if !self.paused {
                front.tell_deadline(deadline);
            }
        }
        self.doubt(valid_for);
    }

    /// Says when acknowledgements are missing, long before the command has to end.
    fn doubt(&mut self, valid_for: Duration) {
        let silence = self.session.unanswered_for();
        let resource = &self.order.resource;
        if silence.is_none() && self.session.state().current() == State::Safe {
            if let Some((_, true)) = self.doubt.take() {
                self.voice.note(format_args!("a broker acknowledges again that the lock on `{resource}` is held"));
            }
            return;
        }
        let now = Instant::now();
        let (since, told) =
            *self.doubt.get_or_insert((now.checked_sub(silence.unwrap_or_default()).unwrap_or(now), false));
        if !told && since.elapsed() >= (self.order.ttl / 5).clamp(DOUBT.0, DOUBT.1) {
            self.doubt = Some((since, true));
            let left = valid_for.saturating_sub(self.order.kill_after);
            let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
            self.voice.warn(format_args!(
                "no broker acknowledges that the lock on `{resource}` is held; if that stays so, the command is asked to \
                 end in {left}"
            ));
        }
    }

    fn lose(&mut self, loss: Loss, front: &mut Front) {
        self.lost = Some((loss, clock::now().boot));
        front.tell(&FromKeeper::Lost { why: loss.to_string() });
    }

    /// Kills the command when it must not run any more. If the front can, it has done so before.
    fn enforce(&mut self) {
        let end = match self.lost {
            Some(_) if self.command.ended => Duration::ZERO,
            Some((_, since)) => self.deadline.min(since + self.order.kill_after),
            None => self.deadline,
        };
        self.killing |= self.front_is_gone || clock::now().boot >= end;
        if !self.killing || !self.command.has_children {
            return;
        }
        if let Standing::Stuck(who) = self.command.family.kill(true)
            && self.stuck.is_none()
        {
            if self.front_is_gone {
                self.alarm(&who);
            }
            self.stuck = Some(who);
        }
    }

    /// There is nobody else to say it.
    fn alarm(&self, who: &str) {
        let resource = &self.order.resource;
        let outcome = if self.is_over() { "is lost, and it runs on without" } else { "is kept until it has ended" };
        self.voice.alarm(format_args!("this can not be killed: {who}; the lock on `{resource}` {outcome}"));
    }

    /// Releases the lock, or confirms its loss, when nothing of the command runs any more that needs it.
    async fn let_go(mut self) -> bool {
        self.command.family.let_live();
        let Some(guard) = self.guard.take() else { return true };
        if self.killing && self.command.has_children {
            if self.front_is_gone
                && let Some(who) = &self.stuck
            {
                self.alarm(who);
            }
            // Without the word that nothing uses the lock any more, others wait for the TTL.
            std::mem::forget(guard);
            return false;
        }
        let near_its_end = clock::now().boot + self.order.kill_after >= self.deadline;
        let released = tokio::time::timeout(RELEASE_WITHIN, guard.release().into_future()).await;
        match released {
            Ok(Ok(())) => {}
            // The front tells what a loss means. The session confirms it before it ends.
            Ok(Err(_)) if self.lost.is_some() || near_its_end => {}
            Ok(Err(error)) => self.voice.warn(format_args!("when the command had ended, {error}")),
            Err(_) => self.voice.warn("no broker acknowledges the release: the lock is free when its TTL has passed"),
        }
        true
    }
}

/// When the lock is lost; never if that is known.
async fn lost(guard: Option<&Guard>, unknown: bool) -> Loss {
    match guard {
        Some(guard) if unknown => guard.lost().await,
        _ => std::future::pending().await,
    }
}
