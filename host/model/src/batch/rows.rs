//! From a session's output to a row an input: pooling, scaling, scores. Pure.

use crate::card::{Activation, OutputCard, Pooling};
use crate::tensor::Tensor;

/// What one input came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Row {
    /// A vector, or a classifier's scores by label.
    Vector(Vec<f32>),
    /// Everything that the file gives.
    Tensors(Vec<(String, Tensor)>),
}

/// Row `index` of an output `[batch, n]`, or of one `[batch, sequence, n]` that is to be pooled over the first `len` tokens.
///
/// `values` are row-major, `shape` has two or three dimensions, and `len` is at least 1.
pub(crate) fn row(values: &[f32], shape: &[usize], index: usize, len: usize, card: &OutputCard) -> Vec<f32> {
    let width = shape.last().copied().unwrap_or_default();
    let row_len = shape.iter().skip(1).product::<usize>();
    let row = &values[index * row_len..(index + 1) * row_len];
    let mut vector = match card.pooling {
        Pooling::None => row.to_vec(),
        Pooling::Cls => row[..width].to_vec(),
        Pooling::Mean => mean(row, width, len),
    };
    if card.normalize {
        scale_to_length_1(&mut vector);
    }
    vector
}

fn mean(row: &[f32], width: usize, len: usize) -> Vec<f32> {
    let mut sum = vec![0.0; width];
    for token in row.chunks_exact(width).take(len) {
        for (sum, value) in sum.iter_mut().zip(token) {
            *sum += value;
        }
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a sequence has far fewer than 2^24 tokens"
    )]
    let count = len as f32;
    sum.iter_mut().for_each(|value| *value /= count);
    sum
}

/// Scales a vector to length 1; the zero vector stays what it is.
pub(crate) fn scale_to_length_1(vector: &mut [f32]) {
    let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if norm > 0.0 {
        vector.iter_mut().for_each(|value| *value /= norm);
    }
}

/// A classifier's scores, 0 to 1.
pub(crate) fn scores(mut values: Vec<f32>, activation: Activation) -> Vec<f32> {
    match activation {
        Activation::None => {}
        Activation::Sigmoid => values
            .iter_mut()
            .for_each(|value| *value = 1.0 / (1.0 + (-*value).exp())),
        Activation::Softmax => {
            let greatest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            values
                .iter_mut()
                .for_each(|value| *value = (*value - greatest).exp());
            let sum: f32 = values.iter().sum();
            values.iter_mut().for_each(|value| *value /= sum);
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::{row, scores};
    use crate::card::{Activation, OutputCard, Pooling};

    /// Two inputs of three tokens of two values; the last token of the first is padding.
    const HIDDEN: [f32; 12] = [1.0, 2.0, 3.0, 4.0, 99.0, 99.0, 1.0, 0.0, 0.0, 1.0, 2.0, 2.0];

    fn card(pooling: Pooling, normalize: bool) -> OutputCard {
        OutputCard {
            pooling,
            normalize,
            ..OutputCard::default()
        }
    }

    #[test]
    fn means_over_what_is_no_padding() {
        assert_eq!(
            row(&HIDDEN, &[2, 3, 2], 0, 2, &card(Pooling::Mean, false)),
            vec![2.0, 3.0]
        );
        assert_eq!(
            row(&HIDDEN, &[2, 3, 2], 1, 3, &card(Pooling::Mean, false)),
            vec![1.0, 1.0]
        );
    }

    #[test]
    fn takes_the_first_token() {
        assert_eq!(
            row(&HIDDEN, &[2, 3, 2], 1, 3, &card(Pooling::Cls, false)),
            vec![1.0, 0.0]
        );
    }

    #[test]
    fn scales_to_length_1() {
        let vector = row(&[3.0, 4.0], &[1, 2], 0, 1, &card(Pooling::None, true));
        assert_eq!(vector, vec![0.6, 0.8]);
        assert_eq!(
            row(&[0.0, 0.0], &[1, 2], 0, 1, &card(Pooling::None, true)),
            vec![0.0, 0.0]
        );
    }

    #[test]
    fn makes_scores_of_logits() {
        let softmax = scores(vec![1000.0, 1000.0], Activation::Softmax);
        assert_eq!(softmax, vec![0.5, 0.5]);
        assert_eq!(scores(vec![0.0], Activation::Sigmoid), vec![0.5]);
        assert_eq!(scores(vec![0.25], Activation::None), vec![0.25]);
    }
}
