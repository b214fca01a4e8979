//! What each import answers, as JSON.

use selvedge_sdk::tensors::{ElementType, Tensor};
use selvedge_sdk::{Request, uploads};
use serde_json::{Value, json};

use crate::selvedge::plugin::kv::Store;
use crate::selvedge::plugin::{inference, secrets};

/// What the host tells of a request, but for its id, which is another one each time.
pub(crate) fn request(request: &Request) -> Value {
    let header = request.header("x-veteran");
    json!({
        "id": request.id().len(),
        "endpoint": request.endpoint(),
        "dialect": request.dialect(),
        "principal": request.principal(),
        "header": header.iter().map(|value| String::from_utf8_lossy(value)).collect::<Vec<_>>(),
        "hidden": request.header("authorization").len(),
        "body_len": request.body_len(),
        "text": request.body_text().map(|text| text.len()),
        "begins": String::from_utf8_lossy(&request.read_body(0, 1)),
    })
}

/// The parts of a form, each with its first bytes.
pub(crate) fn uploads(request: &Request) -> Value {
    let parts = uploads::parts(request).into_iter().zip(0..);
    let told = |(part, index): (uploads::Part, u32)| {
        let bytes = uploads::read_part(request, index, 0, 4);
        json!({
            "name": part.name,
            "file_name": part.file_name,
            "media_type": part.media_type,
            "size": part.size,
            "begins": bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).ok(),
        })
    };
    let missing = uploads::read_part(request, 1_000, 0, 1);
    json!({ "parts": parts.map(told).collect::<Vec<_>>(), "missing": format!("{missing:?}") })
}

/// Tensors made, read and reduced.
pub(crate) fn tensors() -> Value {
    let floats = Tensor::from_f32(&[1, 3], &[0.5, 2.0, 1.0]);
    let ints = Tensor::from_i64(&[2], &[7, -7]);
    let bytes = Tensor::from_bytes(ElementType::Uint8, &[2], &[1, 2]);
    let (Ok(floats), Ok(ints), Ok(bytes)) = (floats, ints, bytes) else {
        return Value::Null;
    };
    json!({
        "shape": floats.shape(),
        "values": floats.read_f32(0, 3).ok(),
        "best": floats.top_k(1).ok(),
        "ints": ints.read(0, 16).ok(),
        "bytes": bytes.read(0, 2).ok(),
        "type": format!("{:?}", bytes.ty()),
        "bad": format!("{:?}", Tensor::from_i64(&[3], &[1]).map(|_| ())),
    })
}

/// A key that is set, read, counted and deleted.
pub(crate) fn kv() -> Value {
    let store = match Store::open("veteran") {
        Ok(store) => store,
        Err(error) => return json!(format!("{error:?}")),
    };
    let set = store.set("key", b"value", Some(60_000));
    let got = store.get("key");
    let counted = store.increment("count", 2, None);
    let deleted = (store.delete("key"), store.delete("count"));
    json!({
        "set": set.is_ok(),
        "got": got.ok().flatten().map(|value| String::from_utf8_lossy(&value).into_owned()),
        "counted": counted.ok(),
        "deleted": deleted.0.is_ok() && deleted.1.is_ok(),
        "other": format!("{:?}", Store::open("another").map(|_| ())),
    })
}

/// Another model asked for labels, one for vectors, one for tensors.
pub(crate) fn models(config: &Value) -> Value {
    let name = |key: &str| config[key].as_str().unwrap_or_default().to_owned();
    let texts = ["WINNER!! Claim your free prize now".to_owned()];
    let labels = inference::classify(&name("classifier"), &texts);
    let vectors = inference::embed(&name("embedder"), &texts);
    let inputs = ["input_ids", "attention_mask", "token_type_ids"]
        .map(|input| (input.to_owned(), Tensor::from_i64(&[1, 2], &[1, 1])));
    let inputs = inputs
        .into_iter()
        .filter_map(|(name, tensor)| Some((name, tensor.ok()?)));
    let outputs = inference::run(&name("tensors"), inputs.collect());
    let shapes = |(name, tensor): (String, Tensor)| json!([name, tensor.shape()]);
    json!({
        "label": labels.ok().and_then(|labels| Some(labels.first()?.first()?.name.clone())),
        "dimensions": vectors.ok().and_then(|vectors| Some(vectors.first()?.len())),
        "outputs": outputs.ok().map(|outputs| outputs.into_iter().map(shapes).collect::<Vec<_>>()),
        "other": format!("{:?}", inference::embed("another", &texts)),
    })
}

/// A secret that is granted, and one that is not.
pub(crate) fn secrets() -> Value {
    json!({
        "granted": secrets::get("veteran").map(|value| value.len()).ok(),
        "other": format!("{:?}", secrets::get("another")),
    })
}
