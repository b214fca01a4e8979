//! Schemathesis against a node's own document: no server error, and no answer that the document does not tell. Here all kinds of
//! endpoints at once, with few requests each; `deep` has a node for each kind, and many.

use serde_json::Value;

use crate::generate::eventually;
use crate::host::{TestHost, run};
use crate::node::{CLASSIFY, EMBED, NodeConfig, plain_and_scores};
use crate::python_clients::python;
use crate::uploads;

/// Phases of a quick run: requests from the examples of the document, and a few by chance.
const SOME: &str = "examples,fuzzing";

/// Phase with values at the limits of the document's schemas: hundreds of requests for a path.
const LIMITS: &str = "coverage";

/// All phases.
const WHOLE: &str = "examples,coverage,fuzzing";

/// Section of a configuration that lets nobody in without a key.
const KEYS: &str = "[auth]\nmode = \"keys\"\nfailures = { requests = 1000000, per = \"1m\" }\n";

/// Endpoints that answer at once, so that many requests take little time.
fn scores() -> String {
    plain_and_scores(
        r#"{ type = "object", required = ["text"], additionalProperties = false, properties = { text = { type = "string", minLength = 1, maxLength = 200 } } }"#,
    )
}

/// An endpoint that generates. In every dialect, its validator keeps prompts and answers short, and refuses requests for a schema, since
/// an answer cannot be held to every schema.
fn short() -> String {
    let short = "{ type = \"integer\", minimum = 1, maximum = 4 }";
    let limits = format!("max_tokens = {short}, max_completion_tokens = {short}");
    let schema = format!(
        "{{ type = \"object\", required = [\"max_tokens\", \"options\"], properties = {{ {limits}, parameters = {{ properties = \
         {{ {limits} }} }}, options = {{ type = \"object\", required = [\"num_predict\"], properties = {{ num_predict = {short} }} \
         }}, messages = {{ maxItems = 4 }}, prompt = {{ maxItems = 8, items = {{ maxItems = 8 }} }}, response_format = {{ \
         properties = {{ type = {{ enum = [\"text\", \"json_object\"] }} }} }}, format = {{ type = [\"string\", \"null\"] }} }} }}"
    );
    format!(
        "[endpoints.short]\npath = \"/short\"\nmodel = \"smollm2\"\n\
         plugins = [{{ use = \"json-schema\", config = {{ schema = {schema} }} }}]\n"
    )
}

/// Endpoints that take forms. A file's schema may say what the document cannot, and whatever comes for a list of texts is one of its
/// texts.
fn forms(endpoints: &[&str]) -> NodeConfig {
    uploads::config_with(endpoints, "attachment = { type = \"object\" }")
}

/// A key that opens everything, once the node knows it.
fn key(host: &TestHost) -> String {
    let file = host.file().to_string_lossy();
    let (_, made, error) = run(&["key", "create", "--json", "--scope", "*", "--config", &file]);
    let made: Value = serde_json::from_str(&made).unwrap_or_else(|_| panic!("{error}"));
    let key = made["key"].as_str().expect("a key");
    eventually("the key", || {
        let headers = [("x-api-key", key)];
        host.client().send("GET", "/openapi.json", &headers, b"").status == 200
    });
    key.to_owned()
}

/// Runs it: phases, requests by chance for each operation, and then which paths, and with which key.
fn finds_nothing(host: &TestHost, arguments: &[&str]) {
    let base = format!("http://{}", host.address());
    let out = python("openapi_fuzz.py", &[&[base.as_str()], arguments].concat());
    assert!(out.contains("No issues found"), "{out}");
}

#[test]
fn a_node_with_keys_forms_and_generation_answers_as_its_document_tells() {
    let config = forms(&[CLASSIFY, EMBED]).with(&scores()).with(&short());
    let host = config.with(KEYS).start();
    let key = key(&host);
    finds_nothing(&host, &[SOME, "2", ".", &key]);
    let paths = "^/(classify|scores|mail|v1/embeddings|v1/models)$";
    finds_nothing(&host, &[LIMITS, "1", paths, &key]);
}

mod deep_schemathesis {
    use super::{KEYS, WHOLE, finds_nothing, forms, key, scores, short};
    use crate::node::{CLASSIFY, EMBED, NodeConfig};

    #[test]
    #[ignore = "deep: schemathesis"]
    fn finds_no_server_error_and_no_answer_that_the_document_does_not_tell() {
        let host = NodeConfig::of(&[CLASSIFY, EMBED]).with(&scores()).start();
        finds_nothing(&host, &[WHOLE, "12"]);
    }

    #[test]
    #[ignore = "deep: schemathesis"]
    fn finds_none_where_callers_must_have_keys_and_nobody_is_let_in_without() {
        let host = NodeConfig::of(&[CLASSIFY, EMBED])
            .with(&scores())
            .with(KEYS)
            .start();
        let paths = "^/(classify|scores|v1/embeddings|v1/models|v2/models|api/tags)";
        finds_nothing(&host, &[WHOLE, "4", paths, &key(&host)]);
    }

    #[test]
    #[ignore = "deep: schemathesis"]
    fn finds_none_where_forms_are_taken() {
        let host = forms(&[]).start();
        finds_nothing(&host, &[WHOLE, "12", "^/(mail|filetype)$"]);
    }

    #[test]
    #[ignore = "deep: schemathesis"]
    fn finds_none_where_text_is_generated_either() {
        let host = NodeConfig::of(&[]).with(&short()).start();
        let paths = "short|/v1/.*completions|/api/(chat|generate)";
        finds_nothing(&host, &[WHOLE, "8", paths]);
    }
}
