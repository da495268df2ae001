//! The front: has the terminal and the command, and ends with its status.
//!
//! One loop and no other thread, so that nothing can come between a deadline and the kill. Signals are held back from
//! the process and read from a descriptor instead.

use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::family::{Family, MARK};
use super::pipe::{Heard, Keeper, THIS_PROGRAM};
use super::terminal::{Terminal, stop_job};
use super::words::{FromKeeper, Order, ToKeeper};
use super::{Args, starter};
use crate::cli::exit;
use crate::cli::failure::{Failure, note};
use crate::runtime::clock;

/// How long the keeper may take to release the lock when the command has ended.
const RELEASE_WITHIN: Duration = Duration::from_secs(8);

/// How long the keeper may take to tell the deadline to a front that was stopped.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Signals that end a wait for the lock, and are handed on to a command.
const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];
/// Signals that are handed on to a command, and mean nothing before.
const HANDED_ON: [Signal; 3] = [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH];
/// Signals of job control and of processes.
const MANAGED: [Signal; 5] = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGCONT, Signal::SIGCHLD];

/// Everything that the front holds back, and its children let through again.
pub(super) fn signals() -> SigSet {
    ENDING.into_iter().chain(HANDED_ON).chain(MANAGED).collect()
}

/// Takes the lock, runs the command, releases the lock.
pub fn run(args: Args, kill_after: Duration) -> ExitCode {
    match Front::start(args, kill_after).map_err(broken) {
        Ok(mut front) => match front.carry_on() {
            Ok(status) => ExitCode::from(status),
            Err(errno) => {
                front.kill();
                broken(errno).report()
            }
        },
        Err(failure) => failure.report(),
    }
}

/// A system call failed that has no reason to.
fn broken(errno: Errno) -> Failure {
    Failure::new(
        exit::FAILURE,
        format_args!("the command can not be run under a lock: {}", errno.desc().to_lowercase()),
    )
}

struct Front {
    args: Args,
    kill_after: Duration,
    keeper: Keeper,
    signals: SignalFd,
    timer: TimerFd,
    terminal: Option<Terminal>,
    /// When the lock is lost unless the keeper tells another time.
    deadline: Option<Duration>,
    /// The front was stopped: deadlines on their way are old, and the keeper was asked for a new one.
    resuming: bool,
    command: Option<Running>,
    loss: Option<Loss>,
}

/// A command that was started.
struct Running {
    process: Child,
    family: Family,
    /// It was let go on from where the starter stops.
    begun: bool,
    /// Signals for it that came before.
    early: Vec<Signal>,
}

/// The command has to end.
struct Loss {
    why: String,
    /// When it is killed, if not at the deadline before; absent: at the deadline.
    kill_at: Option<Duration>,
    killed: bool,
}

