//! `selvedge plugin test`: golden cases as an author runs them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::heavy::heavy;
use crate::host::{root, run, selvedge};

pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

pub(crate) fn component(name: &str) -> String {
    text(&root().join("plugins/dist").join(format!("{name}.wasm")))
}

/// Files of a case besides its configuration.
pub(crate) type Files<'a> = &'a [(&'a str, Value)];

/// A plugin's folder with cases: each a name, a configuration and other files.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new(cases: &[(&str, Value, Files<'_>)]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, config, files) in cases {
            let case = dir.path().join("cases").join(name);
            std::fs::create_dir_all(&case).expect("made");
            for (file, value) in [("config.json", config)]
                .into_iter()
                .chain(files.iter().map(|(f, v)| (*f, v)))
            {
                std::fs::write(case.join(file), value.to_string()).expect("written");
            }
        }
        Self(dir)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    /// Runs its cases on a plugin of this project: exit code, what was written, what was said.
    pub(crate) fn test(&self, plugin: &str, more: &[&str]) -> (i32, String, String) {
        let (dir, component) = (text(&self.path()), component(plugin));
        let arguments = [&["plugin", "test", &dir, "--component", &component], more].concat();
        run(&arguments)
    }
}

#[test]
fn the_standard_plugins_pass_their_cases_as_they_are() {
    let _permit = heavy();
    for (plugin, cases) in [
        ("label", 10),
        ("redact", 5),
        ("capture", 4),
        ("webhook", 10),
        ("filetype", 10),
        ("guard", 8),
        ("guard-model", 11),
        ("retrieve", 10),
    ] {
        let dir = text(&root().join("plugins").join(plugin));
        let (code, out, error) = run(&["plugin", "test", &dir]);
        assert_eq!(code, 0, "{plugin}: {out}{error}");
        assert!(out.contains(", 0 failed"), "{out}");
        let ok = out.lines().filter(|line| line.starts_with("ok ")).count();
        assert!(ok >= cases, "{plugin}: {out}");
    }
}

#[test]
fn compiled_functions_are_kept_for_the_next_run_and_not_for_a_node() {
    let state = tempfile::tempdir().expect("a folder");
    let labels = json!([[["spam", 0.75], ["ham", 0.25]]]);
    let expected = json!({ "label": "spam", "score": 0.75 });
    let folder = Folder::new(&[(
        "a",
        json!({}),
        &[("labels.json", labels), ("expected.json", expected)],
    )]);
    let (dir, component) = (text(&folder.path()), component("label"));
    let test = || {
        let mut command = selvedge();
        command.env("XDG_STATE_HOME", state.path());
        command.args(["plugin", "test", &dir, "--component", &component]);
        let out = command.output().expect("it runs");
        assert!(out.status.success(), "{out:?}");
    };
    let with = |extension: &str| -> Vec<PathBuf> {
        let kept = std::fs::read_dir(state.path().join("selvedge/author")).expect("an author's folder");
        let kept = kept.map(|entry| entry.expect("readable").path());
        kept.filter(|path| path.extension() == Some(extension.as_ref()))
            .collect()
    };
    test();
    assert_eq!(
        with("functions").len(),
        2,
        "of an engine that counts, and of one that does not"
    );
    assert!(
        !state.path().join("selvedge/plugins").exists(),
        "no node's folder"
    );
    let compiled = with("cwasm");
    for file in compiled.iter().chain(&with("json")) {
        std::fs::remove_file(file).expect("removed");
    }
    test();
    assert_eq!(with("cwasm").len(), compiled.len());
}

