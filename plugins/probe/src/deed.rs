//! Does a step, and tells in JSON what came of it: `"done"`, `{"value": "text"}`, `"denied"`, `{"too-large": 512}`.

use serde_json::{Value, json};

use crate::selvedge::plugin::inference::{self, InferenceError};
use crate::selvedge::plugin::kv::{KvError, Store};
use crate::selvedge::plugin::secrets::{self, SecretError};
use crate::step::{Data, Input, Step};
use selvedge_sdk::Request;
use selvedge_sdk::tensors::{Tensor, TensorError};
use selvedge_sdk::uploads::{self, UploadError};

/// Elements of a tensor or a vector that are told: a rejection's message is short.
const HEAD_LEN: usize = 8;

impl Step {
    /// Does it; `store` is the store of those that name none, and in `configure` there is no request.
    pub(crate) fn commit(&self, store: &str, request: Option<&Request>) -> Value {
        let done = match self {
            Self::KvSet(store, key, value, ttl) => set(store, key, value.as_bytes(), *ttl),
            Self::KvGet(store, key) => get(store, key),
            Self::KvDelete(store, key) => delete(store, key),
            Self::KvIncrement(store, key, delta, ttl) => increment(store, key, *delta, *ttl),
            Self::Classify(model, texts) => classify(model, texts),
            Self::Embed(model, texts) => embed(model, texts),
            Self::Run(model, inputs) => run(model, inputs.iter()),
            Self::Secret(name) => secret(name),
            Self::Flood(times) => flood(store, *times),
            Self::FloodNames(len, times) => flood_names(*len, *times),
            Self::Hold(times) => hold(store, *times),
            Self::BigValue(len) => set(store, "big", &vec![b'x'; *len], None),
            Self::BigKey(len) => set(store, &"x".repeat(*len), b"small", None),
            Self::Parts => with(request, parts),
            Self::ReadPart(part, offset, len) => with(request, |request| read(request, *part, *offset, *len)),
            Self::ReadOn(part, len) => with(request, |request| read_on(request, *part, *len)),
        };
        done.unwrap_or_else(|error| error)
    }
}

/// Both are what is told.
type Done = Result<Value, Value>;

fn set(store: &str, key: &str, value: &[u8], ttl: Option<u64>) -> Done {
    let store = Store::open(store).map_err(kv_error)?;
    store.set(key, value, ttl).map_err(kv_error)?;
    Ok(json!("done"))
}

fn get(store: &str, key: &str) -> Done {
    let store = Store::open(store).map_err(kv_error)?;
    let value = store.get(key).map_err(kv_error)?;
    let value = value.map(|value| String::from_utf8_lossy(&value).into_owned());
    Ok(json!({ "value": value }))
}

fn delete(store: &str, key: &str) -> Done {
    let store = Store::open(store).map_err(kv_error)?;
    store.delete(key).map_err(kv_error)?;
    Ok(json!("done"))
}

fn increment(store: &str, key: &str, delta: i64, ttl: Option<u64>) -> Done {
    let store = Store::open(store).map_err(kv_error)?;
    let number = store.increment(key, delta, ttl).map_err(kv_error)?;
    Ok(json!({ "number": number }))
}

fn flood(store: &str, times: u64) -> Done {
    let store = Store::open(store).map_err(kv_error)?;
    let mut number = 0;
    for _ in 0..times {
        number = store.increment("flood", 1, None).map_err(kv_error)?;
    }
    Ok(json!({ "number": number }))
}

fn hold(store: &str, times: u64) -> Done {
    for _ in 0..times {
        std::mem::forget(Store::open(store).map_err(kv_error)?);
    }
    Ok(json!({ "held": times }))
}

fn classify(model: &str, texts: &[String]) -> Done {
    let inputs = inference::classify(model, texts).map_err(inference_error)?;
    let labels = inputs.iter().map(|labels| {
        let pairs = labels.iter().map(|label| json!([label.name, label.score]));
        pairs.collect::<Value>()
    });
    Ok(json!({ "labels": labels.collect::<Value>() }))
}

