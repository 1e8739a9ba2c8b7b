//! Linear layers, whatever their weights are kept in, and the two halves of an encoder layer, which are
//! made of them.

use std::ops::Range;

use crate::linear_f32::linear_f32;
use crate::linear_q8::{RowsQ8, linear_q8};
use crate::tile::q8::GROUP;
use crate::tile::{MR, NR};
use crate::{Activation, QkNorm, Relative, Rotary, attention};

/// The packed weights of a linear layer.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// The weights and biases.
    pub weights: LinearWeights<'a>,
    /// Values per input row.
    pub in_features: usize,
    /// Values per output row.
    pub out_features: usize,
}

/// What a [`Linear`] is made of.
#[derive(Clone, Copy, Debug)]
pub enum LinearWeights<'a> {
    /// From [`crate::pack_f32`].
    F32(&'a [f32]),
    /// From [`crate::pack_q8`]. Each row of the input is rotated and quantised to 8 bits on its own.
    Q8 {
        /// As in [`crate::PackedQ8`].
        panels: &'a [u8],
        /// As in [`crate::PackedQ8`].
        params: &'a [f32],
    },
}

/// Bytes of rows that stay in the second-level cache while all weights pass by. Every block reads the
/// weights anew, so it should be large; this leaves half of a small cache to panels and output.
const BLOCK_BYTES: usize = 192 << 10;

/// Rows between the two layers of [`feed_forward`] for each byte of a weight. With 35 rows in 8 bits, which
/// are 215 kB for MiniLM, it takes 2 to 6 % less than with all at once; with as few in `f32`, whose weights
/// are four times as much to read anew for each block, 3 to 5 % more.
const ROWS_BETWEEN: usize = 32;

/// `out = activation(x · weightᵀ + bias)`.
///
/// # Shapes
///
/// - `x`: `[rows, in_features]`
/// - `out`: `[rows, out_features]`
///
/// # Panics
///
/// When the lengths do not fit.
#[inline(never)]
pub fn linear(x: &[f32], layer: Linear, activation: Activation, out: &mut [f32]) {
    let Linear { in_features, out_features, .. } = layer;
    assert_eq!(x.len() / in_features * out_features, out.len(), "x and out");
    let rows = (BLOCK_BYTES / (in_features * layer.value_bytes())).max(1).next_multiple_of(MR);
    for (x, out) in x.chunks(rows * in_features).zip(out.chunks_mut(rows * out_features)) {
        layer.multiply(&layer.input(x), activation, out, out_features);
    }
}

/// `out = output(activation(intermediate(x)))`, some rows at a time: of the wide rows in between, which would
/// be the most that an encoder has in memory, there are never more than stay in the cache.
///
/// With a gate it is `output(activation(intermediate(x)) * gate(x))` (Shazeer, <https://arxiv.org/abs/2002.05202>).
///
/// # Shapes
///
/// - `x`: `[rows, intermediate.in_features]`
/// - `gate`: as `intermediate`
/// - `out`: `[rows, output.out_features]`
///
/// # Panics
///
/// When the lengths do not fit.
#[inline(never)]
pub fn feed_forward(
    x: &[f32],
    intermediate: Linear,
    gate: Option<Linear>,
    output: Linear,
    activation: Activation,
    out: &mut [f32],
) {
    let (in_features, out_features) = (intermediate.in_features, output.out_features);
    let width = intermediate.out_features;
    assert_eq!(width, output.in_features, "intermediate and output");
    let of_gate = gate.map_or([in_features, width], |gate| [gate.in_features, gate.out_features]);
    assert_eq!(of_gate, [in_features, width], "intermediate and gate");
    assert_eq!(x.len() / in_features * out_features, out.len(), "x and out");
    let rows = (ROWS_BETWEEN * intermediate.value_bytes()).next_multiple_of(MR);
    let mut wide = vec![0.0; (x.len() / in_features).min(rows) * width];
    let mut factors = vec![0.0; if gate.is_some() { wide.len() } else { 0 }];
    for (x, out) in x.chunks(rows * in_features).zip(out.chunks_mut(rows * out_features)) {
        let wide = &mut wide[..x.len() / in_features * width];
        let input = intermediate.input(x);
        intermediate.multiply(&input, activation, wide, width);
        if let Some(gate) = gate {
            let factors = &mut factors[..wide.len()];
            gate.multiply(&input, Activation::Identity, factors, width);
            wide.iter_mut().zip(factors).for_each(|(x, factor)| *x *= *factor);
        }
        output.multiply(&output.input(wide), Activation::Identity, out, out_features);
    }
}

