//! What a Dense module does with each of its values.

/// The activations of [`torch.nn`](https://docs.pytorch.org/docs/stable/nn.html) that take each value by itself and no
/// arguments, with the constants that they have by default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Activation {
    Identity,
    Tanh,
    Gelu,
    Relu,
    Relu6,
    LeakyRelu,
    Rrelu,
    Elu,
    Selu,
    Sigmoid,
    LogSigmoid,
    Silu,
    Mish,
    Softplus,
    Softsign,
    Softshrink,
    Hardshrink,
    Tanhshrink,
    Hardtanh,
    Hardsigmoid,
    Hardswish,
}

/// Every activation with its class's name and the module of `torch.nn.modules` that the class is in.
const CLASSES: [(Activation, &str, &str); 26] = [
    (Activation::Identity, "Identity", "linear"),
    // These do nothing outside of training, or without modules in them.
    (Activation::Identity, "Dropout", "dropout"),
    (Activation::Identity, "Dropout1d", "dropout"),
    (Activation::Identity, "AlphaDropout", "dropout"),
    (Activation::Identity, "Sequential", "container"),
    (Activation::Tanh, "Tanh", "activation"),
    (Activation::Gelu, "GELU", "activation"),
    (Activation::Relu, "ReLU", "activation"),
    (Activation::Relu6, "ReLU6", "activation"),
    (Activation::LeakyRelu, "LeakyReLU", "activation"),
    (Activation::Rrelu, "RReLU", "activation"),
    (Activation::Elu, "ELU", "activation"),
    // The same with alpha 1.
    (Activation::Elu, "CELU", "activation"),
    (Activation::Selu, "SELU", "activation"),
    (Activation::Sigmoid, "Sigmoid", "activation"),
    (Activation::LogSigmoid, "LogSigmoid", "activation"),
    (Activation::Silu, "SiLU", "activation"),
    (Activation::Mish, "Mish", "activation"),
    (Activation::Softplus, "Softplus", "activation"),
    (Activation::Softsign, "Softsign", "activation"),
    (Activation::Softshrink, "Softshrink", "activation"),
    (Activation::Hardshrink, "Hardshrink", "activation"),
    (Activation::Tanhshrink, "Tanhshrink", "activation"),
    (Activation::Hardtanh, "Hardtanh", "activation"),
    (Activation::Hardsigmoid, "Hardsigmoid", "activation"),
    (Activation::Hardswish, "Hardswish", "activation"),
];

/// `torch.nn.SELU`'s scale and alpha (Klambauer et al., <https://arxiv.org/abs/1706.02515>).
const SELU_SCALE: f32 = 1.050_701;
const SELU_ALPHA: f32 = 1.673_263_2;

impl Activation {
    /// The activation of a class path. As in sentence-transformers, every path outside torch means Tanh.
    pub fn of_python(path: &str) -> Option<Self> {
        let Some(class) = path.strip_prefix("torch.") else { return Some(Self::Tanh) };
        let (module, name) = class.rsplit_once('.')?;
        let &(activation, _, home) = CLASSES.iter().find(|(_, known, _)| *known == name)?;
        let is_there = match module {
            "nn" | "nn.modules" => true,
            _ => module.strip_prefix("nn.modules.") == Some(home),
        };
        is_there.then_some(activation)
    }

    /// Every class, for messages.
    pub fn names() -> String {
        let names: Vec<_> = CLASSES.iter().map(|(_, name, _)| *name).collect();
        format!("the torch.nn classes {}", names.join(", "))
    }

