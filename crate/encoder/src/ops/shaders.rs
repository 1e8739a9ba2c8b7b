//! The sources of the GPU's kernels: put together from `wgsl/` for a model's shape, which is constant in them, so that a
//! driver compiles each for just this model. Only numbers of rows are arguments.
//!
//! Here are texts only, no GPU: the tests validate every source natively.

use embervec_kernels::{Activation, rotation_block as block};

use super::{LinearShape, Next};
use crate::PoolingMode;

/// Threads that a workgroup of our kernels has at most, as many as WebGPU promises.
pub const MAX_THREADS: usize = 256;

/// Bytes of workgroup memory that WebGPU promises.
const MAX_WORKGROUP_BYTES: usize = 16_384;

/// A kernel's source.
#[derive(Clone, Debug)]
pub struct Shader {
    constants: String,
    /// Declarations of the buffers, in the order in which they are bound.
    buffers: Vec<String>,
    parts: String,
    /// Threads of a workgroup.
    pub threads: [usize; 2],
}

impl Shader {
    fn new(parts: &[&str], threads: [usize; 2]) -> Self {
        Self { constants: String::new(), buffers: Vec::new(), parts: parts.concat(), threads }
    }

    fn constant(mut self, name: &str, value: usize) -> Self {
        self.constants += &format!("const {name} = {value}u;\n");
        self
    }

    fn number(mut self, name: &str, value: f64) -> Self {
        self.constants += &format!("const {name} = {value:e};\n");
        self
    }

    fn split(self, split: &Split) -> Self {
        self.constant("PER_THREAD", split.per_thread)
            .constant("ROW_THREADS", split.row_threads)
            .constant("ROWS", split.rows)
            .constant("THREADS", split.threads())
    }

    fn read(self, name: &str, element: &str) -> Self {
        self.buffer("read", name, element)
    }

    fn write(self, name: &str, element: &str) -> Self {
        self.buffer("read_write", name, element)
    }

    fn buffer(mut self, access: &str, name: &str, element: &str) -> Self {
        let binding = self.buffers.len();
        self.buffers.push(format!(
            "@group(0) @binding({binding}) var<storage, {access}> {name}: array<{element}>;\n"
        ));
        self
    }

    /// Of the 8-bit rows that a kernel also writes.
    fn quantized(self, next: Next) -> Self {
        match next {
            Next::F32 => self,
            Next::Q8 => self.write("q_values", "u32").write("q_rows", "vec2<f32>"),
        }
    }

    /// The whole text; `info` with the arguments is the last buffer.
    pub fn source(&self) -> String {
        let info = self.buffers.len();
        format!(
            "{}{}@group(0) @binding({info}) var<storage, read> info: array<u32>;\n{}",
            self.constants,
            self.buffers.concat(),
            self.parts
        )
    }

    /// Number of buffers, without `info`.
    pub fn buffer_count(&self) -> usize {
        self.buffers.len()
    }
}

/// How a workgroup's threads share rows.
#[derive(Clone, Copy, Debug)]
pub struct Split {
    per_thread: usize,
    row_threads: usize,
    /// Rows of a workgroup.
    pub rows: usize,
}

impl Split {
    /// A thread holds every 64th value of a row.
    fn strided(size: usize) -> Self {
        Self { per_thread: size.div_ceil(64), row_threads: 64, rows: 1 }
    }

    /// A thread computes a head.
    fn heads(num_heads: usize) -> Self {
        Self { per_thread: 1, row_threads: num_heads, rows: (64 / num_heads).max(1) }
    }

    /// A thread holds the values that the rotation mixes; `least` threads are needed for something else.
    fn rotated(size: usize, least: usize) -> Self {
        let per_thread = block(size);
        let row_threads = (size / per_thread).max(least);
        // The rows in workgroup memory must leave room for sums.
        let rows = (64 / row_threads).min(MAX_WORKGROUP_BYTES / 2 / (4 * size)).max(1);
        Self { per_thread, row_threads, rows }
    }

