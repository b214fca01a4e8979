//! From sections to a configuration whose references hold: names, paths, ranges. All that is wrong is told at once.

mod edge;
mod listen;
mod outside;
mod sandbox;
mod uploads;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use selvedge_model::Task;

use super::endpoint::Endpoint;
use super::model::Model;
use super::read::{Sections, nearest};
use super::upstream::Upstream;
use super::{Auth, Config, ConfigError, Size};
use crate::edge::ADMIN;
use crate::router;

/// Headers of a request at most: the library makes a place for each of them with every request.
const HEADERS_MAX: usize = 4096;

/// Bytes that a request's head may have at most: the library reads into no less, and each connection may hold as much.
const HEAD_SIZES: RangeInclusive<usize> = 8 << 10..=1 << 20;

/// Texts that one model writes at once, at most: more share the same cores, each with a buffer of its own.
const SLOTS_MAX: usize = 1024;

/// Tries of a call at most: more would only keep a server down that is.
const RETRIES_MAX: u32 = 10;

/// Observers at work at once, at most: each has an instance beside those of requests.
const WORKERS_MAX: usize = 256;

/// Bytes of a body in an event at most: some events must fit into what waits to be written.
const EVENT_BODY_MAX: usize = 16 << 20;

/// What was found wrong so far.
struct Findings<'a> {
    file: &'a Path,
    errors: Vec<ConfigError>,
}

impl Findings<'_> {
    fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        let (file, key, message) = (self.file.to_owned(), key.into(), message.into());
        self.errors.push(ConfigError {
            file,
            place: None,
            key,
            message,
        });
    }

    fn at_least_one(&mut self, key: String, value: usize) {
        if value == 0 {
            self.add(key, "must be at least 1");
        }
    }
}

/// Checks the sections of a file.
pub(super) fn check(file: &Path, mut sections: Sections) -> Result<Config, Vec<ConfigError>> {
    let mut found = Findings {
        file,
        errors: Vec::new(),
    };
    check_server(&sections, &mut found);
    edge::check(&sections, &mut found);
    check_models(&sections, &mut found);
    check_observe(&sections, &mut found);
    check_telemetry(&sections, &mut found);
    check_plugins(&sections, &mut found);
    check_endpoints(&sections, &mut found);
    outside::take_in(&mut sections, &mut found);
    if !found.errors.is_empty() {
        return Err(found.errors);
    }
    Ok(resolve(file, sections))
}

fn check_server(sections: &Sections, found: &mut Findings<'_>) {
    let server = &sections.server;
    listen::check(sections, found);
    let times = [
        ("request_timeout", server.request_timeout),
        ("header_timeout", server.header_timeout),
        ("idle_timeout", server.idle_timeout),
        ("warm_up_timeout", server.warm_up_timeout),
    ];
    for (key, time) in times {
        if time.0.is_zero() {
            found.add(format!("server.{key}"), "must be more than zero");
        }
    }
    found.at_least_one("server.body_size_max".into(), server.body_size_max.0);
    found.at_least_one("server.connections_max".into(), server.connections_max);
    if !(1..=HEADERS_MAX).contains(&server.headers_max) {
        let message = format!("must be from 1 to {HEADERS_MAX}, and is {}", server.headers_max);
        found.add("server.headers_max", message);
    }
    if !HEAD_SIZES.contains(&server.head_size_max.0) {
        found.add("server.head_size_max", "must be from 8KiB to 1MiB");
    }
    let uploads = &sections.uploads;
    found.at_least_one("uploads.bytes_max".into(), uploads.bytes_max.0);
    found.at_least_one("uploads.caller_bytes_max".into(), uploads.caller_bytes_max.0);
    found.at_least_one("server.streams_max".into(), server.streams_max as usize);
    sandbox::check(&sections.sandbox, found);
}

