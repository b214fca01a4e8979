//! `[admin]`: a listener of its own for those who run the node.

use serde::Deserialize;

use super::listen::{Addresses, Network, UnixSocket};
use super::server::Tls;

/// The operators' listener, on which `POST /admin/reload` is, and `/metrics`, `/healthz` and `/readyz` are as well.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Address or addresses, `"127.0.0.1:8081"` or `"unix:/run/selvedge/admin.sock"`. If other machines reach one, `auth.mode` must not be
    /// `none`.
    pub listen: Addresses,
    /// Permissions of the socket files among them. Default: mode 0660, the group of the process.
    pub unix_socket: Option<UnixSocket>,
    /// Peers whose connections begin with a header of the PROXY protocol, as of [`Server`](super::Server). Default: none.
    #[serde(default)]
    pub proxy_protocol: Vec<Network>,
    /// TLS of this listener. Default: none, also where `server.tls` is there.
    pub tls: Option<Tls>,
}
