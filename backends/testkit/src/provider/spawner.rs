//! Starting a process so that it does not outlive the tests.
//!
//! A test that panics drops its server, and the server is killed. A test process that is itself killed drops nothing,
//! so on Linux the child also asks the kernel to be killed with its parent (`setpriv --pdeathsig`, because doing it
//! ourselves between fork and exec would need unsafe code). The kernel means the parent *thread*; therefore one thread
//! that lives as long as the process starts all children.

use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

type Order = (Command, Sender<io::Result<Child>>);

/// A command that starts `program`, tied to the life of this process where the system can do that.
pub(crate) fn command(program: &Path) -> Command {
    if let Some(setpriv) = super::process::on_path("setpriv") {
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        return command;
    }
    Command::new(program)
}

/// Starts the command from the thread that lives as long as the process.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static ORDERS: OnceLock<Sender<Order>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (sender, receiver) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in receiver {
                // Nobody waits for the reply only if the caller is gone; then the child is dropped, not killed, which
                // `setpriv` makes good.
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (sender, receiver) = channel();
    orders.send((command, sender)).map_err(io::Error::other)?;
    receiver.recv().map_err(io::Error::other)?
}