fn check_models(sections: &Sections, found: &mut Findings<'_>) {
    for (name, model) in &sections.models {
        let key = |field: &str| format!("models.{name}.{field}");
        check_name(&format!("models.{name}"), name, found);
        check_source(name, model, sections, found);
        found.at_least_one(key("replicas"), model.replicas);
        let batch = &model.batch;
        found.at_least_one(key("batch.items_max"), batch.items_max);
        found.at_least_one(key("batch.tokens_max"), batch.tokens_max);
        found.at_least_one(key("batch.queue_items_max"), batch.queue_items_max);
        found.at_least_one(key("batch.queue_tokens_max"), batch.queue_tokens_max);
        let generate = &model.generate;
        found.at_least_one(key("generate.slots"), generate.slots);
        if generate.slots > SLOTS_MAX {
            let message = format!("must be at most {SLOTS_MAX}, and is {}", generate.slots);
            found.add(key("generate.slots"), message);
        }
        found.at_least_one(key("generate.context_max"), generate.context_max);
        found.at_least_one(key("generate.prefill_chunk"), generate.prefill_chunk);
        found.at_least_one(key("generate.queue_len_max"), generate.queue_len_max);
        if model.file.as_ref().is_some_and(|file| file.contains('/')) {
            found.add(
                key("file"),
                "name a file of the model's folder, without a folder in it",
            );
        }
    }
}

fn check_source(name: &str, model: &Model, sections: &Sections, found: &mut Findings<'_>) {
    match (&model.path, &model.upstream) {
        (Some(_), None) => {}
        (None, Some(upstream)) => check_upstream(name, upstream, sections, found),
        (None, None) => found.add(
            format!("models.{name}"),
            "give `path`, the folder of a model, or `upstream`, another server",
        ),
        (Some(_), Some(_)) => found.add(
            format!("models.{name}"),
            "give either `path` or `upstream`, not both",
        ),
    }
}

fn check_upstream(name: &str, upstream: &Upstream, sections: &Sections, found: &mut Findings<'_>) {
    let key = |field: &str| format!("models.{name}.upstream.{field}");
    if let Err(why) = check_url(&upstream.url) {
        found.add(key("url"), why);
    }
    if !matches!(upstream.task, Task::TextGeneration | Task::FeatureExtraction) {
        found.add(
            key("task"),
            "must be \"text-generation\" or \"feature-extraction\"",
        );
    }
    let times = [
        ("connect_timeout", upstream.connect_timeout),
        ("first_token_timeout", upstream.first_token_timeout),
        ("timeout", upstream.timeout),
    ];
    for (field, time) in times {
        if time.0.is_zero() {
            found.add(key(field), "must be more than zero");
        }
    }
    found.at_least_one(key("calls_max"), upstream.calls_max);
    if upstream.retries > RETRIES_MAX {
        found.add(
            key("retries"),
            format!("must be at most {RETRIES_MAX}, and is {}", upstream.retries),
        );
    }
    for (index, fallback) in upstream.fallback.iter().enumerate() {
        let key = key(&format!("fallback[{index}]"));
        if fallback == name {
            found.add(key, "a model cannot be its own fallback");
        } else if !sections.models.contains_key(fallback) {
            let known = sections.models.keys().map(String::as_str);
            found.add(key, unknown("model", fallback, known, "models"));
        }
    }
}

/// A base URL: http or https, a host, perhaps a path, and nothing else.
fn check_url(url: &str) -> Result<(), &'static str> {
    const WANTED: &str =
        "must be an address such as \"http://127.0.0.1:11434\" or \"https://api.example/v1\"";
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let host = rest.ok_or(WANTED)?.split('/').next().unwrap_or_default();
    if host.is_empty() || url.contains(['?', '#', ' ', '@']) || !url.is_ascii() {
        return Err(WANTED);
    }
    Ok(())
}

