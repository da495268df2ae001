//! What is read from files, and again when they have changed: certificates and tokens are replaced while programs run.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::Error;

type Read<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// What was made of files.
pub(crate) struct Reread<T> {
    files: Vec<PathBuf>,
    read: Read<T>,
    held: Mutex<Held<T>>,
}

struct Held<T> {
    stamps: Vec<Option<Stamp>>,
    value: T,
}

/// What changes with a file: time of its last change in seconds and nanoseconds, its size, and which file it is.
type Stamp = (i64, i64, u64, u64);

impl<T: Clone> Reread<T> {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] with what `read` says.
    pub(crate) fn new(
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        // Looked at before: a file that changes while it is read is read again.
        let stamps = stamps(&files);
        let value = read().map_err(Error::Setting)?;
        Ok(Self { files, read: Box::new(read), held: Mutex::new(Held { stamps, value }) })
    }

    /// The newest that was good. Files that are bad now, because they are just being replaced, are read again next time.
    pub(crate) fn get(&self) -> T {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.files);
        if stamps != held.stamps
            && let Ok(value) = (self.read)()
        {
            *held = Held { stamps, value };
        }
        held.value.clone()
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| stamp(file)).collect()
}

/// Nothing for what can be read only once, such as a pipe.
fn stamp(file: &Path) -> Option<Stamp> {
    let about = fs::metadata(file).ok().filter(fs::Metadata::is_file)?;
    Some((about.mtime(), about.mtime_nsec(), about.size(), about.ino()))
}

/// The content of a file of at most so many bytes. `what` names it for people.
pub(crate) fn content(what: &str, file: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let read = File::open(file).and_then(|opened| opened.take(bytes_max + 1).read_to_end(&mut content));
    let name = file.display();
    match read {
        Ok(length) if length as u64 > bytes_max => Err(format!("{what} `{name}` is longer than {bytes_max} bytes")),
        Ok(_) => Ok(content),
        Err(error) => Err(format!("{what} `{name}` can not be read: {}", error.to_string().to_lowercase())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_read_again_and_what_is_bad_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        let read = {
            let file = file.clone();
            move || {
                let text = content("the file", &file, 8)?;
                String::from_utf8_lossy(&text).parse::<u32>().map_err(|error| error.to_string())
            }
        };
        assert!(matches!(Reread::new(vec![file.clone()], read.clone()), Err(Error::Setting(_))));
        fs::write(&file, "1").unwrap();
        let number = Reread::new(vec![file.clone()], read).unwrap();
        assert_eq!(number.get(), 1);
        fs::write(&file, "12").unwrap();
        assert_eq!(number.get(), 12);
        fs::write(&file, "bad").unwrap();
        assert_eq!(number.get(), 12);
        fs::remove_file(&file).unwrap();
        assert_eq!(number.get(), 12);
        fs::write(&file, "1234").unwrap();
        assert_eq!(number.get(), 1234);
    }

    #[test]
    fn a_file_that_can_not_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let absent = content("the CA file", &folder.path().join("ca.pem"), 8).unwrap_err();
        assert!(absent.starts_with("the CA file `") && absent.contains("ca.pem` can not be read: no such"), "{absent}");
        let long = content("the CA file", Path::new("/dev/zero"), 8).unwrap_err();
        assert!(long.contains("longer than 8 bytes"), "{long}");
    }
}
