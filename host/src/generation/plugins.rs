//! Plugins of a generation: each is read once, and attached wherever an endpoint uses it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use selvedge_plugin::{AttachOptions, Grants, Plugin, Sandbox, Stage, Start};

use super::Attached;
use crate::config::{self, Config, OnError, Startup};
use crate::granted::{Doers, Reachable};
use crate::openapi::subject::Known;

/// The plugins of one endpoint, in their order, each with the reason if it cannot be attached.
pub(super) type Attachments = Vec<Result<Attached, String>>;

/// Reads each plugin once and attaches it wherever it is used; attachments are compiled side by side.
pub(super) async fn load_plugins(
    config: &Config,
    (sandbox, reachable): (&Sandbox, &Reachable),
    doers: &Doers,
    tell: &impl Fn(&str),
) -> (Vec<Attachments>, HashMap<String, Known>, Vec<String>) {
    let read = config.plugins.iter().map(|(name, plugin)| {
        let (grants, sandbox) = (doers.grants(&plugin.allow), sandbox.clone());
        let (owned, settings) = (name.clone(), plugin.clone());
        // A large component takes seconds to validate, and requests are served meanwhile.
        let reading = tokio::task::spawn_blocking(move || {
            let read = read_plugin(&sandbox, &owned, &settings, &grants);
            read.map(|plugin| (plugin, grants))
        });
        async move {
            let read = reading.await;
            let read = read.unwrap_or_else(|_| Err(format!("plugins.{name}: reading it panicked")));
            (name.as_str(), read)
        }
    });
    let read = futures_util::future::join_all(read).await;
    let plugins: HashMap<&str, Result<Readable, String>> = read.into_iter().collect();
    let limits: HashMap<&str, &config::Plugin> = config
        .plugins
        .iter()
        .map(|(name, p)| (name.as_str(), p))
        .collect();
    let attach = |(endpoint, attach): Place| {
        let (name, endpoint) = &config.endpoints[endpoint];
        let attach = &endpoint.plugins[attach];
        tell(&format!("attaching plugin {} to endpoint {name}", attach.plugin));
        let plugin = &plugins[attach.plugin.as_str()];
        let settings = limits[attach.plugin.as_str()];
        attach_plugin(
            (sandbox, reachable),
            plugin,
            settings,
            (name.as_str(), endpoint),
            attach,
        )
    };
    let names = config.endpoints.iter().map(|(_, endpoint)| {
        let plugins = endpoint.plugins.iter();
        plugins.map(|attach| attach.plugin.as_str()).collect()
    });
    let places = attachment_order(&names.collect::<Vec<_>>());
    let made = futures_util::future::join_all(places.iter().copied().map(attach)).await;
    let mut made: BTreeMap<Place, Result<Attached, String>> = places.into_iter().zip(made).collect();
    let attachments = config.endpoints.iter().enumerate().map(|(index, (_, endpoint))| {
        let places = (0..endpoint.plugins.len()).map(|attach| (index, attach));
        places.filter_map(|place| made.remove(&place)).collect()
    });
    let attachments = attachments.collect();
    let unreadable = plugins
        .values()
        .filter_map(|plugin| plugin.as_ref().err().cloned())
        .collect();
    let readable = plugins
        .iter()
        .filter_map(|(name, plugin)| Some((name, plugin.as_ref().ok()?)));
    let known = readable.map(|(name, plugin)| ((*name).to_owned(), Known::from(&*plugin.0)));
    (attachments, known.collect(), unreadable)
}

/// Index of an endpoint, and of a plugin among its plugins.
type Place = (usize, usize);

/// The order in which plugins are attached, from the names of each endpoint's plugins: one attachment of each plugin, so that all are
/// compiled side by side, then the others plugin by plugin, since what they share is kept for few plugins at once.
fn attachment_order(endpoints: &[Vec<&str>]) -> Vec<Place> {
    let mut order = Vec::new();
    let mut seen = HashSet::new();
    for (endpoint, plugins) in endpoints.iter().enumerate() {
        for (place, plugin) in plugins.iter().enumerate() {
            order.push((!seen.insert(plugin), plugin, (endpoint, place)));
        }
    }
    order.sort_unstable();
    order.into_iter().map(|(_, _, place)| place).collect()
}

/// A plugin, and what it is granted.
type Readable = (Arc<Plugin>, Grants);

fn read_plugin(
    sandbox: &Sandbox,
    name: &str,
    plugin: &config::Plugin,
    grants: &Grants,
) -> Result<Arc<Plugin>, String> {
    let path = plugin.path.display();
    let bytes = std::fs::read(&plugin.path).map_err(|error| {
        format!("plugins.{name}.path: {path} cannot be read: {error}; was it built (`cargo xtask plugins`)?")
    })?;
    let plugin = sandbox
        .read(name, bytes.into(), grants)
        .map_err(|error| format!("plugins.{name}: {path}: {error}"))?;
    Ok(Arc::new(plugin))
}

async fn attach_plugin(
    (sandbox, reachable): (&Sandbox, &Reachable),
    plugin: &Result<Readable, String>,
    settings: &config::Plugin,
    (endpoint_name, endpoint): (&str, &config::Endpoint),
    attach: &config::Attach,
) -> Result<Attached, String> {
    let (plugin, grants) = plugin.as_ref().map_err(Clone::clone)?;
    let place = format!("endpoints.{endpoint_name}.plugins (`{}`)", attach.plugin);
    let on_error = attach.on_error.unwrap_or(endpoint.on_error);
    let not_skipped = [
        (Stage::Validate, "a validator"),
        (Stage::Decode, "a plugin that decides tokens"),
    ];
    let not_skipped = not_skipped
        .iter()
        .find(|(stage, _)| plugin.stages.contains(stage));
    if let (Some(OnError::Skip), Some((_, what))) = (attach.on_error, not_skipped) {
        return Err(format!(
            "{place}: `on_error = \"skip\"` is not for {what}: what nobody checked must not pass"
        ));
    }
    let vocabulary = match plugin.needs_vocabulary() {
        true => reachable.vocabulary(&endpoint.model).await,
        false => Ok(None),
    };
    let options = AttachOptions {
        endpoint: endpoint_name.into(),
        config: attach.config.clone(),
        limits: settings.limits(),
        headers: settings.allow.headers.clone(),
        grants: grants.clone(),
        vocabulary: vocabulary.map_err(|why| format!("{place}: {why}"))?,
        spent: None,
        clock: None,
        start: match settings.startup {
            Startup::Snapshot => Start::Snapshot,
            Startup::Configure => Start::ConfigureEach,
        },
        reuse: settings.instances.reuse,
    };
    let attachment = sandbox
        .attach(plugin, options)
        .await
        .map_err(|error| format!("{place}: {error}"))?;
    Ok(Attached { attachment, on_error })
}

#[cfg(test)]
mod tests {
    use super::attachment_order;

    #[test]
    fn the_first_of_each_plugin_is_attached_before_the_others_which_follow_plugin_by_plugin() {
        let endpoints = [vec!["a", "b"], vec!["b", "b"], vec!["a", "c"]];
        let order = attachment_order(&endpoints);
        assert_eq!(order, [(0, 0), (0, 1), (2, 1), (2, 0), (1, 0), (1, 1)]);
    }
}
