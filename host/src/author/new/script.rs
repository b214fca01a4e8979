//! The sources of new plugins in JavaScript and Python. What is all of a plugin of one stage is one file of several in a plugin
//! of several, beside one that exports them.

use selvedge_plugin::Stage;

use super::part::{self, Part};
use super::{File, NewError, Project};

/// What every project in JavaScript has.
const JAVASCRIPT: [File; 4] = [
    (
        "package.json",
        include_str!("../template/javascript/package.json"),
    ),
    (".gitignore", include_str!("../template/javascript/gitignore")),
    (
        "jsconfig.json",
        include_str!("../template/javascript/jsconfig.json"),
    ),
    (
        "selvedge.d.ts",
        include_str!("../template/javascript/selvedge.d.ts"),
    ),
];

/// What every project in Python has.
const PYTHON: [File; 4] = [
    (
        "requirements.txt",
        include_str!("../template/python/requirements.txt"),
    ),
    (".gitignore", include_str!("../template/python/gitignore")),
    (
        "pyrightconfig.json",
        include_str!("../template/python/pyrightconfig.json"),
    ),
    ("src/selvedge.py", include_str!("../template/python/selvedge.py")),
];

/// The READMEs, but for how the sources are laid out.
const JAVASCRIPT_README: &str = include_str!("../template/javascript/README.md");
const PYTHON_README: &str = include_str!("../template/python/README.md");

/// The module of a stream's state, which has its interface's name, by which componentize-py finds it.
const STREAM_STATE: File = (
    "src/stream_postprocessor.py",
    include_str!("../template/python/stream_postprocessor.py"),
);

/// What exports several stages.
const JAVASCRIPT_SEVERAL: &str = include_str!("../template/javascript/several.js");
const PYTHON_SEVERAL: &str = include_str!("../template/python/several.py");

/// The module of a stage in JavaScript.
fn javascript(stage: Stage) -> &'static str {
    match stage {
        Stage::Validate => include_str!("../template/javascript/validate.js"),
        Stage::Template => include_str!("../template/javascript/template.js"),
        Stage::Postprocess => include_str!("../template/javascript/postprocess.js"),
        Stage::Stream => include_str!("../template/javascript/stream.js"),
        Stage::Observe => include_str!("../template/javascript/observe.js"),
        // There is no template for it in any language yet.
        Stage::Decode => "",
    }
}

/// The module of a stage in Python.
fn python(stage: Stage) -> &'static str {
    match stage {
        Stage::Validate => include_str!("../template/python/validate.py"),
        Stage::Template => include_str!("../template/python/template.py"),
        Stage::Postprocess => include_str!("../template/python/postprocess.py"),
        Stage::Stream => include_str!("../template/python/stream.py"),
        Stage::Observe => include_str!("../template/python/observe.py"),
        Stage::Decode => "",
    }
}

/// Writes what is JavaScript's own.
pub(super) fn write_javascript(project: &Project<'_>) -> Result<(), NewError> {
    for (place, text) in JAVASCRIPT {
        project.write(place, text)?;
    }
    project.write("wit/plugin.wit", &part::world(&project.parts))?;
    let exports = "`src/plugin.js` exports each stage, by the name of its interface in `wit/stages.wit`";
    let readme = JAVASCRIPT_README.replace("@LAYOUT@", &layout(exports, &project.parts, "js"));
    project.write("README.md", &readme)?;
    if let [only] = project.parts.as_slice() {
        return project.write("src/plugin.js", javascript(only.stage));
    }
    for part in &project.parts {
        let stage = part.stage;
        project.write(&format!("src/{}.js", stage.name()), javascript(stage))?;
    }
    let import = |part: &Part| format!("import * as {0} from \"./{0}.js\";", part.stage.name());
    let export = |part: &Part| {
        let interface = camel(part.interface());
        format!("export {{ {interface} }} from \"./{}.js\";", part.stage.name())
    };
    let text = JAVASCRIPT_SEVERAL
        .replace("@IMPORTS@", &lines(&project.parts, import))
        .replace("@STAGES@", &names(&project.parts))
        .replace("@EXPORTS@", &lines(&project.parts, export));
    project.write("src/plugin.js", &text)
}

