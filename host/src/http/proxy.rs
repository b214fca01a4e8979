//! The header with which a proxy says where a connection comes from, versions 1 and 2.
//! <https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>

use std::time::Duration;

use metrics::counter;
use proxy_header::{Error, ParseConfig, ProxyHeader};

use super::stream::Stream;
use crate::config::Network;
use crate::edge::Peer;

/// Bytes of a header at most: 107 in version 1; in version 2 16 and as many as two bytes can count, most of them a proxy's own
/// fields. Memory grows with what has come.
const HEADER_LEN_MAX: usize = 16 + u16::MAX as usize;

/// Demand on a connection before its first byte is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demand {
    /// None: it comes from its peer.
    Nothing,
    /// A header.
    Header,
    /// To come from a proxy, as it does not.
    Proxy,
}

/// Reason for closing a connection.
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
    /// Its peer is none of the proxies, and is of another machine.
    #[error("it comes from none of the networks of `proxy_protocol`")]
    Stranger,
}

impl Demand {
    /// Demand on a connection of this peer. Somebody who gets round the balancer must not be served as if it had let them through;
    /// processes of this machine may ask the node for its health.
    fn on(peer: Peer, proxies: &[Network]) -> Self {
        let is_closed = proxies.iter().any(|network| matches!(network, Network::Ip(_)));
        match peer {
            _ if peer.is_in(proxies) => Self::Header,
            Peer::Ip(address) if is_closed && !address.to_canonical().is_loopback() => Self::Proxy,
            Peer::Ip(_) | Peer::Unix => Self::Nothing,
        }
    }
}

impl Refusal {
    /// The label of the metric.
    fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Late => "late",
            Self::Short => "short",
            Self::Stranger => "stranger",
        }
    }
}

/// Returns the client of a connection: the peer itself, or the one that its header names, which is taken off. If the header says so,
/// as for a health check, that is the proxy itself.
///
/// # Errors
///
/// If the peer must be a proxy and is none, or there is no valid header, or none within the time; the refusal is counted.
pub(super) async fn client(
    stream: &mut Stream,
    peer: Peer,
    proxies: &[Network],
    within: Duration,
) -> Result<Peer, Refusal> {
    let found = match Demand::on(peer, proxies) {
        Demand::Nothing => Ok(peer),
        Demand::Header => {
            let taken = tokio::time::timeout(within, read(stream, peer)).await;
            taken.unwrap_or(Err(Refusal::Late))
        }
        Demand::Proxy => Err(Refusal::Stranger),
    };
    if let Err(refusal) = found {
        counter!("selvedge_proxy_protocol_refused_total", "reason" => refusal.name()).increment(1);
    }
    found
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

#[cfg(test)]
mod tests {
    use super::{Demand, Peer};
    use crate::config::Network;

    #[test]
    fn proxies_must_send_a_header_and_strangers_are_refused_and_this_machine_is_served() {
        let network = |text: &str| text.parse::<Network>().expect("a network");
        let proxies = ["10.0.0.0/8", "127.0.0.2/32"].map(network);
        let ip = |text: &str| Peer::Ip(text.parse().expect("an address"));
        let cases = [
            ("10.1.2.3", Demand::Header),
            ("::ffff:10.1.2.3", Demand::Header),
            ("127.0.0.2", Demand::Header),
            ("127.0.0.1", Demand::Nothing),
            ("::ffff:127.0.0.1", Demand::Nothing),
            ("::1", Demand::Nothing),
            ("192.0.2.7", Demand::Proxy),
            ("2001:db8::7", Demand::Proxy),
        ];
        for (address, demand) in cases {
            assert_eq!(Demand::on(ip(address), &proxies), demand, "{address}");
            assert_eq!(Demand::on(ip(address), &[]), Demand::Nothing, "{address}");
        }
        assert_eq!(Demand::on(Peer::Unix, &proxies), Demand::Nothing);
        // Addresses of the network are not closed by a rule for socket files.
        let files = [Network::Unix];
        assert_eq!(Demand::on(Peer::Unix, &files), Demand::Header);
        assert_eq!(Demand::on(ip("192.0.2.7"), &files), Demand::Nothing);
    }
}