#[test]
fn a_case_that_fails_is_told_with_what_differs_and_update_mends_it() {
    let labels = json!([[["spam", 0.75], ["ham", 0.25]]]);
    let expected = json!({ "label": "SPAM", "score": 0.5 });
    let folder = Folder::new(&[
        (
            "wrong",
            json!({}),
            &[("labels.json", labels.clone()), ("expected.json", expected)],
        ),
        ("new", json!({}), &[("labels.json", labels)]),
    ]);
    let junit = folder.path().join("junit.xml");
    let (code, out, error) = folder.test("label", &["--junit", &text(&junit)]);
    assert_eq!(code, 4, "{out}{error}");
    for part in [
        "-  \"label\": \"SPAM\",",
        "+  \"label\": \"spam\",",
        "there is no expected.json",
        "0 passed, 2 failed",
        "memory ",
    ] {
        assert!(out.contains(part), "`{part}` is not in\n{out}");
    }
    assert!(error.contains("2 cases failed"), "{error}");
    let xml = std::fs::read_to_string(&junit).expect("written");
    assert!(
        xml.contains("failures=\"2\"") && xml.contains("name=\"wrong\""),
        "{xml}"
    );
    let (code, _, error) = folder.test("label", &["--case", "wron", "--json"]);
    assert!(code == 4 && error.contains("1 case failed"), "{error}");
    let (code, out, _) = folder.test("label", &["--update"]);
    assert_eq!(code, 0, "{out}");
    let (code, out, _) = folder.test("label", &["--json"]);
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (code, &told["passed"], &told["failed"]),
        (0, &json!(2), &json!(0))
    );
    let case = &told["cases"][1];
    assert_eq!(
        (&case["name"], &case["found"]["label"]),
        (&json!("wrong"), &json!("spam"))
    );
    assert!(
        case["memory_bytes"].as_u64() > Some(100_000) && case["instances"] == 1,
        "{case}"
    );
}

#[test]
fn what_is_expected_and_is_no_json_is_refused_and_update_replaces_it() {
    let labels = json!([[["spam", 0.75], ["ham", 0.25]]]);
    let folder = Folder::new(&[("a", json!({}), &[("labels.json", labels)])]);
    let file = folder.path().join("cases/a/expected.json");
    for broken in [&b"{\"label\":"[..], b"\xff\xfe"] {
        std::fs::write(&file, broken).expect("written");
        let (code, _, error) = folder.test("label", &[]);
        assert!(code == 1 && error.contains("a/expected.json"), "{error}");
        let (code, out, error) = folder.test("label", &["--update"]);
        assert_eq!(code, 0, "{out}{error}");
        assert_eq!(folder.test("label", &[]).0, 0, "{out}");
    }
}

#[test]
fn what_a_plugin_does_wrong_is_what_its_case_comes_to() {
    let error = |said: &str| json!({ "error": said });
    let folder = Folder::new(&[
        (
            "fails",
            json!({ "validate": "fail" }),
            &[("expected.json", error("it failed (told-to-fail): a deed"))],
        ),
        ("loops", json!({ "validate": "loop" }), &[]),
        ("bad-config", json!({ "validate": "no such deed" }), &[]),
    ]);
    let (code, out, _) = folder.test("hostile", &["--json"]);
    assert_eq!(code, 4, "{out}");
    let told: Value = serde_json::from_str(&out).expect("JSON");
    let found = |name: &str| {
        let cases = told["cases"].as_array().expect("a list");
        let case = cases.iter().find(|case| case["name"] == name).expect("it ran");
        (
            case["found"].to_string(),
            case["cpu_ms"].as_u64().expect("a number"),
        )
    };
    let (said, cpu) = found("loops");
    assert!(said.contains("100ms") && cpu >= 100, "{said} {cpu}");
    assert!(
        found("bad-config").0.contains("refused"),
        "{}",
        found("bad-config").0
    );
    assert!(found("fails").0.contains("error"), "{}", found("fails").0);
}

#[test]
fn what_cannot_be_tested_is_refused_with_the_remedy() {
    let empty = Folder::new(&[]);
    std::fs::create_dir(empty.path().join("cases")).expect("made");
    let (code, _, error) = empty.test("label", &[]);
    assert_eq!(code, 1);
    assert!(error.contains("has no cases"), "{error}");
    let (code, _, error) = run(&["plugin", "test", &text(&empty.path())]);
    assert_eq!(code, 1);
    assert!(
        error.contains("manifest.json") && error.contains("--component"),
        "{error}"
    );
    let (code, _, error) = run(&[
        "plugin",
        "test",
        &text(&empty.path()),
        "--component",
        "nothing.wasm",
    ]);
    assert_eq!(code, 1);
    assert!(
        error.contains("nothing.wasm") && error.contains("build the plugin first"),
        "{error}"
    );
    let broken = Folder::new(&[("a", json!({}), &[("labels.json", json!(7))])]);
    let (code, _, error) = broken.test("label", &[]);
    assert_eq!(code, 1);
    assert!(error.contains("labels.json"), "{error}");
    let ungranted = Folder::new(&[("a", json!({ "journal": "j" }), &[("events.json", json!([]))])]);
    let (code, _, error) = ungranted.test("capture", &[]);
    assert_eq!(code, 3);
    assert!(error.contains("journals = [\"NAME\"]"), "{error}");
}

