//! Files that are no plugins, or more than a node should compile; and plugins that change while it serves.

use std::path::Path;

use selvedge_plugin::Plugin;

use super::guest::{self, HARMLESS};
use super::siege::Attacker;
use crate::generate::eventually;

fn text(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).expect("the text is well-formed")
}

#[test]
pub(crate) fn case_39_a_component_cut_at_every_byte() {
    let whole = HARMLESS.component();
    assert!(Plugin::read("whole", whole.clone().into(), 1 << 20).is_ok());
    let mut sound = Vec::new();
    for len in 0..whole.len() {
        if Plugin::read("cut", whole[..len].to_vec().into(), 1 << 20).is_ok() {
            sound.push(len);
        }
    }
    // What is cut off at the end of a section that is needed by nobody, such as the names of functions, is no damage.
    assert!(sound.len() < 8, "cut at {sound:?} it was taken");
    Attacker::bytes(whole[..whole.len() / 2].to_vec())
        .attack()
        .was_refused(&["damaged"]);
}

#[test]
pub(crate) fn case_40_a_module_in_place_of_a_component() {
    Attacker::bytes(text("(module)"))
        .attack()
        .was_refused(&["core module", "wasm32-wasip2"]);
}

#[test]
pub(crate) fn case_41_another_world() {
    let export = |name: &str| {
        let empty = "(component $c) (instance $i (instantiate $c))";
        text(&format!("(component {empty} (export \"{name}\" (instance $i)))"))
    };
    Attacker::bytes(export("other:world/thing@1.0.0"))
        .attack()
        .was_refused(&["other:world/thing@1.0.0", "selvedge:plugin"]);
    Attacker::bytes(export("selvedge:plugin/validator@0.1.0"))
        .attack()
        .was_refused(&["lifecycle"]);
    let both = r#"(component (component $c) (instance $i (instantiate $c))
        (export "selvedge:plugin/lifecycle@0.1.0" (instance $i))
        (export "selvedge:plugin/validator@0.1.0" (instance $i)))"#;
    Attacker::bytes(text(both))
        .attack()
        .was_refused(&["cannot be compiled or linked"]);
    let import = both.replacen(
        "(component ",
        "(component (import \"evil:thing/all@1.0.0\" (instance)) ",
        1,
    );
    Attacker::bytes(text(&import))
        .attack()
        .was_refused(&["evil:thing/all@1.0.0", "nothing can grant"]);
}

#[test]
pub(crate) fn case_42_more_to_compile_than_there_is_time_for() {
    Attacker::bytes(guest::functions(1_000_000, 0))
        .attack()
        .was_refused(&["sandbox.functions_max"]);
    Attacker::bytes(guest::functions(1, 2 << 20))
        .attack()
        .was_refused(&["sandbox.function_size_max"]);
    Attacker::bytes(vec![0; (64 << 20) + 1])
        .attack()
        .was_refused(&["sandbox.component_size_max"]);
    // What may be compiled is compiled while others are served: a reload brings a plugin with 4,000 functions,
    // which take seconds of a core, and a minute where only a tenth of one is left to them.
    let siege = Attacker::text(&HARMLESS).attack();
    let bomb = siege.host.file().with_file_name("bomb.wasm");
    std::fs::write(&bomb, guest::functions(4_000, 60)).expect("written");
    let config = std::fs::read_to_string(siege.host.file()).expect("read");
    let path = siege.component();
    assert!(config.contains(&*path.to_string_lossy()), "{config}");
    let config = config.replace(&*path.to_string_lossy(), &bomb.to_string_lossy());
    std::fs::write(siege.host.file(), config).expect("written");
    siege.meanwhile(|| {
        siege.host.hang_up();
        eventually("the next generation", || {
            siege.host.client().get("/readyz").json()["generation"] == 2
        });
    });
    siege.is_let();
}

#[test]
pub(crate) fn case_43_components_and_types_in_each_other() {
    let siege = Attacker::text(&HARMLESS).attack();
    for (component, word) in [
        (guest::nest(10_000), "nest"),
        (guest::wide(20_000), "exceeds limit"),
        (guest::types(200), "type size"),
    ] {
        let attacker = Attacker::bytes(component);
        attacker.clone().attack().was_refused(&[word]);
        // A node that serves is given it in the place of one that does nothing.
        siege.refuses_in_its_place(&attacker, &[word]);
    }
}

#[test]
pub(crate) fn case_44_code_that_is_compiled_already() {
    // A file of the node's own cache: native code, which would run outside of every sandbox.
    Attacker::deed("none").attack().is_let();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("state/plugins");
    let files = std::fs::read_dir(cache).expect("the cache").flatten();
    let compiled = files.map(|file| std::fs::read(file.path()).unwrap_or_default());
    let mut compiled = compiled.filter(|bytes| bytes.starts_with(b"\x7fELF"));
    Attacker::bytes(compiled.next().expect("compiled code"))
        .attack()
        .was_refused(&["native or precompiled code"]);
}

#[test]
pub(crate) fn case_46_what_it_says_of_itself_is_damaged_or_untrue() {
    let manifest = |text: &[u8]| guest::with_section("selvedge:manifest", text);
    let mut twice = manifest(b"{}");
    twice.extend(manifest(b"{}").split_off(HARMLESS.component().len()));
    let long = vec![b' '; 50 << 20];
    for (component, word) in [
        (manifest(b"{"), "EOF"),
        (manifest(b"\xff\xff"), "manifest"),
        (manifest(br#"{"nmae":"x"}"#), "unknown field `nmae`"),
        (twice, "there are 2 of them"),
        (manifest(&long), "bytes, at most"),
        (
            manifest(br#"{"wants":{"kv":["mine"]}}"#),
            "does not import `selvedge:plugin/kv`",
        ),
        (manifest(br#"{"config_schema":{"type":7}}"#), "config_schema"),
    ] {
        Attacker::bytes(component).attack().was_refused(&[word]);
    }
}

#[test]
pub(crate) fn case_48_a_plugin_that_is_broken_when_the_node_reloads() {
    let siege = Attacker::text(&HARMLESS).attack();
    let path = &siege.component();
    let whole = std::fs::read(path).expect("read");
    let reloads = || {
        let text = String::from_utf8(siege.host.client().get("/metrics").body).expect("UTF-8");
        let counted = text
            .lines()
            .filter(|line| line.starts_with("selvedge_reloads_total{"));
        counted
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok())
            .sum::<u32>()
    };
    siege.meanwhile(|| {
        for (number, bytes) in [&whole[..whole.len() / 2], b"", &guest::LOOP_IN_START.component()]
            .iter()
            .enumerate()
        {
            std::fs::write(path, bytes).expect("written");
            siege.host.hang_up();
            eventually("an end of the reload", || {
                reloads() == u32::try_from(number).expect("few") + 1
            });
            assert_eq!(siege.ask().status, 200, "the plugin from before serves");
        }
    });
    assert_eq!(siege.host.client().get("/readyz").json()["generation"], 1);
    std::fs::write(path, &whole).expect("written");
    siege.host.hang_up();
    eventually("the next generation", || {
        siege.host.client().get("/readyz").json()["generation"] == 2
    });
    assert_eq!(siege.ask().status, 200);
}