fn check_observe(sections: &Sections, found: &mut Findings<'_>) {
    let observe = &sections.observe;
    let key = |field: &str| format!("observe.{field}");
    found.at_least_one(key("bytes_max"), observe.bytes_max.0);
    if observe.body_bytes_max.0 > EVENT_BODY_MAX {
        found.add(
            key("body_bytes_max"),
            format!("must be at most {}", Size(EVENT_BODY_MAX)),
        );
    }
    found.at_least_one(key("batch_items_max"), observe.batch_items_max);
    found.at_least_one(key("batch_bytes_max"), observe.batch_bytes_max.0);
    found.at_least_one(key("attempts_max"), observe.attempts_max as usize);
    if observe.workers == 0 || observe.workers > WORKERS_MAX {
        found.add(
            key("workers"),
            format!("must be from 1 to {WORKERS_MAX}, and is {}", observe.workers),
        );
    }
    let (min, max) = (observe.backoff_min, observe.backoff_max);
    if min.0.is_zero() || min > max {
        found.add(
            key("backoff_min"),
            format!("must be more than zero and at most `observe.backoff_max`, {max}"),
        );
    }
}

fn check_telemetry(sections: &Sections, found: &mut Findings<'_>) {
    let telemetry = &sections.telemetry;
    let key = |field: &str| format!("telemetry.{field}");
    if let Some(Err(why)) = telemetry.otlp.as_deref().map(check_url) {
        found.add(key("otlp"), why);
    }
    if !(0.0..=1.0).contains(&telemetry.sample_ratio) {
        let message = format!("must be from 0 to 1, and is {}", telemetry.sample_ratio);
        found.add(key("sample_ratio"), message);
    }
    if telemetry.timeout.0.is_zero() {
        found.add(key("timeout"), "must be more than zero");
    }
    found.at_least_one(key("queue_spans_max"), telemetry.queue_spans_max);
}

fn check_allow(name: &str, plugin: &super::Plugin, sections: &Sections, found: &mut Findings<'_>) {
    let key = |field: &str| format!("plugins.{name}.allow.{field}");
    for (index, model) in plugin.allow.models.iter().enumerate() {
        if !sections.models.contains_key(model) {
            let known = sections.models.keys().map(String::as_str);
            found.add(
                key(&format!("models[{index}]")),
                unknown("model", model, known, "models"),
            );
        }
    }
    for (index, store) in plugin.allow.kv.iter().enumerate() {
        check_name(&key(&format!("kv[{index}]")), store, found);
    }
    for (index, grant) in plugin.allow.http.iter().enumerate() {
        if let Err(why) = grant.origin() {
            found.add(key(&format!("http[{index}]")), why);
        }
    }
    for (index, journal) in plugin.allow.journals.iter().enumerate() {
        let key = key(&format!("journals[{index}]"));
        if journal.starts_with('.') {
            found.add(key, "is the name of a folder, which must not begin with a `.`");
        } else {
            check_name(&key, journal, found);
        }
    }
}

fn check_plugins(sections: &Sections, found: &mut Findings<'_>) {
    for (name, plugin) in &sections.plugins {
        check_name(&format!("plugins.{name}"), name, found);
        check_allow(name, plugin, sections, found);
        found.at_least_one(
            format!("plugins.{name}.instances.reuse"),
            plugin.instances.reuse as usize,
        );
        let limits = plugin.limits();
        let key = |field: &str| format!("plugins.{name}.limits.{field}");
        let times = [
            ("time", limits.time),
            ("wall_time", limits.wall_time),
            ("configure_time", limits.configure_time),
            ("observe_time", limits.observe_time),
            ("observe_wall_time", limits.observe_wall_time),
            ("inference_time", limits.inference_time),
        ];
        for (field, time) in times {
            if time.is_zero() {
                found.add(key(field), "must be more than zero");
            }
        }
        if limits.table_elements > selvedge_plugin::engine::TABLE_ELEMENTS_MAX {
            let max = selvedge_plugin::engine::TABLE_ELEMENTS_MAX;
            found.add(
                key("table_elements"),
                format!("must be at most {max}, which is what the pool has for a table"),
            );
        }
        let max = sections.sandbox.memory_max;
        if limits.memory > max.0 {
            found.add(
                key("memory"),
                format!("must be at most `sandbox.memory_max`, {max}"),
            );
        }
    }
}

