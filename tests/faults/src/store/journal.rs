//! What survives a kill: every request that changed something, with its time, in the order in which it was done.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use sixpin_core::backend::Root;
use sixpin_memory::Store;

use super::frame;
use super::message::Request;
use super::server::apply;
use super::wire::{self, Kind};

/// The journal of one store. Written to the file before each answer; not flushed to the disk, because what is killed is
/// a process and not the machine.
#[derive(Debug)]
pub struct Journal {
    file: File,
    buffer: Vec<u8>,
}

impl Journal {
    /// The store as the file tells it; a new one if there is no file.
    pub fn open(path: &Path, kind: Kind) -> io::Result<(Store, Self)> {
        let mut file = File::options().read(true).append(true).create(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut rest = bytes.as_slice();
        let store = match next::<wire::Root>(&mut rest) {
            Some(root) => {
                let mut store = Store::new(kind.contract(), wire::root_to(root));
                while let Some((now, request)) = next::<(u64, Request)>(&mut rest) {
                    apply(&mut store, now, request);
                }
                // What a kill cut off in the middle was not answered.
                let whole = (bytes.len() - rest.len()) as u64;
                file.set_len(whole)?;
                file.seek(SeekFrom::End(0))?;
                store
            }
            None => {
                let root = Root { secret_key: rand::random(), identity: rand::random() };
                let mut first = Vec::new();
                frame::put(&mut first, &wire::root_from(&root))?;
                file.set_len(0)?;
                file.write_all(&first)?;
                Store::new(kind.contract(), root)
            }
        };
        Ok((store, Self { file, buffer: Vec::new() }))
    }

    /// Notes a request that is about to be applied.
    pub fn note(&mut self, now: u64, request: &Request) -> io::Result<()> {
        self.buffer.clear();
        frame::put(&mut self.buffer, &(now, request))?;
        self.file.write_all(&self.buffer)
    }
}

/// The next entry, if it is whole.
fn next<T: serde::de::DeserializeOwned>(rest: &mut &[u8]) -> Option<T> {
    let (length, body) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let entry = postcard::from_bytes(body.get(..length)?).ok()?;
    *rest = &body[length..];
    Some(entry)
}

/// How many requests that changed something a journal holds; 0 if there is none.
pub fn count(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap_or_default();
    let mut rest = bytes.as_slice();
    let mut entries = 0_usize;
    while let Some((length, body)) = rest.split_first_chunk::<4>() {
        let Some(after) = body.get(u32::from_le_bytes(*length) as usize..) else { break };
        rest = after;
        entries += 1;
    }
    // The first entry is the root record.
    entries.saturating_sub(1)
}
