//! Accepts connections until the node drains. No error of `accept` ends it, and no connection holds it up.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use super::connection;
use super::handle::Side;
use super::socket_file::SocketFile;
use super::stream::Stream;
use super::tls::Tls;
use crate::app::App;
use crate::config::{Address, Network, UnixSocket};
use crate::edge::Peer;
use crate::shutdown::Shutdown;

/// Connections that the kernel keeps until they are accepted.
pub const BACKLOG: i32 = 1024;

/// The longest pause after an error of `accept`, such as too many open files.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A socket that listens.
pub struct Listener {
    /// The file that goes with it, if this process removes it. It is dropped first: while the socket is open, no other file can have its number.
    file: Option<SocketFile>,
    socket: Socket,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds an address. Must be called on the executor.
    ///
    /// # Errors
    ///
    /// If the address is taken or is not one of this machine's, or the socket file cannot be made.
    pub fn bind(address: &Address, files: &UnixSocket) -> io::Result<Self> {
        let (socket, file) = match address {
            Address::Tcp(address) => (Socket::Tcp(bind(*address)?), None),
            Address::Unix(path) => {
                let (listener, file) = SocketFile::bind(path, files)?;
                (Socket::Unix(UnixListener::from_std(listener)?), Some(file))
            }
        };
        Ok(Self { file, socket })
    }

    /// Takes over a network listener that another process made. Must be called on the executor.
    ///
    /// # Errors
    ///
    /// If the socket cannot be used.
    pub fn from_tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let socket = Socket::Tcp(TcpListener::from_std(listener)?);
        Ok(Self { file: None, socket })
    }

    /// Takes over a listener on a socket file that another process made. Must be called on the executor.
    ///
    /// # Errors
    ///
    /// If the socket cannot be used.
    pub fn from_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let socket = Socket::Unix(UnixListener::from_std(listener)?);
        Ok(Self { file: None, socket })
    }

    /// The address that it is bound to; a port 0 has become a real one.
    ///
    /// # Errors
    ///
    /// If the system does not tell the address.
    pub fn address(&self) -> io::Result<Address> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Socket::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address.as_pathname();
                Ok(Address::Unix(path.unwrap_or("(no path)".as_ref()).to_owned()))
            }
        }
    }

    /// Another handle on the socket, for another process.
    ///
    /// # Errors
    ///
    /// If there are too many open files.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// Takes over the socket's file from the node that made it. To be called when this process serves: until then the file is that
    /// node's, which goes on if this process fails.
    pub fn adopt_file(&mut self) {
        if let Ok(Address::Unix(path)) = self.address() {
            self.file = SocketFile::adopt(&path);
        }
    }

    /// Removes the socket's file if it is this process's to remove, and no other process has the socket by now.
    pub fn end(&self, shutdown: &Shutdown) {
        match &self.file {
            Some(file) if shutdown.is_handed_over() => file.leave(),
            Some(file) => file.remove(),
            None => {}
        }
    }

    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((stream.into(), Peer::Ip(peer.ip())))
            }
            Socket::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((stream.into(), Peer::Unix))
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// What a connection passes.
#[derive(Clone)]
pub struct Gate {
    /// Which listener it is.
    pub side: Side,
    /// Where it speaks TLS.
    pub tls: Option<Arc<Tls>>,
    /// Peers whose connections begin with a header of the PROXY protocol.
    pub proxies: Arc<[Network]>,
    /// A place for each connection at once.
    pub slots: Arc<Semaphore>,
}

/// Accepts until the node retires.
pub async fn serve(listener: Arc<Listener>, gate: Gate, app: Arc<App>) {
    accept(&listener, gate, &app).await;
    listener.end(app.shutdown());
}

async fn accept(listener: &Listener, gate: Gate, app: &Arc<App>) {
    let shutdown = app.shutdown().clone();
    let mut pause = Duration::from_millis(10);
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&gate.slots).acquire_owned() => slot,
            () = shutdown.retiring() => return,
        };
        // The semaphore is never closed.
        let Ok(slot) = slot else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.retiring() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = Duration::from_millis(10);
                let (app, gate) = (Arc::clone(app), gate.clone());
                shutdown.spawn(async move {
                    connection::serve(stream, peer, gate, app).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, ?pause, "cannot accept a connection; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}
