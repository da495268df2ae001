//! The front: has the terminal and what comes from there, and ends with the command's status.
//!
//! One loop that waits for nothing else, so that nothing can come between a deadline and the kill. Signals are held back
//! from the process and read from a descriptor instead.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::unistd::Pid;
use rustix::process::{WaitOptions, wait};
use sixpin_server::runtime::clock;

use super::Task;
use super::cgroup::Cgroup;
use super::family::{Family, Standing, own_children};
use super::messages::{Exit, FromKeeper, Order, ToKeeper};
use super::pipe::{Heard, Keeper};
use super::signals::{self, ENDING};
use super::terminal::{Terminal, stop_job};
use super::voice::Voice;
use crate::cli::exit;
use crate::cli::failure::Failure;

/// How long the keeper may take to release the lock when nothing needs it any more.
const RELEASE_WITHIN: Duration = Duration::from_secs(8);
/// How long the keeper may take to tell the deadline to a front that was stopped.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How often what was killed is looked at until it is gone.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// And how often what can not be killed.
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(1);

/// Takes the lock, runs the command, releases the lock.
pub(super) fn run(task: &Task) -> ExitCode {
    let voice = Voice::new(task.args.quiet);
    let end = Front::start(task, &voice).and_then(|mut front| {
        front.carry_on().inspect_err(|_| {
            // Gone or not, there is nothing else that could be done.
            front.kill();
            front.keeper.hang_up();
        })
    });
    match end {
        Ok(End::Status(status)) => ExitCode::from(status),
        Ok(End::Signal { signal, to_all }) => {
            drop(voice);
            signals::end_of(signal, to_all)
        }
        Err(errno) => {
            let text = format_args!("the command can not be run under a lock: {}", errno.desc().to_lowercase());
            ExitCode::from(voice.fail(&Failure::new(exit::FAILURE, text)))
        }
    }
}

/// How `run` ends.
enum End {
    /// With this status.
    Status(u8),
    /// Of this signal.
    Signal { signal: Signal, to_all: bool },
}

struct Front<'a> {
    task: &'a Task,
    voice: &'a Voice,
    keeper: Keeper,
    keeper_is_gone: bool,
    /// Children of this process that are none of ours.
    strangers: BTreeSet<i32>,
    signals: SignalFd,
    timer: TimerFd,
    terminal: Option<Terminal>,
    /// When the lock is lost unless the keeper tells another time.
    deadline: Option<Duration>,
    /// The front was stopped: deadlines on their way are old, and the keeper was asked for a new one.
    resuming: bool,
    command: Option<Running>,
    loss: Option<Loss>,
    /// Since when the keeper is to be done.
    releasing: Option<Duration>,
}

/// A command that was started.
struct Running {
    family: Family,
    exit: Option<Exit>,
    /// It had the terminal when it ended.
    had_terminal: bool,
}

/// The command has to end.
struct Loss {
    why: String,
    /// When it is killed, if not at the deadline before; absent: at the deadline.
    kill_at: Option<Duration>,
    killing: bool,
    /// What became of the killed was told.
    told: bool,
}

