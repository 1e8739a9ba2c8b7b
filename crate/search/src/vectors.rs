//! Rows of 8-bit integers: how they are made, stored as a `scan` part, and kept.

use embervec_kernels::{SignRow, bit_words, sign_bits};

use crate::error::{Error, Result};
use crate::parts::{Reader, head};

/// More than any model has. A query keeps 10 bits beside so many dimensions: see `scan.rs`.
pub const MAX_DIMENSION: usize = 1 << 14;

/// Largest quantised value; the smallest is its negative.
pub const VALUE_MAX: i8 = 127;

/// Shorter ones count as 0 in `torch.nn.functional.normalize`, and so in cosine similarity.
pub const COSINE_EPSILON: f64 = 1e-12;

/// Lengths of vectors beside 0: between them, all products and their bounds are normal numbers in `f32`.
const SIZES: std::ops::RangeInclusive<f64> = 1e-15..=1e15;

/// Rows that are kept in one piece of memory. Growing costs no copy of all, which would stay with a wasm instance.
pub const CHUNK_ROWS: usize = 1024;

const MAGIC: &[u8; 4] = b"EVSC";
const PART: &str = "scan";

/// How alike two vectors are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Similarity {
    /// Their product, divided by both lengths.
    Cosine,
    /// Their product.
    Dot,
    /// Their distance, negative.
    Euclidean,
}

impl Similarity {
    /// Its name in sentence-transformers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::Euclidean => "euclidean",
        }
    }

    /// By its name in sentence-transformers.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "cosine" => Ok(Self::Cosine),
            "dot" => Ok(Self::Dot),
            "euclidean" => Ok(Self::Euclidean),
            _ => Err(Error::invalid(format!(
                "the similarity \"{name}\" is not supported by an index; supported: cosine, dot, euclidean"
            ))),
        }
    }
}

/// The length of a vector. A vector whose length cannot be compared is an error.
pub fn size(vector: &[f32], what: impl Fn() -> String) -> Result<f64> {
    let squares = vector.iter().map(|&x| f64::from(x) * f64::from(x));
    let size = squares.sum::<f64>().sqrt();
    if !size.is_finite() {
        return Err(Error::invalid(format!("{} contains NaN or Infinity", what())));
    }
    if size != 0.0 && !SIZES.contains(&size) {
        return Err(Error::invalid(format!(
            "{} must have a length of 0, or of 1e-15 to 1e15",
            what()
        )));
    }
    Ok(size)
}

pub fn check_dimension(dimension: usize) -> Result<()> {
    match (1..=MAX_DIMENSION).contains(&dimension) {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "dimension {dimension} is not between 1 and {MAX_DIMENSION}"
        ))),
    }
}

/// The smallest `f32` that is not below.
pub fn round_up(x: f64) -> f32 {
    let rounded = x as f32;
    if f64::from(rounded) < x { rounded.next_up() } else { rounded }
}

/// The `scan` part of some rows: what a scan needs of them, one byte a dimension and 12 bytes a row.
pub fn quantize(vectors: &[f32], dimension: usize) -> Result<Vec<u8>> {
    check_dimension(dimension)?;
    if !vectors.len().is_multiple_of(dimension) {
        return Err(Error::invalid(format!(
            "{} values are not a whole number of vectors of {dimension} dimensions",
            vectors.len()
        )));
    }
    let rows = vectors.len() / dimension;
    let mut factors: [Vec<u8>; 3] = Default::default();
    let mut values = Vec::with_capacity(vectors.len());
    for (i, vector) in vectors.chunks_exact(dimension).enumerate() {
        let size = size(vector, || format!("vector {i}"))?;
        let largest = vector.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let scale = largest / f32::from(VALUE_MAX);
        let inverse = if scale > 0.0 { 1.0 / f64::from(scale) } else { 0.0 };
        let mut error = 0.0;
        for &x in vector {
            let max = f64::from(VALUE_MAX);
            let value = (f64::from(x) * inverse).round_ties_even().clamp(-max, max);
            error += (f64::from(x) - value * f64::from(scale)).powi(2);
            values.push(value as i8 as u8);
        }
        let numbers = [scale, round_up(error.sqrt()), size as f32];
        factors.iter_mut().zip(numbers).for_each(|(bytes, x)| bytes.extend(x.to_le_bytes()));
    }
    let rows = u32::try_from(rows)
        .map_err(|_| Error::invalid("an index can hold at most 4294967295 rows"))?;
    let mut part = head(MAGIC);
    part.extend((dimension as u32).to_le_bytes());
    part.extend(rows.to_le_bytes());
    factors.iter().for_each(|bytes| part.extend(bytes));
    part.extend(values);
    Ok(part)
}

/// A `scan` part that has been read.
pub struct ScanPart<'a> {
    scale: Vec<f32>,
    error: Vec<f32>,
    size: Vec<f32>,
    values: &'a [u8],
}

