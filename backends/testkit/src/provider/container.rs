//! Servers that are containers, started by testcontainers.
//!
//! A container shares the network and the data directory of the host, so ports and files are where a process has them.
//! The image of a program is `sixpin-test/PROGRAM`, made by `scripts/make-test-images` of the programs of this machine,
//! or what `SIXPIN_TEST_IMAGE_PROGRAM` names (in capitals, `_` for `-`): any image with the program on its path.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use testcontainers::core::Mount;
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, GenericImage, ImageExt as _};
use tokio::runtime::Runtime;

use super::{Launch, Running};

type Order = Box<dyn FnOnce(&Runtime, &ContainerAsync<GenericImage>) + Send>;

/// A container. A thread of its own talks to the engine, because tests call from within their runtimes.
pub(super) struct Container {
    /// Absent once it was told to go.
    orders: Option<Sender<Order>>,
    thread: Option<thread::JoinHandle<()>>,
    log: PathBuf,
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container").finish_non_exhaustive()
    }
}

impl Container {
    /// Starts it. It is removed by [`Running::kill`].
    pub(super) fn start(launch: &Launch<'_>) -> io::Result<Self> {
        let directory = launch.directory.display().to_string();
        let user = format!("{}:{}", rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let (name, tag) = image(launch.program);
        let request = GenericImage::new(name, tag)
            .with_entrypoint(launch.program)
            .with_cmd(launch.arguments.clone())
            .with_network("host")
            .with_mount(Mount::bind_mount(&directory, &directory))
            .with_working_dir(directory)
            .with_user(user);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let program = launch.program;
        let (started, outcome) = channel();
        let (orders, inbox) = channel::<Order>();
        let thread = thread::spawn(move || match runtime.block_on(request.start()) {
            Ok(container) => {
                let _ = started.send(Ok(()));
                for order in inbox {
                    order(&runtime, &container);
                }
                // Removed by force, which is a SIGKILL. It fails only if the container is gone already.
                let _ = runtime.block_on(container.rm());
            }
            Err(error) => {
                let text = format!("{error}; scripts/make-test-images makes the image of {program}");
                let _ = started.send(Err(io::Error::other(text)));
            }
        });
        outcome.recv().map_err(io::Error::other)??;
        Ok(Self { orders: Some(orders), thread: Some(thread), log: launch.log.to_owned() })
    }

    /// What the engine says, once it has done it.
    fn ask<T: Send + 'static>(
        &self,
        what: impl AsyncFnOnce(&ContainerAsync<GenericImage>) -> testcontainers::core::error::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        let orders = self.orders.as_ref().ok_or("it was killed")?;
        let (reply, answer) = channel();
        let order: Order = Box::new(move |runtime, container| {
            let _ = reply.send(runtime.block_on(what(container)));
        });
        orders.send(order).map_err(|error| error.to_string())?;
        answer.recv().map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}

impl Running for Container {
    fn kill(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    fn freeze(&mut self) {
        self.ask(async |container| container.pause().await).expect("a running container can be paused");
    }

    fn resume(&mut self) {
        self.ask(async |container| container.unpause().await).expect("a paused container can go on");
    }

    fn pid(&self) -> Option<u32> {
        None
    }

    fn kill_command(&self) -> String {
        let id = self.ask(async |container| Ok(container.id().to_owned()));
        format!("docker rm --force --volumes {}", id.unwrap_or_default())
    }

    fn ended(&mut self) -> Option<String> {
        let log = self.log.clone();
        let status = self.ask(async move |container| {
            if container.is_running().await? {
                return Ok(None);
            }
            keep_log(container, &log).await;
            Ok(Some(container.exit_code().await?.unwrap_or_default()))
        });
        match status {
            Ok(status) => status.map(|status| format!("exit status: {status}")),
            Err(error) => Some(error),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Its last words, for whoever wonders why it ended.
async fn keep_log(container: &ContainerAsync<GenericImage>, log: &Path) {
    let words = [container.stdout_to_vec().await, container.stderr_to_vec().await];
    let words: Vec<u8> = words.into_iter().flatten().flatten().collect();
    // Without it only the explanation is missing.
    let _ = std::fs::write(log, words);
}

fn image(program: &str) -> (String, String) {
    let variable = format!("SIXPIN_TEST_IMAGE_{}", program.to_uppercase().replace('-', "_"));
    let chosen = std::env::var(variable).unwrap_or_else(|_| format!("sixpin-test/{program}"));
    // A colon before the last slash is that of a registry's port.
    match chosen.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name.into(), tag.into()),
        _ => (chosen, "latest".into()),
    }
}
