//! A control group for the command alone, where the system lets us have one.
//!
//! The kernel keeps everything that the command starts in it and kills all of it at once, whoever its processes have
//! become. It can be had by root, and by users in a group that was delegated to them (a service with `Delegate=yes`, a
//! unit of `systemd --user`). Elsewhere, and for processes that moved to another group, [`super::family`] alone does
//! the work.

use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};

use super::family::own_pid;

/// What its name begins with; behind it stands the process that made it.
const PREFIX: &str = "sixpin-run-";
/// How often it is tried to move what is left in it: it may start others meanwhile.
const MOVES_MAX: usize = 20;

/// A control group of its own.
#[derive(Debug)]
pub(super) struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// One below the group of this process, with a process in it.
    pub(super) fn around(pid: i32) -> Result<Self> {
        let parent = own_folder().ok_or(Error::other("no cgroup v2 here"))?;
        remove_left_behind(&parent);
        let group = Self { folder: parent.join(format!("{PREFIX}{}", own_pid())) };
        fs::create_dir(&group.folder)?;
        let ready = match fs::metadata(group.folder.join("cgroup.kill")) {
            Ok(_) => fs::write(group.folder.join("cgroup.procs"), pid.to_string()),
            Err(error) => Err(error),
        };
        if ready.is_err() {
            let _ = fs::remove_dir(&group.folder);
        }
        ready.map(|()| group)
    }

    /// One that another process made.
    pub(super) fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Kills everything in it. What that did, a look at the processes shows.
    pub(super) fn kill(&self) {
        let _ = fs::write(self.folder.join("cgroup.kill"), "1");
    }

    /// Removes it. What still runs in it goes where it would be without.
    pub(super) fn dissolve(self) {
        let Some(parent) = self.folder.parent() else { return };
        for _ in 0..MOVES_MAX {
            let left = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
            for pid in left.lines() {
                let _ = fs::write(parent.join("cgroup.procs"), pid);
            }
            if fs::remove_dir(&self.folder).is_ok() || !self.folder.exists() {
                return;
            }
        }
    }
}

/// Removes empty groups of those who were killed before they could. One that somebody uses can not be removed.
fn remove_left_behind(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let maker = entry.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<i32>().ok());
        if maker.is_some_and(|maker| !Path::new(&format!("/proc/{maker}")).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// The folder of the group that this process is in.
fn own_folder() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    folder(&groups, &mounts)
}

/// Finds the folder: where the one hierarchy of version 2 is mounted, and the path in it.
fn folder(groups: &str, mounts: &str) -> Option<PathBuf> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mounted = mounts
        .lines()
        .filter(|line| line.split_once(" - ").is_some_and(|(_, behind)| behind.split(' ').next() == Some("cgroup2")));
    let mut places = mounted.filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        Some((fields.next()?, fields.next()?))
    });
    places.find_map(|(root, point)| {
        let below = Path::new(path).strip_prefix(root).ok()?;
        Some(Path::new(point).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_group_is_found() {
        let hybrid = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
                      42 31 0:39 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n";
        let groups = "9:name=systemd:/other\n0::/user.slice/job\n";
        let found = |groups, mounts| folder(groups, mounts).map(|path| path.to_string_lossy().into_owned());
        assert_eq!(found(groups, hybrid).as_deref(), Some("/sys/fs/cgroup/unified/user.slice/job"));
        // Only a part of the hierarchy is mounted, as in a container.
        let part = "30 23 0:26 /user.slice /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(found(groups, part).as_deref(), Some("/sys/fs/cgroup/job"));
        assert_eq!(found("0::/elsewhere\n", part), None);
        assert_eq!(found("3:cpu:/job\n", hybrid), None);
        assert_eq!(found(groups, "42 31 0:39 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"), None);
    }
}