impl<'a> ScanPart<'a> {
    /// Reads and checks a part.
    pub fn read(bytes: &'a [u8], dimension: usize) -> Result<Self> {
        let mut reader = Reader::open(PART, MAGIC, bytes)?;
        let found = reader.u32()? as usize;
        if found != dimension {
            return Err(reader.damaged(format!(
                "its vectors have {found} dimensions, but the index has {dimension}"
            )));
        }
        let rows = reader.u32()? as usize;
        let mut factors = || -> Result<Vec<f32>> {
            let numbers = reader.f32s(rows)?;
            let are_sound = numbers.iter().all(|&x| x >= 0.0 && f64::from(x) <= 2.0 * SIZES.end());
            are_sound
                .then_some(numbers)
                .ok_or_else(|| reader.damaged("a row's scale, error or length is not valid"))
        };
        let (scale, error, size) = (factors()?, factors()?, factors()?);
        let count = rows.checked_mul(dimension).ok_or_else(|| reader.damaged("it is too large"))?;
        let values = reader.take(count)?;
        if !reader.is_empty() {
            return Err(reader.damaged("there is more data after its end"));
        }
        // A sum of products with a query might leave 32 bits.
        if values.contains(&(i8::MIN as u8)) {
            return Err(reader.damaged("it contains the value -128, which is not valid"));
        }
        Ok(Self { scale, error, size, values })
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.scale.len()
    }
}

/// Up to [`CHUNK_ROWS`] rows.
#[derive(Default)]
pub struct Chunk {
    pub values: Vec<i8>,
    pub scale: Vec<f32>,
    pub error: Vec<f32>,
    pub size: Vec<f32>,
    /// Of no rows at all, or of all.
    pub signs: Vec<u64>,
    pub sign_rows: Vec<SignRow>,
}

impl Chunk {
    pub fn rows(&self) -> usize {
        self.scale.len()
    }

    fn add_signs(&mut self, center: &[f32]) {
        let (dimension, words) = (center.len(), bit_words(center.len()));
        for row in self.sign_rows.len()..self.rows() {
            let values = &self.values[row * dimension..][..dimension];
            let start = self.signs.len();
            self.signs.resize(start + words, 0);
            let sign_row = sign_bits(values, self.scale[row], center, &mut self.signs[start..]);
            self.sign_rows.push(sign_row);
        }
    }
}

/// All rows.
pub struct Vectors {
    pub dimension: usize,
    pub similarity: Similarity,
    pub chunks: Vec<Chunk>,
    rows: usize,
    /// The mean of the rows when signs were first kept. Signs are those of the distances from it: vectors of many models have a
    /// large part in common, beside which their signs would hardly differ.
    center: Option<Vec<f32>>,
}

impl Vectors {
    /// None yet.
    pub fn new(dimension: usize, similarity: Similarity) -> Result<Self> {
        check_dimension(dimension)?;
        Ok(Self { dimension, similarity, chunks: Vec::new(), rows: 0, center: None })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Appends a part's rows.
    pub fn append(&mut self, part: &ScanPart) {
        let mut row = 0;
        while row < part.rows() {
            if self.chunks.last().is_none_or(|chunk| chunk.rows() == CHUNK_ROWS) {
                self.chunks.push(Chunk::default());
            }
            let Some(chunk) = self.chunks.last_mut() else { return };
            let end = part.rows().min(row + CHUNK_ROWS - chunk.rows());
            let values = &part.values[row * self.dimension..end * self.dimension];
            // Up to twice what is needed would be reserved.
            chunk.values.reserve_exact(values.len());
            chunk.values.extend(values.iter().map(|&x| x as i8));
            for i in row..end {
                let [scale, error, size] = [part.scale[i], part.error[i], part.size[i]];
                let [scale, error, size] = match self.similarity {
                    Similarity::Dot | Similarity::Euclidean => [scale, error, size],
                    // Divided by the length once, so that a row's key is its cosine.
                    Similarity::Cosine => {
                        let length = f64::from(size).max(COSINE_EPSILON);
                        let is_zero = f64::from(size) < COSINE_EPSILON;
                        let divided = |x: f32| (f64::from(x) / length) as f32;
                        [divided(scale), divided(error), if is_zero { divided(size) } else { 1.0 }]
                    }
                };
                chunk.scale.push(scale);
                chunk.error.push(error);
                chunk.size.push(size);
            }
            if let Some(center) = &self.center {
                chunk.add_signs(center);
            }
            row = end;
        }
        self.rows += part.rows();
    }

    /// Makes the signs of all rows, now and for what is appended.
    pub fn keep_signs(&mut self) {
        let mut sums = vec![0.0; self.dimension];
        for chunk in &self.chunks {
            let rows = chunk.values.chunks_exact(self.dimension);
            for (values, &scale) in rows.zip(&chunk.scale) {
                let values = values.iter().map(|&x| f64::from(f32::from(x) * scale));
                sums.iter_mut().zip(values).for_each(|(sum, x)| *sum += x);
            }
        }
        let rows = self.rows.max(1) as f64;
        let center: Vec<f32> = sums.iter().map(|sum| (sum / rows) as f32).collect();
        self.chunks.iter_mut().for_each(|chunk| chunk.add_signs(&center));
        self.center = Some(center);
    }

    /// What the signs are taken of: the distances from this one.
    pub fn center(&self) -> Option<&[f32]> {
        self.center.as_deref()
    }
}
