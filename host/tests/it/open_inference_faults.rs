//! Bad tensors by the Open Inference Protocol: each kind is told what is wrong and what would be right, in `{"error": ..}`.

use serde_json::{Value, json};

use crate::open_inference::{node, post_binary};

pub(crate) const INFER: &str = "/v2/models/floats/infer";

/// The answer to a body must be an error with these words.
pub(crate) fn refused(status: u16, path: &str, body: impl AsRef<[u8]>, said: &str) {
    let answer = node().client().post(path, body);
    check(status, &answer, said);
}

pub(crate) fn check(status: u16, answer: &crate::client::Answer, said: &str) {
    let body = answer.json();
    let error = body["error"].as_str().unwrap_or_else(|| panic!("{body}"));
    assert_eq!(answer.status, status, "{error}");
    assert!(error.contains(said), "{error:?} does not say {said:?}");
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{body}");
    assert!(
        answer.body.len() < 2000,
        "what was sent does not come back: {} bytes",
        answer.body.len()
    );
}

fn input(shape: Value, datatype: &str, data: Value) -> String {
    json!({ "inputs": [{ "name": "in_values", "shape": shape, "datatype": datatype, "data": data }] })
        .to_string()
}

fn binary(shape: Value, size: u64, blobs: &[u8], said: &str) {
    let parameters = json!({ "binary_data_size": size });
    let input = json!({ "name": "in_values", "shape": shape, "datatype": "FP32", "parameters": parameters });
    check(
        400,
        &post_binary(INFER, &json!({ "inputs": [input] }), blobs),
        said,
    );
}

#[test]
fn a_wrong_shape_is_told_with_the_right_one() {
    refused(
        400,
        INFER,
        input(json!([4]), "FP32", json!([1, 2, 3, 4])),
        "expected FP32 [-1, 4], got FP32 [4]",
    );
    refused(
        400,
        INFER,
        input(json!([1, 3]), "FP32", json!([1, 2, 3])),
        "expected FP32 [-1, 4], got FP32 [1, 3]",
    );
    refused(
        400,
        INFER,
        input(json!([1, 4]), "FP32", json!([1, 2, 3])),
        "`data` has 3 elements, and `shape` [1, 4] has 4",
    );
    refused(
        400,
        INFER,
        input(json!([1, 4]), "FP32", json!([[1, 2], [3, 4]])),
        "nested as [2, 2], and `shape` is [1, 4]",
    );
    refused(
        400,
        INFER,
        input(json!([1, 4]), "FP32", json!([[1, 2], [3]])),
        "rows differ in length",
    );
    refused(
        400,
        INFER,
        input(json!([1, -4]), "FP32", json!([])),
        "`inputs[0].shape[1]`: invalid value: integer `-4`",
    );
    refused(
        400,
        INFER,
        input(json!("1,4"), "FP32", json!([])),
        "`inputs[0].shape`: invalid type",
    );
    refused(
        400,
        INFER,
        input(json!(vec![1; 17]), "FP32", json!([1])),
        "17 dimensions; at most 16",
    );
}

#[test]
fn a_wrong_datatype_is_told_with_the_right_one() {
    refused(
        400,
        INFER,
        input(json!([1, 4]), "INT64", json!([1, 2, 3, 4])),
        "expected FP32 [-1, 4], got INT64 [1, 4]",
    );
    refused(
        400,
        INFER,
        input(json!([1, 4]), "FLOAT", json!([1, 2, 3, 4])),
        "there is no datatype `FLOAT`",
    );
    refused(
        400,
        INFER,
        input(json!([1, 4]), "FP32", json!(["a", "b", "c", "d"])),
        "strings are no elements of FP32",
    );
    refused(
        400,
        INFER,
        input(json!([1, 4]), "FP32", json!([1, null, 3, 4])),
        "`inputs[0].data[1]`",
    );
    refused(
        400,
        INFER,
        input(json!([1, 4]), "BF16", json!([1, 2, 3, 4])),
        "binary data",
    );
    refused(
        400,
        INFER,
        input(json!([1, 4]), "UINT8", json!([1, 2, 3, 400])),
        "element 3 is 400, which is beyond UINT8",
    );
}

#[test]
fn dimensions_that_overflow_are_refused() {
    let large = 1_u64 << 62;
    refused(
        400,
        INFER,
        input(json!([large, 8]), "FP32", json!([])),
        "more elements than can be counted",
    );
    refused(
        400,
        INFER,
        input(json!([u64::MAX]), "FP32", json!([])),
        "more elements than can be counted",
    );
    refused(
        400,
        INFER,
        input(json!([0, u64::MAX]), "FP32", json!([])),
        "more elements than can be counted",
    );
    binary(json!([large]), 0, b"", "more bytes than can be counted");
    binary(
        json!([large, 4]),
        16,
        &[0; 16],
        "more elements than can be counted",
    );
    refused(
        400,
        INFER,
        input(json!([1_u64 << 40, 4]), "FP32", json!([1])),
        "`data` has 1 elements",
    );
}

