//! Listening sockets that this process was started with: by systemd (`LISTEN_FDS`), or by the node that it takes over from.
//! <https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html>

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};

use listenfd::ListenFd;
use socket2::{Domain, SockRef, Type};

use crate::config::Address;
use crate::http::handle::Side;

/// The number of the first descriptor that is passed.
pub const FIRST: usize = 3;

/// The name of the channel on which a node that takes over says that it serves.
pub const READY: &str = "selvedge-ready";

/// Names by which a node passes on the sockets that it made itself.
const NODE_HTTP: &str = "selvedge-node-http";
const NODE_ADMIN: &str = "selvedge-node-admin";

/// Sockets that this process was started with.
#[derive(Debug, Default)]
pub struct Activation {
    /// Sockets that listen.
    pub sockets: Vec<ActivationSocket>,
    /// Channel on which the node that hands over waits; none if there is no such node.
    pub ready: Option<UnixStream>,
}

/// A socket that listens.
#[derive(Debug)]
pub struct ActivationSocket {
    /// Its name: `FileDescriptorName=` of systemd.
    pub name: String,
    /// Whoever made it.
    pub maker: Maker,
    /// Address that it is bound to.
    pub address: Address,
    /// The socket.
    pub listener: ActivationListener,
}

/// Maker of a socket that was passed, who decides on what becomes of it when this process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// systemd or another supervisor, which keeps the socket: connections that come while no process runs wait.
    Supervisor,
    /// The node that this one takes over from: when both have ended nobody has the socket, and its file is of no use.
    Node,
}

/// A socket that listens, by its family.
#[derive(Debug)]
pub enum ActivationListener {
    /// Of the network.
    Tcp(TcpListener),
    /// Of a file.
    Unix(UnixListener),
}

/// Error for a passed socket that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// It is nothing that can be listened on.
    #[error(
        "descriptor {number}, `{name}`, was passed (LISTEN_FDS) and is no listening stream socket: {why}"
    )]
    NoListener {
        /// Its number.
        number: usize,
        /// Its name.
        name: String,
        /// The reason.
        why: std::io::Error,
    },
    /// It belongs to neither listener.
    #[error(
        "the socket on {address} was passed (LISTEN_FDS) by the name `{name}` and belongs to no listener: name it `http` or `admin` \
         (FileDescriptorName=), or name its address in `server.listen` or `admin.listen`"
    )]
    Unowned {
        /// Its name.
        name: String,
        /// Its address.
        address: Address,
    },
    /// There is no such listener.
    #[error(
        "the socket on {0} was passed (LISTEN_FDS) for operators, and there is no [admin]: add it, or do not pass the socket"
    )]
    NoAdmin(Address),
    /// It opens the node to other machines.
    #[error(
        "the socket on {0} was passed (LISTEN_FDS), other machines reach it, and nobody has to say who they are: set `auth.mode` to `keys` \
         or `jwt`, or, for what is no operators' socket, say that it is meant with its address in `server.listen` and `[auth] mode = \
         \"none\"`"
    )]
    OpenToAll(Address),
}

impl Activation {
    /// Takes the sockets that were passed, once. Must be called before there are threads, since it changes the environment.
    ///
    /// # Errors
    ///
    /// If a passed descriptor is not a listening stream socket, or the one named [`READY`] is not a Unix stream socket.
    pub fn take() -> Result<Self, ActivationError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut descriptors = ListenFd::from_env();
        let mut taken = Self::default();
        let mut names = names.split(':');
        for index in 0..descriptors.len() {
            let name = names.next().unwrap_or_default().to_owned();
            let found = if name == READY {
                take_channel(&mut descriptors, index).map(|channel| taken.ready = channel)
            } else {
                take_listener(&mut descriptors, index, &name).map(|socket| taken.sockets.extend(socket))
            };
            let number = FIRST + index;
            found.map_err(|why| ActivationError::NoListener { number, name, why })?;
        }
        Ok(taken)
    }
}

impl ActivationSocket {
    /// Returns the side that the socket belongs to: by its name, else by its address.
    ///
    /// # Errors
    ///
    /// If the socket belongs to neither side, or is for operators and there is no `[admin]`.
    pub fn side(&self, server: &[Address], admin: Option<&[Address]>) -> Result<Side, ActivationError> {
        let address = || self.address.clone();
        match (self.name.as_str(), admin) {
            ("http", _) => Ok(Side::Public),
            ("admin", Some(_)) => Ok(Side::Admin),
            ("admin", None) => Err(ActivationError::NoAdmin(address())),
            _ if server.contains(&self.address) => Ok(Side::Public),
            (_, Some(admin)) if admin.contains(&self.address) => Ok(Side::Admin),
            (name, _) => Err(ActivationError::Unowned {
                name: name.to_owned(),
                address: address(),
            }),
        }
    }
}