    fn threads(&self) -> usize {
        self.row_threads * self.rows
    }

    fn dim(&self) -> [usize; 2] {
        [self.threads(), 1]
    }
}

/// Why the kernels cannot quantise rows of this size; `None` where they can. `num_heads` is given for what attention makes,
/// which holds its rows in workgroup memory.
pub fn unquantizable(size: usize, num_heads: Option<usize>) -> Option<String> {
    let Split { row_threads, .. } = Split::rotated(size, num_heads.unwrap_or(1));
    let row_bytes = num_heads.map_or(0, |_| 4 * size);
    // And a value for each thread.
    let bytes = row_bytes + 4 * row_threads;
    let reason = if block(size) < 4 {
        "are not a multiple of 16".to_owned()
    } else if row_threads > MAX_THREADS {
        format!("need {row_threads} threads, but a workgroup has {MAX_THREADS}")
    } else if bytes > MAX_WORKGROUP_BYTES {
        format!("need {bytes} bytes of workgroup memory, but there are {MAX_WORKGROUP_BYTES}")
    } else {
        return None;
    };
    Some(format!("rows of {size} values {reason}"))
}

/// How the values of a table or of weights are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kept {
    /// In `f32`.
    F32,
    /// In 16 bits.
    F16,
    /// In 8 bits, of linear layers 7.
    Q8,
}

const ACTIVATION: &str = include_str!("wgsl/activation.wgsl");
const ATTENTION: &str = include_str!("wgsl/attention.wgsl");
const QUANTIZE: &str = include_str!("wgsl/quantize.wgsl");
const ROWS: &str = include_str!("wgsl/rows.wgsl");

const WEIGHT_F32: &str =
    "fn weight_at(k: u32, column: u32) -> vec4<f32> { return weight[(1u + k) * OUT4 + column]; }
fn bias_at(column: u32) -> vec4<f32> { return weight[column]; }
";
const WEIGHT_F16: &str =
    "fn weight_at(k: u32, column: u32) -> vec4<f32> { return widen(weight[k * OUT4 + column]); }
fn bias_at(column: u32) -> vec4<f32> { return bias[column]; }
";
/// Without the feature `shader-f16`, which not every adapter has.
const WIDEN: &str = "fn widen(halves: vec2<u32>) -> vec4<f32> { return vec4<f32>(unpack2x16float(halves.x), unpack2x16float(halves.y)); }\n";

const DOT4: &str = "fn dot4(a: u32, b: u32) -> i32 { return dot4I8Packed(a, b); }\n";
/// `b` holds weights of 7 bits, which need no sign.
const DOT4_BY_BYTES: &str = "fn dot4(a: u32, b: u32) -> i32 {
    let x = vec4<i32>(vec4<u32>(a << 24u, a << 16u, a << 8u, a)) >> vec4<u32>(24u);
    let w = vec4<i32>((vec4<u32>(b) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu));
    return dot(x, w);
}
";
const ATTENTION_Q8: &str = "var<workgroup> contexts: array<vec4<f32>, ROWS * SIZE4>;
fn write(token: u32, slot: u32, at: u32, value: vec4<f32>) { contexts[slot * SIZE4 + at] = value; }
fn next(thread: u32, token: u32, live: bool) {
    workgroupBarrier();
    let slot = thread / ROW_THREADS;
    var values: array<f32, PER_THREAD>;
    for (var i = 0u; i < PER_THREAD; i++) {
        let k = place(thread % ROW_THREADS, i);
        if (k < SIZE) { values[i] = contexts[slot * SIZE4 + k / 4u][k % 4u]; }
    }
    quantize(&values, thread, token, live);
}
";

/// By how far a query lies behind its key; beyond what has a bias of its own, as at the ends.
const BIAS: &str = "fn bias_of(head: u32, token: u32, other: u32) -> f32 {
    let reach = i32(info[2]);
    let distance = clamp(i32(token) - i32(other), -reach, reach);
    return biases[i32(head) * (2 * reach + 1) + distance + reach];
}
";

