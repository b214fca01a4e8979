//! Instances that serve several requests: what an operator sees of them.

use crate::client::Answer;
use crate::host::{TestHost, root, run};
use crate::node::NodeConfig;

fn config(instances: &str) -> NodeConfig {
    NodeConfig::of(&[]).with(&format!(
        "\n[plugins.prints]\npath = \"{}\"\ninstances = {instances}\nlimits = {{ log = \"100B\" }}\n\
         [endpoints.printed]\npath = \"/printed\"\nmodel = \"spam\"\n\
         plugins = [{{ use = \"prints\", config = {{ configure = \"none\", validate = \"mutter\" }} }}]\n",
        root().join("plugins/dist/hostile.wasm").display()
    ))
}

fn ask(host: &TestHost, id: &str) -> Answer {
    let headers = [("content-type", "application/json"), ("x-request-id", id)];
    host.client()
        .send("POST", "/printed", &headers, br#"{"text":"a text"}"#)
}

#[test]
fn what_an_instance_prints_is_in_the_name_of_the_request_that_it_serves_and_within_its_limit() {
    let host = config("{ reuse = 100 }").start();
    for number in 0..8 {
        assert_eq!(ask(&host, &format!("printed-{number}")).status, 200);
    }
    let entry = host.client().get("/readyz").json();
    let endpoints = entry["endpoints"].as_array().expect("endpoints");
    let printed = endpoints
        .iter()
        .find(|endpoint| endpoint["name"] == "printed")
        .expect("there");
    assert_eq!(printed["plugins"][0]["reuse"], 100, "{printed}");
    host.terminate();
    let log = host.log_to_the_end();
    for number in 0..8 {
        let (id, said) = (format!("printed-{number}"), format!("call {}", number + 1));
        let lines = log
            .lines()
            .filter(|line| line.contains(&said) && line.contains(&id));
        // A line of 6 bytes takes 38 of the 100; without a new beginning the third would be cut.
        assert_eq!(lines.count(), 1, "{id}: {log}");
    }
}

#[test]
fn an_instance_for_no_request_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("node.toml");
    for (instances, said) in [
        ("{ reuse = 0 }", "plugins.prints.instances.reuse"),
        ("{ again = 2 }", "again"),
        ("{ reuse = -1 }", "-1"),
    ] {
        std::fs::write(&file, config(instances).text()).expect("written");
        let (code, _, error) = run(&["check", "--config", &file.to_string_lossy()]);
        assert!(code != 0 && error.contains(said), "{instances}: {error}");
    }
}
