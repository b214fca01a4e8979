//! What an operator grants a plugin beyond logging, metrics and tensors: hosts to call, models, stores, secrets,
//! journals, bodies.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::inference::Models;
use crate::kv::Stores;
use crate::outgoing::Caller;

/// What one plugin is granted. The default is nothing.
#[derive(Clone, Default)]
pub struct Grants {
    /// Hosts that it may call by `wasi:http`.
    pub http: Vec<Origin>,
    /// Who makes these calls; without one, none is made.
    pub caller: Option<Arc<dyn Caller>>,
    /// Names of the models that it may run.
    pub models: Vec<String>,
    /// Who runs them; without one, none is run.
    pub runner: Option<Arc<dyn Models>>,
    /// Names of the stores of keys and values that it may open.
    pub kv: Vec<String>,
    /// Who keeps them; without one, none is opened.
    pub stores: Option<Arc<dyn Stores>>,
    /// Values of the secrets that it may read, by name.
    pub secrets: BTreeMap<String, String>,
    /// Names of the journals that it may write.
    pub journals: Vec<String>,
    /// Whether it is given the bodies of requests and responses with their events.
    pub bodies: bool,
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grants")
            .field("http", &self.http)
            .field("models", &self.models)
            .field("kv", &self.kv)
            .field("secrets", &self.secrets.keys())
            .field("journals", &self.journals)
            .field("bodies", &self.bodies)
            .finish_non_exhaustive()
    }
}

/// Scheme, host and port: what a plugin may call, path and all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// A name or an address, in lower case; an IPv6 address without its brackets.
    pub host: String,
    /// The scheme's own where none was written.
    pub port: u16,
    /// Whether the host may be within the node's own networks.
    pub reach: Reach,
}

/// How a host is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// As it is.
    Http,
    /// By TLS.
    Https,
}

/// Where a host may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Outside: a name that turns out to be an address of the node's own networks is not called.
    Public,
    /// Anywhere.
    Private,
}

impl Origin {
    /// Reads `"https://host"` or `"https://host:port"`. Where the host is an address, or `localhost`, that one is meant, and
    /// may be private.
    ///
    /// # Errors
    ///
    /// What it must look like.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const WANTED: &str = "must be a scheme and a host such as \"https://api.example\" or \"http://10.0.0.5:8080\", without a path";
        let uri: http::Uri = text.parse().map_err(|_| WANTED)?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || text.ends_with('/') {
            return Err(WANTED);
        }
        Self::of(&uri).ok_or(WANTED)
    }

    /// The origin of an absolute URI, if it has one that may be called at all.
    #[must_use]
    pub fn of(uri: &http::Uri) -> Option<Self> {
        let scheme = match uri.scheme_str()? {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let authority = uri.authority()?;
        // A user name before the host is a way to make one host look like another.
        if authority.as_str().contains('@') {
            return None;
        }
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        let port = match authority.as_str().strip_prefix(authority.host())? {
            "" => scheme.port(),
            _ => authority.port_u16()?,
        };
        let is_literal = host == "localhost" || host.parse::<IpAddr>().is_ok();
        (!host.is_empty()).then_some(Self {
            scheme,
            reach: if is_literal { Reach::Private } else { Reach::Public },
            host,
            port,
        })
    }

    /// Whether the two are the same place, spoken to in the same way.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port)
    }
}

impl Scheme {
    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        write!(f, "{scheme}://{open}{}{close}", self.host)?;
        if self.port == self.scheme.port() {
            return Ok(());
        }
        write!(f, ":{}", self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::{Origin, Reach};

    fn parse(text: &str) -> Origin {
        Origin::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn reads_scheme_host_and_port() {
        for (text, shown, reach) in [
            ("https://API.example", "https://api.example", Reach::Public),
            ("https://api.example:443", "https://api.example", Reach::Public),
            (
                "http://api.example:8080",
                "http://api.example:8080",
                Reach::Public,
            ),
            ("http://localhost:1", "http://localhost:1", Reach::Private),
            ("http://10.0.0.5", "http://10.0.0.5", Reach::Private),
            ("http://[::1]:8080", "http://[::1]:8080", Reach::Private),
        ] {
            let origin = parse(text);
            assert_eq!(
                (origin.to_string().as_str(), origin.reach),
                (shown, reach),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_says_more_or_less() {
        for text in [
            "api.example",
            "https://",
            "ftp://api.example",
            "https://api.example/",
            "https://api.example/v1",
            "https://api.example?a",
            "https://user@api.example",
            "https://api.example:",
            "https://api.example:99999",
            "/",
            "",
        ] {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn another_scheme_host_or_port_is_another_place() {
        let granted = parse("https://api.example");
        assert!(granted.is_same(&parse("https://api.example:443")));
        for other in [
            "http://api.example",
            "https://api.example:444",
            "https://api.example.evil",
            "https://x.api.example",
        ] {
            assert!(!granted.is_same(&parse(other)), "{other}");
        }
    }
}
