//! `[auth]`: how callers say who they are.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;

use super::limit::Rate;
use super::unit::Time;

/// How callers say who they are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// By what. There is no default: without the section nobody has to say who they are, which is refused where other machines
    /// reach the node.
    pub mode: AuthMode,
    /// Wrong keys or tokens that one address may send; beyond, they are told 429 for a while. Default 30 a minute.
    #[serde(default = "failures")]
    pub failures: Rate,
    /// Of `mode = "jwt"`.
    pub jwt: Option<Jwt>,
}

/// By what callers say who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Keys of this node, made by `selvedge key create`.
    Keys,
    /// Tokens that somebody else signs; see [`Jwt`].
    Jwt,
    /// They need not.
    None,
}

/// Tokens that somebody else signs. <https://www.rfc-editor.org/rfc/rfc7519>
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// Where the keys are that they are signed with: a file, or an `https://` address, as a JSON Web Key Set.
    pub jwks: String,
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must hold.
    pub audience: String,
    /// The claim with the scopes, as words or a list. Default `scope`.
    #[serde(default = "scope_claim")]
    pub scope_claim: String,
    /// How far clocks may be apart. Default 30 s.
    #[serde(default = "leeway")]
    pub leeway: Time,
    /// How often the keys are fetched again. Default 10 min; earlier where a token names one that is not known, at most each 10 s.
    #[serde(default = "refresh")]
    pub refresh: Time,
}

impl Auth {
    /// Nobody has to say who they are.
    pub(super) fn open() -> Self {
        Self {
            mode: AuthMode::None,
            failures: failures(),
            jwt: None,
        }
    }
}

fn failures() -> Rate {
    Rate {
        requests: NonZeroU32::new(30),
        tokens: None,
        per: Time(Duration::from_secs(60)),
        concurrent: None,
    }
}

fn scope_claim() -> String {
    "scope".to_owned()
}

fn leeway() -> Time {
    Time(Duration::from_secs(30))
}

fn refresh() -> Time {
    Time(Duration::from_secs(600))
}
