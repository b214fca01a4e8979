//! Runs a decoder's file: prompts in chunks, one token a row in a step, and the cache of keys and values between.
//!
//! Two ways. Shared: one buffer a layer holds all rows, and a run reads and writes it in place; the file's attention must be
//! GroupQueryAttention, which takes a past and a present in one buffer, with rows of unlike length. Copied: any file as the
//! exporters write them; each row keeps what its last run gave, and runs by itself. It knows no sequence and no sampling.

use std::collections::HashMap;

use ort::AsPointer;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session, SessionInputValue};
use ort::value::{DynValue, Shape as OrtShape, Tensor, TensorRefMut};

use super::zeroed::Zeroed;
use crate::error::InferError;
use crate::signature::{Port, Signature};
use crate::tensor::Element;

/// What a decoder's file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    /// Heads of keys and values, and the width of each.
    pub(crate) kv_heads: usize,
    pub(crate) head_width: usize,
    pub(crate) vocabulary: usize,
    /// Whether it wants `position_ids`.
    positions: bool,
    /// Whether its logits are those of the last token alone.
    last_only: bool,
}

impl Shape {
    /// Reads it from a signature with the names that Hugging Face's exporters give.
    ///
    /// # Errors
    ///
    /// What is missing or other than it must be.
    pub(crate) fn of(signature: &Signature) -> Result<Self, String> {
        let find = |ports: &[Port], name: &str, element: Element, rank: usize| {
            let port = ports.iter().find(|port| port.name == name);
            let wanted = format!("{} with {rank} dimensions", element.name());
            let port = port.ok_or_else(|| format!("it has no `{name}` ({wanted})"))?;
            if port.element != Some(element) || port.shape.len() != rank {
                return Err(format!(
                    "its `{name}` must be {wanted}, and is {}",
                    port.describe()
                ));
            }
            Ok(port.shape.clone())
        };
        let (inputs, outputs) = (&signature.inputs, &signature.outputs);
        find(inputs, "input_ids", Element::Int64, 2)?;
        find(inputs, "attention_mask", Element::Int64, 2)?;
        let positions = signature.has_input("position_ids");
        let logits = find(outputs, "logits", Element::Float32, 3)?;
        let first = find(inputs, &past_name(0), Element::Float32, 4)?;
        let open = |what: &str| format!("its {what} must be fixed, and is left open");
        let known = |dim: i64, what: &str| usize::try_from(dim).map_err(|_| open(what));
        let is_past = |port: &&Port| port.name.starts_with("past_key_values.");
        let layers = inputs.iter().filter(is_past).count() / 2;
        for part in 0..2 * layers {
            find(inputs, &past_name(part), Element::Float32, 4)?;
            find(outputs, &present_name(part), Element::Float32, 4)?;
        }
        let expected = 2 + usize::from(positions) + 2 * layers;
        if inputs.len() != expected {
            let names: Vec<&str> = inputs.iter().map(|port| port.name.as_str()).collect();
            return Err(format!(
                "a decoder takes input_ids, attention_mask, position_ids and past_key_values.N.key and .value; it takes {}",
                names.join(", ")
            ));
        }
        Ok(Self {
            layers,
            kv_heads: known(first[1], "number of key and value heads")?,
            head_width: known(first[3], "width of a head")?,
            vocabulary: known(logits[2], "vocabulary")?,
            positions,
            last_only: logits[1] == 1,
        })
    }

    /// Bytes of keys and values that one token takes.
    pub(crate) fn token_bytes(&self) -> usize {
        2 * self.layers * self.kv_heads * self.head_width * size_of::<f32>()
    }

    /// Whether rows may share one buffer, as far as the signature tells.
    ///
    /// # Errors
    ///
    /// Why they may not.
    pub(crate) fn check_shared(&self) -> Result<(), String> {
        if self.last_only && !self.positions {
            return Ok(());
        }
        Err("`generate.cache = \"shared\"` needs a file without `position_ids` whose logits are [batch, 1, vocabulary]; \
             use \"copied\""
            .to_owned())
    }
}

/// `past_key_values.N.key` for even parts, `.value` for odd ones.
fn past_name(part: usize) -> String {
    format!("past_key_values.{}.{}", part / 2, ["key", "value"][part % 2])
}

fn present_name(part: usize) -> String {
    format!("present.{}.{}", part / 2, ["key", "value"][part % 2])
}

/// A session of a decoder and the cache of its rows.
pub(crate) struct Decoder {
    session: Session,
    shape: Shape,
    cache: Cache,
}

enum Cache {
    Shared(Slots),
    Copied(Copies),
}

/// Keys and values of the first tokens of a row.
pub(crate) struct Prefix {
    values: Vec<f32>,
    pub(crate) len: usize,
}

