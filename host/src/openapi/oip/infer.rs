//! `infer`: the tensors that an endpoint takes and gives, in JSON or in bytes behind it.
//!
//! That a shape agrees with its data, and the header with the body, is more than a schema can say.

use selvedge_model::{Element, Task};
use serde_json::{Map, Value, json};

use super::{VERSION, add, refusable, work};
use crate::openapi::operation::{body, json_content};
use crate::openapi::schema::{accepts, array, described, object};
use crate::openapi::subject::Endpoint;
use crate::openapi::{Sections, Subject, plugins, sampling, task};
use crate::ports::{JSON_LEN, Port, Ports, Postprocessing};

/// Writes the operation of an endpoint.
pub(super) fn describe(endpoint: &Endpoint, subject: &Subject, sections: &mut Sections) {
    let (name, ports) = (&endpoint.name, ports(endpoint));
    let request = sections.schema(
        &format!("{name}.infer.request"),
        request(endpoint, ports.as_ref()),
    );
    let response = sections.schema(&format!("{name}.infer.response"), response(name, ports.as_ref()));
    let mut content = json_content(response);
    content["application/octet-stream"] = bytes("The same JSON, and the bytes of outputs behind it.");
    let summary = format!("Run tensors through `{name}`");
    let infer = work(endpoint, subject, ("infer", &summary), ("The outputs.", content));
    let mut infer = infer.describe(sections);
    let len = described(
        json!({ "type": "integer", "minimum": 0 }),
        "Bytes of the body that are JSON.",
    );
    infer["responses"]["200"]["headers"][JSON_LEN] = json!({ "schema": len });
    infer["requestBody"] = body(request, examples(endpoint, ports.as_ref()));
    let about = format!(
        "The same JSON, and behind it the bytes of the inputs that have a `binary_data_size`; the header `{JSON_LEN}` says how many \
         bytes are JSON. Where it says 0, the body is the bytes of the only input."
    );
    infer["requestBody"]["content"]["application/octet-stream"] = bytes(&about);
    add(sections, "post", name, "/infer", refusable(endpoint, infer));
}

/// A body that is more than JSON.
fn bytes(about: &str) -> Value {
    json!({ "schema": described(json!({}), about) })
}

/// What an endpoint takes and gives, where that is known.
pub(super) fn ports(endpoint: &Endpoint) -> Option<Ports> {
    let (task, model) = (endpoint.model.task?, &endpoint.model);
    let postprocessing = if plugins::postprocesses(endpoint) {
        Postprocessing::Some
    } else {
        Postprocessing::None
    };
    let is_known = task != Task::Tensor || model.signature.is_some();
    is_known.then(|| {
        Ports::new(
            task,
            model.card.as_ref(),
            model.signature.as_ref(),
            postprocessing,
        )
    })
}

fn request(endpoint: &Endpoint, ports: Option<&Ports>) -> Value {
    let mut wanted = object(
        json!({
            "name": { "type": "string" },
            "parameters": nullable(object(
                json!({
                    "binary_data": described(json!({ "type": ["boolean", "null"] }), "Whether it comes in bytes."),
                    "classification": described(json!({ "type": ["integer", "null"], "minimum": 0 }), "So many of its greatest values instead, as `value:number:name`."),
                }),
                &[],
            )),
        }),
        &["name"],
    );
    let inputs = match ports {
        Some(ports) => {
            let names: Vec<&str> = ports.outputs.iter().map(|port| port.name.as_str()).collect();
            wanted["properties"]["name"] = json!({ "enum": names });
            let count = ports.inputs.len();
            let mut inputs = array(any_of(
                ports.inputs.iter().map(|port| input(endpoint, port)).collect(),
            ));
            (inputs["minItems"], inputs["maxItems"]) = (json!(count), json!(count));
            inputs
        }
        None => array(tensor(json!({ "type": "string" }), json!({ "type": "string" }))),
    };
    let mut outputs = described(
        array(wanted),
        "Those that are wanted; all of them where none is named.",
    );
    outputs["type"] = json!(["array", "null"]);
    object(
        json!({ "id": { "type": ["string", "null"] }, "parameters": parameters(endpoint), "inputs": inputs, "outputs": outputs }),
        &["inputs"],
    )
}

fn parameters(endpoint: &Endpoint) -> Value {
    let binary = described(
        json!({ "type": ["boolean", "null"] }),
        "Whether outputs come in bytes.",
    );
    let properties = json!({ "binary_data_output": binary });
    let parameters = match endpoint.model.task {
        Some(Task::TextGeneration) => sampling::with_unstreamed(properties, &[]),
        _ => object(properties, &[]),
    };
    let about = "`timeout`, in microseconds, is kept to; `sequence_id` and shared memory are answered 501.";
    nullable(described(parameters, about))
}

/// An object, or null.
pub(super) fn nullable(mut object: Value) -> Value {
    object["type"] = json!(["object", "null"]);
    object
}

/// One of these, or the only one.
fn any_of(mut schemas: Vec<Value>) -> Value {
    match schemas.len() {
        1 => schemas.swap_remove(0),
        _ => json!({ "anyOf": schemas }),
    }
}