/// Returns the name by which a socket is passed on to the node that takes over.
#[must_use]
pub fn passed_name(side: Side, maker: Maker) -> &'static str {
    match (side, maker) {
        (Side::Public, Maker::Supervisor) => "http",
        (Side::Admin, Maker::Supervisor) => "admin",
        (Side::Public, Maker::Node) => NODE_HTTP,
        (Side::Admin, Maker::Node) => NODE_ADMIN,
    }
}

/// A socket's own name, and its maker, by the name that it was passed by.
fn name_and_maker(passed: &str) -> (&str, Maker) {
    match passed {
        NODE_HTTP => ("http", Maker::Node),
        NODE_ADMIN => ("admin", Maker::Node),
        name => (name, Maker::Supervisor),
    }
}

fn take_channel(descriptors: &mut ListenFd, index: usize) -> std::io::Result<Option<UnixStream>> {
    let (family, kind) = (Domain::UNIX.into(), Type::STREAM.into());
    descriptors.take_custom(index, family, kind, "unix stream socket")
}

fn take_listener(
    descriptors: &mut ListenFd,
    index: usize,
    name: &str,
) -> std::io::Result<Option<ActivationSocket>> {
    let listener = match descriptors.take_tcp_listener(index) {
        Ok(listener) => listener.map(ActivationListener::Tcp),
        Err(_) => descriptors
            .take_unix_listener(index)?
            .map(ActivationListener::Unix),
    };
    let Some(listener) = listener else {
        return Ok(None);
    };
    let (listens, address) = match &listener {
        ActivationListener::Tcp(listener) => {
            let address: SocketAddr = listener.local_addr()?;
            (SockRef::from(listener).is_listener()?, Address::Tcp(address))
        }
        ActivationListener::Unix(listener) => {
            let address = listener.local_addr()?;
            let path = address.as_pathname().unwrap_or("(no path)".as_ref());
            (
                SockRef::from(listener).is_listener()?,
                Address::Unix(path.to_owned()),
            )
        }
    };
    if !listens {
        return Err(std::io::Error::other(
            "it does not listen (Accept=no, ListenStream=)",
        ));
    }
    let (name, maker) = name_and_maker(name);
    Ok(Some(ActivationSocket {
        name: name.to_owned(),
        maker,
        address,
        listener,
    }))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::{ActivationListener, ActivationSocket, Address, Maker, Side, name_and_maker, passed_name};

    #[test]
    fn a_socket_that_is_passed_on_keeps_its_side_and_its_maker() {
        for (side, name) in [(Side::Public, "http"), (Side::Admin, "admin")] {
            for maker in [Maker::Supervisor, Maker::Node] {
                assert_eq!(name_and_maker(passed_name(side, maker)), (name, maker));
            }
        }
    }

    #[test]
    fn a_socket_is_known_by_its_name_else_by_its_address_and_refused_where_it_is_nobodys() {
        let socket = |name: &str| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
            ActivationSocket {
                name: name.to_owned(),
                maker: Maker::Supervisor,
                address: Address::Tcp(listener.local_addr().expect("an address")),
                listener: ActivationListener::Tcp(listener),
            }
        };
        let other: Address = "127.0.0.1:1".parse().expect("an address");
        assert_eq!(socket("http").side(&[], None).ok(), Some(Side::Public));
        assert_eq!(socket("admin").side(&[], Some(&[])).ok(), Some(Side::Admin));
        let refused = socket("admin")
            .side(&[], None)
            .expect_err("no section")
            .to_string();
        assert!(refused.contains("there is no [admin]"), "{refused}");
        let socket = socket("selvedge.socket");
        let own = [socket.address.clone()];
        assert_eq!(socket.side(&own, None).ok(), Some(Side::Public));
        assert_eq!(
            socket.side(std::slice::from_ref(&other), Some(&own)).ok(),
            Some(Side::Admin)
        );
        let refused = socket.side(&[other], None).expect_err("nobody's").to_string();
        assert!(refused.contains("FileDescriptorName="), "{refused}");
    }
}