#[test]
fn sizes_that_do_not_add_up_are_refused() {
    binary(
        json!([1, 4]),
        12,
        &[0; 12],
        "`shape` [1, 4] of FP32 takes 16 bytes, and it has 12",
    );
    binary(
        json!([1, 4]),
        16,
        &[0; 12],
        "`binary_data_size` is 16, and 12 bytes are left",
    );
    binary(json!([1, 4]), 16, &[0; 20], "the body has 4 bytes more");
    binary(json!([1, 4]), u64::MAX, &[0; 16], "bytes are left of the body");
    let parameters = json!({ "binary_data_size": 16 });
    let both = json!({ "name": "in_values", "shape": [1, 4], "datatype": "FP32", "parameters": parameters, "data": [1, 2, 3, 4] });
    check(
        400,
        &post_binary(INFER, &json!({ "inputs": [both] }), &[0; 16]),
        "both `data` and `binary_data_size`",
    );
    let neither = json!({ "inputs": [{ "name": "in_values", "shape": [1, 4], "datatype": "FP32" }] });
    refused(400, INFER, neither.to_string(), "neither `data` nor");
    let no_header = json!({ "inputs": [{ "name": "in_values", "shape": [1, 4], "datatype": "FP32", "parameters": parameters }] });
    refused(
        400,
        INFER,
        no_header.to_string(),
        "needs the header Inference-Header-Content-Length",
    );
}

#[test]
fn the_bytes_of_texts_and_booleans_must_be_such() {
    let echo = |name: &str, datatype: &str, shape: Value, bytes: &[u8], said: &str| {
        let parameters = json!({ "binary_data_size": bytes.len() });
        let input = json!({ "name": name, "shape": shape, "datatype": datatype, "parameters": parameters });
        let answer = post_binary("/v2/models/echo/infer", &json!({ "inputs": [input] }), bytes);
        check(400, &answer, said);
    };
    echo(
        "in_BOOL",
        "BOOL",
        json!([1, 2]),
        &[1, 2],
        "element 1 is 2, and a BOOL is 0 or 1",
    );
    echo(
        "in_BYTES",
        "BYTES",
        json!([1, 2]),
        &[1, 0, 0, 0, b'a'],
        "are 1 elements, and `shape` [1, 2] has 2",
    );
    echo(
        "in_BYTES",
        "BYTES",
        json!([1, 2]),
        &[9, 0, 0, 0, b'a'],
        "its length in 4 bytes and then itself",
    );
    echo(
        "in_BYTES",
        "BYTES",
        json!([1, 2]),
        &[0xff; 8],
        "its length in 4 bytes and then itself",
    );
    let bytes = [1, 0, 0, 0, 0xff];
    let input =
        json!({ "name": "text", "shape": [1], "datatype": "BYTES", "parameters": { "binary_data_size": 5 } });
    check(
        400,
        &post_binary("/v2/models/bare/infer", &json!({ "inputs": [input] }), &bytes),
        "UTF-8",
    );
}

#[test]
fn a_header_that_counts_wrongly_is_refused() {
    let client = node().client();
    for (value, said) in [
        ("1000000", "is 1000000, and the body has 2 bytes"),
        ("18446744073709551615", "and the body has 2 bytes"),
        ("99999999999999999999", "must be a whole number"),
        ("-1", "must be a whole number"),
        ("two", "must be a whole number"),
        ("", "must be a whole number"),
    ] {
        let answer = client.send(
            "POST",
            INFER,
            &[("inference-header-content-length", value)],
            b"{}",
        );
        check(400, &answer, said);
    }
    // It cuts the JSON short.
    let body = input(json!([1, 4]), "FP32", json!([1, 2, 3, 4]));
    let answer = client.send(
        "POST",
        INFER,
        &[("inference-header-content-length", "20")],
        body.as_bytes(),
    );
    check(400, &answer, "not JSON");
}

#[test]
fn a_request_without_json_must_make_one_tensor() {
    let raw = [("inference-header-content-length", "0")];
    let client = node().client();
    check(
        400,
        &client.send("POST", INFER, &raw, &[0; 15]),
        "15 bytes, which make no tensor of `in_values`, FP32 [-1, 4]",
    );
    check(
        400,
        &client.send("POST", INFER, &raw, &[0; 20]),
        "20 bytes, which make no tensor",
    );
    check(
        400,
        &client.send("POST", "/v2/models/echo/infer", &raw, &[0; 8]),
        "is for a model of one input",
    );
}

