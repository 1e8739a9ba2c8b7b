//! One vector for a text from those of its tokens.

use serde::Deserialize;

use crate::{Error, Result};

/// How the vectors of a text's tokens become one.
///
/// [`Pooling`](https://github.com/huggingface/sentence-transformers/blob/v5.1.2/sentence_transformers/models/Pooling.py)
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum PoolingMode {
    /// The first token's vector.
    Cls,
    /// The largest value of each dimension.
    Max,
    /// The average.
    Mean,
    /// The sum.
    Sum,
    /// The sum over the square root of the number of tokens.
    #[serde(alias = "mean_sqrt_len_tokens")]
    MeanSqrtLen,
    /// The average weighted with the position: 1 for the first token, 2 for the second, …
    #[serde(alias = "weightedmean")]
    WeightedMean,
    /// The last token's vector.
    #[serde(alias = "lasttoken")]
    LastToken,
}

/// The names that [`PoolingMode::parse`] accepts.
const POOLING_MODES: &str = "cls, max, mean, sum, mean_sqrt_len, weighted_mean, last_token";

impl PoolingMode {
    /// The mode of this name, in the spelling of this project or of sentence-transformers.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] that lists the names there are.
    pub fn parse(name: &str) -> Result<Self> {
        Self::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(name))
            .map_err(|_| {
                Error::InvalidInput(format!(
                    "pooling \"{name}\" does not exist; there are: {POOLING_MODES}"
                ))
            })
    }

    /// Its name, which [`PoolingMode::parse`] takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cls => "cls",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::Sum => "sum",
            Self::MeanSqrtLen => "mean_sqrt_len",
            Self::WeightedMean => "weighted_mean",
            Self::LastToken => "last_token",
        }
    }

    /// Appends the pooled vector of one text to `out`.
    ///
    /// # Shapes
    ///
    /// `tokens`: `[number of tokens, size]`, at least one; the first `skip` (fewer than all) belong
    /// to a prompt and take no part. Appends `[size]`.
    pub fn pool(self, tokens: &[f32], size: usize, skip: usize, out: &mut Vec<f32>) {
        let rows = || tokens.chunks_exact(size).enumerate().skip(skip);
        let count = (tokens.len() / size - skip) as f32;
        match self {
            Self::Cls => out.extend(rows().take(1).flat_map(|(_, row)| row)),
            Self::LastToken => out.extend_from_slice(&tokens[tokens.len() - size..]),
            Self::Max => {
                let mut max = vec![f32::NEG_INFINITY; size];
                for (_, row) in rows() {
                    max.iter_mut().zip(row).for_each(|(max, x)| *max = max.max(*x));
                }
                out.append(&mut max);
            }
            Self::Sum => out.extend(weighted_sum(rows(), size, |_| 1.0)),
            Self::Mean => out.extend(weighted_sum(rows(), size, |_| 1.0).map(|x| x / count)),
            Self::MeanSqrtLen => {
                out.extend(weighted_sum(rows(), size, |_| 1.0).map(|x| x / count.sqrt()));
            }
            Self::WeightedMean => {
                let weight = |position: usize| (position + 1) as f32;
                let total: f32 = rows().map(|(position, _)| weight(position)).sum();
                out.extend(weighted_sum(rows(), size, weight).map(|x| x / total));
            }
        }
    }
}

fn weighted_sum<'a>(
    rows: impl Iterator<Item = (usize, &'a [f32])>,
    size: usize,
    weight: impl Fn(usize) -> f32,
) -> impl Iterator<Item = f32> {
    let mut sum = vec![0.0f32; size];
    for (position, row) in rows {
        let weight = weight(position);
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * x);
    }
    sum.into_iter()
}

/// What becomes of each text's token vectors: pooled in one or more ways, put side by side, and scaled
/// to length 1 where that is wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SentencePooling {
    /// The ways, at least one.
    pub modes: Vec<PoolingMode>,
    /// So many of a text's first tokens, fewer than all, belong to a prompt and take no part.
    pub skip: usize,
    /// Whether the result is scaled, by [`normalize`].
    pub normalize: bool,
}

impl SentencePooling {
    /// Appends the vector of one text to `out`.
    ///
    /// # Shapes
    ///
    /// `tokens`: `[number of tokens, size]`. Appends `[modes.len() * size]`.
    pub fn pool(&self, tokens: &[f32], size: usize, out: &mut Vec<f32>) {
        let start = out.len();
        for mode in &self.modes {
            mode.pool(tokens, size, self.skip, out);
        }
        if self.normalize {
            normalize(&mut out[start..], self.modes.len() * size);
        }
    }
}

/// Scales each vector of `size` values to length 1, as `torch.nn.functional.normalize` does: a
/// length below 1e-12 counts as 1e-12, so a zero vector stays zero.
pub fn normalize(vectors: &mut [f32], size: usize) {
    for vector in vectors.chunks_exact_mut(size) {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
        vector.iter_mut().for_each(|x| *x /= length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: [f32; 6] = [1.0, -2.0, 3.0, 4.0, 5.0, 0.0];

    fn pool(mode: PoolingMode, skip: usize) -> Vec<f32> {
        let mut out = Vec::new();
        mode.pool(&TOKENS, 2, skip, &mut out);
        out
    }

    #[test]
    fn every_mode_pools_as_its_name_says() {
        let root = 3f32.sqrt();
        assert_eq!(pool(PoolingMode::Cls, 0), [1.0, -2.0]);
        assert_eq!(pool(PoolingMode::Max, 0), [5.0, 4.0]);
        assert_eq!(pool(PoolingMode::Sum, 0), [9.0, 2.0]);
        assert_eq!(pool(PoolingMode::Mean, 0), [3.0, 2.0 / 3.0]);
        assert_eq!(pool(PoolingMode::MeanSqrtLen, 0), [9.0 / root, 2.0 / root]);
        assert_eq!(pool(PoolingMode::WeightedMean, 0), [22.0 / 6.0, 1.0]);
        assert_eq!(pool(PoolingMode::LastToken, 0), [5.0, 0.0]);
    }

    #[test]
    fn a_skipped_prompt_takes_no_part_but_keeps_its_positions() {
        assert_eq!(pool(PoolingMode::Cls, 1), [3.0, 4.0]);
        assert_eq!(pool(PoolingMode::Mean, 1), [4.0, 2.0]);
        assert_eq!(pool(PoolingMode::WeightedMean, 1), [21.0 / 5.0, 8.0 / 5.0]);
    }

    #[test]
    fn names_of_poolings_are_checked() {
        assert_eq!(PoolingMode::parse("mean_sqrt_len").expect("valid"), PoolingMode::MeanSqrtLen);
        let error = PoolingMode::parse("median").expect_err("unknown");
        assert!(error.to_string().contains("weighted_mean"), "{error}");
    }

    #[test]
    fn a_zero_vector_stays_zero() {
        let mut vectors = [3.0, 4.0, 0.0, 0.0];
        normalize(&mut vectors, 2);
        assert_eq!(vectors, [0.6, 0.8, 0.0, 0.0]);
    }

    #[test]
    fn poolings_stand_side_by_side_and_are_scaled_together() {
        let modes = vec![PoolingMode::Cls, PoolingMode::Sum];
        let mut out = vec![7.0];
        SentencePooling { modes, skip: 1, normalize: true }.pool(&TOKENS, 2, &mut out);
        let length = (3f32 * 3.0 + 4.0 * 4.0 + 8.0 * 8.0 + 4.0 * 4.0).sqrt();
        assert_eq!(out, [7.0, 3.0 / length, 4.0 / length, 8.0 / length, 4.0 / length]);
    }
}
