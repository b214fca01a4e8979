//! What plugins prepare before a generation serves: the vectors of a corpus, say, which `configure` can ask no model for.
//!
//! A plugin whose manifest says `warm_up` is called with a request that no client sent, until it has nothing left to do. What it makes it
//! leaves in a store, since its instance ends as any other does. Where it cannot be done now, that is logged, and the first requests
//! find it undone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_plugin::value::Request;
use selvedge_plugin::{Attachment, CallError, Fault, Stage};

use crate::generation::{EndpointState, Generation};

/// The dialect of such a request.
const DIALECT: &str = "warm-up";

/// Between two calls: a model that has too much to do needs it.
const PAUSE: Duration = Duration::from_millis(10);

impl Generation {
    /// Has plugins prepare what they want to have before they serve, each for as long as `server.warm_up_timeout` says: a node that
    /// never starts serves nobody.
    pub async fn warm_plugins(&self) {
        let time = self.config.server.warm_up_timeout.0;
        for endpoint in &self.endpoints {
            let EndpointState::Ready(ready) = &endpoint.state else {
                continue;
            };
            for attached in &ready.plugins {
                let attachment = &attached.attachment;
                if !attachment.plugin().manifest.warm_up {
                    continue;
                }
                let (plugin, begun) = (&*attachment.plugin().name, Instant::now());
                let endpoint = &*ready.name;
                match warm(attachment, &ready.name, time).await {
                    Ok(()) => {
                        let seconds = begun.elapsed().as_secs_f64();
                        tracing::info!(
                            endpoint,
                            plugin,
                            seconds,
                            "the plugin has prepared what it serves with"
                        );
                    }
                    Err(error) => tracing::warn!(
                        endpoint,
                        plugin,
                        %error,
                        "the plugin could not prepare what it serves with; the first requests may fail"
                    ),
                }
            }
        }
    }
}

/// Calls a plugin until it says that it is done, or the time is over.
async fn warm(attachment: &Attachment, endpoint: &Arc<str>, time: Duration) -> Result<(), CallError> {
    let request = Arc::new(Request {
        id: DIALECT.to_owned(),
        endpoint: Arc::clone(endpoint),
        dialect: DIALECT,
        body: "{}".into(),
        ..Request::default()
    });
    let begun = Instant::now();
    loop {
        match call(attachment, &request).await {
            Err(error) if may_work_later(&error.fault) && begun.elapsed() < time => {
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

async fn call(attachment: &Attachment, request: &Arc<Request>) -> Result<(), CallError> {
    if attachment.has_stage(Stage::Validate) {
        attachment.validate(request).await?;
    }
    if attachment.has_stage(Stage::Template) {
        attachment.render(request, None).await?;
    }
    Ok(())
}

fn may_work_later(fault: &Fault) -> bool {
    matches!(fault, Fault::Failed { retryable: true, .. } | Fault::Busy(_))
}
