//! Accepts connections until the node drains. No error of `accept` ends it, and no connection holds it up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::connection;
use super::handle::Side;
use super::tls::Tls;
use crate::app::App;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 1024;

/// The longest pause after an error of `accept`, such as too many open files.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Binds an address.
///
/// # Errors
///
/// Where it is taken, or not this machine's.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
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
    /// A place for each connection at once.
    pub slots: Arc<Semaphore>,
}

/// Accepts until the node drains.
pub async fn serve(listener: TcpListener, gate: Gate, app: Arc<App>) {
    let shutdown = app.shutdown().clone();
    let mut pause = Duration::from_millis(10);
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&gate.slots).acquire_owned() => slot,
            () = shutdown.draining() => return,
        };
        // The semaphore is never closed.
        let Ok(slot) = slot else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.draining() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = Duration::from_millis(10);
                let (app, gate) = (Arc::clone(&app), gate.clone());
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
