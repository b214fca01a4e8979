//! What a case may say, and what is told of it: failures, pauses, answers of other servers, numbers, traps; and what it may not say.

use serde_json::{Value, json};

use crate::author::{Files, Folder, author, author_command, text};
use crate::host::{root, run};

/// The cases of a report, by name.
fn case<'a>(told: &'a Value, name: &str) -> &'a Value {
    let cases = told["cases"].as_array().expect("a list");
    cases.iter().find(|case| case["name"] == name).expect("it ran")
}

fn told(out: &str) -> Value {
    serde_json::from_str(out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

#[test]
fn a_failure_may_be_expected_by_its_code() {
    let fails = |code: &str| json!({ "failure": code });
    let folder = Folder::new(&[
        (
            "fails",
            json!({ "validate": "fail" }),
            &[("expected.json", fails("did-not-want-to"))],
        ),
        (
            "fails-too",
            json!({ "validate": "fail" }),
            &[("expected.json", fails("plugin-failed"))],
        ),
        (
            "loops",
            json!({ "validate": "loop" }),
            &[("expected.json", fails("plugin-time-limit"))],
        ),
        (
            "sleeps",
            json!({ "validate": "sleep" }),
            &[("expected.json", fails("plugin-wall-time-limit"))],
        ),
        (
            "refused",
            json!({ "validate": "no such deed" }),
            &[("expected.json", fails("refused"))],
        ),
        (
            "another",
            json!({ "validate": "trap" }),
            &[("expected.json", fails("plugin-failed"))],
        ),
        ("none", json!({}), &[("expected.json", fails("plugin-trap"))]),
    ]);
    let (code, out, error) = folder.test("hostile", &["--json"]);
    assert_eq!(code, 4, "{out}{error}");
    let told = told(&out);
    for (name, passed) in [
        ("fails", true),
        ("fails-too", true),
        ("loops", true),
        ("sleeps", true),
        ("refused", true),
        ("another", false),
        ("none", false),
    ] {
        assert_eq!(case(&told, name)["passed"], passed, "{name}: {out}");
    }
    assert_eq!(case(&told, "another")["failure"], json!(["plugin-trap"]));
    assert_eq!(
        case(&told, "fails")["failure"],
        json!(["plugin-failed", "did-not-want-to"])
    );
    // What was ended by its time has no count that would be the same again.
    assert_eq!(case(&told, "loops")["instructions"], Value::Null);
}

#[test]
fn a_case_may_be_one_of_a_single_stage_of_several() {
    let config = root().join("plugins/filetype/cases/sure/config.json");
    let config = told(&std::fs::read_to_string(config).expect("there"));
    let parts =
        json!([{ "name": "file", "file_name": "a.md", "media_type": "text/markdown", "text": "# A title" }]);
    let of = |stage: &str| [("parts.json", parts.clone()), ("stage.json", json!(stage))];
    let folder = Folder::new(&[
        ("both", config.clone(), &[("parts.json", parts.clone())]),
        ("one", config.clone(), &of("validate")),
        ("another", config, &of("template")),
    ]);
    let (_, out, _) = folder.test("filetype", &["--json"]);
    let told = told(&out);
    let found = |name| &case(&told, name)["found"];
    assert_eq!(*found("one"), "Accept", "{out}");
    assert!(found("another")["tensors"].is_array(), "{out}");
    let both = json!({ "validate": found("one"), "template": found("another") });
    assert_eq!(*found("both"), both, "{out}");
}

#[test]
fn instructions_are_counted_and_are_the_same_each_time() {
    let labels = |count: usize| json!([vec![json!(["spam", 0.75]); count]]);
    let folder = Folder::new(&[
        ("few", json!({}), &[("labels.json", labels(1))]),
        ("many", json!({}), &[("labels.json", labels(200))]),
    ]);
    let measured = || {
        let (_, out, error) = folder.test("label", &["--json"]);
        let told = serde_json::from_str::<Value>(&out).unwrap_or_else(|_| panic!("{out}{error}"));
        ["few", "many"].map(|name| {
            let case = case(&told, name);
            let number = |key: &str| case[key].as_u64().unwrap_or_else(|| panic!("{key}: {case}"));
            (
                number("instructions"),
                number("given_bytes"),
                number("answer_bytes"),
            )
        })
    };
    let [few, many] = measured();
    assert_eq!([few, many], measured());
    assert!(many.0 > few.0 + 200, "{few:?} {many:?}");
    assert_eq!(many.1 - few.1, 199 * 20, "{few:?} {many:?}");
    assert!(few.2 > 10, "{few:?}");
}

#[test]
fn pauses_go_by_on_the_plugins_clocks_and_nobody_waits() {
    let chunks =
        json!([[[0, "a"]], { "pause_ms": 7_200_000 }, [[0, "b"]], { "pause_ms": 1_000 }, [[0, "c"]]]);
    let texts = "0 17000000007200 17000072007201 1700007201[finished after 3 calls]";
    let folder = Folder::new(&[("clocks", json!({ "push": "clocks" }), &[("chunks.json", chunks)])]);
    let (_, out, error) = folder.test("hostile-stream", &["--json"]);
    let told = told(&out);
    assert_eq!(
        case(&told, "clocks")["found"]["texts"],
        json!([texts]),
        "{out}{error}"
    );
}

#[test]
fn other_servers_answer_as_the_case_says() {
    let url = "https://granted.example/hook";
    let secrets = json!({ "WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" });
    let allow = json!({ "http": [{ "method": "PUT", "url": url }], "secrets": secrets, "bodies": true });
    let files: Files<'_> = &[("events.json", json!([{}])), ("allow.json", allow)];
    let folder = Folder::new(&[("another-method", json!({ "url": url }), files)]);
    let (code, out, _) = folder.test("webhook", &[]);
    assert_eq!(code, 4, "{out}");
    for part in [
        "a call of POST https://granted.example/hook was denied: allow.json has answers for PUT https://granted.example/hook",
        "webhook-unreachable",
        "\"webhook-signature\": \"v1,",
    ] {
        assert!(out.contains(part), "`{part}` is not in\n{out}");
    }
}

#[test]
fn models_give_tensors_and_stores_hold_what_the_case_says_and_are_looked_at_afterwards() {
    let logits = json!({ "name": "logits", "element": "Float32", "shape": [1, 2], "values": [0.25, -1] });
    let allow = json!({
        "secrets": { "S": "a value" },
        "models": {
            "scorer": { "tensors": [logits] },
            "spam": { "labels": [[["spam", 0.9]]] },
            "slow": { "error": "busy" },
        },
        "kv": {
            "mine": {
                "a": "1", "n": 41,
                "gone": { "value": "x", "ttl_ms": 0 }, "soon-gone": { "value": "y", "ttl_ms": 60_000 },
            },
            "other": {},
        },
    });
    let input = json!({ "x": { "shape": [1], "i64": [7] } });
    let steps = json!([
        { "run": ["scorer", input] }, { "run": ["spam", input] }, { "run": ["slow", input] },
        { "classify": ["scorer", ["a"]] },
        { "kv-get": ["mine", "a"] }, { "kv-get": ["mine", "gone"] }, { "kv-get": ["mine", "soon-gone"] },
        { "kv-increment": ["mine", "n", 1] }, { "kv-set": ["other", "b", "2", 1500] }, { "kv-delete": ["mine", "a"] },
    ]);
    let folder = Folder::new(&[("a", json!({ "steps": steps }), &[("allow.json", allow)])]);
    let (code, out, error) = folder.test("probe", &["--json", "--update"]);
    assert_eq!(code, 0, "{out}{error}");
    let report = told(&out);
    let found = &case(&report, "a")["found"];
    let message = found["answer"]["reject"]["message"].as_str();
    let came = told(message.unwrap_or_else(|| panic!("{found}")));
    let tensor = &came[0]["tensors"][0];
    assert_eq!(
        (&tensor["name"], &tensor["shape"], &tensor["head"]),
        (&json!("logits"), &json!([1, 2]), &json!([0.25, -1.0]))
    );
    for place in [1, 3] {
        assert!(came[place].to_string().contains("invalid-input"), "{came}");
    }
    assert_eq!(came[2], "busy");
    let values = came.as_array().expect("a list")[4..].to_vec();
    let wanted =
        json!([{ "value": "1" }, { "value": null }, { "value": "y" }, { "number": 42 }, "done", "done"]);
    assert_eq!(Value::from(values), wanted);
    let kept = json!({
        "mine": { "n": "42", "soon-gone": { "value": "y", "ttl_ms": 60_000 } },
        "other": { "b": { "value": "2", "ttl_ms": 1500 } },
    });
    assert_eq!(found["kv"], kept, "{found}");
    assert_eq!(folder.test("probe", &[]).0, 0);
    // What is in them afterwards is part of what is expected.
    let mut expected = found.clone();
    expected["kv"]["mine"]["n"] = json!("43");
    let file = folder.path().join("cases/a/expected.json");
    std::fs::write(file, expected.to_string()).expect("written");
    let (code, out, _) = folder.test("probe", &[]);
    assert!(code == 4 && out.contains("+      \"n\": \"42\""), "{out}");
}

#[test]
fn junit_has_the_numbers_and_what_was_logged() {
    let folder = Folder::new(&[("panics", json!({ "validate": "panic" }), &[])]);
    let file = folder.path().join("junit.xml");
    let (code, out, _) = folder.test("hostile", &["--junit", &text(&file)]);
    assert_eq!(code, 4, "{out}");
    // What was panicked with, and where.
    assert!(out.contains("log: warn") && out.contains("panicked at"), "{out}");
    assert!(out.contains("it was in:"), "{out}");
    let xml = std::fs::read_to_string(&file).expect("written");
    for part in [
        "name=\"memory_bytes\"",
        "name=\"brought_bytes\"",
        "<system-err>",
        "panicked at",
    ] {
        assert!(xml.contains(part), "`{part}` is not in\n{xml}");
    }
}

#[test]
fn a_trap_is_told_with_its_line_where_the_component_has_lines() {
    let dir = tempfile::tempdir().expect("a folder");
    let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-plugins");
    let (code, said) = author(
        &target,
        &["plugin", "new", "my-trap", "--into", &text(dir.path())],
    );
    assert_eq!(code, 0, "{said}");
    let project = dir.path().join("my-trap");
    let source = project.join("src/rule.rs");
    let lines = std::fs::read_to_string(&source).expect("there");
    let mut lines: Vec<&str> = lines.lines().collect();
    let place = lines
        .iter()
        .position(|line| line.contains("let length ="))
        .expect("its length");
    lines.insert(place + 1, "        assert!(length < 3, \"it is {length}\");");
    std::fs::write(&source, lines.join("\n") + "\n").expect("written");
    let mut build = author_command(&target, &["plugin", "build", &text(&project)]);
    build.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only");
    build.env("CARGO_PROFILE_RELEASE_STRIP", "none");
    let built = build.output().expect("it starts");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let (code, said) = author(&target, &["plugin", "test", &text(&project)]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("it is 8"), "{said}");
    let at = format!("src/rule.rs:{}:", place + 2);
    let frame = said
        .lines()
        .find(|line| line.contains(" at ") && line.contains(&at) && line.contains("check"));
    assert!(frame.is_some(), "`{at}` is not in\n{said}");
}

/// A case of one file is refused, and what is said has these parts.
fn check_refused(plugin: &str, file: (&str, Value), parts: [&str; 2]) {
    let granted = json!({ "http": ["https://a.b"], "secrets": { "WEBHOOK_SECRET": "x" }, "bodies": true });
    let mut files = vec![file.clone()];
    let config = match plugin {
        "webhook" => {
            files.push(("allow.json", granted));
            json!({ "url": "https://a.b/" })
        }
        "hostile-stream" => json!({ "push": "pass" }),
        _ => json!({}),
    };
    let folder = Folder::new(&[("a", config, &files)]);
    let (code, out, error) = folder.test(plugin, &[]);
    assert_eq!(code, 1, "{file:?}: {out}{error}");
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in {error}");
    }
}

#[test]
fn what_a_stream_of_a_case_may_not_say_is_told_with_its_place() {
    for (chunks, parts) in [
        (json!([{ "pause": 1 }]), ["chunks.json: push 1", "`pause`"]),
        (
            json!([[[0, "a"]], [[4_294_967_295_u32, "b"]]]),
            ["push 2", "at most 128"],
        ),
        (
            json!([{ "pause_ms": 1_000_000_000_000_u64 }]),
            ["push 1", "pause"],
        ),
        (json!(["a"]), ["push 1", "[choice, text]"]),
    ] {
        check_refused("hostile-stream", ("chunks.json", chunks), parts);
    }
    let misspelt = ("chunk.json", json!([]));
    check_refused("hostile-stream", misspelt, ["chunk.json", "chunks.json"]);
}

#[test]
fn what_a_case_may_not_say_is_told_with_its_place() {
    for (plugin, file, content, parts) in [
        ("webhook", "events.json", json!([7]), ["events.json", "an object"]),
        (
            "label",
            "allow.json",
            json!({ "secret": {} }),
            ["allow.json", "secret"],
        ),
        (
            "label",
            "allow.json",
            json!({ "http": ["nowhere"] }),
            ["http[0]", "scheme"],
        ),
        (
            "label",
            "allow.json",
            json!({ "http": [{ "url": "https://a.b/", "stauts": 1 }] }),
            ["http[0]", "stauts"],
        ),
        (
            "label",
            "allow.json",
            json!({ "kv": { "sessions": { "a": [1] } } }),
            ["allow.json", "`kv.sessions.a`"],
        ),
        (
            "label",
            "allow.json",
            json!({ "models": { "m": { "tensors": [{ "name": "x", "element": "F32", "shape": [1], "values": [1] }] } } }),
            ["allow.json", "\"F32\" is no `element`"],
        ),
        (
            "label",
            "stage.json",
            json!("validate"),
            ["stage.json", "which are postprocess"],
        ),
        (
            "label",
            "labels.json",
            json!([[["spam", "much"]]]),
            ["labels.json", "much"],
        ),
    ] {
        check_refused(plugin, (file, content), parts);
    }
}

#[test]
fn a_case_that_is_not_there_is_told_with_those_that_are() {
    let folder = Folder::new(&[("one", json!({}), &[]), ("two", json!({}), &[])]);
    std::fs::write(folder.path().join("cases/one/config.json"), "{").expect("written");
    let (code, _, error) = folder.test("label", &["--case", "one"]);
    assert!(code == 1 && error.contains("one/config.json"), "{error}");
    let (code, _, error) = folder.test("label", &["--case", "three"]);
    assert!(
        code == 1 && error.contains("`three`") && error.contains("one, two"),
        "{error}"
    );
    let nowhere = text(&folder.path().join("nowhere"));
    let (code, _, error) = run(&[
        "plugin",
        "test",
        &nowhere,
        "--component",
        &crate::author::component("label"),
    ]);
    assert!(code == 1 && error.contains("nowhere/cases"), "{error}");
}
