//! What a plugin may import: decided by name before anything is linked, and the linker that holds it.

use wasmtime::Engine;
use wasmtime::component::Linker;
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::random;
use wasmtime_wasi::random::{WasiRandom, WasiRandomCtx};

use crate::abi::v0_1;
use crate::error::LoadError;
use crate::grant::Grants;
use crate::inspect::unversioned;
use crate::manifest::Wants;
use crate::quickjs;
use crate::state::State;
use crate::value::{NAME_LEN_SHOWN, safe};

/// Interfaces that every plugin may import: they give nothing of the node away.
const FREE: [&str; 6] = [
    "selvedge:plugin/types",
    "selvedge:plugin/tensors",
    "selvedge:plugin/logging",
    "selvedge:plugin/metrics",
    "selvedge:plugin/uploads",
    "selvedge:plugin/vocabulary",
];

/// WASI packages that are met by an empty context, since toolchains import them whether they are used or not.
const EMPTY: [&str; 5] = [
    "wasi:cli/",
    "wasi:io/",
    "wasi:clocks/",
    "wasi:random/",
    "wasi:filesystem/",
];

/// Interfaces that are granted, each with a line that would.
const GRANTED: [(&str, &str); 6] = [
    ("selvedge:plugin/secrets", "secrets = [\"NAME\"]"),
    ("selvedge:plugin/journals", "journals = [\"NAME\"]"),
    ("selvedge:plugin/inference", "models = [\"NAME\"]"),
    ("selvedge:plugin/kv", "kv = [\"NAME\"]"),
    ("wasi:http/types", "http = [\"https://HOST\"]"),
    ("wasi:http/outgoing-handler", "http = [\"https://HOST\"]"),
];

/// What an import takes of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it gives nothing away.
    Free,
    /// Nothing: it is there, and empty.
    Empty,
    /// A line like this in the plugin's `allow`.
    Grant(&'static str),
    /// Nothing would do.
    Never,
}

/// What an import takes.
pub(crate) fn need(import: &str) -> Need {
    let name = unversioned(import);
    let is = |version| import[name.len()..].starts_with(version);
    let version = if name.starts_with("wasi:") {
        "@0.2."
    } else {
        "@0.1."
    };
    match GRANTED.iter().find(|(interface, _)| *interface == name) {
        _ if !is(version) => Need::Never,
        Some((_, line)) => Need::Grant(line),
        None if FREE.contains(&name) => Need::Free,
        None if EMPTY.iter().any(|package| name.starts_with(package)) => Need::Empty,
        None => Need::Never,
    }
}

/// Checks each import against what is free and what is granted.
///
/// # Errors
///
/// The first import that is neither, with the line that would grant it, or that none would.
pub(crate) fn check_imports(plugin: &str, imports: &[String], grants: &Grants) -> Result<(), LoadError> {
    for import in imports {
        if import == quickjs::LOADER {
            continue;
        }
        let name = unversioned(import);
        let is_met = match need(import) {
            Need::Free | Need::Empty => true,
            Need::Grant(_) => is_granted(name, grants),
            Need::Never => false,
        };
        if !is_met {
            let import = safe(import, NAME_LEN_SHOWN);
            return Err(LoadError::ImportDenied {
                remedy: remedy(plugin, &import, name),
                import,
            });
        }
    }
    Ok(())
}

/// Whether the operator granted anything of what an interface is for.
fn is_granted(name: &str, grants: &Grants) -> bool {
    match name {
        "selvedge:plugin/secrets" => !grants.secrets.is_empty(),
        "selvedge:plugin/journals" => !grants.journals.is_empty(),
        "selvedge:plugin/inference" => !grants.models.is_empty(),
        "selvedge:plugin/kv" => !grants.kv.is_empty(),
        "wasi:http/types" | "wasi:http/outgoing-handler" => !grants.http.is_empty(),
        _ => false,
    }
}

