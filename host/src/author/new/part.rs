//! What a stage brings into a new plugin, and what several make together: one manifest, one configuration, one world.

use selvedge_plugin::Stage;
use serde_json::Value;

use super::File;

/// What a stage brings, whatever the language.
pub(super) struct Part {
    pub(super) stage: Stage,
    /// What it does, after the README's colon.
    about: &'static str,
    /// The model that it must have, of those in the README of a plugin; none where it goes with any. Those that must have one agree.
    model: Option<&'static str>,
    /// Keys of its configuration, in the README.
    config: Option<&'static str>,
    manifest: &'static str,
    /// Files in `cases/`. No two stages have a case of the same name.
    pub(super) cases: &'static [File],
}

/// A stage's cases, by their names in its folder.
macro_rules! cases {
    ($stage:literal; $($file:literal)+) => {
        &[$(($file, include_str!(concat!("../template/", $stage, "/cases/", $file)))),+]
    };
}

impl Part {
    /// That of a stage; none where there is no template yet.
    pub(super) fn of(stage: Stage) -> Option<Self> {
        Some(match stage {
            Stage::Validate => Self {
                stage,
                about: "refuses texts that are too long.",
                model: None,
                config: Some("length_max = 500"),
                manifest: include_str!("../template/validate/manifest.json"),
                cases: cases!("validate";
                    "short/config.json" "short/request.json" "short/expected.json"
                    "long/config.json" "long/request.json" "long/expected.json"),
            },
            Stage::Template => Self {
                stage,
                about: "puts an instruction before the text.",
                model: Some("smollm2"),
                config: Some("instruction = \"Summarise the text.\""),
                manifest: include_str!("../template/template/manifest.json"),
                cases: cases!("template";
                    "text/config.json" "text/request.json" "text/expected.json"
                    "no-text/config.json" "no-text/request.json" "no-text/expected.json"),
            },
            Stage::Postprocess => Self {
                stage,
                about: "answers with the best label, and whether the model was sure of it; what has no labels, it passes on.",
                model: None,
                config: Some("threshold = 0.9"),
                manifest: include_str!("../template/postprocess/manifest.json"),
                cases: cases!("postprocess";
                    "sure/config.json" "sure/labels.json" "sure/expected.json"
                    "unsure/config.json" "unsure/labels.json" "unsure/expected.json"
                    "no-labels/config.json" "no-labels/text.json" "no-labels/expected.json"),
            },
            Stage::Stream => Self {
                stage,
                about: "writes generated text in capital letters.",
                model: Some("smollm2"),
                config: None,
                manifest: include_str!("../template/stream/manifest.json"),
                cases: cases!("stream";
                    "all/config.json" "all/chunks.json" "all/expected.json"
                    "only/config.json" "only/chunks.json" "only/expected.json"),
            },
            Stage::Observe => Self {
                stage,
                about: "counts the requests that took too long.",
                model: None,
                config: Some("slow_ms = 500"),
                manifest: include_str!("../template/observe/manifest.json"),
                cases: cases!("observe";
                    "slow/config.json" "slow/events.json" "slow/expected.json"),
            },
            Stage::Decode => return None,
        })
    }

    /// The interface that it exports, by its name alone.
    pub(super) fn interface(&self) -> &'static str {
        self.stage.interface().trim_start_matches("selvedge:plugin/")
    }
}

/// What a plugin of these does, after the README's colon.
pub(super) fn about(parts: &[Part]) -> String {
    if let [only] = parts {
        return only.about.to_owned();
    }
    let lines = parts
        .iter()
        .map(|part| format!("- `{}` {}\n", part.stage.name(), part.about));
    format!(
        "several stages in one.\n\n{}\n\
         An endpoint that uses it has one model and calls them all. A case is of one stage, which its `stage.json` names.",
        lines.collect::<String>()
    )
}

/// The line of an endpoint that names the model that they go with: what one of them must have, and otherwise a classifier, whose
/// labels a verdict is of.
pub(super) fn model(parts: &[Part]) -> String {
    let model = parts.iter().find_map(|part| part.model).unwrap_or("spam");
    format!("model = \"{model}\"")
}

/// A configuration, in TOML.
pub(super) fn config(parts: &[Part]) -> String {
    let keys: Vec<&str> = parts.iter().filter_map(|part| part.config).collect();
    match keys.as_slice() {
        [] => "{}".to_owned(),
        keys => format!("{{ {} }}", keys.join(", ")),
    }
}

