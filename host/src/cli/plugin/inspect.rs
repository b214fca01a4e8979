//! `selvedge plugin inspect`: what a component is, without running it.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use selvedge_plugin::value::safe;
use selvedge_plugin::{Anatomy, Grants, Manifest, Need, Plugin, SandboxOptions};
use serde_json::{Map, Value, json};

use crate::cli::{CliError, out};

/// Bytes of one line that people are shown; JSON has all of it.
const VALUE_LEN_MAX: usize = 4 << 10;

/// Arguments of `plugin inspect`.
#[derive(Debug, Args)]
pub(in crate::cli) struct InspectArguments {
    /// The component, `.wasm`.
    file: PathBuf,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: InspectArguments) -> Result<(), CliError> {
    let file = arguments.file.display().to_string();
    let bytes = std::fs::read(&arguments.file).with_context(|| format!("{file} cannot be read"))?;
    let name = arguments
        .file
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or("plugin")
        .to_owned();
    let max = SandboxOptions::new(PathBuf::new()).component_size_max;
    let plugin = Plugin::read(&name, bytes.into(), max)
        .map_err(|error| CliError::Config(vec![format!("{file}: {error}")]))?;
    let anatomy = Anatomy::of(&plugin.bytes);
    if arguments.json {
        out::json(&as_json(&file, &plugin, &anatomy))
    } else {
        out::write(text(&plugin, &name, &anatomy))
    }
}

fn as_json(file: &str, plugin: &Plugin, anatomy: &Anatomy) -> Value {
    let denied = selvedge_plugin::sandbox::check_imports(plugin, &Grants::default());
    let stages: Vec<&str> = plugin.stages.iter().map(|stage| stage.name()).collect();
    let needs = plugin.needs().map(|(import, need)| {
        let need = match need {
            Need::Free | Need::Empty => Value::Null,
            Need::Grant(line) => line.into(),
            Need::Never => false.into(),
        };
        (import.to_owned(), need)
    });
    json!({
        "file": file, "bytes": plugin.bytes.len(), "digest": format!("sha256:{}", plugin.digest_hex()),
        "stages": stages, "imports": plugin.imports, "exports": plugin.exports,
        "grants": needs.collect::<Map<_, _>>(), "manifest": plugin.manifest,
        "snapshot": plugin.mutation.is_none(), "denied": denied.err().map(|error| error.to_string()),
        "sizes": anatomy,
    })
}

fn text(plugin: &Plugin, name: &str, anatomy: &Anatomy) -> String {
    let manifest = &plugin.manifest;
    let name = match manifest.name.as_str() {
        "" => name,
        name => name,
    };
    let mut out = String::new();
    // Nothing is written that a String could refuse; what comes out of the component must not write to the terminal as it likes.
    let mut line = |key: &str, value: &str| {
        writeln!(out, "  {key:9} {}", safe(value, VALUE_LEN_MAX)).unwrap_or_default();
    };
    let stages: Vec<&str> = plugin.stages.iter().map(|stage| stage.name()).collect();
    line("says", or(&manifest.description, "nothing of itself"));
    line("stages", &stages.join(", "));
    line("digest", &format!("sha256:{}", plugin.digest_hex()));
    line("size", &sizes(plugin.bytes.len(), anatomy));
    line("toolchain", or(&manifest.toolchain, "not said"));
    for (role, tool, version) in &anatomy.tools {
        line("", &format!("{role}: {tool} {version}"));
    }
    for export in &plugin.exports {
        line("export", export);
    }
    for (import, need) in plugin.needs() {
        let need = match need {
            Need::Free => "free".to_owned(),
            Need::Empty => "free, and empty".to_owned(),
            Need::Grant(grant) => format!("granted by `allow = {{ {grant} }}`"),
            Need::Never => "nothing can grant it: the plugin cannot be attached".to_owned(),
        };
        line("import", &format!("{import:44} {need}"));
    }
    line("wants", or(&wants(manifest), "nothing"));
    line(
        "config",
        match &manifest.config_schema {
            Some(_) => "is checked by the manifest's schema",
            None => "anything: the manifest has no schema",
        },
    );
    line("metrics", or(&manifest.metrics.join(", "), "none"));
    line(
        "self-test",
        match &manifest.self_test {
            Some(_) => "a request that a snapshot must answer as a fresh instance does",
            None => "none",
        },
    );
    line(
        "warm-up",
        match manifest.warm_up {
            true => "it is called before it serves",
            false => "none",
        },
    );
    let snapshot = plugin.mutation.as_deref();
    line(
        "snapshot",
        snapshot.unwrap_or("its code does nothing that a snapshot would lose"),
    );
    let title = safe(&format!("{name} {}", manifest.version), VALUE_LEN_MAX);
    format!("{title}\n{out}")
}

fn or<'a>(said: &'a str, otherwise: &'a str) -> &'a str {
    if said.is_empty() { otherwise } else { said }
}

fn sizes(len: usize, anatomy: &Anatomy) -> String {
    let kib = |len: usize| format!("{} KiB", len.div_ceil(1024));
    format!(
        "{len} bytes: {} functions in {} modules, code {}, data {}, names {}, debug information {}; memory from {} KiB on",
        anatomy.functions,
        anatomy.modules,
        kib(anatomy.code),
        kib(anatomy.data),
        kib(anatomy.names),
        kib(anatomy.debug),
        anatomy.memory_min >> 10,
    )
}

/// What the manifest cannot do without, as an operator would grant it.
fn wants(manifest: &Manifest) -> String {
    let wants = &manifest.wants;
    let lists = [
        ("headers", &wants.headers),
        ("secrets", &wants.secrets),
        ("models", &wants.models),
        ("kv", &wants.kv),
    ];
    let lists = lists.into_iter().filter(|(_, names)| !names.is_empty());
    let mut said: Vec<String> = lists.map(|(key, names)| format!("{key} = {names:?}")).collect();
    if wants.bodies {
        said.push("bodies = true".to_owned());
    }
    said.join(", ")
}
