//! Addresses of listeners: those of the network, and socket files on this machine.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use serde::Deserialize;

/// Prefix of a socket file's address.
const UNIX: &str = "unix:";

/// An address that a listener is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Address {
    /// Of the network, `127.0.0.1:8080`.
    Tcp(SocketAddr),
    /// A socket file, `unix:/run/selvedge/selvedge.sock`.
    Unix(PathBuf),
}

impl Address {
    /// Returns true if only processes of this machine can reach the address.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// The path of a socket file.
    #[must_use]
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(path) => Some(path),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return Ok(Self::Unix(path.into()));
        }
        let address = text.parse().map(Self::Tcp);
        address.map_err(|_| {
            format!("`{text}` is neither an address such as 127.0.0.1:8080 nor `unix:` and a path")
        })
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// One address or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "OneOrMany")]
pub struct Addresses(pub Vec<Address>);

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected an address such as \"127.0.0.1:8080\" or \"unix:/run/selvedge/selvedge.sock\", or a list of them"
)]
enum OneOrMany {
    One(Address),
    Many(Vec<Address>),
}

impl From<OneOrMany> for Addresses {
    fn from(addresses: OneOrMany) -> Self {
        match addresses {
            OneOrMany::One(address) => Self(vec![address]),
            OneOrMany::Many(addresses) => Self(addresses),
        }
    }
}

/// Permissions of a listener's socket files. Whoever may write to one may connect.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UnixSocket {
    /// Mode in octal, `"0660"`. Default `"0660"`: the owner and the group.
    pub mode: Mode,
    /// Group by name or number, such as that of the proxy in front. Default: the group of the process.
    pub group: Option<String>,
}

impl Default for UnixSocket {
    fn default() -> Self {
        Self {
            mode: Mode(0o660),
            group: None,
        }
    }
}

/// Mode of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Mode(pub u32);

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777);
        mode.map(Self)
            .ok_or_else(|| format!("`{text}` is not a mode in octal such as \"0660\""))
    }
}

/// Peers of connections, by where they are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Network {
    /// Addresses, `10.0.0.0/8`.
    Ip(IpNet),
    /// `unix`: all who connect to a socket file.
    Unix,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let network = text.parse().map(Self::Ip);
        network.map_err(|_| format!("`{text}` is neither a network such as \"10.0.0.0/8\" nor \"unix\""))
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, Mode, Network};

    #[test]
    fn reads_addresses_of_the_network_and_of_files_and_writes_them_as_they_were() {
        for text in ["127.0.0.1:8080", "[::1]:80", "unix:/run/selvedge.sock"] {
            let address: Address = text.parse().expect("an address");
            assert_eq!(address.to_string(), text);
            assert!(address.is_local());
        }
        let far: Address = "0.0.0.0:80".parse().expect("an address");
        assert!(!far.is_local());
        assert!("localhost".parse::<Address>().is_err());
    }

    #[test]
    fn reads_modes_in_octal_and_networks_with_the_word_for_socket_files() {
        assert_eq!(Mode::try_from("0660".to_owned()), Ok(Mode(0o660)));
        for bad in ["0888", "rw", "01777", ""] {
            assert!(Mode::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        assert_eq!("unix".parse::<Network>(), Ok(Network::Unix));
        assert!("10.0.0.0/8".parse::<Network>().is_ok());
        assert!("10.0.0.0/99".parse::<Network>().is_err());
    }
}
