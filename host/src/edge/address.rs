//! Where a request comes from, where proxies stand before the node.

use std::net::{IpAddr, Ipv6Addr};

use crate::config::{Forwarded, Network};
use http::HeaderMap;

/// Entries of a list of addresses that are looked at.
const HOPS_MAX: usize = 16;

/// Origin of a connection or a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// An address.
    Ip(IpAddr),
    /// A process of this machine that connected to a socket file; they all count as one.
    Unix,
}

impl Peer {
    /// Returns true if one of these networks has the peer.
    #[must_use]
    pub fn is_in(self, networks: &[Network]) -> bool {
        networks.iter().any(|network| match (self, network) {
            (Self::Ip(address), Network::Ip(network)) => network.contains(&plain(address)),
            (Self::Unix, Network::Unix) => true,
            _ => false,
        })
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// The proxies that are believed.
#[derive(Debug, Clone)]
pub struct Proxies {
    networks: Vec<Network>,
    header: Forwarded,
}

impl Proxies {
    /// Those of these networks, which write this header.
    #[must_use]
    pub fn new(networks: Vec<Network>, header: Forwarded) -> Self {
        Self { networks, header }
    }

    /// The nearest address that is no trusted proxy's. Each proxy adds the one that it was called from behind the others, in
    /// the header that was said; what stands before the first address that is
    /// not trusted may be invented.
    #[must_use]
    pub fn client(&self, peer: Peer, headers: &HeaderMap) -> Peer {
        let mut client = match peer {
            Peer::Ip(address) => Peer::Ip(plain(address)),
            Peer::Unix => peer,
        };
        if !client.is_in(&self.networks) {
            return client;
        }
        let forwarded = |name, read: fn(&str) -> Option<IpAddr>| -> Vec<Option<IpAddr>> {
            let values = headers.get_all(name).iter();
            let entries = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
            entries.map(read).collect()
        };
        // A proxy that writes the one passes the other on as the client wrote it.
        let hops = match self.header {
            Forwarded::Forwarded => forwarded("forwarded", for_of),
            Forwarded::XForwardedFor => forwarded("x-forwarded-for", node),
        };
        for hop in hops.into_iter().rev().take(HOPS_MAX) {
            let Some(address) = hop else { break };
            client = Peer::Ip(plain(address));
            if !client.is_in(&self.networks) {
                break;
            }
        }
        client
    }
}

/// The `for` of an entry such as `for="[2001:db8::1]:4711";proto=https`.
fn for_of(entry: &str) -> Option<IpAddr> {
    let mut pairs = entry.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    node(value.trim_matches('"'))
}

/// An address with or without a port; one of IPv6 with a port is in brackets.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None if text.matches(':').count() == 1 => text.split(':').next()?,
        None => text,
    };
    bare.parse().ok()
}

/// An IPv4 address that is written as one of IPv6 is one of IPv4.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The network of one subscriber: an IPv4 address, or the first 64 bits of an IPv6 address. All socket files count as one.
#[must_use]
pub fn network(peer: Peer) -> Peer {
    match peer {
        Peer::Ip(IpAddr::V6(whole)) => Peer::Ip(IpAddr::V6(Ipv6Addr::from_bits(whole.to_bits() >> 64 << 64))),
        Peer::Ip(IpAddr::V4(_)) | Peer::Unix => peer,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::{Peer, Proxies, network};
    use crate::config::Forwarded;

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> String {
        client_by(Forwarded::XForwardedFor, peer, headers)
    }

    fn client_by(header: Forwarded, peer: &str, headers: &[(&'static str, &str)]) -> String {
        let proxies = Proxies::new(vec!["10.0.0.0/8".parse().expect("a network")], header);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a value"));
        }
        proxies
            .client(Peer::Ip(peer.parse().expect("an address")), &map)
            .to_string()
    }

    #[test]
    fn believes_trusted_proxies_only() {
        assert_eq!(
            client("192.0.2.1", &[("x-forwarded-for", "198.51.100.7")]),
            "192.0.2.1"
        );
        assert_eq!(
            client("10.0.0.1", &[("x-forwarded-for", "198.51.100.7")]),
            "198.51.100.7"
        );
        assert_eq!(
            client("::ffff:10.0.0.1", &[("x-forwarded-for", "198.51.100.7")]),
            "198.51.100.7"
        );
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn takes_the_nearest_address_that_is_not_trusted_whatever_a_client_invents() {
        let chain = [("x-forwarded-for", "203.0.113.9, 198.51.100.7, 10.0.0.2")];
        assert_eq!(client("10.0.0.1", &chain), "198.51.100.7");
        let invented = [
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-for", "198.51.100.7"),
        ];
        assert_eq!(client("10.0.0.1", &invented), "198.51.100.7");
        assert_eq!(
            client("10.0.0.1", &[("x-forwarded-for", "198.51.100.7, unknown")]),
            "10.0.0.1"
        );
    }

    #[test]
    fn looks_at_the_header_that_the_proxies_write_and_not_at_the_other() {
        let both = [
            (
                "forwarded",
                r#"for=192.0.2.60;proto=http, for="[2001:db8::1]:4711";by=10.0.0.1"#,
            ),
            ("x-forwarded-for", "198.51.100.7"),
        ];
        assert_eq!(client("10.0.0.1", &both), "198.51.100.7");
        assert_eq!(client_by(Forwarded::Forwarded, "10.0.0.1", &both), "2001:db8::1");
        let port = [("forwarded", "For=198.51.100.7:80")];
        assert_eq!(client_by(Forwarded::Forwarded, "10.0.0.1", &port), "198.51.100.7");
    }

    #[test]
    fn counts_ipv6_by_subscriber() {
        let address = "2001:db8:1:2:3:4:5:6".parse().expect("an address");
        assert_eq!(network(Peer::Ip(address)).to_string(), "2001:db8:1:2::");
        assert_eq!(network(Peer::Unix), Peer::Unix);
    }

    #[test]
    fn believes_a_socket_file_only_where_it_is_named() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "198.51.100.7".parse().expect("a value"));
        let client = |trusted: &str| {
            let networks = vec![trusted.parse().expect("a network")];
            let proxies = Proxies::new(networks, Forwarded::XForwardedFor);
            proxies.client(Peer::Unix, &headers).to_string()
        };
        assert_eq!(client("0.0.0.0/0"), "unix");
        assert_eq!(client("unix"), "198.51.100.7");
    }
}
