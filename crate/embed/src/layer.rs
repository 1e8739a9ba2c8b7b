//! Modules with weights, behind the encoder.

use burn::tensor::Device;
use embervec_encoder::model::Linear;
use embervec_encoder::ops::{self, to_vec, upload};
use embervec_weights::Weights;

use crate::Result;
use crate::activation::Activation;
use crate::recipe::layers::DenseSpec;
use crate::recipe::program::{LayerKind, LayerSpec};

/// `torch.nn.LayerNorm`'s default.
const LAYER_NORM_EPS: f64 = 1e-5;

/// A module's weights.
#[derive(Debug)]
pub(crate) enum Layer {
    Dense(Box<Dense>),
    LayerNorm { weight: Vec<f32>, bias: Vec<f32> },
}

/// A linear layer, an activation, and what is added to it.
#[derive(Debug)]
pub(crate) struct Dense {
    linear: Linear,
    activation: Activation,
    use_residual: bool,
    /// Where the sizes differ.
    residual: Option<Linear>,
    in_features: usize,
    out_features: usize,
}

impl Layer {
    pub fn load(spec: &LayerSpec, mut weights: Weights, device: &Device) -> Result<Self> {
        let weights = &mut weights;
        match &spec.kind {
            LayerKind::Dense(spec) => {
                Ok(Self::Dense(Box::new(Dense::load(spec, weights, device)?)))
            }
            LayerKind::LayerNorm(_) => {
                let ([_], weight) = weights.take_f32("norm.weight")?;
                let ([_], bias) = weights.take_f32("norm.bias")?;
                Ok(Self::LayerNorm { weight, bias })
            }
        }
    }

    pub fn in_features(&self) -> usize {
        match self {
            Self::Dense(dense) => dense.in_features,
            Self::LayerNorm { weight, .. } => weight.len(),
        }
    }

    pub fn out_features(&self) -> usize {
        match self {
            Self::Dense(dense) => dense.out_features,
            Self::LayerNorm { weight, .. } => weight.len(),
        }
    }

    /// `[rows, in_features]` to `[rows, out_features]`.
    pub fn forward(&self, mut vectors: Vec<f32>, device: &Device) -> Result<Vec<f32>> {
        match self {
            Self::Dense(dense) => dense.forward(vectors, device),
            Self::LayerNorm { weight, bias } => {
                for row in vectors.chunks_exact_mut(weight.len()) {
                    layer_norm(row, weight, bias);
                }
                Ok(vectors)
            }
        }
    }
}

impl Dense {
    fn load(spec: &DenseSpec, weights: &mut Weights, device: &Device) -> Result<Self> {
        Ok(Self {
            linear: Linear::load(weights, "linear", device)?,
            activation: spec.activation,
            use_residual: spec.use_residual,
            residual: match spec.has_residual_layer() {
                true => Some(Linear::load(weights, "residual", device)?),
                false => None,
            },
            in_features: spec.in_features,
            out_features: spec.out_features,
        })
    }

    fn forward(&self, vectors: Vec<f32>, device: &Device) -> Result<Vec<f32>> {
        let apply = |linear: &Linear, x: Vec<f32>| {
            let shape = [x.len() / self.in_features, self.in_features];
            to_vec(linear.forward(upload(x, shape, device), ops::Activation::Identity))
        };
        let residual = match (self.use_residual, &self.residual) {
            (false, _) => None,
            (true, None) => Some(vectors.clone()),
            (true, Some(residual)) => Some(apply(residual, vectors.clone())?),
        };
        let mut out = apply(&self.linear, vectors)?;
        out.iter_mut().for_each(|x| *x = self.activation.of(*x));
        if let Some(residual) = residual {
            out.iter_mut().zip(residual).for_each(|(x, residual)| *x += residual);
        }
        Ok(out)
    }
}

fn layer_norm(row: &mut [f32], weight: &[f32], bias: &[f32]) {
    let count = row.len() as f64;
    let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
    let scale = 1.0 / (variance + LAYER_NORM_EPS).sqrt();
    for ((x, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
        *x = ((f64::from(*x) - mean) * scale) as f32 * weight + bias;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer_normalisation() {
        // (-1, 0, 1) over the square root of 2/3 + 1e-5.
        let mut row = [1.0, 2.0, 3.0];
        layer_norm(&mut row, &[1.0, 1.0, 2.0], &[0.0, 0.5, 0.0]);
        let unit = 1.0 / (2.0f64 / 3.0 + 1e-5).sqrt();
        for (found, expected) in row.iter().zip([-unit, 0.5, 2.0 * unit]) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{row:?}");
        }
    }
}
