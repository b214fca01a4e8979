//! How much a caller may ask for: `[limits]`, `rate_limit` of an endpoint, and a key's own.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::unit::Time;

/// `[limits]`: what holds for every caller, whichever endpoint is asked.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallerLimits {
    /// Of each address; IPv6 by its first 64 bits. Behind a proxy see `server.trusted_proxies`. Default: none.
    pub address: Option<Rate>,
    /// Of each key that has none of its own, or each subject of a token. Default: none.
    pub key: Option<Rate>,
}

/// So much in so long, and so much at once. What is not given is not limited.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Requests in the time; all of them may come at once, after which they come back evenly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<NonZeroU32>,
    /// Tokens in the time, of prompts and answers together. An estimate is taken when a request comes, so much as its answers may
    /// take (`max_tokens`) once that is known, and what it used is settled when it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<NonZeroU32>,
    /// The time. Default 1 min.
    #[serde(default = "minute")]
    pub per: Time,
    /// Requests at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<NonZeroU32>,
}

fn minute() -> Time {
    Time(Duration::from_secs(60))
}