fn activation_code(activation: Activation) -> usize {
    match activation {
        Activation::Identity => 0,
        Activation::Gelu => 1,
        Activation::Tanh => 2,
        Activation::GeluTanh => 3,
        Activation::Relu => 4,
        Activation::Silu => 5,
    }
}

/// What `pool.wgsl` calls a mode.
#[cfg_attr(
    not(feature = "webgpu"),
    allow(dead_code, reason = "the tests of the shaders need no device")
)]
pub fn pooling_code(mode: PoolingMode) -> usize {
    match mode {
        PoolingMode::Cls => 0,
        PoolingMode::LastToken => 1,
        PoolingMode::Max => 2,
        PoolingMode::WeightedMean => 3,
        PoolingMode::Sum => 4,
        PoolingMode::Mean => 5,
        PoolingMode::MeanSqrtLen => 6,
    }
}

/// A linear layer with weights in floats. Buffers: the weights, for [`Kept::F16`] the biases, x, y. Grid: groups of 16
/// columns of 4, groups of 16 rows.
pub fn linear_float(shape: LinearShape, activation: Activation, kept: Kept) -> Shader {
    let weight_at = if kept == Kept::F32 { WEIGHT_F32 } else { WEIGHT_F16 };
    let parts = [ACTIVATION, WIDEN, weight_at, include_str!("wgsl/linear.wgsl")];
    let shader = Shader::new(&parts, [16, 4])
        .constant("IN4", shape.in_features / 4)
        .constant("OUT4", shape.out_features / 4)
        .constant("ACTIVATION", activation_code(activation));
    let shader = match kept {
        Kept::F32 => shader.read("weight", "vec4<f32>"),
        Kept::F16 | Kept::Q8 => shader.read("weight", "vec2<u32>").read("bias", "vec4<f32>"),
    };
    shader.read("x", "vec4<f32>").write("y", "vec4<f32>")
}

/// The same with weights in 7 bits. Buffers: x in 8 bits, its rows' scales and sums, the weights, their parameters, y.
pub fn linear_q8(shape: LinearShape, activation: Activation, has_dot4: bool) -> Shader {
    let dot4 = if has_dot4 { DOT4 } else { DOT4_BY_BYTES };
    Shader::new(&[ACTIVATION, dot4, include_str!("wgsl/linear_q8.wgsl")], [16, 4])
        .constant("IN16", shape.in_features / 16)
        .constant("OUT4", shape.out_features / 4)
        .constant("ACTIVATION", activation_code(activation))
        .read("x", "vec4<u32>")
        .read("x_rows", "vec2<f32>")
        .read("weight", "vec4<u32>")
        .read("params", "vec4<f32>")
        .write("y", "vec4<f32>")
}

/// Layer normalisation. Buffers: x, the residual where there is one, weight, bias, y, and the 8-bit rows.
pub fn layer_norm(size: usize, epsilon: f64, has_residual: bool, next: Next) -> (Shader, Split) {
    let split = match next {
        Next::F32 => Split::strided(size),
        Next::Q8 => Split::rotated(size, 1),
    };
    let residual_at = match has_residual {
        false => "fn residual_at(i: u32) -> f32 { return 0.0; }\n",
        true => "fn residual_at(i: u32) -> f32 { return residual[i]; }\n",
    };
    let [place, next_step] = match next {
        Next::F32 => [
            "fn place(t: u32, i: u32) -> u32 { return i * ROW_THREADS + t; }\n",
            "fn next(values: ptr<function, array<f32, PER_THREAD>>, thread: u32, row: u32, live: bool) {}\n",
        ],
        Next::Q8 => [
            QUANTIZE,
            "fn next(values: ptr<function, array<f32, PER_THREAD>>, thread: u32, row: u32, live: bool) { quantize(values, thread, row, live); }\n",
        ],
    };
    let parts = [ROWS, place, residual_at, next_step, include_str!("wgsl/layer_norm.wgsl")];
    let mut shader = Shader::new(&parts, split.dim())
        .split(&split)
        .constant("SIZE", size)
        .number("EPSILON", epsilon)
        .read("x", "f32");
    if has_residual {
        shader = shader.read("residual", "f32");
    }
    let shader = shader.read("weight", "f32").read("bias", "f32").write("y", "f32").quantized(next);
    (shader, split)
}

