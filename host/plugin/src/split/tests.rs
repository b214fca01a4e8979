//! Tests of the split: what it keeps, what it shares, and what it leaves whole.

use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Module, Store};
use wasmtime_wizer::Wizer;

use super::{Split, digest_in, split_from};

/// A component whose answer is made of a memory, a global, a table and another module.
fn component(memory: &str, data: &str, global: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
          (core module $other (func (export "seven") (result i32) i32.const 7))
          (core instance $other (instantiate $other))
          (core module $main
            (import "other" "seven" (func $seven (result i32)))
            (memory (export "memory") {memory})
            (global $global (mut i32) (i32.const {global}))
            (table 1 funcref)
            (elem (i32.const 0) $seven)
            (func (export "answer") (result i32)
              (i32.add (i32.load (i32.const 16)) (global.get $global))
              (call_indirect (result i32) (i32.const 0))
              i32.add
              memory.size
              i32.add)
            {data}
          )
          (core instance $main (instantiate $main (with "other" (instance $other))))
          (core module $user
            (import "main" "memory" (memory 1))
            (func (export "byte") (result i32) (i32.load8_u (i32.const 16))))
          (core instance $user (instantiate $user (with "main" (instance $main))))
          (func (export "answer") (result u32) (canon lift (core func $main "answer")))
          (func (export "byte") (result u32) (canon lift (core func $user "byte"))))"#
    );
    wat::parse_str(text).expect("it is a component")
}

fn plain() -> Vec<u8> {
    component("1", r#"(data (i32.const 16) "\2a")"#, "1000")
}

/// Results of a component's two functions. The component imports `codes`.
fn run(engine: &Engine, component: &[u8], codes: &[super::Code]) -> [u32; 2] {
    let component = Component::new(engine, component).expect("it compiles");
    let mut linker = Linker::<()>::new(engine);
    for code in codes {
        let module = Module::new(engine, &code.bytes).expect("the code compiles");
        linker
            .root()
            .module(&code.import, &module)
            .expect("its name is free");
    }
    let mut store = Store::new(engine, ());
    let instance = linker.instantiate(&mut store, &component).expect("it starts");
    ["answer", "byte"].map(|name| {
        let function = instance.get_typed_func::<(), (u32,)>(&mut store, name);
        let function = function.expect("it is exported");
        function.call(&mut store, ()).expect("it answers").0
    })
}

#[test]
fn keeps_what_a_component_does() {
    let engine = Engine::default();
    let whole = plain();
    let Split { component, codes } = split_from(&whole, &whole, 1).expect("it can be split");
    assert_eq!(codes.len(), 3, "each module has code");
    assert_eq!(run(&engine, &whole, &[]), [42 + 1000 + 7 + 1, 42]);
    assert_eq!(run(&engine, &component, &codes), [42 + 1000 + 7 + 1, 42]);
}

#[test]
fn leaves_small_modules_where_they_are() {
    let whole = plain();
    let modules = [20, 1 << 20].map(|code_min| split_from(&whole, &whole, code_min));
    let [Some(split), None] = modules else {
        panic!("only the larger module is split off, or none")
    };
    assert_eq!(split.codes.len(), 1);
    assert_eq!(
        run(&Engine::default(), &split.component, &split.codes),
        [1050, 42]
    );
}

#[test]
fn gives_the_same_code_to_instrumented_components_and_to_snapshots() {
    let built = plain();
    let (_, instrumented) = Wizer::new()
        .instrument_component(&built)
        .expect("it can be instrumented");
    let snapshot = component(
        "3",
        r#"(data (i32.const 0) "") (data (i32.const 16) "\07\08\09")"#,
        "1000",
    );
    let digests = [&built, &instrumented, &snapshot].map(|component| {
        let split = split_from(component, &built, 20).expect("it can be split");
        split.codes.iter().map(|code| code.digest).collect::<Vec<_>>()
    });
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
    let split = split_from(&snapshot, &built, 20).expect("it can be split");
    assert_eq!(
        run(&Engine::default(), &split.component, &split.codes),
        [0x0009_0807 + 1000 + 7 + 3, 7]
    );
}

#[test]
fn tells_code_with_other_globals_apart() {
    let (built, other) = (plain(), component("1", r#"(data (i32.const 16) "\2a")"#, "2000"));
    let of = |component: &[u8]| split_from(component, &built, 20).expect("it can be split").codes[0].digest;
    assert_ne!(of(&built), of(&other));
}

#[test]
fn names_code_by_its_digest() {
    let whole = plain();
    let split = split_from(&whole, &whole, 20).expect("it can be split");
    assert_eq!(digest_in(&split.codes[0].import), Some(split.codes[0].digest));
    for other in [
        "code0-xabc",
        "wasi:cli/stderr@0.2.0",
        "code0",
        &"code1-x".repeat(20),
    ] {
        assert_eq!(digest_in(other), None, "{other}");
    }
}

#[test]
fn leaves_whole_what_it_does_not_understand() {
    let engine = Engine::default();
    for (what, memory, data) in [
        (
            "a segment that code copies",
            "1",
            r#"(data $d "\2a") (func (memory.init $d (i32.const 16) (i32.const 0) (i32.const 1)))"#,
        ),
        ("a memory of 64 bits", "i64 1", ""),
        ("another size of page", "1 (pagesize 1)", ""),
    ] {
        let text = format!(
            r#"(component
              (core module $main (memory (export "memory") {memory})
                (func (export "answer") (result i32) (i32.const 1)) {data})
              (core instance $main (instantiate $main))
              (func (export "answer") (result u32) (canon lift (core func $main "answer"))))"#
        );
        let component = wat::parse_str(text).expect(what);
        assert!(split_from(&component, &component, 1).is_none(), "{what}");
    }
    let twice = wat::parse_str(
        r#"(component
          (core module $main (memory (export "memory") 1) (func (export "answer") (result i32) (i32.const 1)))
          (core instance $a (instantiate $main))
          (core instance $b (instantiate $main))
          (func (export "answer") (result u32) (canon lift (core func $b "answer"))))"#,
    );
    let twice = twice.expect("it is a component");
    assert!(split_from(&twice, &twice, 1).is_none(), "instantiated twice");
    Component::new(&engine, &twice).expect("and yet it is valid");
}
