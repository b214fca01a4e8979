//! Tokens that somebody else signs: which are believed, and which never are.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PublicKeyData};
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::traits::PublicKeyParts;
use serde_json::{Value, json};

use crate::edge::config;
use crate::host::TestHost;

/// Somebody who signs, with one key.
struct Signer {
    id: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
    public: Value,
}

impl Signer {
    fn elliptic(id: &'static str) -> Self {
        let pair = KeyPair::generate().expect("a key");
        let point = pair.der_bytes();
        let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        Self {
            id,
            algorithm: Algorithm::ES256,
            key: EncodingKey::from_ec_der(&pair.serialize_der()),
            public: json!({ "kty": "EC", "crv": "P-256", "kid": id, "x": part(1..33), "y": part(33..65) }),
        }
    }

    fn edwards(id: &'static str) -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let x = URL_SAFE_NO_PAD.encode(pair.der_bytes());
        Self {
            id,
            algorithm: Algorithm::EdDSA,
            key: EncodingKey::from_ed_der(&pair.serialize_der()),
            public: json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": x }),
        }
    }

    fn rsa(id: &'static str) -> Self {
        let pair = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).expect("a key");
        let number = |number: &rsa::BigUint| URL_SAFE_NO_PAD.encode(number.to_bytes_be());
        Self {
            id,
            algorithm: Algorithm::RS256,
            public: json!({ "kty": "RSA", "kid": id, "n": number(pair.n()), "e": number(pair.e()) }),
            key: EncodingKey::from_rsa_der(pair.to_pkcs1_der().expect("encoded").as_bytes()),
        }
    }

    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.id.to_owned());
        encode(&header, claims, &self.key).expect("signed")
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}

fn claims(changed: &Value) -> Value {
    let mut claims = json!({
        "iss": "https://issuer.test", "aud": "selvedge", "sub": "anna", "exp": now() + 600, "scope": "openid classify",
    });
    for (name, value) in changed.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims
}

fn set(signers: &[&Signer]) -> String {
    let keys: Vec<&Value> = signers.iter().map(|signer| &signer.public).collect();
    json!({ "keys": keys }).to_string()
}

fn start(jwks: &str, extra: &str) -> TestHost {
    TestHost::start(&config(&format!(
        "[auth]\nmode = \"jwt\"\n[auth.jwt]\njwks = \"{jwks}\"\nissuer = \"https://issuer.test\"\naudience = \"selvedge\"\n{extra}"
    )))
}

