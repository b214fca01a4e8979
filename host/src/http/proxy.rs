//! The header with which a proxy says where a connection comes from, versions 1 and 2.
//! <https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>

use std::time::Duration;

use metrics::counter;
use proxy_header::{Error, ParseConfig, ProxyHeader};

use super::stream::Stream;
use crate::edge::Peer;

/// Bytes of a header at most: version 1 has 107, version 2 rarely more than 500, and more where a proxy adds its own fields.
const HEADER_LEN_MAX: usize = 4096;

/// Reason for closing a connection that must begin with a header and does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// It begins with something else.
    #[error("it does not begin with a header of the PROXY protocol")]
    Invalid,
    /// The header did not come in time.
    #[error("the header of the PROXY protocol did not come in time")]
    Late,
    /// It ended before its header did.
    #[error("it ended before its header of the PROXY protocol did")]
    Short,
}

impl Refusal {
    /// The label of the metric.
    fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Late => "late",
            Self::Short => "short",
        }
    }
}

/// Takes the header off a connection and returns the peer that it names. If the header says so, as for a health check, that is the proxy
/// itself.
///
/// # Errors
///
/// If there is no valid header, or none within the time; the refusal is counted.
pub(super) async fn take(stream: &mut Stream, peer: Peer, within: Duration) -> Result<Peer, Refusal> {
    let taken = tokio::time::timeout(within, read(stream, peer)).await;
    let taken = taken.unwrap_or(Err(Refusal::Late));
    if let Err(refusal) = taken {
        counter!("selvedge_proxy_protocol_refused_total", "reason" => refusal.name()).increment(1);
    }
    taken
}

async fn read(stream: &mut Stream, peer: Peer) -> Result<Peer, Refusal> {
    let options = ParseConfig {
        include_tlvs: false,
        allow_v1: true,
        allow_v2: true,
    };
    let mut before = 0;
    loop {
        let seen = stream.look_ahead().await.map_err(|_| Refusal::Short)?;
        match ProxyHeader::parse(seen, options) {
            Ok((header, len)) => {
                let source = header.proxied_address().map(|address| address.source.ip());
                stream.skip(len);
                return Ok(source.map_or(peer, Peer::Ip));
            }
            Err(Error::BufferTooShort) if seen.len() == before => return Err(Refusal::Short),
            Err(Error::BufferTooShort) if seen.len() < HEADER_LEN_MAX => before = seen.len(),
            Err(_) => return Err(Refusal::Invalid),
        }
    }
}