    /// Applies the function to one value.
    pub fn of(self, x: f32) -> f32 {
        match self {
            Self::Identity => x,
            Self::Tanh => x.tanh(),
            Self::Gelu => 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)),
            Self::Relu => larger(x, 0.0),
            Self::Relu6 => smaller(larger(x, 0.0), 6.0),
            Self::LeakyRelu => {
                if x < 0.0 {
                    0.01 * x
                } else {
                    x
                }
            }
            // Outside of training its slope is the middle of 1/8 and 1/3.
            Self::Rrelu => {
                if x < 0.0 {
                    x * ((1.0 / 8.0 + 1.0 / 3.0) / 2.0)
                } else {
                    x
                }
            }
            Self::Elu => {
                if x < 0.0 {
                    x.exp_m1()
                } else {
                    x
                }
            }
            Self::Selu => SELU_SCALE * if x < 0.0 { SELU_ALPHA * x.exp_m1() } else { x },
            Self::Sigmoid => sigmoid(x),
            Self::LogSigmoid => -softplus(-x),
            Self::Silu => x * sigmoid(x),
            Self::Mish => x * softplus(x).tanh(),
            Self::Softplus => {
                if x > 20.0 {
                    x
                } else {
                    softplus(x)
                }
            }
            Self::Softsign => x / (1.0 + x.abs()),
            Self::Softshrink => {
                if x > 0.5 {
                    x - 0.5
                } else if x < -0.5 {
                    x + 0.5
                } else {
                    0.0 * x
                }
            }
            Self::Hardshrink => {
                if x.abs() <= 0.5 {
                    0.0
                } else {
                    x
                }
            }
            Self::Tanhshrink => x - x.tanh(),
            Self::Hardtanh => smaller(larger(x, -1.0), 1.0),
            Self::Hardsigmoid => smaller(larger(x + 3.0, 0.0), 6.0) / 6.0,
            Self::Hardswish => x * smaller(larger(x + 3.0, 0.0), 6.0) / 6.0,
        }
    }
}

/// As `f32::max`, which drops a NaN.
fn larger(x: f32, least: f32) -> f32 {
    if x < least { least } else { x }
}

fn smaller(x: f32, most: f32) -> f32 {
    if x > most { most } else { x }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// log(1 + exp(x)), without overflow.
fn softplus(x: f32) -> f32 {
    larger(x, 0.0) + (-x.abs()).exp().ln_1p()
}

/// The error function, by its Taylor series and its continued fraction (Abramowitz and Stegun, 7.1.6 and 7.1.14).
fn erf(x: f32) -> f32 {
    let (x, sign) = (f64::from(x).abs(), f64::from(x).signum());
    let value = if x < 2.5 {
        // Each term is the one before times 2x² / (2n + 1); with 2.5 the 40th is below 1e-17 of the sum.
        let (mut term, mut sum) = (x, x);
        for n in 1..40 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
    } else {
        let mut fraction = x;
        for n in (1..=30).rev() {
            fraction = x + f64::from(n) / 2.0 / fraction;
        }
        1.0 - (-x * x).exp() / (fraction * std::f64::consts::PI.sqrt())
    };
    (sign * value) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_known_by_the_paths_that_python_finds() {
        for (path, activation) in [
            ("torch.nn.modules.activation.Tanh", Some(Activation::Tanh)),
            ("torch.nn.Tanh", Some(Activation::Tanh)),
            ("torch.nn.modules.linear.Identity", Some(Activation::Identity)),
            ("torch.nn.modules.activation.Identity", None),
            ("torch.nn.modules.GELU", Some(Activation::Gelu)),
            ("torch.nn.CELU", Some(Activation::Elu)),
            ("torch.nn.Softmax", None),
            ("torch.tanh", None),
            ("torch", Some(Activation::Tanh)),
            ("my_module.ReLU", Some(Activation::Tanh)),
            ("", Some(Activation::Tanh)),
        ] {
            assert_eq!(Activation::of_python(path), activation, "{path}");
        }
    }

    #[test]
    fn the_error_function() {
        // Of Python's math.erf.
        for (x, expected) in [
            (0.0, 0.0),
            (0.1, 0.112_462_916_018_284_9),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (2.499, 0.999_590_860_9),
            (2.501, 0.999_595_205_9),
            (3.0, 0.999_977_909_503_001_4),
            (-1.5, -0.966_105_146_475_310_7),
            (40.0, 1.0),
        ] {
            let found = f64::from(erf(x));
            assert!((found - expected).abs() < 1e-7, "erf({x}) = {found}, not {expected}");
        }
    }

    #[test]
    fn what_is_not_a_number_stays_that() {
        for (activation, name, _) in CLASSES {
            assert!(activation.of(f32::NAN).is_nan(), "{name}");
        }
    }
}
