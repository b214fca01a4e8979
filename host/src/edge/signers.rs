//! Where the keys come from that tokens are signed with: a file or an address, read again from time to time.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Tokens;
use crate::shutdown::Shutdown;
use crate::upstream::fetch;

/// How often keys are fetched again at most, where tokens name one that is not known.
const WANTED_EVERY: Duration = Duration::from_secs(10);

/// How often it is looked whether such a token came.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reads the keys; `folder` is where a file's path starts from.
///
/// # Errors
///
/// Where they cannot be had, or are no keys; those before hold.
pub async fn read(tokens: &Tokens, folder: &Path) -> Result<usize, String> {
    let place = &tokens.settings().jwks;
    let is_address = place.starts_with("https://") || place.starts_with("http://");
    let text = if is_address {
        fetch::fetch(place).await?.to_vec()
    } else {
        let path = folder.join(place);
        std::fs::read(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?
    };
    tokens.replace(&text)
}

/// Reads the keys again every `auth.jwt.refresh`, and earlier where a token names one that is not known, until the node ends or
/// nobody uses them any more.
pub async fn follow(tokens: Tokens, folder: std::path::PathBuf, shutdown: Shutdown) {
    let (mut read_at, refresh) = (Instant::now(), tokens.settings().refresh.0);
    let mut known = true;
    while !tokens.is_last() {
        tokio::select! {
            () = shutdown.draining() => return,
            () = tokio::time::sleep(LOOK_EVERY.min(refresh)) => {}
        }
        let age = read_at.elapsed();
        let wanted = age >= WANTED_EVERY && (!known || tokens.wants_keys());
        if age < refresh && !wanted {
            continue;
        }
        read_at = Instant::now();
        let outcome = read(&tokens, &folder).await;
        known = outcome.is_ok();
        match outcome {
            Ok(count) => tracing::debug!(count, "read the keys that tokens are signed with"),
            Err(error) => {
                tracing::error!(%error, "auth.jwt.jwks: the keys cannot be read; those known before hold");
            }
        }
    }
}