/// The binary as an author's shell would run it, with the compiler that `cargo xtask test` found.
pub(crate) fn author_command(target: &Path, arguments: &[&str]) -> std::process::Command {
    let mut command = selvedge();
    let compiler = std::env::var("SELVEDGE_TEST_COMPILER").unwrap_or_default();
    let settings = compiler.lines().filter_map(|line| line.split_once('='));
    command
        .args(arguments)
        .envs(settings)
        .env("CARGO_TARGET_DIR", target);
    command
}

/// Runs it: exit code, and what it said.
pub(crate) fn author(target: &Path, arguments: &[&str]) -> (i32, String) {
    let output = author_command(target, arguments).output().expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    let code = output.status.code().unwrap_or(-1);
    (code, String::from_utf8_lossy(&said).into_owned())
}

/// Folder that new plugins in Rust are built in: what they have in common is compiled once for all tests.
pub(crate) fn new_plugins() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-plugins")
}

#[test]
fn a_new_plugin_of_each_stage_and_of_several_builds_and_passes_its_cases_as_it_stands() {
    let _permit = heavy();
    let dir = tempfile::tempdir().expect("a folder");
    let into = text(dir.path());
    let target = new_plugins();
    for (stages, cases) in [
        ("validate", 2),
        ("template", 2),
        ("postprocess", 3),
        ("stream", 2),
        ("observe", 1),
        ("template,validate,observe", 5),
        ("validate,template,postprocess,stream,observe", 10),
    ] {
        let name = format!("my-{}", stages.replace(',', "-"));
        let (code, said) = author(
            &target,
            &["plugin", "new", &name, "--stage", stages, "--into", &into],
        );
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("selvedge plugin build"), "{said}");
        let project = text(&dir.path().join(&name));
        let (code, said) = author(&target, &["plugin", "build", &project]);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains(&format!("{name}.wasm")), "{said}");
        assert!(stages.split(',').all(|stage| said.contains(stage)), "{said}");
        assert!(said.contains("need grant it nothing"), "{said}");
        let (code, said) = author(&target, &["plugin", "test", &project]);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains(&format!("{cases} passed, 0 failed")), "{said}");
        let (code, said) = author(
            &target,
            &["plugin", "inspect", &format!("{project}/dist/{name}.wasm")],
        );
        assert_eq!(code, 0, "{said}");
        assert!(
            said.contains(&format!("{name} 0.1.0")) && said.contains("rustc"),
            "{said}"
        );
    }
}

#[test]
fn the_readme_of_several_stages_names_one_model_that_serves_and_the_file_of_each() {
    let dir = tempfile::tempdir().expect("a folder");
    let into = text(dir.path());
    for (language, extension) in [("rust", "rs"), ("js", "js"), ("python", "py")] {
        for (stages, model) in [
            ("validate,observe", "spam"),
            ("validate,postprocess", "spam"),
            ("validate,template", "smollm2"),
            ("validate,stream", "smollm2"),
            ("validate,template,postprocess,stream,observe", "smollm2"),
        ] {
            let name = format!("my-{language}-{}", stages.replace(',', "-"));
            let new = ["plugin", "new", &name, "--lang", language, "--stage", stages];
            let (code, _, error) = run(&[&new[..], &["--into", &into]].concat());
            assert_eq!(code, 0, "{error}");
            let readme = std::fs::read_to_string(dir.path().join(&name).join("README.md")).expect("written");
            let models: Vec<&str> = readme.lines().filter(|line| line.contains("model =")).collect();
            assert_eq!(models, [format!("model = \"{model}\"")], "{name}");
            let is_told = |stage: &str| readme.contains(&format!("- `src/{stage}.{extension}`"));
            assert!(stages.split(',').all(is_told), "{name}: {readme}");
            assert!(!readme.contains("@LAYOUT@"), "{name}: {readme}");
        }
    }
}