/// Writes what is Python's own.
pub(super) fn write_python(project: &Project<'_>) -> Result<(), NewError> {
    for (place, text) in PYTHON {
        project.write(place, text)?;
    }
    project.write("wit/plugin.wit", &part::world(&project.parts))?;
    let exports =
        "`src/app.py` has a class for each interface that it exports, by its name in `wit/stages.wit`";
    let readme = PYTHON_README.replace("@LAYOUT@", &layout(exports, &project.parts, "py"));
    project.write("README.md", &readme)?;
    if project.parts.iter().any(|part| part.stage == Stage::Stream) {
        let (place, text) = STREAM_STATE;
        project.write(place, text)?;
    }
    if let [only] = project.parts.as_slice() {
        return project.write("src/app.py", python(only.stage));
    }
    for part in &project.parts {
        let stage = part.stage;
        project.write(&format!("src/{}.py", stage.name()), python(stage))?;
    }
    let import = |part: &Part| format!("import {}", part.stage.name());
    let export = |part: &Part| {
        let interface = pascal(part.interface());
        format!("{interface} = {}.{interface}", part.stage.name())
    };
    let text = PYTHON_SEVERAL
        .replace("@IMPORTS@", &lines(&project.parts, import))
        .replace("@STAGES@", &names(&project.parts))
        .replace("@EXPORTS@", &lines(&project.parts, export));
    project.write("src/app.py", &text)
}

/// How the sources are laid out: what exports the stages and, where they are several, the file of each.
fn layout(exports: &str, parts: &[Part], extension: &str) -> String {
    if parts.len() == 1 {
        return format!("{exports}.");
    }
    let file = |part: &Part| format!("- `src/{}.{extension}`", part.stage.name());
    format!(
        "{exports}. Each stage is in a file of its own:\n\n{}\n",
        lines(parts, file)
    )
}

/// A line for each part.
fn lines(parts: &[Part], line: impl Fn(&Part) -> String) -> String {
    let lines: Vec<String> = parts.iter().map(line).collect();
    lines.join("\n")
}

/// The stages' names, in a list.
fn names(parts: &[Part]) -> String {
    let names: Vec<&str> = parts.iter().map(|part| part.stage.name()).collect();
    names.join(", ")
}

/// What WIT calls `stream-postprocessor`, as Python calls a class: `StreamPostprocessor`.
fn pascal(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (head, tail) = word.split_at(1);
        head.to_uppercase() + tail
    });
    words.collect()
}

/// The same, as JavaScript calls it: `streamPostprocessor`.
fn camel(name: &str) -> String {
    let name = pascal(name);
    let (head, tail) = name.split_at(1);
    head.to_lowercase() + tail
}

#[cfg(test)]
mod tests {
    use super::camel;

    #[test]
    fn types_for_javascript_have_every_function_and_field_of_the_interfaces() {
        let types = include_str!("../template/javascript/selvedge.d.ts");
        let mut count = 0;
        // What is experimental has no types yet.
        let frozen = super::super::INTERFACES
            .iter()
            .filter(|(file, _)| !file.ends_with("unstable.wit"));
        for (file, text) in frozen {
            for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
                let Some((name, _)) = line.split_once(": ") else {
                    continue;
                };
                if name
                    .chars()
                    .all(|letter| letter.is_ascii_lowercase() || letter == '-')
                {
                    count += 1;
                    let name = camel(name);
                    let is_there = [":", "(", "?:"]
                        .iter()
                        .any(|end| types.contains(&format!("{name}{end}")));
                    assert!(is_there, "{file} has `{name}`, and selvedge.d.ts has not");
                }
            }
        }
        assert!(count > 50, "{count}");
    }
}
