//! A query against many stored rows: 8-bit rows with a 16-bit query, and rows of one bit a dimension.

use crate::simd::{F32x4, I16x8, I32x4, LANES};

/// Rows that share the loads of the query. Measured in Chromium at 384 dimensions: see `docs/BENCHMARKS.md`.
const MR: usize = 4;

/// Values of a row that are taken at once.
const BLOCK: usize = 16;

/// Planes of a query for [`bit_dot`]: its values are whole numbers of -2³ to 2³ - 1 in two's complement.
pub const QUERY_BITS: usize = 4;

/// The product of each row with the query, in exact integers.
///
/// # Shapes
///
/// `rows`: `[out, dimension]`, `query`: `[dimension]`
///
/// # Panics
///
/// When the lengths do not fit each other. The caller sees to it that no sum leaves 32 bits.
#[inline(never)]
pub fn i8_dot(rows: &[i8], query: &[i16], out: &mut [i32]) {
    let dimension = query.len();
    assert_eq!(rows.len(), out.len() * dimension, "rows and out");
    let (tiles, rest) = out.as_chunks_mut::<MR>();
    let (tiled, single) = rows.split_at(tiles.len() * MR * dimension);
    for (tile, rows) in tiles.iter_mut().zip(tiled.chunks_exact((MR * dimension).max(1))) {
        *tile = i8_dot_tile::<MR>(rows, query);
    }
    for (out, row) in rest.iter_mut().zip(single.chunks_exact(dimension.max(1))) {
        [*out] = i8_dot_tile::<1>(row, query);
    }
}

#[inline(always)]
fn i8_dot_tile<const ROWS: usize>(rows: &[i8], query: &[i16]) -> [i32; ROWS] {
    let dimension = query.len();
    let (query, query_rest) = query.as_chunks::<BLOCK>();
    let rows: [&[i8]; ROWS] = std::array::from_fn(|r| &rows[r * dimension..][..dimension]);
    let blocks = rows.map(|row| &row.as_chunks::<BLOCK>().0[..query.len()]);
    let mut sums = [I32x4::splat(0); ROWS];
    for i in 0..query.len() {
        let query = I16x8::load_pair(&query[i]);
        for (sum, blocks) in sums.iter_mut().zip(&blocks) {
            let values = I16x8::load_i8_pair(&blocks[i]);
            *sum = sum.add(values[0].dot(query[0])).add(values[1].dot(query[1]));
        }
    }
    std::array::from_fn(|r| {
        let rest = &rows[r][dimension - query_rest.len()..];
        let products = rest.iter().zip(query_rest).map(|(&x, &y)| i32::from(x) * i32::from(y));
        products.fold(sums[r].sum(), i32::wrapping_add)
    })
}

/// What is stored of each row beside its integers. A row's key is `dot · scale · x - …`; see [`Reach::of`].
#[derive(Clone, Copy, Debug)]
pub struct RowFactors<'a> {
    /// Distance of two neighbouring values.
    pub scale: &'a [f32],
    /// How far the row may be from its integers.
    pub error: &'a [f32],
    /// The row's length.
    pub size: &'a [f32],
}

/// The largest key that a row can have: `dot · scale · self.scale + error · self.error + size · (self.size + size · self.square)`.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// Of the dot product.
    pub scale: f32,
    /// Of the row's error.
    pub error: f32,
    /// Of the row's length.
    pub size: f32,
    /// Of the square of the row's length.
    pub square: f32,
}

impl Reach {
    /// The largest key of one row.
    #[inline(always)]
    pub fn of(&self, dot: i32, scale: f32, error: f32, size: f32) -> f32 {
        let bound = error * self.error + size * (self.size + size * self.square);
        dot as f32 * (scale * self.scale) + bound
    }
}