#[test]
fn stages_that_cannot_be_had_are_refused_and_nothing_is_made() {
    let dir = tempfile::tempdir().expect("a folder");
    let into = text(dir.path());
    let known = "[possible values: validate, template, postprocess, stream, observe]";
    for (stages, code, part) in [
        ("validate,validate", 2, "the stage `validate` is named twice"),
        ("stream,observe,stream", 2, "the stage `stream` is named twice"),
        ("validate,decode", 2, known),
        ("nonsense", 2, known),
        ("validate,", 2, known),
    ] {
        for language in ["rust", "js", "python"] {
            let new = ["plugin", "new", "mine", "--lang", language, "--stage", stages];
            let (found, _, error) = run(&[&new[..], &["--into", &into]].concat());
            assert!(found == code && error.contains(part), "{stages}: {found} {error}");
        }
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
}

#[test]
fn what_cannot_be_made_or_built_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().expect("a folder");
    let into = text(dir.path());
    for name in ["Big", "1st", "a b", "a/b", "", "-", "a-"] {
        let (code, _, error) = run(&["plugin", "new", "--into", &into, "--", name]);
        assert!(code == 2 && error.contains("lower-case"), "{name:?}: {error}");
    }
    let (code, _, error) = run(&["plugin", "build", &into]);
    assert_eq!(code, 1);
    assert!(
        error.contains("neither Cargo.toml") && error.contains("plugin new"),
        "{error}"
    );
    assert_eq!(run(&["plugin", "new", "mine", "--into", &into]).0, 0);
    let (code, _, error) = run(&["plugin", "new", "mine", "--into", &into]);
    assert!(code == 1 && error.contains("there already"), "{error}");
    let project = dir.path().join("mine");
    std::fs::write(project.join("manifest.json"), "{").expect("written");
    let (code, _, error) = run(&["plugin", "build", &text(&project)]);
    assert!(code == 3 && error.contains("manifest.json"), "{error}");
    std::fs::write(project.join("manifest.json"), r#"{"name":"mine"}"#).expect("written");
    std::fs::write(project.join("src/lib.rs"), "fn main( {").expect("written");
    let (code, said) = author(&new_plugins(), &["plugin", "build", &text(&project)]);
    assert!(
        code == 1 && said.contains("error") && said.contains("cargo did not build it"),
        "{said}"
    );
    let nowhere = selvedge()
        .args(["plugin", "build", &text(&project)])
        .env("PATH", "/nowhere")
        .output()
        .expect("it starts");
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("cargo is missing"));
    assert_eq!(nowhere.status.code(), Some(1));
}

#[test]
fn a_manifest_that_would_be_refused_where_it_is_attached_is_refused_by_the_build() {
    let dir = tempfile::tempdir().expect("a folder");
    let into = text(dir.path());
    assert_eq!(run(&["plugin", "new", "mine", "--into", &into]).0, 0);
    let project = dir.path().join("mine");
    for (manifest, parts) in [
        ("[]", ["must be a JSON object", ""]),
        (r#"{"version":"0.1.0"}"#, ["`name`", "lower-case"]),
        (
            r#"{"name":"a\u001b[31mb\nc"}"#,
            ["`a\\u{1b}[31mb\\nc`", "lower-case"],
        ),
        (r#"{"name":"../mine"}"#, ["`../mine`", "lower-case"]),
        (r#"{"name":"mine","api":"9.9"}"#, ["`api` is `9.9`", "`0.1`"]),
        (
            r#"{"name":"mine","config_schema":7}"#,
            ["`config_schema` is not a JSON Schema", "{ \"type\": \"object\" }"],
        ),
        (
            r#"{"name":"mine","config_schema":{"type":"strnig"}}"#,
            ["`config_schema` is not a JSON Schema", "strnig"],
        ),
    ] {
        std::fs::write(project.join("manifest.json"), manifest).expect("written");
        let (code, _, error) = run(&["plugin", "build", &text(&project)]);
        assert!(
            code == 3 && error.contains("manifest.json: "),
            "{manifest}: {error}"
        );
        for part in parts {
            assert!(error.contains(part), "{manifest}: `{part}` is not in {error}");
        }
    }
}
