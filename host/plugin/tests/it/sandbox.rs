//! A small language for the tests: a sandbox, a plugin by its name, a request.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use selvedge_plugin::value::Request;
use selvedge_plugin::{AttachOptions, Attachment, Grants, Limits, LoadError, Sandbox, SandboxOptions, Start};
use serde_json::Value;

/// The project's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A sandbox whose cache all tests share, so that each configuration is compiled once.
pub(crate) fn sandbox() -> Sandbox {
    sandbox_in(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-cache"))
}

/// Where the plugins of that sandbox write journals.
pub(crate) fn journals() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("journals")
}

/// A sandbox with a cache of its own.
pub(crate) fn sandbox_in(cache: &Path) -> Sandbox {
    Sandbox::new(SandboxOptions {
        instances_max: 32,
        ..SandboxOptions::new(cache.to_owned())
    })
    .expect("a sandbox")
}

/// The bytes of a built plugin.
pub(crate) fn component(name: &str) -> Vec<u8> {
    let path = root().join("plugins/dist").join(format!("{name}.wasm"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask plugins`", path.display()))
}

/// Default options with a configuration.
pub(crate) fn options(config: Value) -> AttachOptions {
    AttachOptions {
        endpoint: "test".into(),
        config,
        limits: Limits::default(),
        headers: Vec::new(),
        grants: Grants::default(),
        vocabulary: None,
        spent: None,
        clock: None,
        start: Start::Snapshot,
        reuse: 1,
    }
}

/// A built plugin, attached.
pub(crate) async fn attach(
    sandbox: &Sandbox,
    name: &str,
    options: AttachOptions,
) -> Result<Attachment, LoadError> {
    let plugin = Arc::new(sandbox.read(name, component(name).into(), &options.grants)?);
    sandbox.attach(&plugin, options).await
}

/// A request with a body.
pub(crate) fn request(body: &str) -> Arc<Request> {
    Arc::new(Request {
        id: "r1".to_owned(),
        body: body.to_owned().into(),
        dialect: "endpoint",
        ..Request::default()
    })
}

/// A plugin in text whose `configure` runs `deed`, and whose `validate` fails where `check` leaves 1.
pub(crate) fn plugin_in_text(declarations: &str, deed: &str, check: &str) -> Vec<u8> {
    let text =
        std::fs::read_to_string(root().join("host/plugin/tests/guests/validator.wat")).expect("the text");
    let text = text
        .replace(";;DECLARATIONS", declarations)
        .replace(";;CONFIGURE", deed)
        .replace(";;VALIDATE", check);
    let mut module = wat::parse_str(text).expect("the text is well-formed");
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve
        .push_dir(root().join("wit"))
        .expect("the interfaces parse");
    let world = resolve
        .select_world(&[package], Some("validator-plugin"))
        .expect("the world is there");
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding).expect("embedded");
    let encoder = wit_component::ComponentEncoder::default()
        .module(&module)
        .expect("a module");
    encoder.validate(true).encode().expect("a component")
}

/// A custom section with a manifest, short enough for lengths of one byte.
pub(crate) fn manifest_section(manifest: &str) -> Vec<u8> {
    let name = b"selvedge:manifest";
    let byte = |len: usize| u8::try_from(len).expect("short");
    let lengths = [0, byte(name.len() + manifest.len() + 1), byte(name.len())];
    [&lengths[..], name, manifest.as_bytes()].concat()
}
