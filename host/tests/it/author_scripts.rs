//! New plugins in JavaScript and Python, made, built and tested as an author would; npm and pip install what they pin.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value};

use crate::heavy::heavy;
use crate::host::selvedge;

/// Runs the binary as an author's shell would: exit code, and what was said.
fn author(arguments: &[&str], environment: &[(&str, &Path)]) -> (i32, String) {
    let output = selvedge()
        .args(arguments)
        .env_remove("VIRTUAL_ENV")
        .envs(environment.iter().copied())
        .output()
        .expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    let code = output.status.code().unwrap_or(-1);
    (code, String::from_utf8_lossy(&said).into_owned())
}

/// A folder of new projects.
struct Projects(tempfile::TempDir);

impl Projects {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// What an editor asks about types, as npm installs it.
    fn editor(&self) -> Editor {
        let folder = self.0.path().join("editor");
        let installed = Command::new("npm")
            .args(["install", "--no-fund", "--no-audit", "--prefix"])
            .arg(&folder)
            .args(["typescript@5.9.3", "pyright@1.1.407"])
            .output()
            .expect("npm starts");
        assert!(installed.status.success(), "{installed:?}");
        Editor(folder)
    }

    fn make(&self, language: &str, stages: &str) -> PathBuf {
        let name = format!("my-{language}-{}", stages.replace(',', "-"));
        let into = self.0.path().to_string_lossy().into_owned();
        let arguments = [
            "plugin", "new", &name, "--lang", language, "--stage", stages, "--into", &into,
        ];
        let (code, said) = author(&arguments, &[]);
        assert_eq!(code, 0, "{said}");
        self.0.path().join(name)
    }
}

/// The checkers of types that editors have for JavaScript and Python.
struct Editor(PathBuf);

impl Editor {
    /// What a checker says of a project's sources, by the settings that the project has for editors: whether all is well, and why not.
    fn check(&self, checker: &str, arguments: &[&str], project: &Path) -> (bool, String) {
        let output = Command::new(self.0.join("node_modules/.bin").join(checker))
            .args(arguments)
            .current_dir(project)
            .output()
            .expect("the checker starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), said)
    }

    /// A project's types hold as it stands, and no longer where a source asks for a field that there is not.
    fn holds(&self, checker: &str, arguments: &[&str], project: &Path, source: &str, change: (&str, &str)) {
        let (good, said) = self.check(checker, arguments, project);
        assert!(good, "{said}");
        let file = project.join(source);
        let text = std::fs::read_to_string(&file).expect("written");
        let wrong = text.replace(change.0, change.1);
        assert_ne!(wrong, text);
        std::fs::write(&file, wrong).expect("written");
        let (good, said) = self.check(checker, arguments, project);
        assert!(!good && said.contains(source), "{said}");
        std::fs::write(&file, text).expect("written");
    }
}

/// Builds a project and runs its cases, those whose names have `only` in them.
fn build_and_test(project: &Path, tool: &str, only: (&str, usize), environment: &[(&str, &Path)]) {
    let folder = project.to_string_lossy();
    let name = project.file_name().expect("a name").to_string_lossy();
    let (code, said) = author(&["plugin", "build", &folder], environment);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains(&format!("{name}.wasm")) && said.contains("need grant it nothing"),
        "{said}"
    );
    assert!(!said.contains("configured for each request"), "{said}");
    let (code, said) = author(&["plugin", "test", &folder, "--case", only.0], &[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("{} passed, 0 failed", only.1)), "{said}");
    let component = format!("{folder}/dist/{name}.wasm");
    let (_, said) = author(&["plugin", "inspect", &component], &[]);
    assert!(
        said.contains(&format!("{name} 0.1.0")) && said.contains(tool),
        "{said}"
    );
    assert!(said.contains("does nothing that a snapshot would lose"), "{said}");
}

/// Gives all cases of a project the configuration that has the keys of each, since each configuration is compiled. The case `odd`,
/// which another's keys would change, is removed.
fn share_one_configuration(project: &Path, odd: &str) {
    let cases = project.join("cases");
    std::fs::remove_dir_all(cases.join(odd)).expect("it was there");
    let folders = std::fs::read_dir(&cases).expect("readable");
    let files: Vec<PathBuf> = folders
        .map(|folder| folder.expect("readable").path().join("config.json"))
        .collect();
    let mut shared = Map::new();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("written");
        let config: Map<String, Value> = serde_json::from_str(&text).expect("an object");
        for (key, value) in config {
            let other = shared.insert(key, value.clone()).filter(|other| *other != value);
            assert!(other.is_none(), "{}: {other:?}", file.display());
        }
    }
    let shared = Value::Object(shared).to_string();
    for file in &files {
        std::fs::write(file, &shared).expect("written");
    }
}