/// One row's part in a step. One that sits out runs in a shared cache all the same: what it writes lies where its next token will.
pub(crate) struct Row {
    pub(crate) token: u32,
    pub(crate) past: usize,
    pub(crate) sits_out: bool,
}

impl Decoder {
    /// A decoder whose rows share one buffer.
    ///
    /// # Errors
    ///
    /// Where the system has no such memory.
    pub(crate) fn shared(
        session: Session,
        shape: Shape,
        rows: usize,
        context_max: usize,
    ) -> std::io::Result<Self> {
        let row_len = shape.kv_heads * context_max * shape.head_width;
        let buffers = (0..2 * shape.layers)
            .map(|_| Zeroed::new(rows * row_len))
            .collect::<Result<_, _>>()?;
        let slots = Slots {
            bindings: HashMap::new(),
            logits: Zeroed::new(rows * shape.vocabulary)?,
            buffers,
            row_len,
            context_max,
        };
        Ok(Self {
            session,
            shape,
            cache: Cache::Shared(slots),
        })
    }

    /// A decoder whose rows run by themselves.
    pub(crate) fn copied(session: Session, shape: Shape, rows: usize) -> Self {
        let copies = Copies {
            rows: (0..rows).map(|_| Vec::new()).collect(),
            logits: Vec::new(),
        };
        Self {
            session,
            shape,
            cache: Cache::Copied(copies),
        }
    }

    pub(crate) fn vocabulary(&self) -> usize {
        self.shape.vocabulary
    }

    /// Runs some tokens of one row behind the `past` ones that it has; the logits of the last, `[vocabulary]`.
    pub(crate) fn prefill(
        &mut self,
        row: usize,
        tokens: &[u32],
        past: usize,
    ) -> Result<&mut [f32], InferError> {
        let ids: Vec<i64> = tokens.iter().map(|id| i64::from(*id)).collect();
        match &mut self.cache {
            Cache::Shared(slots) => {
                let mask = vec![1; past + ids.len()];
                slots.run(&mut self.session, &self.shape, (row, 1), ids, mask)
            }
            Cache::Copied(copies) => {
                copies.logits.clear();
                copies.run(&mut self.session, &self.shape, row, ids, past)?;
                Ok(&mut copies.logits)
            }
        }
    }

    /// Runs one token of each of the first rows; logits, `[rows, vocabulary]`, which mean nothing where a row sits out.
    pub(crate) fn step(&mut self, rows: &[Row]) -> Result<&mut [f32], InferError> {
        match &mut self.cache {
            Cache::Shared(slots) => {
                let ids = rows.iter().map(|row| i64::from(row.token)).collect();
                let width = rows.iter().map(|row| row.past + 1).max().unwrap_or(1);
                let mut mask = vec![0; rows.len() * width];
                for (line, row) in mask.chunks_exact_mut(width).zip(rows) {
                    line[..=row.past].fill(1);
                }
                slots.run(&mut self.session, &self.shape, (0, rows.len()), ids, mask)
            }
            Cache::Copied(copies) => {
                copies.logits.clear();
                for (place, row) in rows.iter().enumerate() {
                    let ids = vec![i64::from(row.token)];
                    match row.sits_out {
                        true => copies.logits.extend(vec![0.0; self.shape.vocabulary]),
                        false => copies.run(&mut self.session, &self.shape, place, ids, row.past)?,
                    }
                }
                Ok(&mut copies.logits)
            }
        }
    }

    /// Makes a row another one's, which is free then. `len` are the tokens that it has.
    pub(crate) fn move_row(&mut self, from: usize, to: usize, len: usize) {
        match &mut self.cache {
            Cache::Shared(slots) => slots.copy(&self.shape, from, to, len),
            Cache::Copied(copies) => copies.rows[to] = std::mem::take(&mut copies.rows[from]),
        }
    }

    /// Exchanges two rows, given with the tokens that each has.
    pub(crate) fn swap_rows(&mut self, (a, a_len): (usize, usize), (b, b_len): (usize, usize)) {
        match &mut self.cache {
            Cache::Shared(slots) => {
                let (first, second) = (
                    slots.export(&self.shape, a, a_len),
                    slots.export(&self.shape, b, b_len),
                );
                slots.import(&self.shape, b, &first, a_len);
                slots.import(&self.shape, a, &second, b_len);
            }
            Cache::Copied(copies) => copies.rows.swap(a, b),
        }
    }

    /// Forgets a row.
    pub(crate) fn clear_row(&mut self, row: usize) {
        match &mut self.cache {
            // What is beyond a row's length is never read.
            Cache::Shared(_) => {}
            Cache::Copied(copies) => copies.rows[row].clear(),
        }
    }

