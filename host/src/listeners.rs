//! The listeners of a node: bound by itself, or passed by whoever started it.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use tokio::sync::Semaphore;

use crate::activation::{ActivationError, ActivationListener, ActivationSocket, Maker, passed_name};
use crate::app::{App, StartError};
use crate::config::{Address, AuthMode, Config, UnixSocket};
use crate::http::handle::Side;
use crate::http::listener::{self, Gate, Listener};
use crate::http::tls::Tls;
use crate::shutdown::Shutdown;

/// The listeners of both sides. The files that go with them are removed when this is dropped, unless the node was handed over.
pub struct Listeners {
    bindings: Vec<Binding>,
    /// Listeners that tasks accept on, for as long as they do, each with the name by which it is passed on.
    accepting: Vec<(&'static str, Weak<Listener>)>,
    /// The end of the node; none before there is a task that accepts.
    shutdown: Option<Shutdown>,
    slots: Slots,
}

/// An address that is listened on.
struct Binding {
    side: Side,
    address: Address,
    maker: Maker,
    /// True if the socket was passed to this process.
    passed: bool,
    /// None once a task accepts on it.
    listener: Option<Listener>,
}

/// Places for connections. Each side has its own: callers must not keep operators out.
struct Slots {
    public: Arc<Semaphore>,
    admin: Arc<Semaphore>,
    /// Places of each side.
    len: u32,
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
        let mut bindings = Vec::new();
        for socket in passed {
            let side = socket.side(server, admin)?;
            check_passed(config, side, &socket.address)?;
            bindings.push(Binding::passed(side, socket)?);
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
            if bindings.iter().any(|binding| binding.side == side) {
                tell_unbound(side, addresses, &bindings);
                continue;
            }
            let files = files.clone().unwrap_or_default();
            for address in addresses {
                bindings.push(Binding::own(side, address, &files)?);
            }
        }
        Ok(Self {
            bindings,
            accepting: Vec::new(),
            shutdown: None,
            slots: Slots::new(config.server.connections_max),
        })
    }

    /// The addresses of a side; a port 0 has become a real one.
    #[must_use]
    pub fn addresses(&self, side: Side) -> Vec<Address> {
        let of_side = self.bindings.iter().filter(|binding| binding.side == side);
        of_side.map(|binding| binding.address.clone()).collect()
    }

    /// Returns true if a supervisor passed a socket. Such a socket outlives this process: connections that come while no process runs
    /// wait. One that a node made does not, also if it was handed over since.
    #[must_use]
    pub fn are_passed(&self) -> bool {
        self.bindings
            .iter()
            .any(|binding| binding.maker == Maker::Supervisor)
    }

    /// Addresses that were passed and that other machines reach, each with the key of its side.
    #[must_use]
    pub fn far(&self) -> Vec<(&'static str, Address)> {
        let far = |binding: &&Binding| binding.passed && !binding.address.is_local();
        let far = self.bindings.iter().filter(far);
        far.map(|binding| (key(binding.side), binding.address.clone()))
            .collect()
    }

    /// Begins to accept.
    pub fn accept(&mut self, app: &Arc<App>, certificates: &Certificates<'_>) {
        let config = app.config();
        let proxies_of = |side: Side| match (side, &config.admin) {
            (Side::Public, _) => config.server.proxy_protocol.clone(),
            (Side::Admin, Some(admin)) => admin.proxy_protocol.clone(),
            (Side::Admin, None) => Vec::new(),
        };
        self.shutdown = Some(app.shutdown().clone());
        for binding in &mut self.bindings {
            let Some(mut listener) = binding.listener.take() else {
                continue;
            };
            if binding.passed && binding.maker == Maker::Node {
                listener.adopt_file();
            }
            let side = binding.side;
            let gate = Gate {
                side,
                tls: certificates.of(side).cloned(),
                proxies: proxies_of(side).into(),
                slots: Arc::clone(self.slots.of(side)),
            };
            let listener = Arc::new(listener);
            let name = passed_name(side, binding.maker);
            self.accepting.push((name, Arc::downgrade(&listener)));
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
        let listeners = listeners.filter_map(|(name, listener)| Some((*name, listener.upgrade()?)));
        listeners
            .map(|(name, listener)| Ok((name, listener.share()?)))
            .collect()
    }

    /// Waits until there is no connection.
    pub async fn quiet(&self) {
        self.slots.free().await;
    }
}

impl Drop for Listeners {
    /// Removes the files of tasks that still accept: if the node ends while it starts, the process does not wait for them.
    fn drop(&mut self) {
        let Some(shutdown) = &self.shutdown else { return };
        for (_, listener) in &self.accepting {
            if let Some(listener) = listener.upgrade() {
                listener.end(shutdown);
            }
        }
    }
}

impl Certificates<'_> {
    fn of(&self, side: Side) -> Option<&Arc<Tls>> {
        match side {
            Side::Public => self.public,
            Side::Admin => self.admin,
        }
    }
}

impl Slots {
    fn new(len: usize) -> Self {
        Self {
            public: Arc::new(Semaphore::new(len)),
            admin: Arc::new(Semaphore::new(len)),
            len: u32::try_from(len).unwrap_or(u32::MAX),
        }
    }

    fn of(&self, side: Side) -> &Arc<Semaphore> {
        match side {
            Side::Public => &self.public,
            Side::Admin => &self.admin,
        }
    }

    /// Waits until nobody has a place.
    async fn free(&self) {
        for places in [&self.public, &self.admin] {
            // The semaphore is never closed.
            drop(places.acquire_many(self.len).await);
        }
    }
}

impl Binding {
    fn passed(side: Side, socket: ActivationSocket) -> Result<Self, StartError> {
        let listener = match socket.listener {
            ActivationListener::Tcp(listener) => Listener::from_tcp(listener),
            ActivationListener::Unix(listener) => Listener::from_unix(listener),
        };
        let listener = listener.map_err(|why| refused(side, &socket.address, why))?;
        Ok(Self {
            side,
            address: socket.address,
            maker: socket.maker,
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
            maker: Maker::Node,
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

/// Error if a passed socket lets anyone on another machine in, and the configuration does not say that this is meant. Addresses in the
/// configuration have passed the same check.
fn check_passed(config: &Config, side: Side, address: &Address) -> Result<(), ActivationError> {
    // The check of `server.listen` has asked for an explicit mode where it names an address that others reach.
    let is_meant = side == Side::Public && config.server.listen.0.iter().any(|named| !named.is_local());
    if config.auth.mode == AuthMode::None && !address.is_local() && !is_meant {
        return Err(ActivationError::OpenToAll(address.clone()));
    }
    Ok(())
}

/// Says which addresses are not listened on, since the side's sockets were passed.
fn tell_unbound(side: Side, addresses: &[Address], bindings: &[Binding]) {
    let any_port = |address: &Address| matches!(address, Address::Tcp(address) if address.port() == 0);
    let passed = |address: &Address| bindings.iter().any(|binding| binding.address == *address);
    for address in addresses {
        if !any_port(address) && !passed(address) {
            tracing::warn!(
                "{}: the node does not listen on {address}, since its sockets were passed (LISTEN_FDS) and that is none of them",
                key(side)
            );
        }
    }
}
