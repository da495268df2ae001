//! Several ways to the same thing, tried side by side when the first one hesitates.
//!
//! A member of a store that stands still accepts connections and never answers. Whoever asks one member after the other
//! waits for it each time; whoever asks all at once burdens all. So the first one gets a head start, and only when it
//! has not answered by then are the others asked as well. The first good answer counts.

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};

/// How long the first one is asked alone. Longer than a good answer takes within a region; short beside the time that a
/// broker may be without its store.
pub const HEAD_START: Duration = Duration::from_millis(250);

/// Begins with the first attempt; the others join after [`HEAD_START`], or as soon as the first one failed. The place
/// and the result of the first that succeeds; what is still under way then is dropped. If all fail, their errors, in the
/// order of their failures.
pub async fn race<T, E, F>(attempts: Vec<F>) -> Result<(usize, T), Vec<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut errors = Vec::new();
    let mut running = FuturesUnordered::new();
    let named = |(place, attempt): (usize, F)| async move { (place, attempt.await) };
    let mut waiting = attempts.into_iter().enumerate();
    running.extend(waiting.next().map(named));
    match tokio::time::timeout(HEAD_START, running.next()).await {
        Ok(Some((place, Ok(result)))) => return Ok((place, result)),
        Ok(Some((_, Err(error)))) => errors.push(error),
        Ok(None) | Err(_) => {}
    }
    running.extend(waiting.map(named));
    while let Some((place, result)) = running.next().await {
        match result {
            Ok(result) => return Ok((place, result)),
            Err(error) => errors.push(error),
        }
    }
    Err(errors)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::{Instant, sleep};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Attempts that take so many milliseconds and then succeed or fail, and how many were begun.
    async fn run(attempts: &[(u32, bool)]) -> (Result<(usize, u32), Vec<u32>>, usize, Duration) {
        let begun = AtomicUsize::new(0);
        let start = Instant::now();
        let begun_here = &begun;
        let attempt = |&(time, good): &(u32, bool)| async move {
            begun_here.fetch_add(1, Ordering::Relaxed);
            sleep(MS * time).await;
            if good { Ok(time) } else { Err(time) }
        };
        let result = race(attempts.iter().map(attempt).collect()).await;
        (result, begun.load(Ordering::Relaxed), start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn who_answers_at_once_is_asked_alone() {
        assert_eq!(run(&[(249, true), (1, true)]).await, (Ok((0, 249)), 1, MS * 249));
    }

    #[tokio::test(start_paused = true)]
    async fn who_hesitates_is_overtaken_by_the_quickest() {
        assert_eq!(run(&[(60_000, true), (60_000, true), (20, true)]).await, (Ok((2, 20)), 3, MS * 270));
        // And may still win.
        assert_eq!(run(&[(260, true), (20, true)]).await, (Ok((0, 260)), 2, MS * 260));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_ends_the_head_start_and_is_no_answer() {
        assert_eq!(run(&[(5, false), (1, false), (10, true)]).await, (Ok((2, 10)), 3, MS * 15));
        assert_eq!(run(&[(5, false), (9, false), (1, false)]).await, (Err(vec![5, 1, 9]), 3, MS * 14));
        assert_eq!(run(&[]).await.0, Err(vec![]));
    }
}