    /// The first tokens of a row, for others that begin alike; none where rows are not in one buffer.
    pub(crate) fn export(&self, row: usize, len: usize) -> Option<Prefix> {
        match &self.cache {
            Cache::Shared(slots) => Some(slots.export(&self.shape, row, len)),
            Cache::Copied(_) => None,
        }
    }

    /// Makes a row begin with the first `len` tokens of a prefix.
    pub(crate) fn import(&mut self, row: usize, prefix: &Prefix, len: usize) {
        if let Cache::Shared(slots) = &mut self.cache {
            slots.import(&self.shape, row, prefix, len);
        }
    }
}

/// One buffer a part (keys or values of a layer), `[rows, heads, context, width]`, read and written in place.
struct Slots {
    /// By first row and number of rows. They hold pointers into the buffers, so they are dropped before them.
    bindings: HashMap<(usize, usize), Bound>,
    /// `[rows, vocabulary]`, of which a binding takes as many rows as it has. Never resized, so that the pointers stay right, and
    /// so are the buffers.
    logits: Zeroed,
    buffers: Vec<Zeroed>,
    row_len: usize,
    context_max: usize,
}

/// What is bound for some rows; only tokens and mask differ from run to run.
struct Bound {
    binding: IoBinding,
    /// What the binding points to: ONNX Runtime's descriptions of the buffers.
    _values: Vec<TensorRefMut<'static, f32>>,
}

impl Slots {
    fn run(
        &mut self,
        session: &mut Session,
        shape: &Shape,
        rows: (usize, usize),
        ids: Vec<i64>,
        mask: Vec<i64>,
    ) -> Result<&mut [f32], InferError> {
        if !self.bindings.contains_key(&rows) {
            let bound = self.bind(session, shape, rows).map_err(failed)?;
            self.bindings.insert(rows, bound);
        }
        let Some(bound) = self.bindings.get_mut(&rows) else {
            return Err(InferError::Failed("no binding".to_owned()));
        };
        let lines = |values: Vec<i64>| Tensor::from_array(([rows.1, values.len() / rows.1], values));
        let ids = lines(ids).map_err(failed)?;
        let mask = lines(mask).map_err(failed)?;
        bound.binding.bind_input("input_ids", &ids).map_err(failed)?;
        bound
            .binding
            .bind_input("attention_mask", &mask)
            .map_err(failed)?;
        session.run_binding(&bound.binding).map_err(failed)?;
        Ok(&mut self.logits[..rows.1 * shape.vocabulary])
    }

    /// Binds a range of rows as past and present at once, so that a run copies nothing.
    fn bind(
        &mut self,
        session: &Session,
        shape: &Shape,
        (first, count): (usize, usize),
    ) -> ort::Result<Bound> {
        let mut binding = session.create_binding()?;
        let mut values = Vec::with_capacity(self.buffers.len() + 1);
        let dims = [count, shape.kv_heads, self.context_max, shape.head_width];
        for (part, buffer) in self.buffers.iter_mut().enumerate() {
            let rows = &mut buffer[first * self.row_len..(first + count) * self.row_len];
            let value = described(rows, &dims)?;
            bind_in_place(&mut binding, &past_name(part), &value, Side::Input)?;
            bind_in_place(&mut binding, &present_name(part), &value, Side::Output)?;
            values.push(value);
        }
        let logits = &mut self.logits[..count * shape.vocabulary];
        let value = described(logits, &[count, 1, shape.vocabulary])?;
        bind_in_place(&mut binding, "logits", &value, Side::Output)?;
        values.push(value);
        Ok(Bound {
            binding,
            _values: values,
        })
    }

    fn copy(&mut self, shape: &Shape, from: usize, to: usize, len: usize) {
        let head_len = self.context_max * shape.head_width;
        for buffer in &mut self.buffers {
            for head in 0..shape.kv_heads {
                let start = |row: usize| row * self.row_len + head * head_len;
                buffer.copy_within(start(from)..start(from) + len * shape.head_width, start(to));
            }
        }
    }

    fn export(&self, shape: &Shape, row: usize, len: usize) -> Prefix {
        let head_len = self.context_max * shape.head_width;
        let mut values = Vec::with_capacity(self.buffers.len() * shape.kv_heads * len * shape.head_width);
        for buffer in &self.buffers {
            let heads = buffer[row * self.row_len..(row + 1) * self.row_len].chunks_exact(head_len);
            for head in heads {
                values.extend_from_slice(&head[..len * shape.head_width]);
            }
        }
        Prefix { values, len }
    }

    fn import(&mut self, shape: &Shape, row: usize, prefix: &Prefix, len: usize) {
        let head_len = self.context_max * shape.head_width;
        let mut stored = prefix.values.chunks_exact(prefix.len.max(1) * shape.head_width);
        for buffer in &mut self.buffers {
            let heads = buffer[row * self.row_len..(row + 1) * self.row_len].chunks_exact_mut(head_len);
            for (head, stored) in heads.zip(&mut stored) {
                head[..len * shape.head_width].copy_from_slice(&stored[..len * shape.head_width]);
            }
        }
    }
}

