//! Accepts connections until the node drains. No error of `accept` ends it, and no connection holds it up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::connection;
use crate::app::App;
use crate::shutdown::Shutdown;

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

/// Accepts until the node drains.
pub async fn serve(listener: TcpListener, app: Arc<App>, slots: Arc<Semaphore>, shutdown: Shutdown) {
    let mut pause = Duration::from_millis(10);
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
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
                let (app, draining) = (Arc::clone(&app), shutdown.clone());
                shutdown.spawn(async move {
                    connection::serve(stream, peer, app, draining).await;
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
