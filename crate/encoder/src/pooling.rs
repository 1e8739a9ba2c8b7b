//! One vector for a text from those of its tokens.

use crate::{Error, Result};

/// How the vectors of a text's tokens become one.
///
/// [`Pooling`](https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/sentence_transformer/modules/pooling.py)
#[derive(Clone, Copy, Debug, PartialEq)]
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
    MeanSqrtLen,
    /// The average weighted with the position: 1 for the first token, 2 for the second, …
    WeightedMean,
    /// The last token's vector.
    LastToken,
}

/// Every mode with its name here, and that of sentence-transformers, where it has one.
const NAMES: &[(PoolingMode, &str, Option<&str>)] = &[
    (PoolingMode::Cls, "cls", Some("cls")),
    (PoolingMode::Max, "max", Some("max")),
    (PoolingMode::Mean, "mean", Some("mean")),
    (PoolingMode::Sum, "sum", None),
    (PoolingMode::MeanSqrtLen, "mean_sqrt_len", Some("mean_sqrt_len_tokens")),
    (PoolingMode::WeightedMean, "weighted_mean", Some("weightedmean")),
    (PoolingMode::LastToken, "last_token", Some("lasttoken")),
];

impl PoolingMode {
    /// The mode of this name, in the spelling of this project or of sentence-transformers.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] that lists the names there are.
    pub fn parse(name: &str) -> Result<Self> {
        let mode = NAMES.iter().find(|(_, ours, theirs)| *ours == name || *theirs == Some(name));
        mode.map(|&(mode, ..)| mode).ok_or_else(|| {
            let names: Vec<_> = NAMES.iter().map(|&(_, name, _)| name).collect();
            let names = names.join(", ");
            Error::InvalidInput(format!("unknown pooling \"{name}\"; use one of: {names}"))
        })
    }

    /// The mode that has this name in sentence-transformers.
    pub fn of_sentence_transformers(name: &str) -> Option<Self> {
        NAMES.iter().find_map(|&(mode, _, theirs)| (theirs == Some(name)).then_some(mode))
    }

    /// Its name, which [`PoolingMode::parse`] takes.
    pub fn name(self) -> &'static str {
        NAMES.iter().find_map(|&(mode, name, _)| (mode == self).then_some(name)).unwrap_or("")
    }

    /// Appends the pooled vector of one text to `out`.
    ///
    /// # Shapes
    ///
    /// `tokens`: `[number of tokens, size]`, at least one; the first `skip` belong to a prompt and are ignored.
    /// Appends `[size]`. If no token is left, sentence-transformers gives the first token's vector for `Cls`,
    /// -∞ for `Max` and zeros for the others.
    pub fn pool(self, tokens: &[f32], size: usize, skip: usize, out: &mut Vec<f32>) {
        let count = tokens.len() / size;
        let left = count.saturating_sub(skip);
        let rows = || tokens.chunks_exact(size).enumerate().skip(skip);
        let average = |total: f32| move |x: f32| if left == 0 { 0.0 } else { x / total };
        match self {
            Self::Cls => {
                out.extend_from_slice(&tokens[if left == 0 { 0 } else { skip } * size..][..size])
            }
            Self::LastToken if left == 0 => out.resize(out.len() + size, 0.0),
            Self::LastToken => out.extend_from_slice(&tokens[tokens.len() - size..]),
            Self::Max => {
                let mut max = vec![f32::NEG_INFINITY; size];
                for (_, row) in rows() {
                    // Not `f32::max`, which would drop a NaN.
                    max.iter_mut().zip(row).for_each(|(max, &x)| {
                        if x > *max || x.is_nan() {
                            *max = x;
                        }
                    });
                }
                out.append(&mut max);
            }
            Self::Sum => out.extend(weighted_sum(rows(), size, |_| 1.0)),
            Self::Mean => {
                out.extend(weighted_sum(rows(), size, |_| 1.0).map(average(left as f32)));
            }
            Self::MeanSqrtLen => {
                out.extend(weighted_sum(rows(), size, |_| 1.0).map(average((left as f32).sqrt())));
            }
            Self::WeightedMean => {
                let weight = |position: usize| (position + 1) as f32;
                let total: f32 = rows().map(|(position, _)| weight(position)).sum();
                out.extend(weighted_sum(rows(), size, weight).map(average(total)));
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

/// How each text's token vectors become one vector: they are pooled in one or more ways, concatenated and, if
/// requested, scaled to length 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SentencePooling {
    /// The ways, at least one.
    pub modes: Vec<PoolingMode>,
    /// How many of a text's first tokens belong to a prompt and are ignored.
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
    fn a_prompt_that_leaves_nothing_gives_what_sentence_transformers_gives() {
        for skip in [3, 4] {
            assert_eq!(pool(PoolingMode::Cls, skip), [1.0, -2.0]);
            assert_eq!(pool(PoolingMode::Max, skip), [f32::NEG_INFINITY; 2]);
            for (mode, ..) in NAMES.iter().filter(|(.., name)| name.is_some()).skip(2) {
                assert_eq!(pool(*mode, skip), [0.0, 0.0], "{mode:?}");
            }
        }
    }

    #[test]
    fn what_is_no_number_is_seen() {
        for (mode, ..) in NAMES {
            for tokens in [[1.0, f32::NAN, 2.0], [f32::NAN, 1.0, 2.0], [1.0, 2.0, f32::NAN]] {
                let mut out = Vec::new();
                mode.pool(&tokens, 1, 0, &mut out);
                let is_taken = match mode {
                    PoolingMode::Cls => tokens[0].is_nan(),
                    PoolingMode::LastToken => tokens[2].is_nan(),
                    _ => true,
                };
                assert_eq!(out[0].is_nan(), is_taken, "{mode:?} {tokens:?}");
            }
        }
    }

    #[test]
    fn names_of_poolings_are_checked() {
        assert_eq!(PoolingMode::parse("mean_sqrt_len").expect("valid"), PoolingMode::MeanSqrtLen);
        assert_eq!(PoolingMode::parse("lasttoken").expect("valid"), PoolingMode::LastToken);
        assert_eq!(
            PoolingMode::of_sentence_transformers("weightedmean"),
            Some(PoolingMode::WeightedMean)
        );
        for name in ["sum", "last_token", "weighted_mean", "", "CLS"] {
            assert_eq!(PoolingMode::of_sentence_transformers(name), None);
        }
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
