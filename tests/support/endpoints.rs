//! Endpoints where no broker is any good: one that hangs, and one that a limit closes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

/// Accepts connections, as the kernel does for a process that hangs, and never says anything.
pub struct Hung {
    listener: TcpListener,
}

impl Hung {
    pub fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }
}

/// Answers so many requests of each connection, knowing none of them, and then closes it as a broker does whose limits
/// are reached: with a word (GOAWAY, "enhance your calm"). Ends with the process.
pub fn limited(answers: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                // A client that goes away is no trouble.
                let _ = answer(stream, answers);
            });
        }
    });
    address
}

/// Accepts connections, answers no request, and tells when somebody pings. Ends with the process.
pub fn pinged() -> (SocketAddr, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (told, pings) = channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 24]).unwrap();
        send(&mut stream, SETTINGS, 0, 0, &[]).unwrap();
        while let Ok((kind, flags, _)) = receive(&mut stream) {
            if kind == PING && flags & ACK == 0 {
                let _ = told.send(());
            }
        }
    });
    (address, pings)
}

const SETTINGS: u8 = 4;
const PING: u8 = 6;
const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;
const END_STREAM_AND_HEADERS: u8 = 5;
const ACK: u8 = 1;

fn answer(mut stream: TcpStream, mut answers: usize) -> std::io::Result<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface)?;
    send(&mut stream, SETTINGS, 0, 0, &[])?;
    loop {
        let (kind, flags, number) = receive(&mut stream)?;
        match kind {
            SETTINGS if flags & ACK == 0 => send(&mut stream, SETTINGS, ACK, 0, &[])?,
            HEADERS if answers == 0 => {
                // The last stream that was looked at, and the error.
                return send(&mut stream, GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0xb]);
            }
            HEADERS => {
                answers -= 1;
                // `:status: 200`, the type of the content, and "unimplemented".
                let mut fields = vec![0x88, 0x0f, 0x10, 16];
                fields.extend(b"application/grpc");
                fields.extend(b"\x00\x0bgrpc-status\x0212");
                send(&mut stream, HEADERS, END_STREAM_AND_HEADERS, number, &fields)?;
            }
            _ => {}
        }
    }
}

/// The kind, the flags and the stream of the next frame.
fn receive(stream: &mut TcpStream) -> std::io::Result<(u8, u8, u32)> {
    let mut header = [0; 9];
    stream.read_exact(&mut header)?;
    let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload)?;
    Ok((header[3], header[4], u32::from_be_bytes([header[5], header[6], header[7], header[8]])))
}

fn send(stream: &mut TcpStream, kind: u8, flags: u8, number: u32, payload: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(number.to_be_bytes());
    frame.extend(payload);
    stream.write_all(&frame)
}
