//! Tokens that somebody else signed: JSON Web Tokens, checked against the keys of a JSON Web Key Set.
//!
//! Which algorithms may be is decided by the keys' own kind, never by the token: `none` and anything with a shared secret are
//! refused. See <https://www.rfc-editor.org/rfc/rfc8725>.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

use super::Principal;
use crate::config::Jwt;
use crate::pipeline::ClientFault;

/// Bytes of a token that are looked at.
const TOKEN_LEN_MAX: usize = 16 << 10;

/// Those who may sign, and what a token must say; clones share the keys.
#[derive(Clone)]
pub struct Tokens {
    settings: Arc<Jwt>,
    keys: Arc<ArcSwap<Signers>>,
    /// Whether a token named a key that is not known, so that they should be fetched again.
    wanted: Arc<AtomicBool>,
}

/// Keys by their ids; those without an id have the empty one.
type Signers = HashMap<String, Vec<(Algorithm, DecodingKey)>>;

impl Tokens {
    /// Nobody may sign yet.
    #[must_use]
    pub fn new(settings: Jwt) -> Self {
        Self {
            settings: Arc::new(settings),
            keys: Arc::default(),
            wanted: Arc::default(),
        }
    }

    /// Whether nobody else shares the keys any more.
    #[must_use]
    pub fn is_last(&self) -> bool {
        Arc::strong_count(&self.keys) == 1
    }

    /// What it was made of.
    #[must_use]
    pub fn settings(&self) -> &Jwt {
        &self.settings
    }

    /// Whether a token came that names a key which is not known; asked once.
    #[must_use]
    pub fn wants_keys(&self) -> bool {
        self.wanted.swap(false, Ordering::Relaxed)
    }

    /// Puts the keys of a set in the place of those before, and answers how many they are.
    ///
    /// # Errors
    ///
    /// Where it is no JSON Web Key Set, or none of its keys can be used; those before hold.
    pub fn replace(&self, text: &[u8]) -> Result<usize, String> {
        let set: JwkSet =
            serde_json::from_slice(text).map_err(|error| format!("it is no JSON Web Key Set: {error}"))?;
        let usable = |jwk: &Jwk| {
            let algorithm = algorithm(jwk)?;
            let key = DecodingKey::from_jwk(jwk).ok()?;
            Some((jwk.common.key_id.clone().unwrap_or_default(), (algorithm, key)))
        };
        let mut signers = Signers::new();
        for (id, key) in set.keys.iter().filter_map(usable) {
            signers.entry(id).or_default().push(key);
        }
        if signers.is_empty() {
            return Err("it has no key for RS256, ES256 or EdDSA".to_owned());
        }
        let count = signers.values().map(Vec::len).sum();
        self.keys.store(Arc::new(signers));
        Ok(count)
    }

    /// Whose a token is.
    ///
    /// # Errors
    ///
    /// Where it was not signed by one of the keys, or says something else than it must.
    pub fn read(&self, token: &str) -> Result<Arc<Principal>, ClientFault> {
        if token.len() > TOKEN_LEN_MAX {
            return Err(ClientFault::Unauthenticated("the token is longer than 16 KiB"));
        }
        let header = jsonwebtoken::decode_header(token)
            .map_err(|_| ClientFault::Unauthenticated("the token is no JSON Web Token that is signed"))?;
        let keys = self.keys.load();
        let id = header.kid.unwrap_or_default();
        let Some(keys) = keys.get(&id) else {
            self.wanted.store(true, Ordering::Relaxed);
            return Err(ClientFault::Unauthenticated(
                "the token is signed by a key that is not known",
            ));
        };
        let claims = self
            .claims(token, keys)
            .map_err(|error| ClientFault::Unauthenticated(refusal(error.kind())))?;
        let subject: Arc<str> = claims
            .get("sub")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .into();
        Ok(Arc::new(Principal {
            name: Arc::clone(&subject),
            id: subject,
            scopes: scopes(claims.get(&self.settings.scope_claim)).into(),
            limiter: None,
        }))
    }

    /// What a token says, which one of the keys has signed. Of keys that have not, the last says why.
    fn claims(
        &self,
        token: &str,
        keys: &[(Algorithm, DecodingKey)],
    ) -> jsonwebtoken::errors::Result<Map<String, Value>> {
        let mut outcome = Err(ErrorKind::InvalidSignature.into());
        for (algorithm, key) in keys {
            let mut validation = Validation::new(*algorithm);
            validation.leeway = self.settings.leeway.0.as_secs();
            validation.validate_nbf = true;
            validation.set_audience(&[&self.settings.audience]);
            validation.set_issuer(&[&self.settings.issuer]);
            validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
            outcome = jsonwebtoken::decode(token, key, &validation).map(|token| token.claims);
            let other = outcome.as_ref().is_err_and(|error| {
                matches!(
                    error.kind(),
                    ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm
                )
            });
            if !other {
                break;
            }
        }
        outcome
    }
}

/// What a key signs with, by its kind; none where it is not for signatures that we take.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Some(Algorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Some(Algorithm::ES256),
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            Some(Algorithm::EdDSA)
        }
        _ => None,
    }
}

fn refusal(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidIssuer => "the token has another issuer",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::MissingRequiredClaim(_) => "the token must have `exp`, `aud`, `iss` and `sub`",
        ErrorKind::InvalidAlgorithm => "the token's algorithm is not its key's",
        _ => "the token's signature is wrong",
    }
}

/// Words, as OAuth has it, or a list.
fn scopes(claim: Option<&Value>) -> Vec<String> {
    match claim {
        Some(Value::String(words)) => words.split_whitespace().map(str::to_owned).collect(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}
