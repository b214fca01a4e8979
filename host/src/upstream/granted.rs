//! Calls of plugins to the hosts that an operator granted them: connections of their own, apart from those to upstreams.
//!
//! That a host is granted was decided before. What is decided here is where its name leads: not into the node's own networks,
//! unless that was granted as well, whatever whoever answers for the name says.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use hyper_util::client::legacy::connect::dns::Name;
use selvedge_plugin::{CallAnswer, CallBody, CallFailure, Caller, Origin, Reach};
use tower_service::Service;

use super::client::{self, Pooled, Resolver};
use crate::telemetry::calls::Outgoing;

/// How long a connection may take: name, TCP and TLS.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Makes the calls.
pub struct Granted {
    /// To names that lead outside.
    outside: Pooled<Outside, CallBody>,
    /// To wherever a name leads.
    anywhere: Pooled<Resolver, CallBody>,
}

impl Granted {
    /// Connections are made as they are needed.
    ///
    /// # Errors
    ///
    /// Where TLS cannot be set up.
    pub fn new() -> Result<Self, String> {
        let resolver = Resolver::default();
        Ok(Self {
            outside: client::build(Outside(resolver.clone()), CONNECT_TIME_MAX, None)?,
            anywhere: client::build(resolver, CONNECT_TIME_MAX, None)?,
        })
    }
}

impl Caller for Granted {
    fn call(
        &self,
        origin: Origin,
        mut request: Request<CallBody>,
    ) -> Pin<Box<dyn Future<Output = CallAnswer> + Send>> {
        let call = Outgoing::begin(&mut request);
        let answer = match origin.reach {
            Reach::Public => self.outside.request(request),
            Reach::Private => self.anywhere.request(request),
        };
        Box::pin(async move {
            let response = match answer.await {
                Ok(response) => response,
                Err(error) => {
                    let failure = failure(&error);
                    call.failed(failure.code());
                    return Err(failure);
                }
            };
            call.answered(response.status());
            Ok(response.map(|body| body.map_err(io::Error::other).boxed_unsync()))
        })
    }
}

/// What an error means, by what is at the bottom of it.
pub(super) fn failure(error: &hyper_util::client::legacy::Error) -> CallFailure {
    let mut source = Some(error as &(dyn std::error::Error + 'static));
    let mut said = String::new();
    while let Some(error) = source {
        said = error.to_string();
        if let Some(error) = error.downcast_ref::<io::Error>() {
            match error.kind() {
                io::ErrorKind::PermissionDenied => return CallFailure::Prohibited(said),
                io::ErrorKind::ConnectionRefused => return CallFailure::Refused(said),
                io::ErrorKind::TimedOut => return CallFailure::TimedOut,
                _ => {}
            }
            // What the connector wraps is in it, and not its source.
            if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
                return CallFailure::Tls(said);
            }
        }
        if error.is::<rustls::Error>() {
            return CallFailure::Tls(said);
        }
        if said.contains("dns error") {
            let why = error.source().map_or_else(|| said.clone(), ToString::to_string);
            let prohibited = error.source().and_then(|error| error.downcast_ref::<io::Error>());
            if prohibited.is_none_or(|error| error.kind() != io::ErrorKind::PermissionDenied) {
                return CallFailure::Unknown(why);
            }
        }
        source = error.source();
    }
    if error.is_connect() {
        CallFailure::Refused(said)
    } else {
        CallFailure::Broken(said)
    }
}

/// A resolver that leaves out the addresses of the node's own networks.
#[derive(Clone)]
struct Outside(Resolver);

impl Service<Name> for Outside {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let said = name.as_str().to_owned();
        let found = self.0.call(name);
        Box::pin(async move {
            let (outside, inside): (Vec<_>, Vec<_>) =
                found.await?.partition(|address| !is_private(address.ip()));
            match (outside.is_empty(), inside.first()) {
                (true, Some(address)) => Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!(
                        "`{said}` is at {}, a private address; where that is meant, grant {{ url = \"..\", private = true }}",
                        address.ip()
                    ),
                )),
                _ => Ok(outside.into_iter()),
            }
        })
    }
}

/// Whether an address is of the node itself, of its networks, or of nobody in particular.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_multicast()
                || first == 0
                || first >= 240
                // Shared by a provider's customers (RFC 6598), protocol assignments (RFC 6890), benchmarks (RFC 2544).
                || (first == 100 && (64..128).contains(&second))
                || matches!(address.octets(), [192, 0, 0, _] | [198, 18 | 19, ..])
        }
        IpAddr::V6(address) => match embedded(address) {
            Some(address) => is_private(IpAddr::V4(address)),
            None => {
                address.is_loopback()
                    || address.is_unspecified()
                    || address.is_multicast()
                    || address.is_unique_local()
                    || address.is_unicast_link_local()
                    // Site-local (RFC 3879), Teredo (RFC 4380), NAT64 of a network's own (RFC 8215).
                    || address.segments()[0] & 0xffc0 == 0xfec0
                    || address.octets().starts_with(&[0x20, 0x01, 0, 0])
                    || address.octets().starts_with(&[0, 0x64, 0xff, 0x9b, 0, 1])
            }
        },
    }
}

/// The IPv4 address that an IPv6 one stands for: mapped, compatible, by NAT64 (RFC 6052) or 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<std::net::Ipv4Addr> {
    let octets = address.octets();
    let translated = octets.starts_with(&[0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0]);
    let last = || std::net::Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]);
    if octets.starts_with(&[0x20, 0x02]) {
        return Some(std::net::Ipv4Addr::new(
            octets[2], octets[3], octets[4], octets[5],
        ));
    }
    let compatible = octets.starts_with(&[0; 12]) && !address.is_loopback() && !address.is_unspecified();
    address
        .to_ipv4_mapped()
        .or_else(|| (translated || compatible).then(last))
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Empty};
    use selvedge_plugin::{CallBody, CallFailure, Caller, Origin, Reach};

    use super::{Granted, is_private};

    /// What comes of a call to `localhost`, which is as good as any name that leads inside.
    async fn call(address: std::net::SocketAddr, reach: Reach) -> Result<u16, CallFailure> {
        let url = format!("http://localhost:{}", address.port());
        let mut origin = Origin::parse(&url).expect("an origin");
        origin.reach = reach;
        let body: CallBody = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = http::Request::post(format!("{url}/"))
            .body(body)
            .expect("a request");
        let granted = Granted::new().expect("TLS");
        granted
            .call(origin, request)
            .await
            .map(|response| response.status().as_u16())
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_called_only_where_that_was_granted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let failure = call(address, Reach::Public).await.expect_err("refused");
        assert!(
            matches!(&failure, CallFailure::Prohibited(why) if why.contains("private = true")),
            "{failure:?}"
        );
        listener.set_nonblocking(true).expect("set");
        assert!(listener.accept().is_err(), "nobody connected");
        drop(listener);
        let failure = call(address, Reach::Private).await.expect_err("nobody listens");
        assert!(matches!(failure, CallFailure::Refused(_)), "{failure:?}");
    }

    #[test]
    fn tells_the_node_s_own_networks_from_the_rest() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
        ] {
            assert!(is_private(private.parse().expect("an address")), "{private}");
        }
        for public in [
            "1.1.1.1",
            "100.128.0.1",
            "172.32.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(!is_private(public.parse().expect("an address")), "{public}");
        }
    }
}