/// The manifest: all keys of the configuration side by side, all metrics, and what each does.
pub(super) fn manifest(parts: &[Part]) -> String {
    let manifests = parts
        .iter()
        .map(|part| serde_json::from_str(part.manifest).unwrap_or_default());
    let manifest = manifests.reduce(merged).unwrap_or_default();
    format!("{manifest:#}\n")
}

/// Two manifests, or the same field of both: objects and lists with what is in either, texts that differ one behind the other.
fn merged(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Object(mut fields), Value::Object(more)) => {
            for (key, value) in more {
                let field = fields.entry(key).or_insert(Value::Null);
                *field = merged(field.take(), value);
            }
            Value::Object(fields)
        }
        (Value::Array(mut items), Value::Array(more)) => {
            items.extend(more);
            Value::Array(items)
        }
        (Value::String(one), Value::String(other)) if one != other => format!("{one} {other}").into(),
        (Value::Null, only) | (only, _) => only,
    }
}

/// The world that they export. Some toolchains import the whole of a world, so it has no more than is wanted.
pub(super) fn world(parts: &[Part]) -> String {
    let exports = parts
        .iter()
        .map(|part| format!("  export {};\n", part.interface()));
    format!(
        "/// What this plugin imports and exports. What an operator has to grant is imported here as well: `import kv;`.\n\
         world plugin {{\n  include base;\n  export lifecycle;\n{}}}\n",
        exports.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use selvedge_plugin::Stage;
    use serde_json::{Value, json};

    use super::{Part, config, manifest, merged, model, world};

    fn parts() -> Vec<Part> {
        let stages = [
            Stage::Validate,
            Stage::Template,
            Stage::Postprocess,
            Stage::Stream,
            Stage::Observe,
        ];
        stages.into_iter().filter_map(Part::of).collect()
    }

    #[test]
    fn stages_have_no_case_and_no_key_in_common() {
        let parts = parts();
        let folders = |part: &Part| -> BTreeSet<&str> {
            let files = part.cases.iter().filter_map(|(file, _)| file.split_once('/'));
            files.map(|(folder, _)| folder).collect()
        };
        let count = parts.iter().map(|part| folders(part).len()).sum::<usize>();
        assert_eq!(
            parts.iter().flat_map(folders).collect::<BTreeSet<_>>().len(),
            count
        );
        let keys = |text: &str| {
            let manifest: Value = serde_json::from_str(text).expect("JSON");
            manifest["config_schema"]["properties"]
                .as_object()
                .map_or(0, |keys| keys.len())
        };
        let count = parts.iter().map(|part| keys(part.manifest)).sum::<usize>();
        assert_eq!(keys(&manifest(&parts)), count);
    }

    #[test]
    fn one_stage_has_its_manifest_as_it_is() {
        for part in parts() {
            let text = part.manifest;
            assert_eq!(manifest(&[part]), text);
        }
    }

    #[test]
    fn manifests_are_merged_field_by_field() {
        let one =
            json!({ "description": "A.", "required": ["a"], "properties": { "a": 1 }, "closed": false });
        let other = json!({ "description": "B.", "required": ["b"], "properties": { "b": 2 }, "closed": false, "metrics": [] });
        let both = json!({
            "description": "A. B.", "required": ["a", "b"], "properties": { "a": 1, "b": 2 }, "closed": false, "metrics": [],
        });
        assert_eq!(merged(one, other), both);
    }

    #[test]
    fn an_endpoint_has_the_one_model_that_all_its_stages_go_with() {
        let wanted: BTreeSet<&str> = parts().iter().filter_map(|part| part.model).collect();
        assert_eq!(wanted.len(), 1, "{wanted:?}");
        assert_eq!(model(&parts()), "model = \"smollm2\"");
        let cases: [(&[Stage], &str); 5] = [
            (&[Stage::Validate, Stage::Observe], "spam"),
            (&[Stage::Validate, Stage::Postprocess], "spam"),
            (&[Stage::Validate, Stage::Template], "smollm2"),
            (&[Stage::Validate, Stage::Stream], "smollm2"),
            (&[Stage::Template, Stage::Postprocess], "smollm2"),
        ];
        for (stages, name) in cases {
            let parts: Vec<Part> = stages.iter().copied().filter_map(Part::of).collect();
            assert_eq!(model(&parts), format!("model = \"{name}\""), "{stages:?}");
        }
    }

    #[test]
    fn what_several_are_is_said_of_each() {
        let parts = parts();
        let keys =
            "{ length_max = 500, instruction = \"Summarise the text.\", threshold = 0.9, slow_ms = 500 }";
        assert_eq!(config(&parts), keys);
        assert_eq!(world(&parts).matches("export ").count(), 6);
    }
}
