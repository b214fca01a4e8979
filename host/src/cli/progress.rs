//! What long work is at: a spinner on a terminal, nothing on a pipe.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A spinner with a message; it goes away when it is dropped.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Starts one. On a pipe indicatif draws nothing.
    pub(super) fn start(message: &str) -> Self {
        let bar = ProgressBar::new_spinner();
        // The template is fixed and well-formed; without it the default style serves as well.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        bar.set_message(message.to_owned());
        Self(bar)
    }

    /// Says what the work is at now.
    pub(super) fn tell(&self, message: &str) {
        self.0.set_message(message.to_owned());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
