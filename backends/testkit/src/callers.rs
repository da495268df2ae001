//! Who opened a connection: the process that has its other end, by what the system tells of sockets.
//!
//! Everybody on loopback has the same address, so a proxy that shall cut off one process from another asks for the owner
//! of the port that a connection came from.

use std::net::SocketAddr;
use std::path::Path;

/// The first of these processes that has the socket which connects `address` to `server`.
pub(crate) fn owner(address: SocketAddr, server: SocketAddr, among: impl IntoIterator<Item = u32>) -> Option<u32> {
    let wanted = format!("socket:[{}]", inode(address, server)?);
    among.into_iter().find(|pid| has_open(*pid, &wanted))
}

/// The number of that socket.
fn inode(local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let (local, remote) = (in_table(local)?, in_table(remote)?);
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    // The same port may have connections elsewhere, open ones and such as are remembered for a minute.
    let row = table.lines().find_map(|line| {
        let row: Vec<&str> = line.split_ascii_whitespace().collect();
        (row.get(1..3) == Some(&[local.as_str(), remote.as_str()])).then_some(row)
    })?;
    row.get(9)?.parse().ok()
}

/// Address and port as the table has them: in hexadecimal, the address as it lies in memory.
fn in_table(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port()))
}

fn has_open(pid: u32, wanted: &str) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == Path::new(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_connection_is_found_among_those_asked() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(server).unwrap();
        let (me, address) = (std::process::id(), stream.local_addr().unwrap());
        assert_eq!(owner(address, server, [1, me]), Some(me));
        assert_eq!(owner(address, server, [u32::MAX]), None);
        assert_eq!(owner(server, server, [me]), None, "nobody is connected so");
        drop((stream, listener));
    }
}
