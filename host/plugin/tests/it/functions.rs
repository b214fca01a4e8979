//! Compiled functions, kept for who tests a plugin: each is compiled once, and the code that comes of it is that of a node.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection};
use selvedge_plugin::{KeptFunctions, Sandbox, SandboxOptions};
use serde_json::json;

use crate::sandbox::{attach, options, sandbox_in};

/// The machine code of compiled plugins, and what is known of its instructions, by files' names and sections'. Of what else is in
/// a file wasmtime writes some in any order.
type Compiled = BTreeMap<(String, &'static str), Vec<u8>>;

const SECTIONS: [&str; 5] = [
    ".text",
    ".rodata.wasm",
    ".wasmtime.addrmap",
    ".wasmtime.traps",
    ".wasmtime.exceptions",
];

fn keeping_in(cache: &Path) -> Sandbox {
    Sandbox::new(SandboxOptions {
        instances_max: 32,
        functions: Some(KeptFunctions {
            plugin: "label".to_owned(),
            size_max: 64 << 20,
        }),
        ..SandboxOptions::new(cache.to_owned())
    })
    .expect("a sandbox")
}

/// Has a sandbox compile a plugin that calls a label otherwise. Its manifest has a self-test, which the code must pass.
async fn compile(sandbox: &Sandbox, public: &str) {
    let config = json!({ "labels": { "spam": public } });
    attach(sandbox, "label", options(config)).await.expect("attached");
}

/// How many functions a sandbox has compiled. Some that were kept are among them: by its source, Cranelift 0.135 hashes with a function
/// the exception tables that an earlier one has left, though its code has nothing of them.
fn made(sandbox: &Sandbox) -> u64 {
    sandbox.functions_made().expect("they are counted")
}

/// Takes the compiled plugins out of a folder, so that they have to be compiled again.
fn take_compiled(cache: &Path) -> Compiled {
    let mut compiled = Compiled::new();
    for entry in fs::read_dir(cache).expect("readable") {
        let path = entry.expect("readable").path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("functions") => continue,
            Some("cwasm") => {
                let bytes = fs::read(&path).expect("readable");
                let elf = object::File::parse(bytes.as_slice()).expect("compiled plugins are ELF");
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                for name in SECTIONS {
                    let section = elf.section_by_name(name).expect("each has one");
                    let section = section.data().expect("readable").to_vec();
                    compiled.insert((file.to_string(), name), section);
                }
            }
            _ => {}
        }
        fs::remove_file(path).expect("removed");
    }
    compiled
}

/// The file of functions in a folder.
fn file_of_functions(cache: &Path) -> PathBuf {
    let mut files = fs::read_dir(cache)
        .expect("readable")
        .map(|entry| entry.expect("readable").path());
    files
        .find(|path| path.extension() == Some("functions".as_ref()))
        .expect("functions were kept")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_code_of_kept_functions_is_what_a_node_compiles() {
    let dir = tempfile::tempdir().expect("a folder");
    let (plain, cache) = (dir.path().join("plain"), dir.path().join("kept"));
    compile(&sandbox_in(&plain), "junk").await;
    let as_a_node = take_compiled(&plain);
    // The component as `configure` runs in it, and its snapshot.
    assert_eq!(as_a_node.len(), 2 * SECTIONS.len());

    let first = keeping_in(&cache);
    compile(&first, "junk").await;
    first.keep_functions().expect("written");
    assert!(
        take_compiled(&cache) == as_a_node,
        "what the snapshot was taken of"
    );

    let second = keeping_in(&cache);
    compile(&second, "junk").await;
    assert!(take_compiled(&cache) == as_a_node, "what another process kept");
    let (first, second) = (made(&first), made(&second));
    assert!(second < first, "{second} after {first}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_configuration_has_functions_of_the_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let sandbox = keeping_in(&dir.path().join("cache"));
    compile(&sandbox, "junk").await;
    let first = made(&sandbox);
    compile(&sandbox, "rubbish").await;
    let second = made(&sandbox) - first;
    assert!(second < first, "{second} after {first}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_of_functions_is_made_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = dir.path().join("cache");
    let first = keeping_in(&cache);
    compile(&first, "junk").await;
    first.keep_functions().expect("written");
    let compiled = take_compiled(&cache);

    let file = file_of_functions(&cache);
    let mut bytes = fs::read(&file).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).expect("written");
    let second = keeping_in(&cache);
    compile(&second, "junk").await;
    assert!(take_compiled(&cache) == compiled, "nothing of it is believed");

    second.keep_functions().expect("written");
    let third = keeping_in(&cache);
    compile(&third, "junk").await;
    let (second, third) = (made(&second), made(&third));
    assert!(third < second, "{third} after {second}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_keeps_no_functions() {
    let dir = tempfile::tempdir().expect("a folder");
    let sandbox = sandbox_in(dir.path().join("cache").as_path());
    compile(&sandbox, "junk").await;
    sandbox.keep_functions().expect("nothing to do");
    assert_eq!(sandbox.functions_made(), None);
    let kept = fs::read_dir(dir.path().join("cache")).expect("readable");
    assert!(
        kept.flatten()
            .all(|entry| entry.path().extension() != Some("functions".as_ref()))
    );
}