impl<'a> Front<'a> {
    fn start(task: &'a Task, voice: &'a Voice) -> Result<Self, Errno> {
        let held_back = signals::held_back();
        held_back.thread_block()?;
        let signals = SignalFd::with_flags(&held_back, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        let strangers = own_children();
        // If the keeper dies, what it has started is ours.
        prctl::set_child_subreaper(true)?;
        let keeper = Keeper::start(&Order::new(task))
            .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
        Ok(Self {
            task,
            voice,
            keeper,
            keeper_is_gone: false,
            strangers,
            signals,
            timer,
            terminal: Terminal::open(),
            deadline: None,
            resuming: false,
            command: None,
            loss: None,
            releasing: None,
        })
    }

    /// Everything from the request for the lock to the end of the command.
    fn carry_on(&mut self) -> Result<End, Errno> {
        loop {
            self.set_timer()?;
            let signalled = self.wait()?;
            // Read before the keeper is heard: if this process is stopped in between, old words must not be measured by a
            // new time.
            let now = clock::now().boot;
            if !self.keeper_is_gone {
                match self.keeper.hear() {
                    Heard::Lines(lines) => {
                        for word in lines {
                            if let FromKeeper::Refused { status } = word {
                                return Ok(End::Status(status));
                            }
                            self.told(word, now);
                        }
                    }
                    Heard::End => self.keeper_is_gone = true,
                }
            }
            // Before anything else is done, also after a suspend: does the lock still hold?
            self.enforce(now);
            if signalled {
                while let Some(info) = self.signals.read_signal()? {
                    let signal = Signal::try_from(info.ssi_signo.cast_signed())?;
                    if let Some(end) = self.signalled(signal) {
                        return Ok(end);
                    }
                }
            }
            if let Some(end) = self.ended(now) {
                return Ok(end);
            }
        }
    }

    /// Waits for a signal, a word of the keeper, or the timer. True if there is a signal.
    fn wait(&self) -> Result<bool, Errno> {
        let mut watched = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.timer.as_fd(), PollFlags::POLLIN),
        ];
        if !self.keeper_is_gone {
            watched.push(PollFd::new(self.keeper.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        Ok(watched[0].any().unwrap_or(false))
    }

    /// Sets the timer to when there is something to do.
    fn set_timer(&self) -> Result<(), Errno> {
        let enforcing = match (&self.command, &self.loss) {
            (None, _) => None,
            (Some(_), None) if !self.needs_lock() => None,
            (Some(_), None) => self.deadline.map(|deadline| deadline.saturating_sub(self.task.kill_after)),
            (Some(_), Some(loss)) if loss.killing => {
                Some(clock::now().boot + if loss.told { LOOK_AGAIN_EVERY } else { LOOK_EVERY })
            }
            (Some(_), Some(loss)) => self.kill_at(loss),
        };
        match enforcing.into_iter().chain(self.releasing.map(|since| since + RELEASE_WITHIN)).min() {
            // Zero would disarm it.
            Some(at) => self.timer.set(
                Expiration::OneShot(TimeSpec::from_duration(at.max(Duration::from_nanos(1)))),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            ),
            None => self.timer.unset(),
        }
    }

    fn kill_at(&self, loss: &Loss) -> Option<Duration> {
        self.deadline.into_iter().chain(loss.kill_at).min()
    }

    /// Asks the command to end when the deadline is near, and kills it when it is there.
    fn enforce(&mut self, now: Duration) {
        if !self.needs_lock() {
            return;
        }
        if self.keeper_is_gone && self.releasing.is_none() && self.loss.as_ref().is_none_or(|loss| !loss.killing) {
            let why = "the process that kept it has died".to_owned();
            self.loss = Some(Loss { why, kill_at: None, killing: true, told: false });
            if let Some(command) = &mut self.command {
                command.family.inherit(std::mem::take(&mut self.strangers));
            }
        }
        if self.loss.is_none() && self.deadline.is_some_and(|deadline| now + self.task.kill_after >= deadline) {
            self.lose("no broker acknowledges that it is still held".to_owned(), None);
        }
        let due = self
            .loss
            .as_ref()
            .is_some_and(|loss| loss.killing || self.kill_at(loss).is_some_and(|kill_at| now >= kill_at));
        if due {
            self.kill();
        }
    }

    /// A command runs, or what it left behind that counts. Otherwise the lock is only held for its time to pass.
    fn needs_lock(&self) -> bool {
        self.command.as_ref().is_some_and(|command| command.exit.is_none() || self.task.args.hold_until_all_exit)
    }

    /// Asks the command to end, because the lock is lost or soon will be.
    fn lose(&mut self, why: String, kill_at: Option<Duration>) {
        let Some(command) = self.command.as_mut() else { return };
        let resource = &self.task.resource;
        let lost = format!("the lock on `{resource}` is being lost ({why})");
        match command.family.ask_to_end() {
            None => self.voice.alarm(format_args!("{lost}, so the command is asked to end")),
            Some(who) => self.voice.alarm(format_args!("{lost}, and this can not be asked to end: {who}")),
        }
        self.loss = Some(Loss { why, kill_at, killing: false, told: false });
    }

    /// Kills what runs of the command, and says what became of it, once that is certain.
    fn kill(&mut self) {
        let Some(command) = &mut self.command else { return };
        let standing = command.family.kill(false);
        let Some(loss) = &mut self.loss else { return };
        loss.killing = true;
        match standing {
            Standing::Dying => {}
            _ if loss.told => {}
            Standing::Gone if command.family.was_killed() => {
                loss.told = true;
                self.voice.alarm(match command.exit {
                    None => "killed the command",
                    Some(_) => "killed what the command had left behind",
                });
            }
            Standing::Gone => loss.told = true,
            Standing::Stuck(who) => {
                loss.told = true;
                self.voice.alarm(format_args!("this can not be killed and runs on without the lock: {who}"));
            }
        }
    }

    /// Hears a word of the keeper.
    fn told(&mut self, word: FromKeeper, now: Duration) {
        match word {
            FromKeeper::Deadline { .. } if self.resuming => {}
            FromKeeper::Deadline { at } => self.deadline = Some(at),
            FromKeeper::Resumed { at } => {
                self.deadline = at;
                self.resuming = false;
            }
            FromKeeper::Ready { pid, cgroup } => {
                let mut family = Family::of(self.keeper.pid(), pid);
                family.enclose(cgroup.map(Cgroup::at));
                if let Some(terminal) = &self.terminal {
                    terminal.offer(family.leader());
                }
                family.signal(Signal::SIGCONT);
                self.command = Some(Running { family, exit: None, had_terminal: false });
            }
            FromKeeper::Stopped { signal } => {
                if let Ok(signal) = Signal::try_from(signal)
                    && self.loss.is_none()
                {
                    self.suspended(signal);
                }
            }
            FromKeeper::Ended(exit) => {
                let Some(command) = &mut self.command else { return };
                command.exit = Some(exit);
                command.had_terminal =
                    self.terminal.as_ref().is_some_and(|terminal| terminal.take_back(command.family.leader()));
            }
            FromKeeper::Releasing => self.releasing = Some(now),
            FromKeeper::Lost { why } => {
                if let Some(loss) = &mut self.loss {
                    loss.why = why;
                } else if self.needs_lock() {
                    self.lose(why, Some(now + self.task.kill_after));
                }
            }
            // Ends everything where it is heard.
            FromKeeper::Refused { .. } => {}
        }
    }

    /// Deals with a signal. Gives an end if it is that of everything.
    fn signalled(&mut self, signal: Signal) -> Option<End> {
        if signal == Signal::SIGCHLD {
            reap();
            return None;
        }
        let asks_to_end = ENDING.contains(&signal);
        let Some(command) = &mut self.command else {
            if signal == Signal::SIGTSTP {
                self.pause();
            }
            return asks_to_end.then(|| self.leave(signal));
        };
        match signal {
            Signal::SIGTTIN | Signal::SIGTTOU => {}
            Signal::SIGTSTP if command.exit.is_some() => self.pause(),
            // Nothing runs; the lock is only held for its time to pass.
            _ if asks_to_end && command.exit.is_some() && !command.family.runs() => return Some(self.leave(signal)),
            _ => command.family.signal(signal),
        }
        None
    }

    /// The command was stopped: the whole job stops with it, until the shell lets it go on.
    fn suspended(&mut self, signal: Signal) {
        let (Some(terminal), Some(command)) = (&self.terminal, &mut self.command) else { return };
        let leader = command.family.leader();
        let asks_for_terminal = matches!(signal, Signal::SIGTTIN | Signal::SIGTTOU);
        if asks_for_terminal && terminal.give(leader) {
            return command.family.signal(Signal::SIGCONT);
        }
        let wants_terminal = terminal.take_back(leader) || asks_for_terminal;
        self.pause();
        let has_terminal = wants_terminal && self.give_terminal(leader);
        // Without the terminal it waits for, it would only be stopped again.
        if (has_terminal || !asks_for_terminal)
            && let Some(command) = &mut self.command
        {
            command.family.signal(Signal::SIGCONT);
        }
    }

    fn give_terminal(&self, leader: Pid) -> bool {
        self.terminal.as_ref().is_some_and(|terminal| terminal.give(leader))
    }

    /// Stops the whole job. While the front stands still, the keeper alone sees to the deadline.
    fn pause(&mut self) {
        self.keeper.tell(&ToKeeper::Paused);
        stop_job();
        // Reached when the shell lets the job go on, or at once where there is no shell that could.
        self.keeper.tell(&ToKeeper::Resumed);
        self.resuming = true;
        if self.deadline.is_some() {
            self.deadline = Some(clock::now().boot + self.task.kill_after + ANSWER_WITHIN);
        }
    }

    /// If everything is over: how it ends.
    fn ended(&mut self, now: Duration) -> Option<End> {
        let Some(command) = &mut self.command else {
            // Who has been refused hears that before.
            return self.keeper_is_gone.then(|| {
                let text = "the process that was to keep the lock has died";
                End::Status(self.voice.fail(&Failure::new(exit::FAILURE, text)))
            });
        };
        let Some(loss) = &self.loss else {
            let slow = self.releasing.is_some_and(|since| now >= since + RELEASE_WITHIN);
            if slow {
                self.keeper.kill();
            }
            return (self.keeper_is_gone || slow).then(|| status_of(command));
        };
        // Where it can not be killed, it ends when it ends.
        if command.exit.is_none() && !command.family.leader_has_ended() {
            return None;
        }
        if !loss.told {
            // It listened. What it left behind may not have.
            self.kill();
        }
        let (Some(command), Some(loss)) = (&self.command, &self.loss) else { return None };
        if !loss.told {
            return None;
        }
        if let Some(terminal) = &self.terminal {
            terminal.take_back(command.family.leader());
        }
        let (resource, why) = (&self.task.resource, loss.why.clone());
        let failure = Failure::new(exit::LOST, format_args!("the lock on `{resource}` was lost: {why}"))
            .hint("what the command did last may be incomplete; the next holder has a larger fence");
        self.finish();
        Some(End::Status(self.voice.fail(&failure)))
    }

    /// Gives up waiting, or holding what nothing needs.
    fn leave(&mut self, signal: Signal) -> End {
        self.finish();
        End::Signal { signal, to_all: false }
    }

    /// Waits for the keeper to let go of the lock, but not for ever.
    fn finish(&mut self) {
        self.keeper.hang_up();
        let until = clock::now().boot + RELEASE_WITHIN;
        loop {
            if self.keeper_is_gone {
                break;
            }
            let left = until.saturating_sub(clock::now().boot);
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            let mut watched = [PollFd::new(self.keeper.as_fd(), PollFlags::POLLIN)];
            match poll(&mut watched, timeout) {
                Ok(0) => break self.keeper.kill(),
                Ok(_) if matches!(self.keeper.hear(), Heard::End) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => break self.keeper.kill(),
            }
        }
        if let Some(command) = &mut self.command {
            command.family.let_live();
        }
    }
}

/// How a command ended, as the end of `run`: of a signal that would have reached it without `run`, or with a status.
fn status_of(command: &Running) -> End {
    match command.exit {
        Some(Exit::Status(status)) => End::Status(status),
        Some(Exit::Signal(signal)) => match Signal::try_from(signal) {
            Ok(signal) if ENDING.contains(&signal) => {
                let typed = matches!(signal, Signal::SIGINT | Signal::SIGQUIT);
                End::Signal { signal, to_all: typed && command.had_terminal }
            }
            _ => End::Status(u8::try_from(128 + signal).unwrap_or(exit::FAILURE)),
        },
        None => End::Status(exit::FAILURE),
    }
}

/// Waits for children that have ended. Process 1 of a container has all those whose parents have died.
fn reap() {
    while matches!(wait(WaitOptions::NOHANG), Ok(Some(_)) | Err(rustix::io::Errno::INTR)) {}
}