fn check_endpoints(sections: &Sections, found: &mut Findings<'_>) {
    let mut paths: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, endpoint) in &sections.endpoints {
        check_name(&format!("endpoints.{name}"), name, found);
        if name == ADMIN {
            let message =
                "`admin` is the operators' scope, which its callers would have; choose another name";
            found.add(format!("endpoints.{name}"), message);
        }
        check_endpoint(name, endpoint, sections, found);
        let Some(path) = endpoint.path.as_deref() else {
            continue;
        };
        let key = format!("endpoints.{name}.path");
        if let Err(why) = router::check_path(path) {
            found.add(key.clone(), why);
        }
        if let Some(other) = paths.insert(path, name) {
            found.add(
                key,
                format!("`{path}` is the path of `endpoints.{other}` too; give one of them another"),
            );
        }
    }
}

fn check_endpoint(name: &str, endpoint: &Endpoint, sections: &Sections, found: &mut Findings<'_>) {
    let key = |field: &str| format!("endpoints.{name}.{field}");
    if !sections.models.contains_key(&endpoint.model) {
        let known = sections.models.keys().map(String::as_str);
        found.add(key("model"), unknown("model", &endpoint.model, known, "models"));
    }
    uploads::check(name, endpoint, &sections.uploads, found);
    for (index, attach) in endpoint.plugins.iter().enumerate() {
        if !sections.plugins.contains_key(&attach.plugin) {
            let known = sections.plugins.keys().map(String::as_str);
            let message = unknown("plugin", &attach.plugin, known, "plugins");
            found.add(key(&format!("plugins[{index}].use")), message);
        }
        if !attach.config.is_object() {
            found.add(
                key(&format!("plugins[{index}].config")),
                "must be a table, `{ ... }`",
            );
        }
    }
    if let Some(timeout) = endpoint.timeout {
        let max = sections.server.request_timeout;
        if timeout.0.is_zero() || timeout > max {
            found.add(
                key("timeout"),
                format!("must be more than zero and at most `server.request_timeout`, {max}"),
            );
        }
    }
}

fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
    section: &str,
) -> String {
    let near = nearest(known.clone(), name).map(|near| format!("did you mean `{near}`? "));
    let list = known
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let list = if list.is_empty() {
        "none is defined".to_owned()
    } else {
        format!("defined are {list}")
    };
    format!(
        "there is no {what} `{name}`; {}{list}; add [{section}.{name}]",
        near.unwrap_or_default()
    )
}

/// Names stand in URLs, metrics and logs.
fn check_name(key: &str, name: &str, found: &mut Findings<'_>) {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        found.add(key, "a name has 1 to 64 letters, digits, `.`, `_` and `-`");
    }
}

/// The folder that relative paths start from.
pub(super) fn folder_of(file: &Path) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}

/// Makes paths absolute.
fn resolve(file: &Path, sections: Sections) -> Config {
    let folder = folder_of(file);
    let absolute = |path: PathBuf| folder.join(path);
    let mut config = Config {
        file: file.to_owned(),
        server: sections.server,
        auth: sections.auth.unwrap_or_else(Auth::open),
        admin: sections.admin,
        limits: sections.limits,
        state: sections.state,
        runtime: sections.runtime,
        sandbox: sections.sandbox,
        observe: sections.observe,
        telemetry: sections.telemetry,
        uploads: sections.uploads,
        models: sections.models.into_iter().collect(),
        plugins: sections.plugins.into_iter().collect(),
        endpoints: sections.endpoints.into_iter().collect(),
    };
    let admin = config.admin.as_mut().and_then(|admin| admin.tls.as_mut());
    for tls in config.server.tls.iter_mut().chain(admin) {
        for path in [Some(&mut tls.cert), Some(&mut tls.key), tls.client_ca.as_mut()]
            .into_iter()
            .flatten()
        {
            *path = absolute(std::mem::take(path));
        }
    }
    config.state.dir = absolute(config.state.dir);
    config.runtime.library = config.runtime.library.map(absolute);
    for (_, model) in &mut config.models {
        model.path = model.path.take().map(absolute);
        if let Some(upstream) = &mut model.upstream {
            upstream.ca = upstream.ca.take().map(absolute);
        }
    }
    for (_, plugin) in &mut config.plugins {
        plugin.path = absolute(std::mem::take(&mut plugin.path));
    }
    config
}
