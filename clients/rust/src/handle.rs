//! What keeps a session alive, and reaches its task.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::command::Command;
use crate::error::{Error, Loss};
use crate::logic::State;
use crate::news::News;
use crate::shared::{Check, Shared};

/// Held by every session handle and guard. When the last one is dropped, the channel closes, and the task ends the
/// session: keepalives never outlive the handles.
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    news: Arc<News>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>, news: Arc<News>, commands: mpsc::UnboundedSender<Command>) -> Self {
        Self { shared, news, commands }
    }

    /// Hands a command to the task. A task that has ended drops it, and with it the sender of the reply.
    pub(crate) fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Asks the task to close the session, for good: none follows it. The answer comes when nothing goes on any more, as the
    /// end of the channel.
    pub(crate) fn close(&self) -> oneshot::Receiver<()> {
        self.news.close();
        let (reply, closed) = oneshot::channel();
        self.send(Command::Close { reply });
        closed
    }

    /// Resolves when the session is over, with the state that it ended in.
    pub(crate) async fn over(&self) -> State {
        let mut state = self.shared.state.subscribe();
        state.wait_for(|state| state.is_over()).await.map_or(State::Closed, |state| *state)
    }

    /// Fails when the deadline has passed, by the clock, now. Final: what was found once stays.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.shared.check(clock::now()) {
            Check::Valid => Ok(()),
            Check::Lost(loss) => Err(Error::Lost(loss)),
            Check::Closed => Err(Error::Closed),
            Check::JustExpired => {
                self.send(Command::Expired);
                Err(Error::Lost(Loss::Deadline))
            }
        }
    }
}
