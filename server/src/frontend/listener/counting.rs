//! What a peer sends, counted: the frames of HTTP/2, or the messages of a connection that begins with a greeting. HTTP/1.1 has no
//! frames, and those of a WebSocket are not seen here: its requests and messages are counted where they come in, and here each read
//! counts, and how much it brought, since a message may come in any number of fragments, also empty ones. Whoever reads it goes through
//! all that is there before it lets others go on, so that each of these counts against its turn on the thread as well.
//!
//! HTTP/2 has frames that ask for nothing and cost their sender nothing: SETTINGS, PING, `WINDOW_UPDATE`, PRIORITY, resets,
//! headers without end, data without a byte. A peer that sends many of them beside requests is a peer at work; one that
//! sends little else is cut. So each of them costs a bit of an allowance that fills up with time, with requests and with
//! what was answered.
//!
//! Frames that ask for something cost the broker more than their sender as well. So the frames of a client, over all its
//! connections, are read at a pace: what comes faster stays in its sockets, and the processors are there for others.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sixpin_core::limits::{FRAMES_IDLE_BURST_MAX, FRAMES_IDLE_PER_SECOND_MAX};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::poll_proceed;
use tokio::time::{Instant, Sleep, sleep};

use super::share::Share;
use super::unread::Traffic;

/// Longest head of a frame.
const HEAD_MAX: usize = 9;
/// The head of a gRPC message: data that is shorter than this brings none.
const MESSAGE_HEAD: usize = 5;
/// What has no frames counts as one for so many bytes.
const BYTES_PER_STEP: usize = 128;
/// Frames that a request and its answer may bring along: window updates for stream and connection, a probe of the
/// bandwidth, a reset.
const FRAMES_PER_STEP: u32 = 4;

/// What a frame is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// It asks for something.
    Step,
    /// It does not.
    Idle,
}

/// How bytes are told apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Framing {
    /// How that begins which a client says before its first frame. Who says anything else has no frames.
    sign: &'static [u8],
    /// Length of all of it.
    preface: usize,
    /// Length of the head of a frame.
    head: usize,
    /// What frame it is, and the length of its contents.
    read: fn(&[u8; HEAD_MAX]) -> (Frame, usize),
}

/// RFC 9113, or HTTP/1.1, in which no method begins as the preface does.
pub(super) const HTTP: Framing = Framing { sign: b"PRI", preface: 24, head: 9, read: http2 };
/// What has its length in front, and nothing besides.
pub(super) const LENGTHS: Framing = Framing { sign: b"", preface: 0, head: 4, read: length };

fn http2(head: &[u8; HEAD_MAX]) -> (Frame, usize) {
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let frame = match head[3] {
        // DATA and HEADERS.
        0 if length >= MESSAGE_HEAD => Frame::Step,
        1 => Frame::Step,
        _ => Frame::Idle,
    };
    (frame, length)
}

fn length(head: &[u8; HEAD_MAX]) -> (Frame, usize) {
    (Frame::Step, u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize)
}

/// Where in the stream of bytes the reader is.
#[derive(Debug)]
enum Place {
    /// So much of the sign has come.
    Sign(usize),
    /// There are no frames.
    Unframed,
    /// So much of the preface is missing, or of a frame's contents.
    Skip(usize),
    /// So much of a frame's head has come.
    Head([u8; HEAD_MAX], usize),
}

impl Place {
    const NEXT: Self = Self::Head([0; HEAD_MAX], 0);

    fn after(bytes: usize) -> Self {
        if bytes == 0 { Self::NEXT } else { Self::Skip(bytes) }
    }

    fn beginning(framing: Framing) -> Self {
        if framing.sign.is_empty() { Self::after(framing.preface) } else { Self::Sign(0) }
    }

    /// Goes on with these bytes and shows each frame that begins in them.
    fn take(&mut self, framing: Framing, mut bytes: &[u8], mut show: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            match self {
                Self::Unframed => return,
                Self::Sign(come) if *come == framing.sign.len() => *self = Self::after(framing.preface - *come),
                Self::Sign(come) if bytes[0] == framing.sign[*come] => {
                    *come += 1;
                    bytes = &bytes[1..];
                }
                Self::Sign(_) => *self = Self::Unframed,
                Self::Skip(missing) => {
                    let skipped = bytes.len().min(*missing);
                    bytes = &bytes[skipped..];
                    *self = Self::after(*missing - skipped);
                }
                Self::Head(head, come) => {
                    let taken = bytes.len().min(framing.head - *come);
                    head[*come..*come + taken].copy_from_slice(&bytes[..taken]);
                    *come += taken;
                    bytes = &bytes[taken..];
                    if *come == framing.head {
                        let (frame, length) = (framing.read)(head);
                        show(frame);
                        *self = Self::after(length);
                    }
                }
            }
        }
    }
}

