//! Reads a request's body within its limit and its time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use crate::pipeline::ClientFault;

/// How much of a body that is too long is still read, so that its sender gets to see the answer.
const DRAIN_LEN_MAX: usize = 64 << 20;

/// How long that may take.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// What becomes of the rest of a body that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is read and thrown away.
    Drain,
    /// It is left where it is.
    Leave,
}

/// The whole body.
///
/// # Errors
///
/// Where it is longer than `len_max`, does not come within `time_max`, or breaks off.
pub async fn read(
    mut body: Incoming,
    len_max: usize,
    time_max: Duration,
    refused: Refused,
) -> Result<Bytes, ClientFault> {
    let announced = body.size_hint().lower();
    let read = async {
        if announced > len_max as u64 {
            return Err(ClientFault::BodyTooLarge { max: len_max });
        }
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ClientFault::BodyBroken(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > len_max {
                return Err(ClientFault::BodyTooLarge { max: len_max });
            }
            // Most bodies are one frame, which is then not copied.
            if bytes.is_empty() && body.is_end_stream() {
                return Ok(data);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.freeze())
    };
    let result = tokio::time::timeout(time_max, read)
        .await
        .unwrap_or(Err(ClientFault::BodyTimeout(time_max)));
    if let (Err(ClientFault::BodyTooLarge { .. }), Refused::Drain) = (&result, refused) {
        drain(body).await;
    }
    result
}

/// Reads the rest of a body that is refused and throws it away, within bounds. Whether it could changes nothing for the answer.
pub async fn drain(mut body: Incoming) {
    let rest = async {
        let mut len = 0;
        while let Some(Ok(frame)) = body.frame().await {
            len += frame.data_ref().map_or(0, Bytes::len);
            if len > DRAIN_LEN_MAX {
                return;
            }
        }
    };
    tokio::time::timeout(DRAIN_TIME_MAX, rest).await.ok();
}
