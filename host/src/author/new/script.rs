//! The sources of new plugins in JavaScript and Python. What is all of a plugin of one stage is one file of several in a plugin
//! of several, beside one that exports them.

use selvedge_plugin::Stage;

use super::part::{self, Part};
use super::{File, NewError, Project};

/// How plugins are written in a language.
pub(super) struct Script {
    /// What every project has, and its README but for how the sources are laid out.
    files: &'static [File],
    readme: &'static str,
    /// The file that exports the stages, and what the README says of it.
    main: &'static str,
    exports: &'static str,
    /// That file where there are several, with `@IMPORTS@`, `@STAGES@` and `@EXPORTS@` for these.
    several: &'static str,
    extension: &'static str,
    module: fn(Stage) -> &'static str,
    import: fn(&Part) -> String,
    export: fn(&Part) -> String,
    /// What stands beside the module of a stream.
    stream_state: Option<File>,
}

/// JavaScript.
pub(super) const JAVASCRIPT: Script = Script {
    files: &[
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
    ],
    readme: include_str!("../template/javascript/README.md"),
    main: "src/plugin.js",
    exports: "`src/plugin.js` exports each stage, by the name of its interface in `wit/stages.wit`",
    several: include_str!("../template/javascript/several.js"),
    extension: "js",
    module: javascript,
    import: |part| format!("import * as {0} from \"./{0}.js\";", part.stage.name()),
    export: |part| {
        let interface = camel(part.interface());
        format!("export {{ {interface} }} from \"./{}.js\";", part.stage.name())
    },
    stream_state: None,
};

/// Python.
pub(super) const PYTHON: Script = Script {
    files: &[
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
    ],
    readme: include_str!("../template/python/README.md"),
    main: "src/app.py",
    exports: "`src/app.py` has a class for each interface that it exports, by its name in `wit/stages.wit`",
    several: include_str!("../template/python/several.py"),
    extension: "py",
    module: python,
    import: |part| format!("import {}", part.stage.name()),
    export: |part| {
        let interface = pascal(part.interface());
        format!("{interface} = {}.{interface}", part.stage.name())
    },
    // componentize-py finds it by its name, which is the interface's.
    stream_state: Some((
        "src/stream_postprocessor.py",
        include_str!("../template/python/stream_postprocessor.py"),
    )),
};

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

impl Script {
    /// Writes what is the language's own.
    pub(super) fn write(&self, project: &Project<'_>) -> Result<(), NewError> {
        let parts = project.parts.as_slice();
        for (place, text) in self.files {
            project.write(place, text)?;
        }
        project.write("wit/plugin.wit", &part::world(parts))?;
        project.write("README.md", &self.readme.replace("@LAYOUT@", &self.layout(parts)))?;
        let streams = parts.iter().any(|part| part.stage == Stage::Stream);
        if let Some((place, text)) = self.stream_state.filter(|_| streams) {
            project.write(place, text)?;
        }
        if let [only] = parts {
            return project.write(self.main, (self.module)(only.stage));
        }
        for part in parts {
            project.write(&self.place(part), (self.module)(part.stage))?;
        }
        let names: Vec<&str> = parts.iter().map(|part| part.stage.name()).collect();
        let text = self
            .several
            .replace("@IMPORTS@", &lines(parts, self.import))
            .replace("@STAGES@", &names.join(", "))
            .replace("@EXPORTS@", &lines(parts, self.export));
        project.write(self.main, &text)
    }

    /// The file of a stage, of several.
    fn place(&self, part: &Part) -> String {
        format!("src/{}.{}", part.stage.name(), self.extension)
    }

    /// How the sources are laid out: what exports the stages and, where they are several, the file of each.
    fn layout(&self, parts: &[Part]) -> String {
        if parts.len() == 1 {
            return format!("{}.", self.exports);
        }
        let files = lines(parts, |part| format!("- `{}`", self.place(part)));
        format!(
            "{}. Each stage is in a file of its own:\n\n{files}\n",
            self.exports
        )
    }
}

/// A line for each part.
fn lines(parts: &[Part], line: impl Fn(&Part) -> String) -> String {
    let lines: Vec<String> = parts.iter().map(line).collect();
    lines.join("\n")
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
