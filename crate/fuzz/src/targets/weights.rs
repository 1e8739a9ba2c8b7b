//! A weight file in pieces of random sizes, and what is kept of it in 8 bits.

use embervec_weights::{KeyTable, TensorReader, Values, WeightDtype, Weights};

use super::check_message;
use crate::random::Random;
use crate::weights::{encoder_tensors, small_config};

const FILE: &str = "model.safetensors";

pub(super) fn run(bytes: &[u8]) -> Result<usize, String> {
    let table = small_config().key_table();
    for dtype in [WeightDtype::Fp32, WeightDtype::Fp16, WeightDtype::Q8] {
        let mut random = Random::of(bytes);
        let known = read(bytes, &table, dtype, Some(bytes.len() as u64), &mut random);
        let unknown = read(bytes, &table, dtype, None, &mut random);
        if known.is_ok() != unknown.is_ok() {
            return Err(format!("{known:?} with the length, {unknown:?} without"));
        }
        let (weights, converted) = match (known, unknown) {
            (Ok((a, converted)), Ok((b, _))) => {
                compare("its length known or not", a, b)?;
                // It was moved out for the comparison.
                let (weights, _) = read(bytes, &table, dtype, None, &mut random)?;
                (weights, converted)
            }
            (a, b) => {
                for error in [a, b].iter().filter_map(|result| result.as_ref().err()) {
                    check_message(error, &[FILE])?;
                }
                continue;
            }
        };
        if converted.is_empty() {
            continue;
        }
        let read_back = read(&converted, &table, dtype, Some(converted.len() as u64), &mut random);
        let (again, none) = read_back.map_err(|error| format!("written, but not read: {error}"))?;
        if !none.is_empty() {
            return Err("what was converted is converted again".into());
        }
        compare("written and read", weights, again)?;
    }
    Ok(bytes.len())
}

/// Reads a file in pieces; gives its weights and what is kept in its place.
fn read(
    bytes: &[u8],
    table: &KeyTable,
    dtype: WeightDtype,
    file_len: Option<u64>,
    random: &mut Random,
) -> Result<(Weights, Vec<u8>), String> {
    let mut reader = TensorReader::new(FILE, table.clone(), dtype).of_length(file_len);
    let largest = 1 << random.below(16);
    let mut converted = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, others) = rest.split_at(random.below(largest + 1).min(rest.len()));
        reader.push(piece).map_err(|error| error.to_string())?;
        converted.extend(reader.take_converted());
        rest = others;
    }
    let weights = reader.finish().map_err(|error| error.to_string())?;
    Ok((weights, converted))
}

/// Bit by bit: a number may be none.
fn compare(what: &str, mut a: Weights, mut b: Weights) -> Result<(), String> {
    for (name, shape) in encoder_tensors(&small_config()) {
        if a.contains(&name) != b.contains(&name) {
            return Err(format!("{what}: one lacks {name}"));
        }
        if !a.contains(&name) {
            continue;
        }
        let is_same = match shape.len() {
            1 => same_tensor(a.take::<1>(&name), b.take::<1>(&name)),
            _ => same_tensor(a.take::<2>(&name), b.take::<2>(&name)),
        };
        if !is_same {
            return Err(format!("{what}: {name} differs"));
        }
    }
    Ok(())
}

type Taken<const D: usize> = embervec_weights::Result<([usize; D], Values)>;

fn same_tensor<const D: usize>(a: Taken<D>, b: Taken<D>) -> bool {
    let (Ok((a_shape, a)), Ok((b_shape, b))) = (a, b) else { return false };
    let same_values = match (&a, &b) {
        (Values::F32(a), Values::F32(b)) => {
            a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits()))
        }
        (Values::F16(a), Values::F16(b)) => {
            a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits()))
        }
        _ => a == b,
    };
    a_shape == b_shape && same_values
}