/// [`attention`] with the queries, keys and values that `qkv` makes of `x`, some heads at a time: as many
/// as have them in the cache.
///
/// # Shapes
///
/// - `x`: `[tokens, qkv.in_features]`
/// - `texts`: each text's range of tokens
/// - `norm`: of queries and keys, before they are turned
/// - `relative.rotary`: as many positions as the longest text has tokens
/// - `out`: `[tokens, qkv.out_features / 3]`
///
/// # Panics
///
/// When the lengths do not fit.
#[inline(never)]
pub fn self_attention(
    x: &[f32],
    qkv: Linear,
    texts: &[Range<usize>],
    num_heads: usize,
    norm: Option<QkNorm>,
    relative: Relative,
    out: &mut [f32],
) {
    let hidden_size = qkv.out_features / 3;
    let head_size = hidden_size / num_heads;
    let tokens = x.len() / qkv.in_features;
    assert_eq!(qkv.out_features, 3 * num_heads * head_size, "qkv and num_heads");
    assert_eq!(tokens * hidden_size, out.len(), "x and out");
    if let Some(Rotary { table }) = relative.rotary {
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or_default();
        assert!(head_size.is_multiple_of(2) && table.len() >= longest * head_size, "rotary");
    }
    let head_bytes = tokens * 3 * head_size * size_of::<f32>();
    let heads = match norm {
        // It needs them all.
        Some(norm) => {
            assert_eq!(norm.params.len(), 4 * hidden_size, "norm");
            num_heads
        }
        None => heads_at_once(BLOCK_BYTES / head_bytes.max(1), num_heads, head_size),
    };
    let width = heads * head_size;
    let x = qkv.input(x);
    let mut some = vec![0.0; tokens * 3 * width];
    for start in (0..hidden_size).step_by(width) {
        let width = width.min(hidden_size - start);
        let some = &mut some[..tokens * 3 * width];
        if width == hidden_size {
            qkv.multiply(&x, Activation::Identity, some, 3 * width);
        } else {
            for part in 0..3 {
                let outputs = part * hidden_size + start..part * hidden_size + start + width;
                let some = &mut some[part * width..];
                qkv.outputs(outputs).multiply(&x, Activation::Identity, some, 3 * width);
            }
        }
        if let Some(norm) = norm {
            norm.apply(some, hidden_size);
        }
        if let Some(rotary) = relative.rotary {
            rotary.turn(some, texts, width, head_size);
        }
        attention(
            some,
            texts,
            width / head_size,
            head_size,
            relative.of_heads_from(start / head_size),
            &mut out[start..],
            hidden_size,
        );
    }
}

/// As many heads as fit, at least one, and all of them where [`Linear::outputs`] could not begin in between.
fn heads_at_once(fitting: usize, num_heads: usize, head_size: usize) -> usize {
    let begins = |heads: &usize| (heads * head_size).is_multiple_of(NR);
    if !begins(&num_heads) {
        return num_heads;
    }
    let mut possible = (1..=num_heads).filter(begins);
    let fewest = possible.next().unwrap_or(num_heads);
    possible.take_while(|&heads| heads <= fitting).last().unwrap_or(fewest)
}

/// Rows as a layer's kernel reads them.
enum Input<'x> {
    F32(&'x [f32]),
    Q8(RowsQ8),
}

impl Linear<'_> {
    /// The layer of some of its outputs only, which must begin at a multiple of 16.
    fn outputs(self, outputs: Range<usize>) -> Self {
        assert!(outputs.start.is_multiple_of(NR) && outputs.end <= self.out_features, "outputs");
        let panels = outputs.start / NR..outputs.end.div_ceil(NR);
        let part = |panel_len: usize| panels.start * panel_len..panels.end * panel_len;
        let weights = match self.weights {
            LinearWeights::F32(values) => {
                LinearWeights::F32(&values[part((1 + self.in_features) * NR)])
            }
            LinearWeights::Q8 { panels, params } => LinearWeights::Q8 {
                panels: &panels[part(self.in_features.next_multiple_of(GROUP) * NR)],
                params: &params[part(3 * NR)],
            },
        };
        Self { weights, out_features: outputs.len(), ..self }
    }

    /// Bytes of a weight, and of a value that it is multiplied with.
    fn value_bytes(&self) -> usize {
        match self.weights {
            LinearWeights::F32(_) => size_of::<f32>(),
            LinearWeights::Q8 { .. } => 1,
        }
    }

    fn input<'x>(&self, x: &'x [f32]) -> Input<'x> {
        match self.weights {
            LinearWeights::F32(_) => Input::F32(x),
            LinearWeights::Q8 { .. } => Input::Q8(RowsQ8::new(x, self.in_features)),
        }
    }

    /// # Shapes
    ///
    /// `out`: `[x.rows, out_features]`, the rows `stride` apart
    fn multiply(&self, x: &Input, activation: Activation, out: &mut [f32], stride: usize) {
        let Self { in_features, out_features, .. } = *self;
        match (x, self.weights) {
            (Input::F32(x), LinearWeights::F32(panels)) => {
                linear_f32(x, panels, in_features, out_features, activation, out, stride);
            }
            (Input::Q8(x), LinearWeights::Q8 { panels, params }) => {
                linear_q8(x, panels, params, out_features, activation, out, stride);
            }
            _ => unreachable!("`input` makes what the weights take"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::heads_at_once;

    #[test]
    fn as_many_heads_as_fit() {
        for (fitting, num_heads, head_size, heads) in [
            (100, 12, 32, 12),
            (12, 12, 32, 12),
            (11, 12, 32, 11),
            (1, 12, 32, 1),
            // At least what begins where a panel does.
            (0, 12, 32, 1),
            (3, 4, 24, 2),
            (1, 4, 24, 2),
            // The keys would begin within a panel.
            (1, 2, 20, 2),
        ] {
            assert_eq!(
                heads_at_once(fitting, num_heads, head_size),
                heads,
                "{fitting} of {num_heads} x {head_size}"
            );
        }
    }
}
