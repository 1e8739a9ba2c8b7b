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

/// For each of `rows` texts its vectors of all poolings, one after the other.
///
/// # Shapes
///
/// `parts`: for each pooling `[rows, size]`
pub fn side_by_side(mut parts: Vec<Vec<f32>>, rows: usize) -> Vec<f32> {
    if parts.len() == 1 {
        return parts.swap_remove(0);
    }
    (0..rows)
        .flat_map(|row| {
            parts.iter().flat_map(move |part| {
                let size = part.len() / rows;
                part[row * size..(row + 1) * size].iter().copied()
            })
        })
        .collect()
}