/// ONNX Runtime's description of memory that is ours.
fn described(memory: &mut [f32], dims: &[usize]) -> ort::Result<TensorRefMut<'static, f32>> {
    let info = MemoryInfo::new(
        AllocationDevice::CPU,
        0,
        AllocatorType::Device,
        MemoryType::Default,
    )?;
    let dims: Vec<i64> = dims
        .iter()
        .map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX))
        .collect();
    // SAFETY: the memory is as long as the dimensions say, and lies in a mapping that is neither resized nor dropped while the
    // description lives: `Slots` holds both, and drops descriptions and bindings first.
    unsafe { TensorRefMut::from_raw(info, memory.as_mut_ptr().cast(), OrtShape::new(dims)) }
}

#[derive(Clone, Copy)]
enum Side {
    Input,
    Output,
}

/// Binds memory of ours as it is. `IoBinding::bind_input` would copy it, since it does not own it.
fn bind_in_place(
    binding: &mut IoBinding,
    name: &str,
    value: &TensorRefMut<'static, f32>,
    side: Side,
) -> ort::Result<()> {
    let name = std::ffi::CString::new(name).map_err(|error| ort::Error::new(error.to_string()))?;
    let (binding, name, value) = (binding.ptr_mut(), name.as_ptr(), value.ptr());
    // SAFETY: the three pointers are valid during the call; ONNX Runtime keeps a reference on the value's memory, which
    // outlives the binding as `described` says. A present in its past's memory is what GroupQueryAttention is made for.
    unsafe {
        ort::Error::result_from_status(match side {
            Side::Input => (ort::api().BindInput)(binding, name, value),
            Side::Output => (ort::api().BindOutput)(binding, name, value),
        })
    }
}

/// Keys and values as the last run of each row gave them; an empty row has none.
struct Copies {
    rows: Vec<Vec<DynValue>>,
    logits: Vec<f32>,
}

impl Copies {
    /// Runs some tokens of one row; appends the logits of the last.
    fn run(
        &mut self,
        session: &mut Session,
        shape: &Shape,
        row: usize,
        ids: Vec<i64>,
        past: usize,
    ) -> Result<(), InferError> {
        let (len, total) = (ids.len(), past + ids.len());
        let line = |values: Vec<i64>| {
            let tensor = Tensor::from_array(([1, values.len()], values)).map_err(failed)?;
            Ok::<_, InferError>(SessionInputValue::from(tensor))
        };
        let mut inputs = vec![
            ("input_ids".to_owned(), line(ids)?),
            ("attention_mask".to_owned(), line(vec![1; total])?),
        ];
        if shape.positions {
            let positions = (past..total).map(|place| i64::try_from(place).unwrap_or(i64::MAX));
            inputs.push(("position_ids".to_owned(), line(positions.collect())?));
        }
        let mut cache = std::mem::take(&mut self.rows[row]);
        if cache.is_empty() {
            cache = nothing(shape)?;
        }
        for (part, value) in cache.into_iter().enumerate() {
            inputs.push((past_name(part), SessionInputValue::from(value)));
        }
        let mut outputs = session.run(inputs).map_err(failed)?;
        let missing = |name: &str| InferError::Failed(format!("it gave no `{name}`"));
        let present = (0..2 * shape.layers).map(|part| {
            let name = present_name(part);
            outputs.remove(&name).ok_or_else(|| missing(&name))
        });
        self.rows[row] = present.collect::<Result<_, _>>()?;
        let logits = outputs.get("logits").ok_or_else(|| missing("logits"))?;
        let (_, values) = logits.try_extract_tensor::<f32>().map_err(failed)?;
        let lines = if shape.last_only { 1 } else { len };
        if values.len() != lines * shape.vocabulary {
            return Err(InferError::Failed(format!(
                "it gave {} logits for {len} tokens",
                values.len()
            )));
        }
        self.logits
            .extend_from_slice(&values[(lines - 1) * shape.vocabulary..]);
        Ok(())
    }
}

/// A past of no tokens.
fn nothing(shape: &Shape) -> Result<Vec<DynValue>, InferError> {
    let dims = [1, shape.kv_heads, 0, shape.head_width];
    let part = |_| {
        let tensor = Tensor::<f32>::new(&Allocator::default(), dims).map_err(failed)?;
        Ok(tensor.into_dyn())
    };
    (0..2 * shape.layers).map(part).collect()
}

fn failed(error: ort::Error) -> InferError {
    InferError::Failed(error.message().to_owned())
}
