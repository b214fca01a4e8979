//! The thread of one session: takes batches, runs them, answers each input. It outlives a batch that fails or panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use ort::session::{OutputSelector, RunOptions, Session, SessionInputValue};
use ort::value::{DynValue, Tensor as OrtTensor};

use super::queue::{Batch, Item, Queue};
use super::rows::{self, Row};
use crate::card::{Card, Task};
use crate::error::InferError;
use crate::meters::{Meters, Turn};
use crate::signature::Signature;
use crate::tensor;

/// A session with what a batch needs to know.
pub(crate) struct Worker {
    pub(crate) session: Session,
    pub(crate) card: Arc<Card>,
    pub(crate) signature: Arc<Signature>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) meters: Meters,
}

/// What a session is given, by name.
type Inputs = Vec<(String, DynValue)>;

impl Worker {
    /// Serves until the queue stops. Blocks.
    pub(crate) fn serve(mut self) {
        while let Some(mut batch) = self.queue.clone().take() {
            batch.retain(|entry| !entry.reply.is_closed());
            if batch.is_empty() {
                continue;
            }
            let started = Instant::now();
            for entry in &batch {
                self.meters.waited(entry.since);
            }
            let tokens = batch.iter().map(|entry| entry.item.len()).sum();
            let rows = self.run_contained(&batch);
            let took = started.elapsed();
            if rows.is_ok() {
                self.meters.ran();
            }
            self.queue.note_pace(tokens, took);
            self.meters
                .batch(batch.iter().map(|entry| entry.item.len()), took);
            if rows.is_err() && batch.len() > 1 {
                // One input that the model fails on must not fail its neighbours.
                for entry in batch {
                    let alone = vec![entry];
                    let rows = self.run_contained(&alone);
                    if rows.is_ok() {
                        self.meters.ran();
                    }
                    answer(alone, rows, started);
                }
            } else {
                answer(batch, rows, started);
            }
        }
    }

    /// Runs a batch; a panic in it is its error.
    fn run_contained(&mut self, batch: &Batch) -> Result<Vec<Row>, InferError> {
        catch_unwind(AssertUnwindSafe(|| self.run(batch))).unwrap_or_else(|_| {
            Err(InferError::Failed(
                "it panicked on the input; the panic is contained".to_owned(),
            ))
        })
    }

    fn run(&mut self, batch: &Batch) -> Result<Vec<Row>, InferError> {
        let lengths: Vec<usize> = batch.iter().map(|entry| entry.item.len()).collect();
        let items = || batch.iter().map(|entry| &entry.item);
        match &batch[0].item {
            Item::Tensors(tensors) => {
                let named = tensors
                    .iter()
                    .map(|(name, tensor)| Ok((name.clone(), tensor::to_value(tensor)?)));
                let inputs = named.collect::<Result<_, InferError>>()?;
                Ok(vec![Row::Tensors(self.run_tensors(inputs)?)])
            }
            Item::Tokens(_) => {
                let inputs = self.token_inputs(items(), &lengths)?;
                self.run_rows(inputs, &lengths)
            }
            Item::Bytes(_) => {
                let inputs = self.byte_inputs(items(), &lengths)?;
                self.run_rows(inputs, &lengths)
            }
        }
    }

