//! About how long the JSON of a result will be, before it is written: what is long is written aside.

use selvedge_model::generate::TokenReport;
use selvedge_plugin::value::{Label, Output, Tensor};

use super::completed::Choice;

/// Bytes of a number, about.
const NUMBER_LEN: usize = 12;

/// Bytes of a label besides its name, about.
const LABEL_LEN: usize = 40;

/// Bytes of a token's probability, about: its text, its bytes one by one, and its names.
const REPORT_LEN: usize = 100;

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

/// Bytes of all answers to a prompt.
#[must_use]
pub fn of_choices(choices: &[Choice]) -> usize {
    let choice = |choice: &Choice| of_text(&choice.text, &choice.tokens);
    choices.iter().map(choice).sum()
}

/// Bytes of a text, with the probabilities of its tokens where they were asked for.
#[must_use]
pub fn of_text(text: &str, tokens: &[TokenReport]) -> usize {
    let reports = tokens.iter().map(|token| 1 + token.likeliest.len());
    text.len() + reports.sum::<usize>() * REPORT_LEN
}

/// Bytes of a tensor.
#[must_use]
pub fn of_tensor(tensor: &Tensor) -> usize {
    of_bytes(&tensor.data)
}

/// Bytes of a tensor's data, as if it were of float32.
#[must_use]
pub fn of_bytes(data: &[u8]) -> usize {
    data.len() / size_of::<f32>() * NUMBER_LEN
}