/// How many idle frames may still come.
#[derive(Debug)]
struct Allowance {
    left: u32,
    filled: Instant,
}

impl Allowance {
    fn new() -> Self {
        Self { left: FRAMES_IDLE_BURST_MAX, filled: Instant::now() }
    }

    fn earn(&mut self, frames: u32) {
        self.left = self.left.saturating_add(frames).min(FRAMES_IDLE_BURST_MAX);
    }

    /// False if there is no more.
    fn spend(&mut self, frames: u32) -> bool {
        if self.left < frames {
            let earned = self.filled.elapsed().as_millis() * u128::from(FRAMES_IDLE_PER_SECOND_MAX) / 1_000;
            // What is less than a frame is not lost for who asks often.
            if earned > 0 {
                self.filled = Instant::now();
                self.earn(u32::try_from(earned).unwrap_or(u32::MAX));
            }
        }
        let enough = self.left >= frames;
        self.left = self.left.saturating_sub(frames);
        enough
    }
}

/// A socket whose frames are counted, and on which it is noted when the peer takes nothing.
pub(crate) struct Counting<S> {
    socket: S,
    framing: Framing,
    place: Place,
    allowance: Allowance,
    traffic: Arc<Traffic>,
    share: Arc<Share>,
    /// Until then nothing is read.
    rest: Option<Pin<Box<Sleep>>>,
}

impl<S> Counting<S> {
    pub(super) fn new(socket: S, framing: Framing, traffic: Arc<Traffic>, share: Arc<Share>) -> Self {
        let place = Place::beginning(framing);
        Self { socket, framing, place, allowance: Allowance::new(), traffic, share, rest: None }
    }

    /// Counts what came, and rests if it came too fast. An error cuts the connection.
    fn count(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut idle, mut steps) = (0, 0);
        self.place.take(self.framing, bytes, |frame| match frame {
            Frame::Step => steps += 1,
            Frame::Idle => idle += 1,
        });
        if matches!(self.place, Place::Unframed) {
            steps += unframed_steps(bytes);
        }
        self.allowance.earn(FRAMES_PER_STEP.saturating_mul(steps + self.traffic.take_answered()));
        if idle > 0 && !self.allowance.spend(idle) {
            return Err(io::Error::other(Flood));
        }
        let rest = self.share.frames.as_ref().map_or(Duration::ZERO, |pace| pace.came(idle + steps));
        self.rest = (!rest.is_zero()).then(|| Box::pin(sleep(rest)));
        Ok(())
    }
}

/// What bytes without frames count as.
fn unframed_steps(bytes: &[u8]) -> u32 {
    bytes.len().div_ceil(BYTES_PER_STEP) as u32
}

/// A peer sent too many frames that ask for nothing.
#[derive(Debug, thiserror::Error)]
#[error(
    "more frames without a request than the limit allows: {FRAMES_IDLE_BURST_MAX} at once, \
     {FRAMES_IDLE_PER_SECOND_MAX} a second"
)]
pub(super) struct Flood;

impl<S: AsyncRead + Unpin> AsyncRead for Counting<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(rest) = &mut this.rest {
            ready!(rest.as_mut().poll(cx));
            this.rest = None;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buffer))?;
        let come = &buffer.filled()[before..];
        if matches!(this.place, Place::Unframed) {
            for _ in 0..unframed_steps(come) {
                if let Poll::Ready(turn) = poll_proceed(cx) {
                    turn.made_progress();
                }
            }
        }
        Poll::Ready(this.count(come))
    }
}

impl<S> Counting<S> {
    fn note(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(_) => self.traffic.wrote(true),
            Poll::Pending => self.traffic.wrote(false),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counting<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use sixpin_core::broker::api::Client;
    use sixpin_core::limits::FRAMES_PER_SECOND_MAX;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let mut bytes = (length as u32).to_be_bytes()[1..].to_vec();
        bytes.push(kind);
        bytes.resize(HTTP.head + length, 0);
        bytes
    }

    fn preface() -> Vec<u8> {
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()
    }