/// Checks that the manifest wants nothing that its component never asks for: what is granted is what both want.
///
/// # Errors
///
/// The first of it without its import.
pub(crate) fn check_truth(wants: &Wants, imports: &[String]) -> Result<(), LoadError> {
    let named = [
        ("secret", &wants.secrets, "selvedge:plugin/secrets"),
        ("model", &wants.models, "selvedge:plugin/inference"),
        ("store", &wants.kv, "selvedge:plugin/kv"),
    ];
    for (what, wanted, import) in named {
        let is_there = imports.iter().any(|name| unversioned(name) == import);
        if let Some(name) = wanted.first().filter(|_| !is_there) {
            let what = format!("the {what} `{}`", safe(name, NAME_LEN_SHOWN));
            return Err(LoadError::WantUntrue { what, import });
        }
    }
    Ok(())
}

/// Checks what the manifest says that the plugin cannot do without.
///
/// # Errors
///
/// The first of it that is not granted, with the line that would grant it.
pub(crate) fn check_wants(plugin: &str, wants: &Wants, grants: &Grants) -> Result<(), LoadError> {
    let denied = |what: String, line: String| LoadError::WantDenied {
        what,
        remedy: format!("`allow = {{ {line} }}` in [plugins.{plugin}] would"),
    };
    if wants.bodies && !grants.bodies {
        let what = "the bodies of requests and responses".to_owned();
        return Err(denied(what, "bodies = true".to_owned()));
    }
    let secrets: Vec<&String> = grants.secrets.keys().collect();
    let named = [
        ("secret", "secrets", &wants.secrets, secrets),
        ("model", "models", &wants.models, grants.models.iter().collect()),
        ("store", "kv", &wants.kv, grants.kv.iter().collect()),
    ];
    for (what, key, wanted, granted) in named {
        if let Some(name) = wanted.iter().find(|name| !granted.contains(name)) {
            let name = safe(name, NAME_LEN_SHOWN);
            return Err(denied(
                format!("the {what} `{name}`"),
                format!("{key} = [\"{name}\"]"),
            ));
        }
    }
    Ok(())
}

fn remedy(plugin: &str, import: &str, name: &str) -> String {
    if let Some((_, line)) = GRANTED.iter().find(|(interface, _)| *interface == name) {
        return format!("`allow = {{ {line} }}` in [plugins.{plugin}] would");
    }
    if FREE.contains(&name) || EMPTY.iter().any(|package| name.starts_with(package)) {
        return "this node has another version of it: build the plugin against selvedge:plugin@0.1 and WASI 0.2".into();
    }
    format!(
        "nothing can grant `{import}`; a plugin may import selvedge:plugin and WASI's cli, io, clocks, random and filesystem"
    )
}

/// The linker of all plugins, with everything that is free.
///
/// # Errors
///
/// Where a definition is there twice, which would be a mistake of this crate.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    linker.allow_shadowing(true);
    random::random::add_to_linker::<_, WasiRandom>(&mut linker, draw)?;
    random::insecure::add_to_linker::<_, WasiRandom>(&mut linker, draw)?;
    random::insecure_seed::add_to_linker::<_, WasiRandom>(&mut linker, draw)?;
    linker.allow_shadowing(false);
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    no_modules(&mut linker)?;
    v0_1::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// Plugins in JavaScript import what loaded their modules when they were built; there is nothing to load any more.
fn no_modules(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    type Loaded = Result<String, String>;
    fn refusal() -> wasmtime::Result<(Loaded,)> {
        Ok((Err(
            "modules are loaded when a plugin is built, and not when it runs".to_owned(),
        ),))
    }
    let mut loader = linker.instance(quickjs::LOADER)?;
    loader.func_wrap("resolve", |_, (_, _): (String, String)| refusal())?;
    loader.func_wrap("load", |_, (_,): (String,)| refusal())
}