/// Has a stream's plugin raise what is none of its failures, where a text says so, and adds a case of that.
fn raise_in_python(project: &Path) {
    let module = project.join("src/stream_postprocessor.py");
    let text = std::fs::read_to_string(&module).expect("written");
    let changed = text.replace(
        "        return Action_Emit([",
        "        if chunks[0].text == \"raise\":\n            {}[\"a\"]\n        return Action_Emit([",
    );
    assert_ne!(changed, text);
    std::fs::write(&module, changed).expect("written");
    let (from, to) = (project.join("cases/only"), project.join("cases/only-raises"));
    std::fs::create_dir(&to).expect("made");
    std::fs::copy(from.join("config.json"), to.join("config.json")).expect("copied");
    std::fs::write(to.join("chunks.json"), r#"[[[0, "raise"]]]"#).expect("written");
    std::fs::write(to.join("expected.json"), r#"{"failure":"exception"}"#).expect("written");
}

#[test]
fn a_new_plugin_in_javascript_of_each_stage_and_of_several_builds_and_passes_its_cases_as_it_stands() {
    let _permit = heavy();
    let projects = Projects::new();
    let stages = [
        ("validate", 2),
        ("template", 2),
        ("postprocess", 3),
        ("stream", 2),
        ("observe", 1),
        ("validate,template,postprocess,stream,observe", 10),
    ];
    for (stages, cases) in stages {
        let project = projects.make("js", stages);
        build_and_test(&project, "componentize-qjs 0.4.5", ("", cases), &[]);
    }
    let all = projects
        .0
        .path()
        .join("my-js-validate-template-postprocess-stream-observe");
    let wrong = ("best.name", "best.title");
    projects
        .editor()
        .holds("tsc", &["-p", "jsconfig.json"], &all, "src/postprocess.js", wrong);
}

#[test]
fn new_plugins_in_python_build_and_pass_their_cases_as_they_stand() {
    let _permit = heavy();
    let projects = Projects::new();
    let first = projects.make("python", "validate");
    build_and_test(&first, "componentize-py 0.25.1", ("", 2), &[]);
    assert!(first.join("bindings/wit_world/exports/validator.py").is_file());
    // In an environment that is active nothing is installed twice. One configuration is enough, since each is compiled.
    let active = first.join(".venv");
    let second = projects.make("python", "stream");
    raise_in_python(&second);
    build_and_test(
        &second,
        "componentize-py 0.25.1",
        ("only", 2),
        &[("VIRTUAL_ENV", &active)],
    );
    assert!(!second.join(".venv").exists());
    let several = projects.make("python", "validate,template,postprocess,stream,observe");
    share_one_configuration(&several, "all");
    build_and_test(
        &several,
        "componentize-py 0.25.1",
        ("", 9),
        &[("VIRTUAL_ENV", &active)],
    );
    let wrong = ("best.name", "best.title");
    projects
        .editor()
        .holds("pyright", &[], &several, "src/postprocess.py", wrong);
}

#[test]
fn what_a_script_does_wrong_is_told_where_its_author_looks() {
    let projects = Projects::new();
    let project = projects.make("js", "validate");
    let folder = project.to_string_lossy().into_owned();
    let plugin = project.join("src/plugin.js");
    let text = std::fs::read_to_string(&plugin).expect("written");
    std::fs::write(
        &plugin,
        text.replace(
            "validate(request) {",
            "validate(request) {\n    request.nothing();",
        ),
    )
    .expect("written");
    let (code, said) = author(&["plugin", "build", &folder], &[]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = author(&["plugin", "test", &folder], &[]);
    assert_eq!(code, 4, "{said}");
    assert!(
        said.contains("not a function") && said.contains("/src/plugin.js:"),
        "{said}"
    );
    std::fs::write(&plugin, "export const lifecycle = {").expect("written");
    let (code, said) = author(&["plugin", "build", &folder], &[]);
    assert!(
        code == 1 && said.contains("componentize-qjs did not build it"),
        "{said}"
    );
    std::fs::write(
        project.join("package.json"),
        r#"{"devDependencies":{"componentize-qjs":"^0.4"}}"#,
    )
    .expect("written");
    let (code, said) = author(&["plugin", "build", &folder], &[]);
    assert!(
        code == 1 && said.contains("does not pin componentize-qjs"),
        "{said}"
    );
}

#[test]
fn a_missing_tool_is_told_with_the_command_that_gets_it() {
    let projects = Projects::new();
    let nowhere = [("PATH", Path::new("/nowhere"))];
    for (language, tool, remedy) in [
        ("js", "node is missing", "apt-get install -y nodejs npm"),
        (
            "python",
            "python3 is missing",
            "apt-get install -y python3 python3-venv",
        ),
    ] {
        let project = projects.make(language, "validate");
        let (code, said) = author(&["plugin", "build", &project.to_string_lossy()], &nowhere);
        assert!(
            code == 1 && said.contains(tool) && said.contains(remedy),
            "{said}"
        );
    }
    let python = projects.0.path().join("my-python-validate");
    std::fs::write(python.join("requirements.txt"), "componentize-py>=0.25\n").expect("written");
    let (code, said) = author(&["plugin", "build", &python.to_string_lossy()], &nowhere);
    assert!(
        code == 1 && said.contains("does not pin componentize-py"),
        "{said}"
    );
    std::fs::remove_file(python.join("manifest.json")).expect("removed");
    let (code, said) = author(&["plugin", "build", &python.to_string_lossy()], &nowhere);
    assert!(code == 1 && said.contains("manifest.json is missing"), "{said}");
}
