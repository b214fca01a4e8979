//! One file from another server, such as the keys that tokens are signed with.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};

use super::client;

/// From the connection to the last byte.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Bytes of it at most.
const LEN_MAX: usize = 1 << 20;

/// Gets what lies at an address.
///
/// # Errors
///
/// Where the server cannot be reached, or does not give it whole within 10 s and 1 MiB.
pub async fn fetch(address: &str) -> Result<Bytes, String> {
    let request = Request::get(address)
        .body(Full::default())
        .map_err(|error| error.to_string())?;
    let client = client::client(TIME_MAX, None)?;
    let whole = async {
        let response = client
            .request(request)
            .await
            .map_err(|error| super::last_cause(&error))?;
        if !response.status().is_success() {
            return Err(format!("it answers {}", response.status()));
        }
        let body = Limited::new(response.into_body(), LEN_MAX).collect().await;
        Ok(body.map_err(|error| error.to_string())?.to_bytes())
    };
    let fetched = tokio::time::timeout(TIME_MAX, whole).await;
    fetched.unwrap_or_else(|_| Err(format!("no answer within {TIME_MAX:?}")))
}
