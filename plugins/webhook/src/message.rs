//! An event as a message: its body, and its signature by HMAC-SHA256 over `id.timestamp.body`. See
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

/// A request that is over.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The message's id, the same each time it is sent.
    pub id: String,
    /// The request's id.
    pub request_id: String,
    /// The endpoint.
    pub endpoint: String,
    /// Its model.
    pub model: String,
    /// The wire dialect.
    pub dialect: String,
    /// Id of the caller's key.
    pub principal: Option<String>,
    /// When it ended.
    pub time_ms: u64,
    /// What was answered.
    pub status: u16,
    /// Why the text ended.
    pub finish: Option<&'static str>,
    /// Tokens of prompt and answer.
    pub tokens: Option<(u32, u32)>,
    /// How long the stages took.
    pub timings: Vec<Timing>,
    /// What plugins left.
    pub attributes: Vec<(String, String)>,
    /// The request's body, where the operator grants bodies.
    pub asked: Option<Vec<u8>>,
    /// The answer's body, alike.
    pub answered: Option<Vec<u8>>,
}

/// How long a stage took.
#[derive(Debug, Clone)]
pub struct Timing {
    /// The stage.
    pub stage: String,
    /// The plugin; empty for the model.
    pub plugin: String,
    /// Microseconds.
    pub micros: u64,
}

impl Request {
    /// The message's body.
    #[must_use]
    pub fn body(&self, kind: &str) -> String {
        let time = UNIX_EPOCH + Duration::from_millis(self.time_ms);
        let timings = self
            .timings
            .iter()
            .map(|timing| json!({ "stage": timing.stage, "plugin": timing.plugin, "micros": timing.micros }));
        let attributes = self.attributes.iter().cloned();
        let attributes: Map<_, _> = attributes.map(|(key, value)| (key, Value::from(value))).collect();
        let mut data = json!({
            "request_id": self.request_id,
            "endpoint": self.endpoint,
            "model": self.model,
            "dialect": self.dialect,
            "principal": self.principal,
            "status": self.status,
            "finish": self.finish,
            "usage": self.tokens.map(|(prompt, completion)| json!({ "prompt_tokens": prompt, "completion_tokens": completion })),
            "timings": timings.collect::<Vec<_>>(),
            "attributes": attributes,
        });
        for (key, bytes) in [("request", &self.asked), ("response", &self.answered)] {
            if let Some(bytes) = bytes {
                data[key] = content(bytes);
            }
        }
        let timestamp = humantime::format_rfc3339_millis(time).to_string();
        json!({ "type": kind, "timestamp": timestamp, "data": data }).to_string()
    }
}

/// A body as JSON, or as text; what is not UTF-8 is base64 in an object that says so.
fn content(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

/// Signs messages, with one key or, while keys change, with several.
pub struct Signer(Vec<Hmac<Sha256>>);

/// Bytes of a key, as the specification has them.
const KEY_LEN: std::ops::RangeInclusive<usize> = 24..=64;

impl Signer {
    /// Reads keys: `whsec_` and base64 each, with blanks between them.
    ///
    /// # Errors
    ///
    /// What it must look like; nothing of it is shown.
    pub fn new(secret: &[u8]) -> Result<Self, String> {
        let wanted = || {
            "must be `whsec_` and base64 of 24 to 64 bytes, or several of these with blanks between"
                .to_owned()
        };
        let text = std::str::from_utf8(secret).map_err(|_| wanted())?;
        let key = |text: &str| {
            let key = STANDARD.decode(text.strip_prefix("whsec_")?).ok()?;
            KEY_LEN
                .contains(&key.len())
                .then(|| Hmac::new_from_slice(&key).ok())?
        };
        let keys: Option<Vec<_>> = text.split_whitespace().map(key).collect();
        keys.filter(|keys| !keys.is_empty()).map(Self).ok_or_else(wanted)
    }

    /// The value of `webhook-signature`.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let signatures = self.0.iter().map(|key| {
            let mut key = key.clone();
            key.update(format!("{id}.{timestamp}.{body}").as_bytes());
            format!("v1,{}", STANDARD.encode(key.finalize().into_bytes()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Request, Signer};

    /// Of the specification's reference libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn signs_as_the_reference_libraries_do() {
        let signer = Signer::new(SECRET.as_bytes()).expect("a key");
        let signature = signer.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn signs_with_each_key_while_keys_change() {
        let one = Signer::new(SECRET.as_bytes()).expect("a key").sign("a", 1, "{}");
        let both = Signer::new(format!("{SECRET} {SECRET}\n").as_bytes())
            .expect("keys")
            .sign("a", 1, "{}");
        assert_eq!(both, format!("{one} {one}"));
    }

    #[test]
    fn refuses_what_is_no_key_and_does_not_show_it() {
        for secret in [
            "",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_!",
            "whsec_c2hvcnQ=",
            "whsec_",
        ] {
            let error = Signer::new(secret.as_bytes()).err().expect("refused");
            assert!(
                error.contains("24 to 64 bytes") && !error.contains("c2hv"),
                "{secret}: {error}"
            );
        }
    }

    #[test]
    fn a_body_has_what_was_granted() {
        let mut request = Request {
            id: "evt_1".to_owned(),
            status: 200,
            time_ms: 1_700_000_000_123,
            tokens: Some((3, 4)),
            ..Request::default()
        };
        let read = |request: &Request| serde_json::from_str::<Value>(&request.body("a.b")).expect("JSON");
        let body = read(&request);
        assert_eq!(
            (&body["type"], &body["timestamp"]),
            (&json!("a.b"), &json!("2023-11-14T22:13:20.123Z"))
        );
        assert_eq!(
            body["data"]["usage"],
            json!({ "prompt_tokens": 3, "completion_tokens": 4 })
        );
        assert!(body["data"].get("request").is_none());
        (request.asked, request.answered) = (Some(b"{\"a\":1}".to_vec()), Some(vec![0xff]));
        let body = read(&request);
        assert_eq!(
            (&body["data"]["request"], &body["data"]["response"]),
            (&json!({ "a": 1 }), &json!({ "base64": "/w==" }))
        );
    }
}
