//! Who may call, and how much: what stands between a request's head and the pipeline. Knows no socket.
//!
//! `address` says where a request comes from, `key` and `token` who sent it, `limit` whether it is too much. Where keys are kept,
//! and where those who sign tokens are known from, is in `keystore` and `signers`.

pub mod address;
pub mod key;
pub mod keystore;
pub mod limit;
pub mod signers;
pub mod token;

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

pub use address::{Peer, Proxies};
pub use key::{Key, Keys};
pub use limit::{Admission, Buckets, Limiter, Who};
pub use token::Tokens;

use crate::config::{AuthMode, Config, Jwt};
use crate::pipeline::ClientFault;

/// The scope that opens every endpoint.
pub const ALL: &str = "*";

/// The scope of the node's own affairs, such as its metrics.
pub const ADMIN: &str = "admin";

/// Who sent a request.
pub struct Principal {
    /// The name of a key, or the subject of a token; plugins see it.
    pub name: Arc<str>,
    /// Whose limits these are: the id of a key, or the subject of a token.
    pub id: Arc<str>,
    /// What it may do: names of endpoints, [`ADMIN`], or `*` for all endpoints.
    pub scopes: Arc<[String]>,
    /// Limits of its own.
    pub limiter: Option<Arc<Limiter>>,
}

impl Principal {
    /// Whether it has a scope.
    #[must_use]
    pub fn may(&self, scope: &str) -> bool {
        let opens = |own: &String| own == scope || (own == ALL && scope != ADMIN);
        self.scopes.iter().any(opens)
    }
}

impl std::fmt::Debug for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Principal")
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// Those who know whose credentials are whose.
pub enum Authority {
    /// Nobody has to say who they are.
    Nobody,
    /// Keys of this node.
    Keys(Keys),
    /// Tokens that somebody else signed.
    Tokens(Tokens),
}

/// The edge of a generation.
pub struct Edge {
    authority: Authority,
    proxies: Proxies,
    /// Wrong credentials by address; none where they are not limited.
    failures: Option<Arc<Buckets>>,
    address: Option<Arc<Limiter>>,
    key: Option<Arc<Limiter>>,
}

impl Edge {
    /// The edge of a configuration, with those who know callers, and what the one before it has counted of them.
    #[must_use]
    pub fn new(config: &Config, authority: Authority, before: Option<&Self>) -> Self {
        let wrong = &config.auth.failures;
        let failures = before.and_then(|before| before.failures.as_ref());
        let address = before.and_then(|before| before.address.as_ref());
        let key = before.and_then(|before| before.key.as_ref());
        Self {
            authority,
            proxies: Proxies::new(config.server.trusted_proxies.clone(), config.server.forwarded),
            failures: wrong
                .requests
                .map(|count| Buckets::following(failures, count, wrong.per.0)),
            address: Limiter::following(address, config.limits.address.as_ref()),
            key: Limiter::following(key, config.limits.key.as_ref()),
        }
    }

    /// Where a request comes from, seen through the proxies that are trusted.
    #[must_use]
    pub fn address(&self, peer: Peer, headers: &HeaderMap) -> Peer {
        self.proxies.client(peer, headers)
    }

    /// Those who sign tokens, where they are of these settings.
    #[must_use]
    pub fn tokens(&self, settings: &Jwt) -> Option<Tokens> {
        match &self.authority {
            Authority::Tokens(tokens) if tokens.settings() == settings => Some(tokens.clone()),
            _ => None,
        }
    }

    /// Whether callers have to say who they are.
    #[must_use]
    pub fn asks(&self) -> bool {
        !matches!(self.authority, Authority::Nobody)
    }

    /// Who sent a request; none where nobody has to say.
    ///
    /// # Errors
    ///
    /// Where there are no credentials, or wrong ones; or too many wrong ones came from the address.
    pub fn authenticate(
        &self,
        headers: &HeaderMap,
        address: Peer,
    ) -> Result<Option<Arc<Principal>>, ClientFault> {
        if !self.asks() {
            return Ok(None);
        }
        let Some(credential) = credential(headers) else {
            return Err(ClientFault::Unauthenticated(
                "there is no key; send `Authorization: Bearer KEY` or `x-api-key: KEY`",
            ));
        };
        let found = match &self.authority {
            Authority::Nobody => return Ok(None),
            Authority::Keys(keys) => keys.find(credential),
            Authority::Tokens(tokens) => tokens.read(credential),
        };
        if let (Err(_), Some(failures)) = (&found, &self.failures) {
            // Right ones are let in all the same: others may share the address.
            let who = Who::Address(address::network(address));
            if let Some(wait) = failures.wait(&who, 1.0) {
                return Err(failures.refusal(wait));
            }
            failures.take(&who, 1.0);
        }
        found.map(Some)
    }

    /// Lets a request through the limit of its address, where there is one: whoever sent it, and whatever it asks for.
    ///
    /// # Errors
    ///
    /// Where it is one too many.
    pub fn admit_address(&self, address: Peer, estimate: u64) -> Result<Option<Admission>, ClientFault> {
        let who = || Who::Address(address::network(address));
        let limiter = self.address.as_ref();
        limiter.map(|limiter| limiter.admit(&who(), estimate)).transpose()
    }

    /// Lets a request through the limit of its sender, where there is one: the sender's own, or that of all keys.
    ///
    /// # Errors
    ///
    /// Where it is one too many.
    pub fn admit_principal(
        &self,
        principal: &Principal,
        estimate: u64,
    ) -> Result<Option<Admission>, ClientFault> {
        let limiter = principal.limiter.as_ref().or(self.key.as_ref());
        let who = || Who::Principal(Arc::clone(&principal.id));
        limiter.map(|limiter| limiter.admit(&who(), estimate)).transpose()
    }
}

impl Authority {
    /// Whether the mode needs the node's state.
    #[must_use]
    pub fn needs_state(mode: AuthMode) -> bool {
        mode == AuthMode::Keys
    }
}

/// What a caller shows: a bearer's token, or a key in its own header.
fn credential(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, credential) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
    });
    bearer.or_else(|| headers.get("x-api-key")?.to_str().ok().map(str::trim))
}