#[test]
fn json_that_is_none_or_nested_100_000_deep_is_refused() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    refused(400, INFER, &deep, "must be a JSON object");
    let within = |field: &str| {
        format!(r#"{{"inputs":[{{"name":"in_values","shape":[1,4],"datatype":"FP32",{field}}}]}}"#)
    };
    refused(400, INFER, within(&format!("\"data\":{deep}")), "16 dimensions");
    refused(
        400,
        INFER,
        within(&format!("\"parameters\":{deep}")),
        "`inputs[0].parameters",
    );
    refused(
        400,
        INFER,
        format!(r#"{{"inputs":[],"parameters":{deep}}}"#),
        "parameters",
    );
    refused(
        400,
        INFER,
        format!(r#"{{"inputs":[],"parameters":{{"a":{deep}}}}}"#),
        "recursion limit",
    );
    // What is not known is passed over, however deep.
    refused(
        400,
        INFER,
        format!(r#"{{"inputs":[],"more":{deep}}}"#),
        "`in_values` is missing",
    );
    refused(400, "/v2/models/floats/generate", &deep, "recursion limit");
    refused(400, "/v2/repository/index", &deep, "recursion limit");
    refused(501, "/v2/repository/models/floats/load", &deep, "configuration");
    for (body, said) in [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("null", "invalid type: null"),
        ("{}", "missing field `inputs`"),
        ("{\"inputs\":7}", "`inputs`: invalid type"),
        ("{\"inputs\":[]} x", "not JSON"),
        ("{\"inputs\":[],\"inputs\":[]}", "duplicate field"),
        ("{\"inputs\":[{\"name\":7}]}", "`inputs[0].name`"),
        ("{\"id\":7,\"inputs\":[]}", "`id`"),
    ] {
        refused(400, INFER, body, said);
    }
}

#[test]
fn unknown_missing_and_repeated_tensors_are_told() {
    let values = json!({ "name": "in_values", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4] });
    let mut other = values.clone();
    other["name"] = json!("other");
    let body = |inputs: Value| json!({ "inputs": inputs }).to_string();
    refused(
        400,
        INFER,
        body(json!([])),
        "the input `in_values` is missing: expected FP32 [-1, 4]",
    );
    refused(
        400,
        INFER,
        body(json!([values, other])),
        "there is no input `other`; the model takes `in_values`",
    );
    refused(
        400,
        INFER,
        body(json!([values, values])),
        "the input `in_values` is there 2 times",
    );
    other["name"] = json!("x".repeat(100_000));
    refused(
        400,
        INFER,
        body(json!([values, other])),
        "has 100000 bytes; it may have 1 to 256",
    );
    let wanted = |outputs: Value| json!({ "inputs": [values], "outputs": outputs }).to_string();
    refused(
        400,
        INFER,
        wanted(json!([{ "name": "none" }])),
        "there is no output `none`; the model gives `out_values`",
    );
    let twice = json!([{ "name": "out_values" }, { "name": "out_values" }]);
    refused(400, INFER, wanted(twice), "asked for twice");
    let parameters = json!([{ "name": "out_values", "parameters": { "binary_data": "yes" } }]);
    refused(
        400,
        INFER,
        wanted(parameters),
        "`outputs[0].parameters.binary_data`",
    );
    let text = |shape: Value, data: Value| {
        json!({ "inputs": [{ "name": "text", "shape": shape, "datatype": "BYTES", "data": data }] })
            .to_string()
    };
    refused(
        400,
        "/v2/models/bare/infer",
        text(json!([1, 1]), json!(["a"])),
        "expected BYTES [-1], got BYTES [1, 1]",
    );
    refused(
        400,
        "/v2/models/bare/infer",
        text(json!([2]), json!(["a", ""])),
        "text 1 is empty",
    );
    refused(
        400,
        "/v2/models/bare/infer",
        text(json!([0]), json!([])),
        "there is no input",
    );
}

#[test]
fn values_that_json_has_no_form_for_are_to_be_asked_for_in_binary() {
    let input = json!({ "name": "in_values", "shape": [1, 4], "datatype": "FP32", "parameters": { "binary_data_size": 16 } });
    let nans: Vec<u8> = [f32::NAN; 4]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let answer = post_binary(INFER, &json!({ "inputs": [input] }), &nans);
    check(
        400,
        &answer,
        "the output `out_values` has a value that is no number or infinite",
    );
    refused(400, INFER, input_text("[NaN,1,2,3]"), "not JSON");
    refused(400, INFER, input_text("[1e400,1,2,3]"), "number out of range");
    refused(400, INFER, input_text("[1e39,1,2,3]"), "beyond FP32");
}

#[test]
fn values_that_the_graph_refuses_are_the_caller_s() {
    let column = |name: &str, values: [i64; 2]| json!({ "name": name, "shape": [1, 2], "datatype": "INT64", "data": values });
    let inputs = |kind: i64| {
        let columns = [
            column("input_ids", [101, 102]),
            column("attention_mask", [1, 1]),
            column("token_type_ids", [0, kind]),
        ];
        json!({ "inputs": columns }).to_string()
    };
    let path = "/v2/models/tensors/infer";
    assert_eq!(node().client().post(path, inputs(1)).status, 200);
    refused(400, path, inputs(101), "the model refuses these values");
    refused(400, path, inputs(-7), "the model refuses these values");
}

fn input_text(data: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"in_values","shape":[1,4],"datatype":"FP32","data":{data}}}]}}"#)
}
