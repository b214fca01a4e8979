//! What metrics tell of a generation: the collector forgets nothing, so samples of what is gone are left out.

use std::sync::Arc;

use selvedge_plugin::Attachment;

use super::{EndpointState, Generation, Ready};
use crate::backend::Backend;
use crate::telemetry::meters::PLUGIN;

impl Generation {
    /// Whether a sample with these labels is of something that there is: of each, and of a model or a plugin as it is now.
    #[must_use]
    pub fn tells(&self, labels: &[(&str, &str)]) -> bool {
        let value = |wanted| {
            labels
                .iter()
                .find(|(label, _)| *label == wanted)
                .map(|(_, value)| *value)
        };
        let is_now = match (value("model"), value("task"), value("device")) {
            (Some(model), Some(task), Some(device)) => self
                .backend(model)
                .is_some_and(|backend| backend.task().name() == task && backend.device() == device),
            _ => true,
        };
        let records = match (value("endpoint"), value("plugin"), value("name")) {
            (Some(endpoint), Some(plugin), Some(metric)) => self.records(endpoint, plugin, metric),
            _ => true,
        };
        let plugin = value("stage").and_then(|stage| stage.strip_prefix(PLUGIN));
        let attached = match (value("endpoint"), plugin) {
            (Some(endpoint), Some(plugin)) => self.attachments(endpoint, plugin).next().is_some(),
            _ => true,
        };
        is_now && records && attached && labels.iter().all(|(kind, name)| self.has(kind, name))
    }

    /// The model of a name, where it is loaded.
    fn backend(&self, name: &str) -> Option<&Backend> {
        let (_, backend) = self.models.iter().find(|(model, _)| model == name)?;
        backend.as_ref().ok()
    }

    /// Whether a plugin on an endpoint records a metric of this name.
    fn records(&self, endpoint: &str, plugin: &str, metric: &str) -> bool {
        self.attachments(endpoint, plugin).any(|attachment| {
            attachment
                .plugin()
                .manifest
                .metrics
                .iter()
                .any(|name| name == metric)
        })
    }

    /// A plugin on an endpoint that serves, as often as it is there.
    fn attachments(&self, endpoint: &str, plugin: &str) -> impl Iterator<Item = &Attachment> {
        let plugins = self.ready(endpoint).map(|ready| &ready.plugins);
        let attachments = plugins.into_iter().flatten().map(|attached| &attached.attachment);
        attachments.filter(move |attachment| &*attachment.plugin().name == plugin)
    }

    /// Whether there is something of a kind and name, as labels of metrics have them; of a kind that it knows nothing of, there is.
    fn has(&self, kind: &str, name: &str) -> bool {
        let observes = |ready: &Arc<Ready>| ready.observers.iter().any(|observer| observer.name == name);
        match kind {
            // Of requests that reached none it is empty.
            "endpoint" => name.is_empty() || self.endpoint(name).is_some(),
            "model" => self.models.iter().any(|(model, _)| model == name),
            "plugin" => self.config.plugins.iter().any(|(plugin, _)| plugin == name),
            "observer" => self
                .endpoints
                .iter()
                .any(|endpoint| matches!(&endpoint.state, EndpointState::Ready(ready) if observes(ready))),
            _ => true,
        }
    }
}
