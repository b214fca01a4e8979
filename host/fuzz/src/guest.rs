//! The guest in text, and the sandbox that it runs in.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use selvedge::granted::Kept;
use selvedge::state::Database;
use selvedge_plugin::value::{Label, Output};
use selvedge_plugin::{
    AttachOptions, Attachment, Grants, Limits, ModelAnswer, ModelInput, Models, Sandbox, SandboxOptions,
    Start, Vocabulary,
};
use serde_json::json;
use tokio::runtime::Runtime;

const TEXT: &str = include_str!("../guests/echo.wat");

/// The world of a plugin with every stage that answers, and with what an operator grants.
const WORLD: &str = "package fuzz:guest;
world guest {
  include selvedge:plugin/validator-plugin@0.1.0;
  include selvedge:plugin/templater-plugin@0.1.0;
  include selvedge:plugin/postprocessor-plugin@0.1.0;
  include selvedge:plugin/stream-plugin@0.1.0;
  include selvedge:plugin/decode-plugin@0.1.0;
  import selvedge:plugin/kv@0.1.0;
  import selvedge:plugin/inference@0.1.0;
  import selvedge:plugin/secrets@0.1.0;
}";

/// The component whose results are its request's body.
///
/// # Panics
///
/// Where the text is not what `wit/` asks for.
#[must_use]
pub fn echo_guest() -> Vec<u8> {
    let mut module = wat::parse_str(TEXT).expect("the text is well-formed");
    let mut resolve = wit_parser::Resolve {
        all_features: true,
        ..wit_parser::Resolve::default()
    };
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

/// Models that give back what they are given: tensors as they are, texts as vectors of their bytes, or as labels.
struct Echo;

impl Models for Echo {
    fn infer(&self, model: &str, input: ModelInput) -> ModelAnswer {
        let labels = model == "label";
        Box::pin(async move {
            Ok(match input {
                ModelInput::Tensors(named) => Output::Tensors(named),
                ModelInput::Texts(texts) if labels => {
                    let label = |name| vec![Label { name, score: 0.5 }];
                    Output::Labels(texts.into_iter().map(label).collect())
                }
                ModelInput::Texts(texts) => {
                    let vector = |text: String| text.bytes().map(f32::from).collect();
                    Output::Embeddings(texts.into_iter().map(vector).collect())
                }
            })
        })
    }
}

/// What an operator grants it: models, a store and a secret.
fn grants(state: &Path) -> Grants {
    let database = Database::open(state).expect("a database");
    Grants {
        models: vec!["model".to_owned(), "label".to_owned()],
        runner: Some(Arc::new(Echo)),
        kv: vec!["store".to_owned()],
        stores: Some(Arc::new(Kept::new(database))),
        secrets: BTreeMap::from([("secret".to_owned(), "value".to_owned())]),
        ..Grants::default()
    }
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
            let grants = grants(&cache.path().join("state"));
            let guest = sandbox.read("echo", echo_guest().into(), &grants);
            let words: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
            let options = AttachOptions {
                endpoint: "fuzz".into(),
                config: json!({}),
                limits: Limits {
                    time: Duration::from_secs(1),
                    wall_time: Duration::from_secs(10),
                    ..Limits::default()
                },
                headers: Vec::new(),
                grants,
                spent: None,
                start: Start::Snapshot,
                reuse: 1,
                clock: None,
                vocabulary: Some(Arc::new(Vocabulary::new(&words, vec![0]))),
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
