//! The listeners of a node: bound by itself, or passed by whoever started it.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use tokio::sync::Semaphore;

use crate::activation::{ActivationError, ActivationListener, ActivationSocket};
use crate::app::{App, StartError};
use crate::config::{Address, AuthMode, Config, Network, UnixSocket};
use crate::http::handle::Side;
use crate::http::listener::{self, Gate, Listener};
use crate::http::tls::Tls;

/// The listeners of both sides.
pub struct Listeners {
    bound: Vec<Bound>,
    /// Listeners that tasks accept on, for as long as they do.
    accepting: Vec<(Side, Weak<Listener>)>,
    /// Places for connections, by side.
    slots: [Arc<Semaphore>; 2],
    slots_len: u32,
}

struct Bound {
    side: Side,
    address: Address,
    /// True if the socket was passed to this process, and so outlives it.
    passed: bool,
    /// None once a task accepts on it.
    listener: Option<Listener>,
}

/// Certificates of both sides.
pub struct Certificates<'a> {
    /// Of everybody's.
    pub public: Option<&'a Arc<Tls>>,
    /// Of the operators'.
    pub admin: Option<&'a Arc<Tls>>,
}

impl Listeners {
    /// Takes the sockets that were passed, and binds the addresses of each side that has none. Must be called on the executor.
    ///
    /// # Errors
    ///
    /// If an address is taken, or a socket that was passed must not be used.
    pub fn open(config: &Config, passed: Vec<ActivationSocket>) -> Result<Self, StartError> {
        let server = &config.server.listen.0;
        let admin = config.admin.as_ref().map(|admin| &admin.listen.0[..]);
        let mut bound = Vec::new();
        for socket in passed {
            let side = socket.side(server, admin)?;
            check_passed(config, side, &socket.address)?;
            bound.push(Bound::passed(side, socket)?);
        }
        let files = [
            (Side::Public, Some(&server[..]), &config.server.unix_socket),
            (
                Side::Admin,
                admin,
                config.admin.as_ref().map_or(&None, |admin| &admin.unix_socket),
            ),
        ];
        for (side, addresses, files) in files {
            let addresses = addresses.unwrap_or_default();
            if bound.iter().any(|bound| bound.side == side) {
                tell_unbound(side, addresses, &bound);
                continue;
            }
            let files = files.clone().unwrap_or_default();
            for address in addresses {
                bound.push(Bound::own(side, address, &files)?);
            }
        }
        let places = config.server.connections_max;
        Ok(Self {
            bound,
            accepting: Vec::new(),
            slots: [(); 2].map(|()| Arc::new(Semaphore::new(places))),
            slots_len: u32::try_from(places).unwrap_or(u32::MAX),
        })
    }

    /// The addresses of a side; a port 0 has become a real one.
    #[must_use]
    pub fn addresses(&self, side: Side) -> Vec<Address> {
        let of_side = self.bound.iter().filter(|bound| bound.side == side);
        of_side.map(|bound| bound.address.clone()).collect()
    }

    /// Returns true if a socket was passed. Such a socket outlives this process: connections that come while no process runs wait.
    #[must_use]
    pub fn are_passed(&self) -> bool {
        self.bound.iter().any(|bound| bound.passed)
    }

    /// Addresses that were passed and that other machines reach, each with the key of its side.
    #[must_use]
    pub fn far(&self) -> Vec<(&'static str, Address)> {
        let far = |bound: &&Bound| bound.passed && !bound.address.is_local();
        let far = self.bound.iter().filter(far);
        far.map(|bound| (key(bound.side), bound.address.clone()))
            .collect()
    }