/// Turns queries and keys by the angles of their positions. Buffers: the batch, the angles, and queries, keys and values, which
/// are changed. Grid: groups of 64 pairs of values, tokens.
pub fn rotary(size: usize, num_heads: usize) -> Shader {
    Shader::new(&[include_str!("wgsl/rotary.wgsl")], [64, 1])
        .constant("SIZE", size)
        .constant("HEAD_SIZE", size / num_heads)
        .read("batch", "u32")
        .read("rotary", "f32")
        .write("qkv", "f32")
}

/// What is made of two tensors value by value.
#[derive(Clone, Copy, Debug)]
pub enum Pairwise {
    /// Their sum.
    Sum,
    /// Their product.
    Product,
}

/// Buffers: both tensors, and what is made of them. Grid: groups of 64 times 4 values, rows.
pub fn elementwise(size: usize, how: Pairwise) -> Shader {
    let of_both = match how {
        Pairwise::Sum => "fn of_both(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> { return a + b; }\n",
        Pairwise::Product => {
            "fn of_both(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> { return a * b; }\n"
        }
    };
    Shader::new(&[of_both, include_str!("wgsl/elementwise.wgsl")], [64, 1])
        .constant("SIZE4", size / 4)
        .read("a", "vec4<f32>")
        .read("b", "vec4<f32>")
        .write("y", "vec4<f32>")
}

/// Attention of each text's tokens to the tokens of the same text, or to those that are at most `window` away. Buffers:
/// queries, keys and values, the batch, the biases where there are some, and the contexts in `f32` or in 8 bits. Arguments: the
/// end of the tokens and the first of them, and the largest distance that has a bias of its own.
pub fn attention(
    size: usize,
    num_heads: usize,
    window: Option<usize>,
    has_bias: bool,
    next: Next,
) -> (Shader, Split) {
    let split = match next {
        Next::F32 => Split::heads(num_heads),
        Next::Q8 => Split::rotated(size, num_heads),
    };
    let in_reach = match window {
        None => "fn in_reach(token: u32, text: vec2<u32>) -> vec2<u32> { return text; }\n".to_owned(),
        Some(reach) => format!(
            "fn in_reach(token: u32, text: vec2<u32>) -> vec2<u32> {{
    return vec2<u32>(max(text.x, max(token, {reach}u) - {reach}u), min(text.y, token + {reach}u + 1u));
}}\n"
        ),
    };
    let bias_of = match has_bias {
        false => "fn bias_of(head: u32, token: u32, other: u32) -> f32 { return 0.0; }\n",
        true => BIAS,
    };
    let parts: &[&str] = match next {
        Next::F32 => &[
            &in_reach,
            bias_of,
            "fn write(token: u32, slot: u32, at: u32, value: vec4<f32>) { y[token * SIZE4 + at] = value; }\n\
             fn next(thread: u32, token: u32, live: bool) {}\n",
            ATTENTION,
        ],
        // The row goes on in 8 bits only.
        Next::Q8 => &[&in_reach, bias_of, ROWS, QUANTIZE, ATTENTION_Q8, ATTENTION],
    };
    let head_size = size / num_heads;
    let shader = Shader::new(parts, split.dim())
        .split(&split)
        .constant("SIZE", size)
        .constant("SIZE4", size / 4)
        .constant("HEADS", num_heads)
        .constant("HEAD4", head_size / 4)
        .number("SCALE", 1.0 / (head_size as f64).sqrt())
        .read("qkv", "vec4<f32>")
        .read("batch", "u32");
    let shader = if has_bias { shader.read("biases", "f32") } else { shader };
    let shader = match next {
        Next::F32 => shader.write("y", "vec4<f32>"),
        Next::Q8 => shader.quantized(next),
    };
    (shader, split)
}

