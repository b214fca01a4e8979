//! Checks of who may call, and how much.

use super::Findings;
use crate::config::read::Sections;
use crate::config::{AuthMode, Jwt, Rate};

pub(super) fn check(sections: &Sections, found: &mut Findings<'_>) {
    check_auth(sections, found);
    check_admin(sections, found);
    let rates = [
        ("limits.address", &sections.limits.address),
        ("limits.key", &sections.limits.key),
    ];
    for (key, rate) in rates {
        check_rate(key, rate.as_ref(), found);
    }
    for (name, endpoint) in &sections.endpoints {
        check_rate(
            &format!("endpoints.{name}.rate_limit"),
            endpoint.rate_limit.as_ref(),
            found,
        );
        let scopes = endpoint.auth.iter().flat_map(|auth| &auth.scopes);
        for scope in scopes.filter(|scope| scope.is_empty() || scope.contains(char::is_whitespace)) {
            let key = format!("endpoints.{name}.auth.scopes");
            found.add(key, format!("`{scope}` is no scope: one word each"));
        }
    }
}

fn check_auth(sections: &Sections, found: &mut Findings<'_>) {
    let Some(auth) = &sections.auth else {
        let others = sections.server.listen.0.iter();
        if let Some(address) = others.into_iter().find(|address| !address.is_local()) {
            found.add(
                "auth",
                format!(
                    "other machines reach {address}, and nobody has to say who they are: add `[auth] mode = \"keys\"` and make \
                     keys with `selvedge key create`, or say that it is meant with `[auth] mode = \"none\"`"
                ),
            );
        }
        return;
    };
    check_rate("auth.failures", Some(&auth.failures), found);
    match (auth.mode, &auth.jwt) {
        (AuthMode::Jwt, None) => {
            found.add(
                "auth.jwt",
                "say whose tokens are believed: `jwks`, `issuer` and `audience`",
            );
        }
        (AuthMode::Jwt, Some(jwt)) => check_jwt(jwt, found),
        (_, Some(_)) => found.add(
            "auth.jwt",
            "is for `mode = \"jwt\"`; leave it out, or change `auth.mode`",
        ),
        (_, None) => {}
    }
}

fn check_admin(sections: &Sections, found: &mut Findings<'_>) {
    let asks = sections
        .auth
        .as_ref()
        .is_some_and(|auth| auth.mode != AuthMode::None);
    let addresses = sections.admin.iter().flat_map(|admin| &admin.listen.0);
    if let Some(address) = addresses.into_iter().find(|address| !asks && !address.is_local()) {
        found.add(
            "admin.listen",
            format!("other machines reach {address}, and anybody could reload the node: set `auth.mode` to `keys` or `jwt`"),
        );
    }
}

fn check_jwt(jwt: &Jwt, found: &mut Findings<'_>) {
    let plain = jwt.jwks.starts_with("http://");
    let local = ["http://127.0.0.1", "http://[::1]", "http://localhost"];
    if plain && !local.iter().any(|local| jwt.jwks.starts_with(local)) {
        found.add(
            "auth.jwt.jwks",
            "whoever signs must be known for sure: `https://`, or a file",
        );
    }
    for (key, value) in [
        ("jwks", &jwt.jwks),
        ("issuer", &jwt.issuer),
        ("audience", &jwt.audience),
    ] {
        if value.is_empty() {
            found.add(format!("auth.jwt.{key}"), "must not be empty");
        }
    }
    if jwt.refresh.0.is_zero() {
        found.add("auth.jwt.refresh", "must be more than zero");
    }
}

fn check_rate(key: &str, rate: Option<&Rate>, found: &mut Findings<'_>) {
    let Some(rate) = rate else { return };
    if rate.per.0.is_zero() {
        return found.add(format!("{key}.per"), "must be more than zero");
    }
    if let Some(requests) = rate
        .requests
        .filter(|requests| rate.per.0 / requests.get() == std::time::Duration::ZERO)
    {
        let message = format!("{requests} in {} is more than one in a nanosecond", rate.per);
        found.add(format!("{key}.requests"), message);
    }
    if rate.requests.is_none() && rate.tokens.is_none() && rate.concurrent.is_none() {
        found.add(key, "limits nothing: give `requests`, `tokens` or `concurrent`");
    }
}
