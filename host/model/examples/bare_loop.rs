//! A bare loop over an ONNX file, for comparison: the same session options, batches of the same texts, nothing else.
//!
//! `bare_loop LIBRARY MODEL_DIR TEXTS.json SECONDS [BATCH]` prints texts a second. Tokenising happens before the clock starts.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::Tensor;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || {
        arguments
            .next()
            .ok_or("bare_loop LIBRARY MODEL_DIR TEXTS.json SECONDS [BATCH]")
    };
    let (library, dir) = (PathBuf::from(next()?), PathBuf::from(next()?));
    let (texts, seconds) = (next()?, next()?.parse()?);
    let batch: usize = next().map_or(Ok(32), |batch| batch.parse())?;
    let texts: Vec<String> = serde_json::from_str(&std::fs::read_to_string(texts)?)?;
    let tokenizer = selvedge_model::tokenize::Tokenizer::read(&dir.join("tokenizer.json"), None)?;
    let executor = tokio::runtime::Builder::new_current_thread().build()?;
    let ids = executor.block_on(tokenizer.encode(texts))?;
    let environment = ort::init_from(&library)?.build()?;
    let mut session = session(&environment, &dir.join("model.onnx"))?;
    let (mut done, mut at, started) = (0_usize, 0, Instant::now());
    while started.elapsed() < Duration::from_secs(seconds) {
        let rows: Vec<&Vec<u32>> = (0..batch).map(|row| &ids[(at + row) % ids.len()]).collect();
        at += batch;
        run(&mut session, &rows)?;
        done += batch;
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of texts")]
    let rate = done as f64 / started.elapsed().as_secs_f64();
    eprintln!("bare loop, batches of {batch}");
    println_rate(rate);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn println_rate(rate: f64) {
    println!("{rate:.1}");
}

/// A session with the options that the host uses, on one thread.
fn session(environment: &Environment, file: &Path) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_intra_threads(1)?
        .with_memory_pattern(false)?
        .commit_from_file(file)
}

/// One batch, right-padded to its longest row.
fn run(session: &mut Session, rows: &[&Vec<u32>]) -> Result<(), Box<dyn std::error::Error>> {
    let width = rows.iter().map(|row| row.len()).max().unwrap_or(1);
    let shape = [rows.len(), width];
    let mut ids = vec![0_i64; rows.len() * width];
    let mut mask = vec![0_i64; ids.len()];
    for (at, row) in rows.iter().enumerate() {
        for (place, id) in row.iter().enumerate() {
            ids[at * width + place] = i64::from(*id);
            mask[at * width + place] = 1;
        }
    }
    let types = vec![0_i64; ids.len()];
    let inputs = ort::inputs! {
        "input_ids" => Tensor::from_array((shape, ids))?,
        "attention_mask" => Tensor::from_array((shape, mask))?,
        "token_type_ids" => Tensor::from_array((shape, types))?,
    };
    let outputs = session.run(inputs)?;
    let (_, values) = outputs["sentence_embedding"].try_extract_tensor::<f32>()?;
    std::hint::black_box(values.to_vec());
    Ok(())
}
