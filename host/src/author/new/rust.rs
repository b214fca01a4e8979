//! The sources of new plugins in Rust. Of one stage, `lib.rs` is all the glue; of several, each stage has a module, and `lib.rs`
//! exports them. What both have, the stage's `impl`, is in its `stage.rs.in`.

use selvedge_plugin::Stage;

use super::part::{self, Part};
use super::{File, NewError, Project};

/// What every project in Rust has, the SDK among it.
const FILES: [File; 7] = [
    ("Cargo.toml", include_str!("../template/Cargo.toml")),
    (".gitignore", include_str!("../template/gitignore")),
    (
        "sdk/Cargo.toml",
        include_str!("../../../../plugins/sdk/Cargo.toml"),
    ),
    (
        "sdk/src/lib.rs",
        include_str!("../../../../plugins/sdk/src/lib.rs"),
    ),
    (
        "sdk/src/arena.rs",
        include_str!("../../../../plugins/sdk/src/arena.rs"),
    ),
    (
        "sdk/src/configured.rs",
        include_str!("../../../../plugins/sdk/src/configured.rs"),
    ),
    (
        "sdk/src/http.rs",
        include_str!("../../../../plugins/sdk/src/http.rs"),
    ),
];

/// The README, but for how the sources are laid out.
const README: &str = include_str!("../template/README.md");

/// The SDK's bindings, whose path to the interfaces is another in a project of its own.
const BINDINGS: &str = include_str!("../../../../plugins/sdk/src/bindings.rs");

/// What exports several stages.
const SEVERAL: &str = include_str!("../template/several/lib.rs");

/// A stage's sources.
struct Sources {
    /// Its core's name, and the static that holds what is configured.
    core_name: &'static str,
    configured: &'static str,
    core: &'static str,
    /// The glue of a plugin of this stage alone, and of the stage as a module; both with `@STAGE@` in place of what they share.
    lib: &'static str,
    module: &'static str,
    shared: &'static str,
}

/// A stage's sources, from its folder.
macro_rules! sources {
    ($stage:literal, $core:literal, $configured:literal) => {
        Sources {
            core_name: $core,
            configured: $configured,
            core: include_str!(concat!("../template/", $stage, "/core.rs")),
            lib: include_str!(concat!("../template/", $stage, "/lib.rs")),
            module: include_str!(concat!("../template/", $stage, "/module.rs")),
            shared: include_str!(concat!("../template/", $stage, "/stage.rs.in")),
        }
    };
}

impl Sources {
    fn of(stage: Stage) -> Option<Self> {
        Some(match stage {
            Stage::Validate => sources!("validate", "rule", "RULE"),
            Stage::Template => sources!("template", "prompt", "INSTRUCTION"),
            Stage::Postprocess => sources!("postprocess", "verdict", "RULE"),
            Stage::Stream => sources!("stream", "shout", "SHOUT"),
            Stage::Observe => sources!("observe", "watch", "WATCH"),
            Stage::Decode => return None,
        })
    }

    fn with_shared(&self, text: &str) -> String {
        text.replace("@STAGE@", self.shared.trim_end())
    }
}

/// Writes what is Rust's own.
pub(super) fn write(project: &Project<'_>) -> Result<(), NewError> {
    for (place, text) in FILES {
        project.write(place, text)?;
    }
    let (first, rest) = BINDINGS.split_once("\"../../wit\"").unwrap_or((BINDINGS, ""));
    let rest = rest.replace("\"../../wit\"", "\"wit\"");
    project.write("sdk/src/bindings.rs", &format!("{first}\"../wit\"{rest}"))?;
    let of = |part: &Part| Some((part.stage.name(), Sources::of(part.stage)?));
    let stages: Vec<(&str, Sources)> = project.parts.iter().filter_map(of).collect();
    for (_, sources) in &stages {
        project.write(&format!("src/{}.rs", sources.core_name), sources.core)?;
    }
    if let [(_, only)] = stages.as_slice() {
        return one(project, only);
    }
    several(project, &stages)
}

fn one(project: &Project<'_>, sources: &Sources) -> Result<(), NewError> {
    project.write("src/lib.rs", &sources.with_shared(sources.lib))?;
    let layout = format!(
        "`src/lib.rs` is the glue between the interfaces in `wit/` and the core, `src/{}.rs`, which knows nothing of them.",
        sources.core_name
    );
    project.write("README.md", &README.replace("@LAYOUT@", &layout))
}

fn several(project: &Project<'_>, stages: &[(&str, Sources)]) -> Result<(), NewError> {
    let mut modules = Vec::new();
    let mut cores = Vec::new();
    let mut configures = Vec::new();
    let mut files = Vec::new();
    for (stage, sources) in stages {
        let (core, configured) = (sources.core_name, sources.configured);
        project.write(&format!("src/{stage}.rs"), &sources.with_shared(sources.module))?;
        modules.push(format!("mod {stage};"));
        cores.push(format!("pub mod {core};"));
        configures.push(format!(
            "{stage}::{configured}.set(selvedge_sdk::parse_config(&config)?)?;"
        ));
        files.push(format!("- `src/{stage}.rs` and `src/{core}.rs`"));
    }
    // As rustfmt has them.
    modules.sort();
    cores.sort();
    let lib = SEVERAL
        .replace("@MODULES@", &modules.join("\n"))
        .replace("@CORES@", &cores.join("\n"))
        .replace("@CONFIGURE@", &configures.join("\n        "));
    project.write("src/lib.rs", &lib)?;
    project.write("wit/plugin.wit", &part::world(&project.parts))?;
    let layout = format!(
        "`src/lib.rs` exports the stages. Each has a module that is the glue between its interface in `wit/` and its core, which knows\n\
         nothing of it:\n\n{}\n",
        files.join("\n")
    );
    project.write("README.md", &README.replace("@LAYOUT@", &layout))
}