/// Rows in 8 bits. Buffers: x, and the 8-bit rows.
pub fn quantize_rows(size: usize) -> (Shader, Split) {
    let split = Split::rotated(size, 1);
    let parts = [ROWS, QUANTIZE, include_str!("wgsl/quantize_rows.wgsl")];
    let shader = Shader::new(&parts, split.dim()).split(&split).constant("SIZE", size);
    (shader.read("x", "f32").quantized(Next::Q8), split)
}

/// The sum of three embeddings. Buffers: the batch, the token types, y, and of each table its values and, in 8 bits, its
/// rows. Grid: groups of 64 times 4 values.
pub fn embeddings(size: usize, words: Kept, positions: Kept) -> Shader {
    let rows = table_rows("word", words) + &table_rows("position", positions);
    let shader = Shader::new(&[WIDEN, &rows, include_str!("wgsl/embeddings.wgsl")], [64, 1])
        .constant("SIZE4", size / 4)
        .read("batch", "u32")
        .read("token_types", "vec4<f32>")
        .write("y", "vec4<f32>");
    table(table(shader, "word", words), "position", positions)
}

fn table(shader: Shader, name: &str, kept: Kept) -> Shader {
    let values = format!("{name}_values");
    match kept {
        Kept::F32 => shader.read(&values, "vec4<f32>"),
        Kept::F16 => shader.read(&values, "vec2<u32>"),
        Kept::Q8 => shader.read(&values, "u32").read(&format!("{name}_rows"), "vec2<f32>"),
    }
}

fn table_rows(name: &str, kept: Kept) -> String {
    let value = match kept {
        Kept::F32 => format!("return {name}_values[row * SIZE4 + column];"),
        Kept::F16 => format!("return widen({name}_values[row * SIZE4 + column]);"),
        Kept::Q8 => format!(
            "let scale = {name}_rows[row];
             let word = vec4<u32>({name}_values[row * SIZE4 + column]);
             return scale.x * (vec4<f32>((word >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu)) - scale.y);"
        ),
    };
    format!("fn {name}_row(row: u32, column: u32) -> vec4<f32> {{ {value} }}\n")
}

/// One vector for each text. No option of a call is constant, so that this kernel too is made once. Buffers: x, the batch,
/// y. Arguments: tokens, tokens of the prompt, whether to normalise, number of modes, and each mode's
/// [`pooling_code`]. Grid: texts.
pub fn pool(size: usize) -> Shader {
    Shader::new(&[include_str!("wgsl/pool.wgsl")], [64, 1])
        .constant("SIZE4", size / 4)
        .read("x", "vec4<f32>")
        .read("batch", "u32")
        .write("y", "vec4<f32>")
}

#[cfg(test)]
mod tests {
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    use super::*;