    /// Begins to accept.
    pub fn accept(&mut self, app: &Arc<App>, certificates: &Certificates<'_>) {
        let config = app.config();
        let admin = config.admin.as_ref();
        for bound in &mut self.bound {
            let Some(listener) = bound.listener.take() else {
                continue;
            };
            let (tls, proxies, slots): (_, Arc<[Network]>, _) = match bound.side {
                Side::Public => (
                    certificates.public,
                    config.server.proxy_protocol.clone().into(),
                    &self.slots[0],
                ),
                Side::Admin => (
                    certificates.admin,
                    admin
                        .map(|admin| admin.proxy_protocol.clone())
                        .unwrap_or_default()
                        .into(),
                    &self.slots[1],
                ),
            };
            let gate = Gate {
                side: bound.side,
                tls: tls.cloned(),
                proxies,
                slots: Arc::clone(slots),
            };
            let listener = Arc::new(listener);
            self.accepting.push((bound.side, Arc::downgrade(&listener)));
            app.shutdown()
                .spawn(listener::serve(listener, gate, Arc::clone(app)));
        }
    }

    /// Handles on the sockets for another process, each with the name that it is known by there.
    ///
    /// # Errors
    ///
    /// If there are too many open files.
    pub fn share(&self) -> std::io::Result<Vec<(&'static str, OwnedFd)>> {
        let listeners = self.accepting.iter();
        let listeners = listeners.filter_map(|(side, listener)| Some((*side, listener.upgrade()?)));
        listeners
            .map(|(side, listener)| Ok((name(side), listener.share()?)))
            .collect()
    }

    /// Waits until there is no connection.
    pub async fn quiet(&self) {
        for slots in &self.slots {
            // The semaphore is never closed.
            drop(slots.acquire_many(self.slots_len).await);
        }
    }
}

impl Bound {
    fn passed(side: Side, socket: ActivationSocket) -> Result<Self, StartError> {
        let listener = match socket.listener {
            ActivationListener::Tcp(listener) => Listener::from_tcp(listener),
            ActivationListener::Unix(listener) => Listener::from_unix(listener),
        };
        let listener = listener.map_err(|why| refused(side, &socket.address, why))?;
        Ok(Self {
            side,
            address: socket.address,
            passed: true,
            listener: Some(listener),
        })
    }

    fn own(side: Side, address: &Address, files: &UnixSocket) -> Result<Self, StartError> {
        let bound = Listener::bind(address, files);
        let bound = bound.and_then(|listener| Ok((listener.address()?, listener)));
        let (real, listener) = bound.map_err(|why| refused(side, address, why))?;
        Ok(Self {
            side,
            address: real,
            passed: false,
            listener: Some(listener),
        })
    }
}

fn refused(side: Side, address: &Address, why: std::io::Error) -> StartError {
    StartError::Listen {
        key: key(side),
        address: address.clone(),
        why,
    }
}

fn key(side: Side) -> &'static str {
    match side {
        Side::Public => "server.listen",
        Side::Admin => "admin.listen",
    }
}

/// The name of a side's sockets where they are passed.
fn name(side: Side) -> &'static str {
    match side {
        Side::Public => "http",
        Side::Admin => "admin",
    }
}

/// Error if a passed socket lets anyone on another machine in, and the configuration does not say that this is meant. Addresses in the
/// configuration have passed the same check.
fn check_passed(config: &Config, side: Side, address: &Address) -> Result<(), ActivationError> {
    // The check of `server.listen` has asked for an explicit mode where it names an address that others reach.
    let is_meant = side == Side::Public && config.server.listen.0.iter().any(|named| !named.is_local());
    if config.auth.mode == AuthMode::None && !address.is_local() && !is_meant {
        return Err(ActivationError::Open(address.clone()));
    }
    Ok(())
}

/// Says which addresses are not listened on, since the side's sockets were passed.
fn tell_unbound(side: Side, addresses: &[Address], bound: &[Bound]) {
    let any_port = |address: &Address| matches!(address, Address::Tcp(address) if address.port() == 0);
    let passed = |address: &Address| bound.iter().any(|bound| bound.address == *address);
    for address in addresses {
        if !any_port(address) && !passed(address) {
            tracing::warn!(
                "{}: the node does not listen on {address}, since its sockets were passed (LISTEN_FDS) and that is none of them",
                key(side)
            );
        }
    }
}
