//! Waiting in tests: until a condition holds, and never longer than a deadline.

use std::time::Duration;

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(5);

/// Waits until `condition` holds. True if it did before `longest` had passed.
///
/// The only form of waiting in tests: a fixed sleep is either too short on a slow machine or too long on all others.
pub async fn until<F: Future<Output = bool>>(longest: Duration, mut condition: impl FnMut() -> F) -> bool {
    let deadline = tokio::time::Instant::now() + longest;
    loop {
        if condition().await {
            return true;
        }
        if tokio::time::Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(STEP).await;
    }
}
