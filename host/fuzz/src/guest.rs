//! The guest in text, and the sandbox that it runs in.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use selvedge_plugin::{AttachOptions, Attachment, Grants, Limits, Sandbox, SandboxOptions, Start};
use serde_json::json;
use tokio::runtime::Runtime;

const TEXT: &str = include_str!("../guests/echo.wat");

/// The world of a plugin with the three stages that answer.
const WORLD: &str = "package fuzz:guest;
world guest {
  include selvedge:plugin/validator-plugin@0.1.0;
  include selvedge:plugin/templater-plugin@0.1.0;
  include selvedge:plugin/postprocessor-plugin@0.1.0;
}";

/// The component whose results are its request's body.
///
/// # Panics
///
/// Where the text is not what `wit/` asks for.
#[must_use]
pub fn echo_guest() -> Vec<u8> {
    let mut module = wat::parse_str(TEXT).expect("the text is well-formed");
    let mut resolve = wit_parser::Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    resolve.push_dir(wit).expect("the interfaces parse");
    let package = resolve.push_str("guest.wit", WORLD).expect("the world parses");
    let world = resolve
        .select_world(&[package], Some("guest"))
        .expect("the world is there");
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding).expect("embedded");
    let encoder = wit_component::ComponentEncoder::default()
        .module(&module)
        .expect("a module");
    encoder.validate(true).encode().expect("a component")
}

/// The guest, attached in a sandbox of its own.
pub struct Sandboxed {
    /// Where the calls run.
    pub executor: Runtime,
    /// The guest, ready to be called.
    pub attachment: Attachment,
    /// The sandbox.
    pub sandbox: Sandbox,
    _cache: tempfile::TempDir,
}

impl Sandboxed {
    /// Compiles and attaches it.
    ///
    /// # Panics
    ///
    /// Where that cannot be done.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it compiles, which no default does")]
    pub fn new() -> Self {
        let executor = Runtime::new().expect("an executor");
        let cache = tempfile::tempdir().expect("a folder");
        let options = SandboxOptions {
            instances_max: 4,
            // The sandbox makes it: one that others may read is refused.
            ..SandboxOptions::new(cache.path().join("cache"))
        };
        let sandbox = Sandbox::new(options).expect("a sandbox");
        let attachment = executor.block_on(async {
            let guest = sandbox.read("echo", echo_guest().into(), &Grants::default());
            let options = AttachOptions {
                endpoint: "fuzz".into(),
                config: json!({}),
                limits: Limits {
                    time: Duration::from_secs(1),
                    wall_time: Duration::from_secs(10),
                    ..Limits::default()
                },
                headers: Vec::new(),
                grants: Grants::default(),
                spent: None,
                start: Start::Snapshot,
                reuse: 1,
                clock: None,
                vocabulary: None,
            };
            let guest = Arc::new(guest.expect("a plugin"));
            sandbox.attach(&guest, options).await.expect("attached")
        });
        Self {
            executor,
            attachment,
            sandbox,
            _cache: cache,
        }
    }
}
