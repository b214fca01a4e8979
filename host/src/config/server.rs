//! `[server]`: the public listener and its limits.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::listen::{Address, Addresses, Network, UnixSocket};
use super::unit::{Size, Time};

/// The public listener and its limits.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address or addresses, `"127.0.0.1:8080"` or `"unix:/run/selvedge/selvedge.sock"`; port 0 takes a free one. Default
    /// `127.0.0.1:8080`.
    pub listen: Addresses,
    /// Permissions of the socket files among them. Default: mode 0660, the group of the process.
    pub unix_socket: Option<UnixSocket>,
    /// Peers whose connections begin with a header of the PROXY protocol, as networks, or `"unix"`. If there are networks, other
    /// machines are refused; processes of this one need no header. Default: none.
    pub proxy_protocol: Vec<Network>,
    /// Bytes of a request's body at most; beyond: 413. Default 8 MiB.
    pub body_size_max: Size,
    /// Headers of a request over HTTP/1 at most; beyond: 431. Default 100.
    pub headers_max: usize,
    /// Bytes of a request's head at most, its target and all its headers together; beyond: 431. Default 64 KiB.
    pub head_size_max: Size,
    /// Proxies that are believed where they say where a request comes from, as networks, `["10.0.0.0/8"]`; `"unix"` stands
    /// for those that connect to a socket file. Default: none.
    pub trusted_proxies: Vec<Network>,
    /// Which header these write; the other one is the client's own word. Default `x-forwarded-for`.
    pub forwarded: Forwarded,
    /// Certificate and key, where the listener speaks TLS. Default: it does not.
    pub tls: Option<Tls>,
    /// Which pages of other origins may call the node from a browser. Default: none.
    pub cors: Cors,
    /// From the end of a request's head to its answer, reading the body included; beyond: 504, or 408 where the body is
    /// what did not come. Default 120 s.
    pub request_timeout: Time,
    /// From a connection's start, or the end of an answer, to the end of the next request's head over HTTP/1; beyond, the
    /// connection is closed. Default 30 s.
    pub header_timeout: Time,
    /// How long a connection may have no request in flight; beyond, it is closed. Default 75 s.
    pub idle_timeout: Time,
    /// Connections at once; more wait to be accepted. Default 10,000.
    pub connections_max: usize,
    /// Requests at once on one HTTP/2 connection. Default 128.
    pub streams_max: u32,
    /// What one model may take for its first small input at a reload, or the reload is refused; and what one plugin of one endpoint may
    /// take to prepare what it serves with, or it serves without. Default 60 s.
    pub warm_up_timeout: Time,
    /// How long the node goes on taking requests after SIGTERM while `/readyz` fails, so that balancers see it. Default 0.
    pub drain_delay: Time,
    /// How long requests in flight may take after SIGTERM before they are cut off. Default 30 s.
    pub drain_timeout: Time,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: Addresses(vec![Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080)))]),
            unix_socket: None,
            proxy_protocol: Vec::new(),
            body_size_max: Size(8 << 20),
            headers_max: 100,
            head_size_max: Size(64 << 10),
            trusted_proxies: Vec::new(),
            forwarded: Forwarded::default(),
            tls: None,
            cors: Cors::default(),
            request_timeout: Time(Duration::from_secs(120)),
            header_timeout: Time(Duration::from_secs(30)),
            idle_timeout: Time(Duration::from_secs(75)),
            connections_max: 10_000,
            streams_max: 128,
            warm_up_timeout: Time(Duration::from_secs(60)),
            drain_delay: Time(Duration::ZERO),
            drain_timeout: Time(Duration::from_secs(30)),
        }
    }
}

/// The header in which proxies say where a request comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forwarded {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded`. <https://www.rfc-editor.org/rfc/rfc7239>
    Forwarded,
}

/// TLS 1.2 and 1.3, with HTTP/2 where the client takes it. The files are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate and those that lead to its authority, in order.
    pub cert: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
    /// PEM file with authorities, one of which must have signed the client's certificate. Default: clients need none.
    pub client_ca: Option<PathBuf>,
}

/// Which pages of other origins may call the node from a browser. <https://fetch.spec.whatwg.org/#http-cors-protocol>
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cors {
    /// Origins, `["https://app.example"]`, or `["*"]` for all.
    pub origins: Vec<String>,
}