    /// `[batch, sequence] i64`, right-padded: ids, the mask of what is no padding, and types, where the file has them.
    fn token_inputs<'a>(
        &self,
        items: impl Iterator<Item = &'a Item>,
        lengths: &[usize],
    ) -> Result<Inputs, InferError> {
        let width = lengths.iter().copied().max().unwrap_or(1);
        let mut ids = vec![0_i64; lengths.len() * width];
        let mut mask = vec![0_i64; lengths.len() * width];
        for (row, item) in items.enumerate() {
            let Item::Tokens(tokens) = item else { continue };
            for (place, token) in tokens.iter().enumerate() {
                ids[row * width + place] = i64::from(*token);
                mask[row * width + place] = 1;
            }
        }
        let types = vec![0_i64; ids.len()];
        let shape = [lengths.len(), width];
        let columns = [
            ("input_ids", ids),
            ("attention_mask", mask),
            ("token_type_ids", types),
        ];
        let wanted = columns
            .into_iter()
            .filter(|(name, _)| self.signature.has_input(name));
        let values = wanted.map(|(name, values)| {
            let value = OrtTensor::from_array((shape, values)).map_err(failed)?;
            Ok((name.to_owned(), value.into_dyn()))
        });
        values.collect()
    }

    /// `[batch, length] u8`, right-padded with zeros.
    fn byte_inputs<'a>(
        &self,
        items: impl Iterator<Item = &'a Item>,
        lengths: &[usize],
    ) -> Result<Inputs, InferError> {
        let width = lengths.iter().copied().max().unwrap_or(1);
        let mut values = vec![0_u8; lengths.len() * width];
        for (row, item) in items.enumerate() {
            let Item::Bytes(bytes) = item else { continue };
            values[row * width..row * width + bytes.len()].copy_from_slice(bytes);
        }
        let value = OrtTensor::from_array(([lengths.len(), width], values)).map_err(failed)?;
        Ok(vec![(
            self.card.input.name.clone().unwrap_or_default(),
            value.into_dyn(),
        )])
    }

    /// Runs and reads the one output that counts; the others are not even computed where the file allows it.
    fn run_rows(&mut self, inputs: Inputs, lengths: &[usize]) -> Result<Vec<Row>, InferError> {
        let output = &self.card.output;
        let selector = OutputSelector::no_default().with(&output.name);
        let options = RunOptions::new().map_err(failed)?.with_outputs(selector);
        let outputs = self
            .session
            .run_with_options(session_inputs(inputs), &options)
            .map_err(failed)?;
        let value = outputs
            .get(&output.name)
            .ok_or_else(|| InferError::Failed(format!("no `{}`", output.name)))?;
        let values = f32_values(value)?;
        let shape: Vec<usize> = value
            .shape()
            .iter()
            .map(|dim| usize::try_from(*dim).unwrap_or_default())
            .collect();
        if shape.first() != Some(&lengths.len()) || shape.iter().product::<usize>() != values.len() {
            return Err(InferError::Failed(format!(
                "it gave {shape:?} for {} inputs",
                lengths.len()
            )));
        }
        let rows = lengths.iter().enumerate().map(|(index, len)| {
            let row = rows::row(&values, &shape, index, *len, output);
            Row::Vector(match self.card.task {
                Task::TextClassification => rows::scores(row, output.activation),
                Task::FeatureExtraction | Task::Tensor | Task::TextGeneration => row,
            })
        });
        Ok(rows.collect())
    }

    fn run_tensors(&mut self, inputs: Inputs) -> Result<Vec<(String, tensor::Tensor)>, InferError> {
        let outputs = self.session.run(session_inputs(inputs)).map_err(refused)?;
        let named = self
            .signature
            .outputs
            .iter()
            .filter_map(|port| Some((port, outputs.get(&port.name)?)));
        named
            .map(|(port, value)| Ok((port.name.clone(), tensor::from_value(value)?)))
            .collect()
    }
}

fn session_inputs(inputs: Inputs) -> Vec<(String, SessionInputValue<'static>)> {
    inputs
        .into_iter()
        .map(|(name, value)| (name, SessionInputValue::from(value)))
        .collect()
}

/// The values of an FP32 output, or of an FP16 one widened.
fn f32_values(value: &DynValue) -> Result<Vec<f32>, InferError> {
    if let Ok((_, values)) = value.try_extract_tensor::<f32>() {
        return Ok(values.to_vec());
    }
    let (_, values) = value.try_extract_tensor::<half::f16>().map_err(failed)?;
    Ok(values.iter().map(|value| value.to_f32()).collect())
}

/// Characters of the library's own words that are told.
const REASON_LEN_MAX: usize = 256;

/// Whoever sends tensors may send values that an operator of the graph refuses, such as an index beyond a table.
fn refused(error: ort::Error) -> InferError {
    match error.code() {
        ort::ErrorCode::InvalidArgument => {
            let why: String = error.message().chars().take(REASON_LEN_MAX).collect();
            InferError::WrongTensor(format!("the model refuses these values: {why}"))
        }
        _ => failed(error),
    }
}

fn failed(error: ort::Error) -> InferError {
    InferError::Failed(error.message().to_owned())
}

/// Answers each input of a batch that began then; one whose client has left is dropped.
fn answer(batch: Batch, rows: Result<Vec<Row>, InferError>, started: Instant) {
    match rows {
        Ok(rows) => {
            let ran = started.elapsed();
            for (entry, row) in batch.into_iter().zip(rows) {
                let turn = Turn {
                    waited: started.saturating_duration_since(entry.since),
                    ran,
                };
                entry.reply.send(Ok((row, turn))).ok();
            }
        }
        Err(error) => {
            match error.refuses_kind() {
                true => tracing::debug!(inputs = batch.len(), %error, "a batch was refused"),
                false => tracing::error!(inputs = batch.len(), %error, "a batch failed"),
            }
            for entry in batch {
                entry.reply.send(Err(error.clone())).ok();
            }
        }
    }
}