impl Front {
    fn start(args: Args, kill_after: Duration) -> Result<Self, Errno> {
        let held_back = signals();
        held_back.thread_block()?;
        let signals = SignalFd::with_flags(&held_back, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        let keeper = Keeper::start(&Order::new(&args, kill_after))
            .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
        let terminal = Terminal::open();
        Ok(Self {
            args,
            kill_after,
            keeper,
            signals,
            timer,
            terminal,
            deadline: None,
            resuming: false,
            command: None,
            loss: None,
        })
    }

    /// Everything from the request for the lock to the end of the command; the result is the exit status.
    fn carry_on(&mut self) -> Result<u8, Errno> {
        loop {
            self.set_timer()?;
            let signalled = self.wait()?;
            // Read before the keeper is heard: if this process is stopped in between, old words must not be measured by a
            // new time.
            let now = clock::now().boot;
            match self.keeper.hear() {
                Heard::Lines(lines) => {
                    for line in lines {
                        self.told(line)?;
                    }
                }
                Heard::End if self.command.is_none() => return Ok(self.keeper.status()),
                Heard::End => self.keeper_died(),
            }
            // Before anything else is done, also after a suspend: does the lock still hold?
            self.enforce(now);
            if signalled {
                while let Some(info) = self.signals.read_signal()? {
                    let signal = Signal::try_from(info.ssi_signo.cast_signed())?;
                    if let Some(status) = self.signalled(signal) {
                        return Ok(status);
                    }
                }
            }
            if let Some(status) = self.ended() {
                return Ok(status);
            }
        }
    }

    /// Waits for a signal, a word of the keeper, or the timer. True if there is a signal.
    fn wait(&self) -> Result<bool, Errno> {
        let mut watched = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.keeper.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.timer.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        Ok(watched[0].any().unwrap_or(false))
    }

    /// Sets the timer to when [`Self::enforce`] has something to do.
    fn set_timer(&self) -> Result<(), Errno> {
        let at = match (&self.command, &self.loss) {
            (None, _) => None,
            (Some(_), None) => self.deadline.map(|deadline| deadline.saturating_sub(self.kill_after)),
            (Some(_), Some(loss)) if !loss.killed => self.kill_at(loss),
            _ => None,
        };
        match at {
            // Zero would disarm it.
            Some(at) => self.timer.set(
                Expiration::OneShot(TimeSpec::from_duration(at.max(Duration::from_nanos(1)))),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            ),
            None => self.timer.unset(),
        }
    }

    fn kill_at(&self, loss: &Loss) -> Option<Duration> {
        match (self.deadline, loss.kill_at) {
            (Some(deadline), Some(kill_at)) => Some(deadline.min(kill_at)),
            (deadline, kill_at) => deadline.or(kill_at),
        }
    }

    /// Asks the command to end when the deadline is near, and kills it when it is there.
    fn enforce(&mut self, now: Duration) {
        if self.command.is_none() {
            return;
        }
        if self.loss.is_none() && self.deadline.is_some_and(|deadline| now + self.kill_after >= deadline) {
            self.lose("no broker acknowledges that it is still held".to_owned(), None);
        }
        let due = self.loss.as_ref().is_some_and(|loss| !loss.killed && self.kill_at(loss).is_some_and(|at| now >= at));
        if due {
            self.kill();
            note("killed the command");
        }
    }

    /// Asks the command to end, because the lock is lost or soon will be.
    fn lose(&mut self, why: String, kill_at: Option<Duration>) {
        if let Some(command) = &mut self.command {
            command.family.ask_to_end();
        }
        let resource = &self.args.resource;
        note(format_args!("the lock on `{resource}` is being lost ({why}), so the command is asked to end"));
        self.loss = Some(Loss { why, kill_at, killed: false });
    }

    fn kill(&mut self) {
        if let Some(command) = &mut self.command {
            command.family.kill();
        }
        if let Some(loss) = &mut self.loss {
            loss.killed = true;
        }
    }

    fn keeper_died(&mut self) {
        self.kill();
        self.keeper.hang_up();
        let why = "the process that kept it has died".to_owned();
        self.loss = Some(Loss { why, kill_at: None, killed: true });
    }

    /// Hears a word of the keeper.
    fn told(&mut self, word: FromKeeper) -> Result<(), Errno> {
        match word {
            FromKeeper::Deadline { .. } if self.resuming => {}
            FromKeeper::Deadline { at } => self.deadline = Some(at),
            FromKeeper::Resumed { at } => {
                self.deadline = at;
                self.resuming = false;
            }
            FromKeeper::Granted { fence, mode, session } => self.start_command(fence, &mode, &session)?,
            FromKeeper::Lost { why } => {
                let now = clock::now().boot;
                match &mut self.loss {
                    Some(loss) => loss.why = why,
                    None => self.lose(why, Some(now + self.kill_after)),
                }
            }
        }
        Ok(())
    }

    /// Starts the starter. The command begins when that has stopped itself.
    fn start_command(&mut self, fence: u64, mode: &str, session: &str) -> Result<(), Errno> {
        let process = Command::new(THIS_PROGRAM)
            .arg0("sixpin")
            .args([starter::NAME, "--parent", &std::process::id().to_string(), "--"])
            .args(&self.args.command)
            .env("SIXPIN_RESOURCE", self.args.resource.as_str())
            .env("SIXPIN_LOCKSPACE", self.args.space.lockspace.as_str())
            .env("SIXPIN_MODE", mode)
            .env("SIXPIN_FENCE", fence.to_string())
            .env(MARK, session)
            .process_group(0)
            .spawn()
            .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
        let family = Family::of(process.id().cast_signed(), session);
        self.command = Some(Running { process, family, begun: false, early: Vec::new() });
        Ok(())
    }

    /// Deals with a signal. Gives a status if it is the end of everything.
    fn signalled(&mut self, signal: Signal) -> Option<u8> {
        match (&self.command, signal) {
            (_, Signal::SIGCHLD) => self.stopped_or_continued(),
            (None, signal) if ENDING.contains(&signal) => {
                self.finish();
                return Some(128 + signal as u8);
            }
            (None, Signal::SIGTSTP) => self.pause(),
            (None, _) | (_, Signal::SIGTTIN | Signal::SIGTTOU) => {}
            (Some(_), signal) => self.hand_on(signal),
        }
        None
    }

    /// Looks whether the command was stopped.
    fn stopped_or_continued(&mut self) {
        let Some(command) = &mut self.command else { return };
        let leader = command.family.leader();
        let state = waitid(Id::Pid(leader), WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG);
        let Ok(WaitStatus::Stopped(_, signal)) = state else { return };
        if !command.begun {
            // The keeper knows the process before it does anything.
            command.begun = true;
            self.keeper.tell(&ToKeeper::Started { pid: leader.as_raw() });
            if let Some(terminal) = &self.terminal {
                terminal.offer(leader);
            }
            command.family.signal(Signal::SIGCONT);
            for signal in command.early.drain(..) {
                command.family.signal(signal);
            }
        } else if self.loss.is_none() {
            self.suspended(leader, signal);
        }
    }

    /// The command was stopped: the whole job stops with it, until the shell lets it go on.
    fn suspended(&mut self, leader: Pid, signal: Signal) {
        let Some(terminal) = &self.terminal else { return };
        let wants_terminal = matches!(signal, Signal::SIGTTIN | Signal::SIGTTOU);
        if wants_terminal && terminal.give(leader) {
            return self.hand_on(Signal::SIGCONT);
        }
        let wants_terminal = terminal.take_back(leader) || wants_terminal;
        self.pause();
        let has_terminal = wants_terminal && self.terminal.as_ref().is_some_and(|terminal| terminal.give(leader));
        // Without the terminal it waits for, it would only be stopped again.
        if has_terminal || !matches!(signal, Signal::SIGTTIN | Signal::SIGTTOU) {
            self.hand_on(Signal::SIGCONT);
        }
    }

    /// Stops the whole job. While the front stands still, the keeper alone sees to the deadline.
    fn pause(&mut self) {
        self.keeper.tell(&ToKeeper::Paused);
        stop_job();
        // Reached when the shell lets the job go on, or at once where there is no shell that could.
        self.keeper.tell(&ToKeeper::Resumed);
        self.resuming = true;
        if self.deadline.is_some() {
            self.deadline = Some(clock::now().boot + self.kill_after + ANSWER_WITHIN);
        }
    }

    fn hand_on(&mut self, signal: Signal) {
        match &mut self.command {
            Some(command) if command.begun => command.family.signal(signal),
            Some(command) if !command.early.contains(&signal) => command.early.push(signal),
            _ => {}
        }
    }

    /// If the command has ended: releases the lock and gives the status.
    fn ended(&mut self) -> Option<u8> {
        let leader = self.command.as_ref()?.family.leader();
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        // A command that a real-time signal ended is not understood here, and is an error; it has ended all the same.
        if matches!(waitid(Id::Pid(leader), flags), Ok(WaitStatus::StillAlive)) {
            return None;
        }
        if self.loss.is_some() {
            self.kill();
        }
        if let Some(terminal) = &self.terminal {
            terminal.take_back(leader);
        }
        self.keeper.tell(&ToKeeper::Ended);
        self.finish();
        // Only now may its number go to another process.
        let status = self.command.take()?.process.wait().ok();
        let status = status.and_then(|status| status.code().or_else(|| status.signal().map(|signal| 128 + signal)));
        let Some(loss) = &self.loss else {
            return Some(status.and_then(|status| u8::try_from(status).ok()).unwrap_or(exit::FAILURE));
        };
        Failure::new(exit::LOST, format_args!("the lock on `{}` was lost: {}", self.args.resource, loss.why))
            .hint("what the command did last may be incomplete; the next holder has a larger fence")
            .report();
        Some(exit::LOST)
    }

    /// Waits for the keeper to let go of the lock, but not for ever.
    fn finish(&mut self) {
        self.keeper.hang_up();
        let until = clock::now().boot + RELEASE_WITHIN;
        loop {
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
        self.keeper.status();
    }
}