fn ask(host: &TestHost, token: &str) -> (u16, String) {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("content-type", "application/json"),
        ("authorization", bearer.as_str()),
    ];
    let answer = host
        .client()
        .send("POST", "/classify", &headers, br#"{"text":"a prize"}"#);
    (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
}

#[test]
fn believes_the_three_kinds_of_signature_and_nothing_else() {
    let signers = [Signer::elliptic("ec"), Signer::edwards("ed"), Signer::rsa("rsa")];
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("keys.json");
    std::fs::write(&file, set(&signers.each_ref())).expect("written");
    let host = start(&file.to_string_lossy(), "");
    for signer in &signers {
        let (status, body) = ask(&host, &signer.sign(&claims(&json!({}))));
        assert_eq!(status, 200, "{}: {body}", signer.id);
    }
    let signer = &signers[0];
    let cases = [
        (json!({ "exp": now() - 600 }), "expired"),
        (json!({ "nbf": now() + 600 }), "not valid yet"),
        (json!({ "aud": "another" }), "another audience"),
        (json!({ "iss": "https://else.test" }), "another issuer"),
        (json!({ "sub": null }), "`sub`"),
    ];
    for (changed, word) in cases {
        let (status, body) = ask(&host, &signer.sign(&claims(&changed)));
        assert!(status == 401 && body.contains(word), "{changed}: {status} {body}");
    }
    let mut endless = claims(&json!({}));
    endless.as_object_mut().expect("an object").remove("exp");
    assert_eq!(ask(&host, &signer.sign(&endless)).0, 401);
    let (status, body) = ask(&host, &signer.sign(&claims(&json!({ "scope": ["openid"] }))));
    assert!(status == 403 && body.contains("`classify`"), "{status} {body}");
    assert_eq!(
        ask(&host, &signer.sign(&claims(&json!({ "scope": ["classify"] })))).0,
        200
    );
}

#[test]
fn a_token_that_nobody_signed_or_with_another_algorithm_is_refused() {
    let signer = Signer::elliptic("ec");
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("keys.json");
    std::fs::write(&file, set(&[&signer])).expect("written");
    let host = start(&file.to_string_lossy(), "");
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let payload = part(&claims(&json!({})));
    let none = format!("{}.{payload}.", part(&json!({ "alg": "none", "kid": "ec" })));
    // The public key taken for a shared secret, as careless libraries did.
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("ec".to_owned());
    let secret = EncodingKey::from_secret(signer.public.to_string().as_bytes());
    let confused = encode(&header, &claims(&json!({})), &secret).expect("signed");
    let good = signer.sign(&claims(&json!({})));
    let (head, signature) = good.rsplit_once('.').expect("three parts");
    let changed = format!(
        "{}.{}.{signature}",
        head.split('.').next().expect("a part"),
        part(&claims(&json!({ "sub": "eve" })))
    );
    let stranger = Signer::elliptic("ec").sign(&claims(&json!({})));
    let unknown = Signer::elliptic("other").sign(&claims(&json!({})));
    for token in [
        &none,
        &confused,
        &changed,
        &stranger,
        &unknown,
        "",
        "a.b.c",
        &"x".repeat(20_000),
    ] {
        let (status, body) = ask(&host, token);
        assert_eq!(status, 401, "{body}");
    }
    assert_eq!(ask(&host, &good).0, 200);
}

#[test]
fn keys_without_ids_are_each_tried() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("keys.json");
    let (one, two) = (Signer::elliptic(""), Signer::edwards(""));
    std::fs::write(&file, set(&[&one, &two])).expect("written");
    let host = start(&file.to_string_lossy(), "");
    for signer in [&one, &two] {
        assert_eq!(ask(&host, &signer.sign(&claims(&json!({})))).0, 200);
    }
    let stranger = Signer::elliptic("").sign(&claims(&json!({})));
    assert_eq!(ask(&host, &stranger).0, 401);
    let late = two.sign(&claims(&json!({ "exp": now() - 3600 })));
    assert!(ask(&host, &late).1.contains("expired"));
}

#[test]
fn keys_are_fetched_again_and_those_known_hold_while_nobody_answers() {
    let (old, new) = (Signer::elliptic("old"), Signer::elliptic("new"));
    let served = Arc::new(Mutex::new(set(&[&old])));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let shared = Arc::clone(&served);
    std::thread::Builder::new()
        .spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let read = stream.read(&mut [0; 4096]).expect("a request");
                assert!(read > 0, "nobody asked");
                let body = shared.lock().expect("no panic").clone();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                stream.write_all((head + &body).as_bytes()).expect("sent");
            }
        })
        .expect("a thread");
    let host = start(&format!("http://{address}/keys"), "refresh = \"1s\"\n");
    let token = old.sign(&claims(&json!({})));
    assert_eq!(ask(&host, &token).0, 200);
    "not a key set".clone_into(&mut served.lock().expect("no panic"));
    // Nor does a reload need whoever signs.
    host.hang_up();
    let began = Instant::now();
    while !host.log().contains(" reloaded ") {
        assert!(began.elapsed() < Duration::from_secs(20), "{}", host.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    while !host.log().contains("those known before hold") {
        assert!(began.elapsed() < Duration::from_secs(20), "{}", host.log());
        assert_eq!(ask(&host, &token).0, 200);
    }
    let set = set(&[&new]);
    set.clone_into(&mut served.lock().expect("no panic"));
    let changed = new.sign(&claims(&json!({})));
    while ask(&host, &changed).0 != 200 {
        assert!(began.elapsed() < Duration::from_secs(40), "{}", host.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(ask(&host, &token).0, 401);
}