fn flood_names(len: usize, times: u64) -> Done {
    let (name, texts) = ("x".repeat(len), ["a".to_owned()]);
    let mut told = Value::Null;
    for _ in 0..times {
        told = classify(&name, &texts).unwrap_or_else(|error| error);
    }
    Ok(told)
}

fn embed(model: &str, texts: &[String]) -> Done {
    let vectors = inference::embed(model, texts).map_err(inference_error)?;
    let vectors = vectors.iter().map(|vector| {
        let head = &vector[..vector.len().min(HEAD_LEN)];
        json!({ "len": vector.len(), "head": head })
    });
    Ok(json!({ "vectors": vectors.collect::<Value>() }))
}

fn run<'a>(model: &str, inputs: impl Iterator<Item = (&'a String, &'a Input)>) -> Done {
    let tensor = |(name, input): (&String, &Input)| {
        let made = match &input.data {
            Data::F32(values) => Tensor::from_f32(&input.shape, values),
            Data::I64(values) => Tensor::from_i64(&input.shape, values),
        };
        made.map(|tensor| (name.clone(), tensor))
            .map_err(|error| tensor_error(&error))
    };
    let inputs = inputs.map(tensor).collect::<Result<Vec<_>, Value>>()?;
    let outputs = inference::run(model, inputs).map_err(inference_error)?;
    let outputs = outputs.iter().map(|(name, tensor)| {
        let shape = tensor.shape();
        let len = shape.iter().product::<u32>().min(HEAD_LEN as u32);
        let head = match tensor.read_f32(0, len) {
            Ok(values) => json!(values),
            Err(error) => tensor_error(&error),
        };
        json!({ "name": name, "type": format!("{:?}", tensor.ty()), "shape": shape, "head": head })
    });
    Ok(json!({ "tensors": outputs.collect::<Value>() }))
}

fn secret(name: &str) -> Done {
    match secrets::get(name) {
        Ok(value) => Ok(json!({ "secret": String::from_utf8_lossy(&value) })),
        Err(SecretError::Denied) => Err(json!("denied")),
        Err(SecretError::NotFound) => Err(json!("not-found")),
        Err(SecretError::Unavailable) => Err(json!("unavailable")),
    }
}

fn with(request: Option<&Request>, deed: impl FnOnce(&Request) -> Done) -> Done {
    request.map_or_else(|| Err(json!("no request")), deed)
}

fn parts(request: &Request) -> Done {
    let parts = uploads::parts(request);
    let told = parts
        .iter()
        .map(|part| json!([part.name, part.file_name, part.size]));
    Ok(json!({ "parts": told.collect::<Value>() }))
}

fn read(request: &Request, part: u32, offset: u64, len: u32) -> Done {
    let bytes = uploads::read_part(request, part, offset, len).map_err(upload_error)?;
    let head = &bytes[..bytes.len().min(HEAD_LEN)];
    Ok(json!({ "len": bytes.len(), "head": String::from_utf8_lossy(head) }))
}

fn read_on(request: &Request, part: u32, len: u32) -> Done {
    loop {
        uploads::read_part(request, part, 0, len).map_err(upload_error)?;
    }
}

fn upload_error(error: UploadError) -> Value {
    match error {
        UploadError::NoSuchPart => json!("no-such-part"),
        UploadError::Unavailable(why) => json!({ "unavailable": why }),
    }
}

fn kv_error(error: KvError) -> Value {
    match error {
        KvError::Denied => json!("denied"),
        KvError::TooLarge(max) => json!({ "too-large": max }),
        KvError::Quota => json!("quota"),
        KvError::Unavailable(why) => json!({ "unavailable": why }),
    }
}

fn inference_error(error: InferenceError) -> Value {
    match error {
        InferenceError::Denied => json!("denied"),
        InferenceError::NotFound => json!("not-found"),
        InferenceError::Busy => json!("busy"),
        InferenceError::Deadline => json!("deadline"),
        InferenceError::InvalidInput(why) => json!({ "invalid-input": why }),
        InferenceError::Backend(why) => json!({ "backend": why }),
    }
}

fn tensor_error(error: &TensorError) -> Value {
    json!({ "tensor": format!("{error:?}") })
}
