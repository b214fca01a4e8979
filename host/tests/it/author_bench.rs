//! `selvedge plugin bench`: what is measured and compared; how long things take is nobody's claim here.

use serde_json::{Value, json};

use crate::author::{Folder, component, text};
use crate::host::run;

/// Quick, since only what is told counts.
const TIME: [&str; 2] = ["--time", "20ms"];

fn label() -> Folder {
    let labels = json!([[["spam", 0.75], ["ham", 0.25]]]);
    Folder::new(&[
        ("a-refused", json!({ "labels": 7 }), &[]),
        ("label", json!({}), &[("labels.json", labels)]),
    ])
}

fn bench(folder: &Folder, plugin: &str, more: &[&str]) -> (i32, String, String) {
    let (dir, component) = (text(&folder.path()), component(plugin));
    run(&[
        &["plugin", "bench", &dir, "--component", &component],
        &TIME[..],
        more,
    ]
    .concat())
}

#[test]
fn a_plugin_is_measured_and_compared_with_what_was_saved() {
    let folder = label();
    let file = text(&folder.path().join("base.json"));
    let (code, out, error) = bench(&folder, "label", &["--save", &file, "--json"]);
    assert_eq!(code, 0, "{out}{error}");
    let told: Value = serde_json::from_str(&out).expect("JSON");
    let now = &told["now"];
    assert_eq!(
        (&now["plugin"], &now["startup"]),
        (&json!("label"), &json!("snapshot"))
    );
    for thing in ["cold", "cached", "start"] {
        let (median, p99) = (now[thing]["median_us"].as_f64(), now[thing]["p99_us"].as_f64());
        assert!(median > Some(0.0) && p99 >= median, "{thing}: {now}");
    }
    let stage = &now["stages"]["postprocess"];
    assert_eq!(stage["case"], "label");
    assert!(stage["per_second"].as_f64() > Some(1.0), "{stage}");
    assert!(stage["memory_bytes"].as_u64() > Some(100_000), "{stage}");
    // A baseline by which everything is much slower now, and one by which nothing is.
    for (times, fails) in [(1e-6, true), (1e6, false)] {
        let mut base: Value =
            serde_json::from_str(&std::fs::read_to_string(&file).expect("saved")).expect("JSON");
        base["start"]["median_us"] = json!(base["start"]["median_us"].as_f64().expect("a number") * times);
        let edited = folder.path().join("edited.json");
        std::fs::write(&edited, base.to_string()).expect("written");
        let (code, out, error) = bench(
            &folder,
            "label",
            &["--baseline", &text(&edited), "--fail-above", "900"],
        );
        assert_eq!(code, if fails { 4 } else { 0 }, "{out}{error}");
        assert!(out.contains("start (snapshot)") && out.contains("times"), "{out}");
        assert_eq!(
            error.contains("worse than 900 times the baseline: start (snapshot)"),
            fails,
            "{error}"
        );
    }
}

#[test]
fn a_stream_is_measured_push_by_push() {
    let chunks = json!([[[0, "a"]], { "pause_ms": 60_000 }, [[0, "b"]]]);
    let folder = Folder::new(&[("s", json!({ "words": ["x"] }), &[("chunks.json", chunks)])]);
    let (code, out, error) = bench(&folder, "redact", &[]);
    assert_eq!(code, 0, "{out}{error}");
    for part in [
        "stream: a push",
        "stream: a second, one thread",
        "stream: the case `s`",
    ] {
        assert!(out.contains(part), "`{part}` is not in\n{out}");
    }
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_remedy() {
    let folder = label();
    let file = |name: &str| text(&folder.path().join(name));
    std::fs::write(folder.path().join("broken.json"), "{").expect("written");
    for (more, code, part) in [
        (vec!["--baseline", &file("broken.json")], 1, "broken.json"),
        (
            vec!["--baseline", &file("missing.json")],
            1,
            "`--save` writes a baseline",
        ),
        (vec!["--case", "refused"], 1, "no case"),
        (vec!["--case", "nothing"], 1, "a-refused, label"),
        (vec!["--fail-above", "2"], 2, "--baseline"),
        (
            vec!["--baseline", "x", "--fail-above", "fast"],
            2,
            "from 1 to 1000",
        ),
        (vec!["--time", "0s"], 2, "--time"),
        (vec!["--time", "11m"], 2, "at most 10m"),
    ] {
        let dir = text(&folder.path());
        let component = component("label");
        let arguments = [&["plugin", "bench", &dir, "--component", &component][..], &more].concat();
        let (found, out, error) = run(&arguments);
        assert_eq!(found, code, "{more:?}: {out}{error}");
        assert!(error.contains(part), "{more:?}: {error}");
    }
    let fails = Folder::new(&[("f", json!({ "validate": "fail" }), &[])]);
    let (code, _, error) = bench(&fails, "hostile", &[]);
    assert!(code == 1 && error.contains("can be measured"), "{error}");
}
