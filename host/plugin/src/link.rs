//! What a plugin may import: decided by name before anything is linked, and the linker that holds it.

use wasmtime::Engine;
use wasmtime::component::Linker;
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::random;
use wasmtime_wasi::random::{WasiRandom, WasiRandomCtx};

use crate::abi::v0_1;
use crate::error::LoadError;
use crate::inspect::unversioned;
use crate::state::State;

/// Interfaces that every plugin may import: they give nothing of the node away.
const FREE: [&str; 4] = [
    "selvedge:plugin/types",
    "selvedge:plugin/tensors",
    "selvedge:plugin/logging",
    "selvedge:plugin/metrics",
];

/// WASI packages that are met by an empty context, since toolchains import them whether they are used or not.
const EMPTY: [&str; 5] = [
    "wasi:cli/",
    "wasi:io/",
    "wasi:clocks/",
    "wasi:random/",
    "wasi:filesystem/",
];

/// Interfaces that the design names as grants, and the key of `allow` that will hold each.
const GRANTS: [(&str, &str); 4] = [
    ("selvedge:plugin/kv", "kv"),
    ("selvedge:plugin/secrets", "secrets"),
    ("selvedge:plugin/inference", "models"),
    ("wasi:http/", "http"),
];

/// Checks each import against what is free and what is granted.
///
/// # Errors
///
/// The first import that is neither, with the line that would grant it, or that none would.
pub(crate) fn check_imports(plugin: &str, imports: &[String]) -> Result<(), LoadError> {
    for import in imports {
        let name = unversioned(import);
        let free = FREE.contains(&name) && import[name.len()..].starts_with("@0.1.");
        let empty = EMPTY.iter().any(|package| name.starts_with(package))
            && import[name.len()..].starts_with("@0.2.");
        if !free && !empty {
            return Err(LoadError::ImportDenied {
                import: import.clone(),
                remedy: remedy(plugin, import, name),
            });
        }
    }
    Ok(())
}

fn remedy(plugin: &str, import: &str, name: &str) -> String {
    if FREE.contains(&name) || EMPTY.iter().any(|package| name.starts_with(package)) {
        return "this node has another version of it: build the plugin against selvedge:plugin@0.1 and WASI 0.2".into();
    }
    match GRANTS.iter().find(|(interface, _)| name.starts_with(interface)) {
        Some((_, key)) => format!(
            "`allow = {{ {key} = [\"...\"] }}` in [plugins.{plugin}] would, but this version of Selvedge does not offer it"
        ),
        None => format!(
            "nothing can grant `{import}`; a plugin may import selvedge:plugin and WASI's cli, io, clocks, random and filesystem"
        ),
    }
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
    v0_1::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// Randomness as WASI has it, noting that it was drawn: a snapshot would freeze it.
fn draw(state: &mut State) -> &mut WasiRandomCtx {
    state.entropy_drawn = true;
    state.ctx().ctx.random()
}

#[cfg(test)]
mod tests {
    use super::check_imports;

    fn check(import: &str) -> Result<(), String> {
        check_imports("p", &[import.to_owned()]).map_err(|error| error.to_string())
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
            error.contains("selvedge:plugin/kv@0.1.0") && error.contains("allow = { kv"),
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
