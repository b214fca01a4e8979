//! Keys of this node: how one looks, and whose it is.
//!
//! A key is `selvedge_ID_SECRET`. Its secret has 256 random bits, so its SHA-256 is all that needs to be kept, and nobody guesses
//! it; a slow hash would only slow down requests. It is shown once, when it is made.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Limiter, Principal};
use crate::config::Rate;
use crate::pipeline::ClientFault;

/// What every key begins with, by which it is found where it must not be.
const PREFIX: &str = "selvedge_";

/// Bytes of an id, in hexadecimal in the key.
const ID_LEN: usize = 5;

/// Bytes of a secret.
const SECRET_LEN: usize = 32;

/// A key as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// By which it is found, listed and revoked.
    pub id: String,
    /// Whose it is.
    pub name: String,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// Names of endpoints, `admin`, or `*`.
    pub scopes: Vec<String>,
    /// When it was made.
    pub made: Moment,
    /// When it ends by itself.
    pub expires: Option<Moment>,
    /// When it was taken back.
    pub revoked: Option<Moment>,
    /// Limits in place of `limits.key`.
    pub rate: Option<Rate>,
}

impl Key {
    /// Whether it opens anything at a time.
    #[must_use]
    pub fn is_valid(&self, at: Moment) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| at < expires)
    }
}

/// Milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    /// By this machine's clock.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// So much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = Duration::from_millis(u64::try_from(self.0).unwrap_or_default());
        humantime::format_rfc3339_seconds(UNIX_EPOCH + since).fmt(f)
    }
}

/// A new key's id, its text, which is not kept, and the hash of its secret, which is.
///
/// # Errors
///
/// Where the system gives no random numbers.
pub fn generate() -> std::io::Result<(String, String, [u8; 32])> {
    let mut random = [0_u8; ID_LEN + SECRET_LEN];
    getrandom::fill(&mut random)?;
    let (id, secret) = random.split_at(ID_LEN);
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let secret = URL_SAFE_NO_PAD.encode(secret);
    let text = format!("{PREFIX}{id}_{secret}");
    Ok((id, text, hash(&secret)))
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// Id and secret of a key's text.
fn parts(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix(PREFIX)?.split_once('_')
}

/// The keys of a node; clones share them, and what is read again is seen by all.
#[derive(Clone, Default)]
pub struct Keys(Arc<ArcSwap<Table>>);

type Table = HashMap<String, (Key, Arc<Principal>)>;

impl Keys {
    /// Puts keys in the place of those before. A limiter whose rate is the same is kept, with what it has counted.
    pub fn replace(&self, keys: Vec<Key>) {
        let before = self.0.load();
        let table = keys.into_iter().map(|key| {
            let same = before.get(&key.id);
            let limiter = same.and_then(|(_, principal)| principal.limiter.as_ref());
            let limiter = Limiter::following(limiter, key.rate.as_ref());
            let principal = Principal {
                name: key.name.as_str().into(),
                id: key.id.as_str().into(),
                scopes: key.scopes.clone().into(),
                limiter,
            };
            (key.id.clone(), (key, Arc::new(principal)))
        });
        self.0.store(Arc::new(table.collect()));
    }

    /// Whose a key is.
    ///
    /// # Errors
    ///
    /// Where it is nobody's, or opens nothing any more. How wrong it is cannot be told from the time that this takes.
    pub fn find(&self, text: &str) -> Result<Arc<Principal>, ClientFault> {
        let table = self.0.load();
        let (id, secret) = parts(text).unwrap_or_default();
        let found = table.get(id);
        let kept = found.map_or([0; 32], |(key, _)| key.hash);
        let is_right: bool = hash(secret).ct_eq(&kept).into();
        match found.filter(|_| is_right) {
            None => Err(ClientFault::Unauthenticated("the key is not one of this node's")),
            Some((key, _)) if key.revoked.is_some() => {
                Err(ClientFault::Unauthenticated("the key was revoked"))
            }
            Some((key, _)) if !key.is_valid(Moment::now()) => {
                Err(ClientFault::Unauthenticated("the key has expired"))
            }
            Some((_, principal)) => Ok(Arc::clone(principal)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Keys, Moment, generate};

    fn made() -> (String, Key) {
        let (id, text, hash) = generate().expect("random numbers");
        let key = Key {
            id,
            name: "shop".to_owned(),
            hash,
            scopes: vec!["classify".to_owned()],
            made: Moment(0),
            expires: None,
            revoked: None,
            rate: None,
        };
        (text, key)
    }

    fn refusal(keys: &Keys, text: &str) -> String {
        keys.find(text).expect_err("it opens nothing").to_string()
    }

    #[test]
    fn finds_whose_a_key_is_by_its_whole_text() {
        let ((text, key), (other, _)) = (made(), made());
        let keys = Keys::default();
        keys.replace(vec![key]);
        let principal = keys.find(&text).expect("it is a key");
        assert_eq!(&*principal.name, "shop");
        assert!(principal.may("classify") && !principal.may("embed") && !principal.may("admin"));
        let mut wrong = text.clone();
        wrong.pop();
        for text in ["", "selvedge_", "x", &other, &wrong, &format!("{text}x")] {
            assert!(refusal(&keys, text).contains("not one of this node's"), "{text}");
        }
    }

    #[test]
    fn refuses_what_was_revoked_or_has_expired() {
        let (text, key) = made();
        let keys = Keys::default();
        let with = |expires, revoked| Key {
            expires,
            revoked,
            ..key.clone()
        };
        keys.replace(vec![with(Some(Moment::now()), None)]);
        assert!(refusal(&keys, &text).contains("expired"));
        keys.replace(vec![with(None, Some(Moment(1)))]);
        assert!(refusal(&keys, &text).contains("revoked"));
        keys.replace(vec![with(Some(Moment(i64::MAX)), None)]);
        keys.find(&text).expect("it is valid");
    }
}
