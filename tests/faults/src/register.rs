//! What the locks guard: counters that refuse lower fences, and notice if an update is lost all the same.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::store::frame;

/// One counter per resource. A holder of PW or EX reads it, and writes it back with one more.
///
/// It keeps the highest fence it has met, and refuses whoever comes with a lower one: so it is safe even from a holder
/// that stands still between its last look at the clock and its write. What it then still finds, a broken fence did.
#[derive(Debug, Clone, Default)]
pub struct Registers {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    registers: Vec<Register>,
    violations: Vec<String>,
    writes: u64,
    refused: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Register {
    count: u64,
    fence: u64,
}

/// A read, or the write of what was read plus one. As it travels, too.
type Call = (usize, u64, Option<u64>);

impl Registers {
    /// So many, all at zero.
    pub fn new(count: usize) -> Self {
        let inner = Inner { registers: vec![Register::default(); count], ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// A read under this fence (`read` absent), or the write of `read` plus one. Absent if the fence is refused,
    /// otherwise what then stands there.
    fn call(&self, (resource, fence, read): Call) -> Option<u64> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let register = inner.registers.get_mut(resource)?;
        if fence < register.fence {
            inner.refused += 1;
            return None;
        }
        register.fence = fence;
        if let Some(read) = read {
            let stood = register.count;
            register.count = read + 1;
            inner.writes += 1;
            if stood != read {
                let text = format!("r{resource}: an update was lost: {stood} stood there, {read} was read ({fence})");
                inner.violations.push(text);
            }
            return Some(read + 1);
        }
        Some(register.count)
    }

    /// Updates that were lost.
    pub fn violations(&self) -> Vec<String> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).violations.clone()
    }

    /// How many writes were done.
    pub fn writes(&self) -> u64 {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).writes
    }

    /// How many calls were refused for their fence.
    pub fn refused(&self) -> u64 {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).refused
    }

    /// Serves them to other processes as long as the runtime runs.
    pub async fn serve(&self) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let registers = self.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let registers = registers.clone();
                tokio::spawn(async move {
                    while let Ok(call) = frame::take::<Call>(&mut stream).await {
                        let mut reply = Vec::new();
                        if frame::put(&mut reply, &registers.call(call)).is_err()
                            || stream.write_all(&reply).await.is_err()
                        {
                            return;
                        }
                    }
                });
            }
        });
        Ok(address)
    }
}

/// How a client reaches the registers.
#[derive(Debug, Clone)]
pub enum Access {
    /// In its own process.
    Here(Registers),
    /// In another.
    There(Arc<tokio::sync::Mutex<TcpStream>>),
}

impl Access {
    /// Those of another process.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::There(Arc::new(tokio::sync::Mutex::new(stream))))
    }

    /// Reads under a fence. Absent if the fence is refused.
    pub async fn read(&self, resource: usize, fence: u64) -> Option<u64> {
        self.call((resource, fence, None)).await
    }

    /// Writes what was read plus one, under a fence.
    pub async fn write(&self, resource: usize, fence: u64, read: u64) -> Option<u64> {
        self.call((resource, fence, Some(read))).await
    }

    async fn call(&self, call: Call) -> Option<u64> {
        match self {
            Self::Here(registers) => registers.call(call),
            Self::There(stream) => {
                let mut stream = stream.lock().await;
                let mut bytes = Vec::new();
                frame::put(&mut bytes, &call).ok()?;
                stream.write_all(&bytes).await.ok()?;
                frame::take(&mut *stream).await.ok()?
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_fences_are_refused_and_a_lost_update_is_found() {
        let registers = Registers::new(1);
        assert_eq!(registers.call((0, 5, None)), Some(0));
        assert_eq!(registers.call((0, 5, Some(0))), Some(1));
        assert_eq!(registers.call((0, 7, None)), Some(1));
        assert_eq!(registers.call((0, 5, Some(1))), None, "somebody with a higher fence has read");
        assert_eq!(registers.violations(), Vec::<String>::new());
        // Two holders with rising fences, of whom the second read before the first wrote.
        assert_eq!(registers.call((0, 7, Some(1))), Some(2));
        assert_eq!(registers.call((0, 8, Some(1))), Some(2));
        assert_eq!(registers.violations().len(), 1);
        assert_eq!((registers.writes(), registers.refused()), (3, 1));
    }

    #[tokio::test]
    async fn they_are_the_same_from_another_process() {
        let registers = Registers::new(2);
        let there = Access::connect(registers.serve().await.unwrap()).await.unwrap();
        assert_eq!(there.write(1, 3, 0).await, Some(1));
        assert_eq!(Access::Here(registers).read(1, 3).await, Some(1));
        assert_eq!(there.read(1, 2).await, None);
    }
}