/// Randomness as WASI has it, noting that it was drawn: a snapshot would freeze it.
fn draw(state: &mut State) -> &mut WasiRandomCtx {
    state.entropy_drawn = true;
    state.ctx().ctx.random()
}

#[cfg(test)]
mod tests {
    use super::{check_imports, check_truth, check_wants};
    use crate::grant::{Grants, Origin};
    use crate::manifest::Wants;

    fn check(import: &str) -> Result<(), String> {
        check_imports("p", &[import.to_owned()], &Grants::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn allows_what_is_granted_and_nothing_beside_it() {
        let grants = Grants {
            http: vec![Origin::parse("https://api.example").expect("an origin")],
            ..Grants::default()
        };
        let check = |import: &str| {
            check_imports("p", &[import.to_owned()], &grants).map_err(|error| error.to_string())
        };
        assert_eq!(check("wasi:http/outgoing-handler@0.2.12"), Ok(()));
        assert_eq!(check("wasi:http/types@0.2.3"), Ok(()));
        for import in [
            "wasi:http/incoming-handler@0.2.3",
            "wasi:http/types@0.3.0",
            "wasi:sockets/tcp@0.2.3",
        ] {
            assert!(check(import).is_err(), "{import}");
        }
        let error = check("selvedge:plugin/journals@0.1.0").expect_err("not granted");
        assert!(
            error.contains("`allow = { journals = [\"NAME\"] }` in [plugins.p] would"),
            "{error}"
        );
    }

    #[test]
    fn names_the_line_that_would_grant_what_a_manifest_wants() {
        let wants = Wants {
            bodies: true,
            secrets: vec!["TOKEN".to_owned()],
            ..Wants::default()
        };
        let mut grants = Grants::default();
        let error = check_wants("p", &wants, &grants)
            .expect_err("not granted")
            .to_string();
        assert!(
            error.contains("`allow = { bodies = true }` in [plugins.p] would"),
            "{error}"
        );
        grants.bodies = true;
        let error = check_wants("p", &wants, &grants)
            .expect_err("not granted")
            .to_string();
        assert!(
            error.contains("the secret `TOKEN`") && error.contains("secrets = [\"TOKEN\"]"),
            "{error}"
        );
        grants.secrets.insert("TOKEN".to_owned(), "x".to_owned());
        assert!(check_wants("p", &wants, &grants).is_ok());
    }

    #[test]
    fn a_manifest_wants_nothing_that_its_component_never_asks_for() {
        let wants = Wants {
            kv: vec!["mine".to_owned()],
            ..Wants::default()
        };
        let imports = ["selvedge:plugin/kv@0.1.0".to_owned()];
        assert!(check_truth(&wants, &imports).is_ok());
        let error = check_truth(&wants, &[]).expect_err("untrue").to_string();
        assert!(
            error.contains("the store `mine`") && error.contains("`selvedge:plugin/kv`"),
            "{error}"
        );
    }

    #[test]
    fn allows_what_gives_nothing_away() {
        for import in [
            "selvedge:plugin/types@0.1.0",
            "selvedge:plugin/logging@0.1.7",
            "wasi:cli/environment@0.2.6",
        ] {
            assert_eq!(check(import), Ok(()));
        }
    }

    #[test]
    fn names_the_line_that_would_grant_an_import() {
        let error = check("selvedge:plugin/kv@0.1.0").expect_err("not granted");
        assert!(
            error.contains("selvedge:plugin/kv@0.1.0") && error.contains("allow = { kv = [\"NAME\"] }"),
            "{error}"
        );
        assert!(error.contains("[plugins.p]"), "{error}");
    }

    #[test]
    fn refuses_the_network_and_what_it_does_not_know() {
        for import in [
            "wasi:sockets/tcp@0.2.0",
            "evil:thing/all@1.0.0",
            "env",
            "selvedge:plugin/types@0.2.0",
        ] {
            assert!(check(import).is_err(), "{import}");
        }
    }
}