    fn share() -> Arc<Share> {
        Arc::new(Share::new(Client::default(), Arc::default()))
    }

    fn counting() -> Counting<()> {
        let mut counting = Counting::new((), HTTP, Traffic::new(), share());
        counting.count(&preface()).unwrap();
        counting
    }

    #[test]
    fn frames_are_told_apart_wherever_the_bytes_are_split() {
        let bytes: Vec<u8> =
            [preface(), frame(4, 6), frame(1, 300), frame(0, 4), frame(0, 5), frame(6, 8), frame(4, 0)].concat();
        let expected = [Frame::Idle, Frame::Step, Frame::Idle, Frame::Step, Frame::Idle, Frame::Idle];
        for size in [1, 2, 7, 9, 10, 64, bytes.len()] {
            let (mut place, mut seen) = (Place::beginning(HTTP), Vec::new());
            bytes.chunks(size).for_each(|bytes| place.take(HTTP, bytes, |frame| seen.push(frame)));
            assert_eq!(seen, expected, "in pieces of {size} bytes");
        }
        let bytes = [&[0, 0, 0, 2, 9, 9][..], &[0, 0, 0, 0], &[0, 0, 1, 0], &[7; 256], &[0]].concat();
        for size in [1, 3, 4, 5, bytes.len()] {
            let (mut place, mut seen) = (Place::beginning(LENGTHS), 0);
            bytes.chunks(size).for_each(|bytes| place.take(LENGTHS, bytes, |_| seen += 1));
            assert_eq!(seen, 3, "in pieces of {size} bytes");
        }
    }

    #[test]
    fn http1_has_no_frames() {
        for text in ["PUT / HTTP/1.1\r\n", "GET / HTTP/1.1\r\n", "P", "PR"] {
            let mut place = Place::beginning(HTTP);
            text.as_bytes().chunks(1).for_each(|bytes| place.take(HTTP, bytes, |_| panic!("a frame")));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_no_frames_is_read_at_a_pace_however_it_comes() {
        let reads_at_once = |bytes: &[u8]| {
            let mut counting = Counting::new((), HTTP, Traffic::new(), share());
            counting.count(b"GET / HTTP/1.1\r\n").unwrap();
            let read = |_: &u32| counting.count(bytes).is_ok() && counting.rest.is_none();
            (0..FRAMES_PER_SECOND_MAX).take_while(read).count()
        };
        let (small, large) = (reads_at_once(b"x"), reads_at_once(&[b'x'; 16 * BYTES_PER_STEP]));
        assert!(small < FRAMES_PER_SECOND_MAX as usize, "reads of a byte have no pace");
        assert!(large > 0 && (small / 20..small / 12).contains(&large), "{small} reads of a byte, {large} of 2 KiB");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_and_a_slow_trickle_is_not() {
        for (kind, length) in [(0, 0), (2, 5), (3, 4), (4, 6), (6, 8), (8, 4), (9, 10)] {
            let mut counting = counting();
            let flood = (0..=FRAMES_IDLE_BURST_MAX).map(|_| counting.count(&frame(kind, length)));
            assert!(flood.last().unwrap().is_err(), "frames of type {kind}");
        }
        let mut counting = counting();
        for _ in 0..10 * FRAMES_IDLE_BURST_MAX {
            tokio::time::sleep(Duration::from_secs(1) / FRAMES_IDLE_PER_SECOND_MAX).await;
            counting.count(&frame(6, 8)).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_may_send_the_frames_that_go_with_it() {
        let mut counting = counting();
        for _ in 0..10 * FRAMES_IDLE_BURST_MAX {
            counting.count(&[frame(0, 20), frame(8, 4), frame(8, 4), frame(6, 8)].concat()).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_one_client_are_read_at_a_pace() {
        let share = share();
        let seconds = 3;
        let frames = FRAMES_PER_SECOND_MAX as usize * seconds;
        let bytes = [preface(), frame(1, 10).repeat(frames / 2)].concat();
        let begin = Instant::now();
        // Two connections of the client, one after the other.
        for _ in 0..2 {
            let mut counting = Counting::new(bytes.as_slice(), HTTP, Traffic::new(), share.clone());
            tokio::io::copy(&mut counting, &mut tokio::io::sink()).await.unwrap();
            let _ = counting.read(&mut [0]).await;
        }
        let took = begin.elapsed();
        assert!(took > Duration::from_millis(2_500) && took < Duration::from_millis(3_500), "{took:?}");
    }
}
