//! About how long the JSON of a result will be, before it is written: what is long is written aside.

use selvedge_plugin::value::{Label, Output, Tensor};

/// Bytes of a number, about.
const NUMBER_LEN: usize = 12;

/// Bytes of a label besides its name, about.
const LABEL_LEN: usize = 40;

/// Bytes of a result. What is JSON already is not written again.
#[must_use]
pub fn of_output(output: &Output) -> usize {
    let label = |label: &Label| label.name.len() + LABEL_LEN;
    match output {
        Output::Json(_) => 0,
        Output::Text(texts) => texts.iter().map(String::len).sum(),
        Output::Labels(inputs) => inputs.iter().flatten().map(label).sum(),
        Output::Embeddings(vectors) => vectors.iter().map(|vector| vector.len() * NUMBER_LEN).sum(),
        Output::Tensors(named) => named.iter().map(|(_, tensor)| of_tensor(tensor)).sum(),
    }
}

/// Bytes of a tensor, as if it were of float32.
#[must_use]
pub fn of_tensor(tensor: &Tensor) -> usize {
    tensor.data.len() / size_of::<f32>() * NUMBER_LEN
}