    /// Parses and validates a source as a browser does; `what` is for messages.
    fn validate(shader: &Shader, what: &str) {
        let source = shader.source();
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|error| panic!("{what}: {}\n{source}", error.emit_to_string(&source)));
        // `unpack2x16float` is in every WebGPU; naga knows targets that lack it.
        let info = Validator::new(ValidationFlags::all(), Capabilities::SHADER_FLOAT16_IN_FLOAT32)
            .validate(&module)
            .unwrap_or_else(|error| panic!("{what}: {}\n{source}", error.emit_to_string(&source)));
        assert_eq!(module.entry_points.len(), 1, "{what}");
        let entry = &module.entry_points[0];
        assert_eq!(entry.name, "main");
        let [x, y] = shader.threads.map(|threads| threads as u32);
        assert_eq!(entry.workgroup_size, [x, y, 1], "{what}");
        assert!((1..=MAX_THREADS as u32).contains(&(x * y)), "{what}: {x} x {y} threads");
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).expect("laid out");
        let workgroup: u32 = module
            .global_variables
            .iter()
            .filter(|(_, variable)| variable.space == naga::AddressSpace::WorkGroup)
            .map(|(_, variable)| layouter[variable.ty].size)
            .sum();
        assert!(workgroup as usize <= MAX_WORKGROUP_BYTES, "{what}: {workgroup} bytes");
        // Every buffer that is bound is in use, so that none is bound in another's place.
        let used = module.global_variables.iter().filter(|(handle, variable)| {
            variable.binding.is_some() && !info.get_entry_point(0)[*handle].is_empty()
        });
        assert!(used.count() > shader.buffer_count() - 1, "{what}: an unused buffer\n{source}");
    }

    /// Hidden sizes for every rotation block from 4 to 32, odd multiples among them.
    const SIZES: [usize; 12] = [16, 48, 80, 96, 128, 144, 256, 272, 384, 768, 1024, 1088];

    #[test]
    fn kernels_of_every_shape_are_valid() {
        let kinds = [Kept::F32, Kept::F16, Kept::Q8];
        let activations = [
            Activation::Identity,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Relu,
            Activation::Silu,
            Activation::Tanh,
        ];
        let mut sizes = SIZES.to_vec();
        sizes.extend([4, 12, 36, 132, 260]);
        for size in sizes {
            for wide in [4, size, 3 * size, 4 * size] {
                let shape = LinearShape { in_features: size, out_features: wide };
                for activation in activations {
                    let what = format!("{shape:?} {activation:?}");
                    validate(&linear_float(shape, activation, Kept::F32), &what);
                    validate(&linear_float(shape, activation, Kept::F16), &what);
                    if unquantizable(size, None).is_none() {
                        validate(&linear_q8(shape, activation, true), &what);
                        validate(&linear_q8(shape, activation, false), &what);
                    }
                }
            }
            for has_residual in [false, true] {
                validate(&layer_norm(size, 1e-12, has_residual, Next::F32).0, &format!("{size}"));
                if unquantizable(size, None).is_none() {
                    validate(&layer_norm(size, 1.0, has_residual, Next::Q8).0, &format!("{size}"));
                    validate(&quantize_rows(size).0, &format!("{size}"));
                }
            }
            for words in kinds {
                for positions in kinds {
                    validate(&embeddings(size, words, positions), &format!("{size}"));
                }
            }
            validate(&pool(size), &format!("{size}"));
            for how in [Pairwise::Sum, Pairwise::Product] {
                validate(&elementwise(size, how), &format!("{size} {how:?}"));
            }
        }
    }

    #[test]
    fn attention_of_any_number_of_heads_is_valid() {
        let mut tried = 0;
        for size in SIZES {
            for num_heads in (1..=MAX_THREADS).filter(|heads| size.is_multiple_of(4 * heads)) {
                let what = format!("{size} / {num_heads}");
                validate(&rotary(size, num_heads), &what);
                for (window, has_bias) in
                    [(None, false), (None, true), (Some(64), false), (Some(0), true)]
                {
                    let of = |next| attention(size, num_heads, window, has_bias, next).0;
                    validate(&of(Next::F32), &what);
                    if unquantizable(size, Some(num_heads)).is_none() {
                        validate(&of(Next::Q8), &what);
                        tried += 1;
                    }
                }
            }
        }
        assert!(tried > 240, "{tried}");
    }

    #[test]
    fn what_does_not_fit_a_workgroup_is_refused_before() {
        assert_eq!(unquantizable(768, Some(12)), None);
        assert_eq!(unquantizable(4096, None), None);
        for (size, heads, word) in [
            (36, Some(3), "not a multiple of 16"),
            (4096, Some(32), "bytes of workgroup memory"),
            (16 * 257, None, "threads"),
        ] {
            let reason = unquantizable(size, heads).expect("does not fit");
            assert!(reason.contains(word), "{reason}");
        }
        // The largest that is accepted.
        let (size, heads) = (3968, 31);
        assert_eq!(unquantizable(size, Some(heads)), None);
        validate(&attention(size, heads, None, true, Next::Q8).0, "3968 / 31");
        validate(&layer_norm(size, 1e-5, true, Next::Q8).0, "3968");
    }
}