fn tensor(name: Value, datatype: Value) -> Value {
    let dimension = json!({ "type": "integer", "minimum": 0 });
    object(
        json!({
            "name": name, "shape": array(dimension), "datatype": datatype,
            "data": described(array(json!({})), "Row-major; flat, or nested as the shape says."),
        }),
        &["name", "shape", "datatype"],
    )
}

fn input(endpoint: &Endpoint, port: &Port) -> Value {
    let mut tensor = tensor(
        json!({ "const": port.name }),
        json!({ "const": port.element.name() }),
    );
    let rank = port.shape.len();
    let shape = &mut tensor["properties"]["shape"];
    (shape["minItems"], shape["maxItems"]) = (json!(rank), json!(rank));
    let scalar = match endpoint.model.task {
        Some(Task::Tensor) => task::scalar(port.element),
        _ => json!({ "type": "string", "minLength": 1 }),
    };
    let data = &mut tensor["properties"]["data"];
    data["items"] = match rank {
        0 | 1 => scalar,
        _ => json!({ "anyOf": [scalar, { "type": "array" }] }),
    };
    described(tensor, &port.describe())
}

fn response(name: &str, ports: Option<&Ports>) -> Value {
    let any = || json!({ "type": "string" });
    let mut output = match ports {
        Some(ports) => {
            let names: Vec<&str> = ports.outputs.iter().map(|port| port.name.as_str()).collect();
            let datatypes = ports.outputs.iter().map(|port| port.element.name());
            // Classes are texts.
            let mut datatypes: Vec<&str> = datatypes.chain([Element::Text.name()]).collect();
            datatypes.sort_unstable();
            datatypes.dedup();
            tensor(json!({ "enum": names }), json!({ "enum": datatypes }))
        }
        None => tensor(any(), any()),
    };
    let size = json!({ "binary_data_size": { "type": "integer", "minimum": 0 } });
    output["properties"]["parameters"] = described(
        object(size, &["binary_data_size"]),
        "Where it comes in bytes, and has no `data`.",
    );
    object(
        json!({
            "model_name": { "const": name }, "model_version": { "const": VERSION }, "id": any(), "outputs": array(output),
        }),
        &["model_name", "model_version", "outputs"],
    )
}

/// Bodies to show how it is done, with a text or ones in every place; those that the endpoint's plugins take.
fn examples(endpoint: &Endpoint, ports: Option<&Ports>) -> Vec<(&'static str, Value)> {
    let Some(ports) = ports.filter(|ports| have_json(ports) && !plugins::want_files(endpoint)) else {
        return Vec::new();
    };
    let text = task::text(endpoint);
    let inputs: Option<Vec<Value>> = ports.inputs.iter().map(|port| ones(port, text)).collect();
    let Some(inputs) = inputs else {
        return Vec::new();
    };
    let mut simple = json!({ "inputs": inputs });
    if endpoint.model.task == Some(Task::TextGeneration) {
        simple["parameters"] = sampling::short(json!({}));
    }
    let mut binary = simple.clone();
    binary["parameters"]["binary_data_output"] = json!(true);
    let schemas = plugins::wanted(endpoint).schemas;
    let mut examples = vec![("simple", simple), ("binary", binary)];
    examples.retain(|(_, body)| {
        let seen = seen(endpoint, text, body);
        schemas.iter().all(|schema| accepts(schema, &seen))
    });
    examples
}

/// Whether all that is taken and given has a form in JSON.
pub(super) fn have_json(ports: &Ports) -> bool {
    let mut all = ports.inputs.iter().chain(&ports.outputs);
    all.all(|port| port.element != Element::Bfloat16)
}

/// What plugins see of an example.
fn seen(endpoint: &Endpoint, text: &str, body: &Value) -> Value {
    let field = match endpoint.model.task {
        Some(Task::TextGeneration) => "text_input",
        Some(Task::FeatureExtraction) => "input",
        Some(Task::TextClassification) => "text",
        Some(Task::Tensor) | None => return body.clone(),
    };
    let mut seen = Map::from_iter([(field.to_owned(), json!(text))]);
    if let Some(parameters) = body.get("parameters") {
        seen.insert("parameters".to_owned(), parameters.clone());
    }
    seen.into()
}

/// A tensor of ones, or of a text, in the smallest shape that a port takes; none where nobody would read that.
fn ones(port: &Port, text: &str) -> Option<Value> {
    let shape = smallest(port)?;
    // It is within a bound that is a `usize`.
    let count = shape.iter().product::<u64>() as usize;
    let data = vec![one(port.element, text); count];
    Some(json!({ "name": port.name, "shape": shape, "datatype": port.element.name(), "data": data }))
}

/// The smallest shape that a port takes; none where it has more elements than an example may.
pub(super) fn smallest(port: &Port) -> Option<Vec<u64>> {
    let dimensions = port
        .shape
        .iter()
        .map(|dimension| u64::try_from(*dimension).unwrap_or(1));
    let shape: Vec<u64> = dimensions.collect();
    let count = shape
        .iter()
        .try_fold(1_u64, |count, dimension| count.checked_mul(*dimension))?;
    (count <= ELEMENTS_MAX).then_some(shape)
}

/// Elements of each tensor of an example at most.
const ELEMENTS_MAX: u64 = 1024;

/// The one of a type.
pub(super) fn one(element: Element, text: &str) -> Value {
    match element {
        Element::Boolean => json!(true),
        Element::Text => json!(text),
        _ => json!(1),
    }
}
