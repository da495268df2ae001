//! Bytes that are no HTTP/2, or hardly.

use futures::future::join_all;

use super::{Until, on_each, path};
use crate::target::Target;
use crate::wire::{self, PREFACE};

pub(super) async fn half_open(target: Target, until: Until) {
    const CONNECTIONS: usize = 12_000;
    let mut open = Vec::new();
    while open.len() < CONNECTIONS && !until.over() {
        for stream in join_all((0..100).map(|_| target.connect())).await {
            let Ok(mut stream) = stream else { continue };
            match open.len() % 3 {
                0 => {}
                1 => drop(wire::say(&mut stream, &PREFACE[..10]).await),
                _ => drop(wire::say(&mut stream, PREFACE).await),
            }
            open.push(stream);
        }
    }
    until.wait().await;
}

pub(super) async fn random(target: Target, until: Until) {
    on_each(20, until, async || {
        let mut stream = if fastrand::bool() { target.connect().await? } else { target.greet(65_535).await? };
        let mut bytes = vec![0; fastrand::usize(1..20_000)];
        fastrand::fill(&mut bytes);
        wire::say(&mut stream, &bytes).await?;
        wire::listen(&mut stream).await;
        Ok(())
    })
    .await;
}

pub(super) async fn frames(target: Target, until: Until) {
    on_each(20, until, async || {
        let mut stream = target.greet(65_535).await?;
        wire::say(&mut stream, &target.call(1, path::SESSION)).await?;
        for _ in 0..fastrand::usize(1..100) {
            let mut payload = vec![0; fastrand::usize(0..64)];
            fastrand::fill(&mut payload);
            let frame = wire::frame(fastrand::u8(0..12), fastrand::u8(..), fastrand::u32(0..6), &payload);
            wire::say(&mut stream, &frame).await?;
        }
        wire::listen(&mut stream).await;
        Ok(())
    })
    .await;
}
