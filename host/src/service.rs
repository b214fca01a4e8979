//! Messages to systemd about the node, if systemd asks for them (`Type=notify`, `WatchdogSec=`); otherwise there are none.
//! <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>

use std::time::Duration;

use sd_notify::NotifyState;

use crate::shutdown::Shutdown;

/// The node serves, and what it serves.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The node reads its configuration again; [`ready`] follows, whatever comes of it.
pub fn reloading() {
    // systemd takes the time as that from which on it waits for `ready`; without it `Type=notify-reload` would fail.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[
            NotifyState::Reloading,
            now,
            NotifyState::Status("reading the configuration again"),
        ]),
        Err(error) => tracing::warn!(%error, "there is no clock to tell systemd of the reload with"),
    }
}

/// The node ends.
pub fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("draining: requests in flight may finish"),
    ]);
}

/// Tells what the node is doing.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Another process is the service from now on.
pub fn main_process(id: u32) {
    tell(&[NotifyState::MainPid(id)]);
}

/// Feeds the watchdog, if there is one, at half its time, until the node drains: systemd watches no service that stops, and a message
/// that nobody reads would keep the process. To be spawned on the executor: it stops if no worker, or no blocking thread, takes work in
/// time. It asks no more of the node, so that no slow disk, model or peer, and no full queue, has systemd end requests that come to
/// their end.
pub async fn watchdog(shutdown: Shutdown) {
    let Some(time) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = tokio::time::interval((time / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.draining() => return,
        }
        // If systemd does not read, no worker waits for it.
        let fed = tokio::task::spawn_blocking(|| tell(&[NotifyState::Watchdog]));
        fed.await.ok();
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told (NOTIFY_SOCKET)");
    }
}
