//! `[admin]`: a listener of its own for those who run the node.

use serde::Deserialize;

use super::server::{Addresses, Tls};

/// The operators' listener, on which `POST /admin/reload` is, and `/metrics`, `/healthz` and `/readyz` are as well.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Address or addresses, `"127.0.0.1:8081"`. Where other machines reach it, `auth.mode` must not be `none`.
    pub listen: Addresses,
    /// TLS of this listener. Default: none, also where `server.tls` is there.
    pub tls: Option<Tls>,
}