/// Which of at most 64 rows reach beyond the threshold: the first row is the lowest bit.
///
/// # Panics
///
/// When the lengths differ.
#[inline(never)]
pub fn above(dots: &[i32], rows: RowFactors<'_>, reach: &Reach, threshold: f32) -> u64 {
    let count = dots.len();
    assert!(count <= 64, "{count} rows");
    let RowFactors { scale, error, size } = rows;
    assert!([scale.len(), error.len(), size.len()] == [count; 3], "rows and their factors");
    let (vectors, rest) = dots.as_chunks::<LANES>();
    let mut bits = 0;
    let (scales, errors, sizes) =
        (scale.as_chunks::<LANES>().0, error.as_chunks::<LANES>().0, size.as_chunks::<LANES>().0);
    for (i, (((dots, scale), error), size)) in
        vectors.iter().zip(scales).zip(errors).zip(sizes).enumerate()
    {
        let size = F32x4::load(size);
        let square = size.mul(F32x4::splat(reach.square));
        let bound = F32x4::load(error)
            .mul(F32x4::splat(reach.error))
            .add(size.mul(F32x4::splat(reach.size).add(square)));
        let scale = F32x4::load(scale).mul(F32x4::splat(reach.scale));
        let key = I32x4::load(dots).to_f32().mul(scale).add(bound);
        bits |= u64::from(key.greater(F32x4::splat(threshold))) << (i * LANES);
    }
    for (i, &dot) in (count - rest.len()..).zip(rest) {
        let is_above = reach.of(dot, scale[i], error[i], size[i]) > threshold;
        bits |= u64::from(is_above) << i;
    }
    bits
}

/// Words of 64 bits in a row of one bit a dimension.
pub fn bit_words(dimension: usize) -> usize {
    dimension.div_ceil(64)
}

/// What is stored beside the signs of the difference `d` of a row and a center.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SignRow {
    /// `|d|² / Σ|d|`: the product of a vector with the signs of `d` times this estimates that with `d` (RaBitQ,
    /// <https://arxiv.org/abs/2405.12497>).
    pub factor: f32,
    /// The product of `d` and the center.
    pub along: f32,
}

/// Which values of the difference of a row and `center` are negative, one bit each; what is behind the last one is 0.
///
/// # Panics
///
/// When the lengths do not fit each other.
#[inline(never)]
pub fn sign_bits(row: &[i8], scale: f32, center: &[f32], out: &mut [u64]) -> SignRow {
    assert_eq!(center.len(), row.len(), "row and center");
    assert_eq!(out.len(), bit_words(row.len()), "row and out");
    let (mut squares, mut sizes, mut along) = (0.0, 0.0, 0.0);
    for ((row, center), word) in row.chunks(64).zip(center.chunks(64)).zip(out) {
        *word = 0;
        for (i, (&x, &center)) in row.iter().zip(center).enumerate() {
            let difference = f32::from(x) * scale - center;
            squares += difference * difference;
            sizes += difference.abs();
            along += difference * center;
            *word |= u64::from(difference < 0.0) << i;
        }
    }
    SignRow { factor: if sizes > 0.0 { squares / sizes } else { 0.0 }, along }
}

/// The planes of a query for [`bit_dot`]: of the value `i` the bit `b` is bit `i % 64` of word `i / 64 · QUERY_BITS + b`.
#[inline(never)]
pub fn bit_planes(query: &[i8]) -> Vec<u64> {
    let mut planes = vec![0; bit_words(query.len()) * QUERY_BITS];
    for (i, &x) in query.iter().enumerate() {
        for (b, plane) in planes[i / 64 * QUERY_BITS..][..QUERY_BITS].iter_mut().enumerate() {
            *plane |= u64::from(x as u8 >> b & 1) << (i % 64);
        }
    }
    planes
}

/// For each row the sum of the query's values where the row's bit is set.
///
/// # Shapes
///
/// `rows`: `[out, words]`, `planes`: `[words, QUERY_BITS]`
///
/// # Panics
///
/// When the lengths do not fit each other.
#[inline(never)]
pub fn bit_dot(rows: &[u64], planes: &[u64], out: &mut [i32]) {
    let (planes, _) = planes.as_chunks::<QUERY_BITS>();
    assert_eq!(rows.len(), out.len() * planes.len(), "rows and out");
    for (out, row) in out.iter_mut().zip(rows.chunks_exact(planes.len().max(1))) {
        let mut sums = [0; QUERY_BITS];
        for (&word, planes) in row.iter().zip(planes) {
            for (sum, plane) in sums.iter_mut().zip(planes) {
                *sum += (word & plane).count_ones() as i32;
            }
        }
        let [ones, twos, fours, sign] = sums;
        *out = ones + 2 * twos + 4 * fours - 8 * sign;
    }
}
