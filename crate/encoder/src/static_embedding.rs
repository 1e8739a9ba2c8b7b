//! A text's vector without an encoder: the mean of its tokens' rows in a table.
//!
//! As sentence-transformers'
//! [`StaticEmbedding`](https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/sentence_transformer/modules/static_embedding.py#L29)
//! computes it, also of the files that model2vec writes: there several tokens may share a row, and each may have a factor.

use embervec_kernels::{RowQ8, dequantize_row};
use embervec_weights::{ChunkGroups, KeyTable, TensorReader, Values, WeightDtype, Weights};

use crate::{Error, PackedBatch, Result};

const TABLE: &str = "embedding.weight";
const MODEL2VEC_TABLE: &str = "embeddings";
const MAPPING: &str = "mapping";
const FACTORS: &str = "weights";

const GROUPS: ChunkGroups = ChunkGroups { whole: TABLE, parts: MODEL2VEC_TABLE };

/// A table of vectors, and which of its rows is a token's.
#[derive(Debug)]
pub struct StaticEmbedding {
    table: Table,
    rows: usize,
    size: usize,
    /// Each token's row; without, the one with the token's id.
    mapping: Option<Vec<u32>>,
    /// What each token's row is multiplied by.
    factors: Option<Vec<f32>>,
}

#[derive(Debug)]
enum Table {
    F32(Vec<f32>),
    Q8 { values: Vec<u8>, rows: Vec<RowQ8> },
}

/// Takes the weight file of a [`StaticEmbedding`].
///
/// ```text
/// reader(path), push its bytes, take(path, reader.finish())
/// finish
/// ```
#[derive(Debug)]
pub struct StaticLoader {
    table: KeyTable,
    dtype: WeightDtype,
    model: Option<StaticEmbedding>,
}

impl StaticLoader {
    /// For weights that are kept so.
    pub fn new(dtype: WeightDtype) -> Self {
        let mut table = KeyTable::new("");
        table.require_table_of(GROUPS, TABLE, MODEL2VEC_TABLE);
        table.optional_vector(MAPPING, MAPPING, true);
        table.optional_vector(FACTORS, FACTORS, false);
        Self { table, dtype, model: None }
    }

    /// Turns it into a packer; see [`KeyTable::pack`].
    pub fn pack(&mut self, table_bits: u32) {
        self.table.pack(table_bits, None);
    }

    /// A reader for the file `path`.
    pub fn reader(&self, path: &str) -> TensorReader {
        TensorReader::new(path, self.table.clone(), self.dtype)
    }

    /// Takes the weights of the file `path`.
    ///
    /// # Errors
    ///
    /// [`embervec_weights::Error::Tensor`] for tensors that do not fit together.
    pub fn take(&mut self, path: &str, weights: Weights) -> Result<()> {
        self.model = Some(StaticEmbedding::new(path, &self.table, weights)?);
        Ok(())
    }

    /// The model, once its file has been taken.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] while it is missing.
    pub fn finish(self) -> Result<StaticEmbedding> {
        self.model.ok_or_else(|| Error::InvalidInput("the model's weight file is missing".into()))
    }
}

impl StaticEmbedding {
    fn new(file: &str, table: &KeyTable, mut weights: Weights) -> Result<Self> {
        let is_whole = weights.contains(TABLE);
        table.chunk(&mut weights);
        let ([rows, size], values) = weights.take(MODEL2VEC_TABLE)?;
        let problem = |tensor: &str, problem: String| {
            let (file, tensor) = (file.into(), tensor.into());
            embervec_weights::Error::Tensor { file, tensor, problem }
        };
        if let Values::Q8 { rows: of, .. } = &values
            && of.len() != rows
        {
            let problem =
                problem(MODEL2VEC_TABLE, format!("has {rows} rows, but {} scales", of.len()));
            return Err(problem.into());
        }
        let mut vector = |name: &str| -> Result<Option<Vec<f32>>> {
            match weights.contains(name) && !is_whole {
                true => Ok(Some(weights.take_f32::<1>(name)?.1)),
                // Of these Python looks only beside model2vec's table.
                false => Ok(None),
            }
        };
        let mapping = vector(MAPPING)?;
        let factors = vector(FACTORS)?;
        let row = |(token, &row): (usize, &f32)| match row >= 0.0 && row < rows as f32 {
            true if row.fract() == 0.0 => Ok(row as u32),
            _ => Err(problem(
                MAPPING,
                format!("maps token {token} to {row}, but there are {rows} rows"),
            )),
        };
        let mapping = mapping.map(|mapping| mapping.iter().enumerate().map(row).collect());
        let mapping: Option<Vec<u32>> = mapping.transpose()?;
        let tokens = mapping.as_ref().map_or(rows, Vec::len);
        if let Some(factors) = factors.as_ref().filter(|factors| factors.len() != tokens) {
            let given = factors.len();
            return Err(problem(FACTORS, format!("has {given} values for {tokens} tokens")).into());
        }
        let table = match values {
            Values::F32(values) => Table::F32(values),
            Values::F16(values) => Table::F32(values.iter().map(|value| value.to_f32()).collect()),
            Values::Q8 { values, rows } => Table::Q8 { values, rows },
        };
        Ok(Self { table, rows, size, mapping, factors })
    }

    /// Length of a vector.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether a text's tokens are all in the table; else what is wrong with the text.
    ///
    /// # Errors
    ///
    /// A sentence's end, as of [`crate::EncoderSpec::check_text`].
    pub fn check_text(&self, input_ids: &[u32]) -> std::result::Result<(), String> {
        let tokens = self.mapping.as_ref().map_or(self.rows, Vec::len);
        match input_ids.iter().find(|&&id| id as usize >= tokens) {
            None => Ok(()),
            Some(id) => Err(format!("has the token id {id}, but the table has {tokens} tokens")),
        }
    }

    /// Each text's vector: the mean of its tokens' rows, and zeros where it has none.
    ///
    /// # Shapes
    ///
    /// Returns `[batch.len(), size]`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for ids outside the table.
    pub fn forward(&self, batch: &PackedBatch) -> Result<Vec<f32>> {
        let mut vectors = vec![0.0; batch.len() * self.size];
        let mut row = vec![0.0; self.size];
        for (text, vector) in batch.ranges().zip(vectors.chunks_exact_mut(self.size)) {
            let ids = &batch.input_ids()[text];
            self.check_text(ids)
                .map_err(|problem| Error::InvalidInput(format!("a text {problem}")))?;
            for &id in ids {
                self.read(id as usize, &mut row);
                vector.iter_mut().zip(&row).for_each(|(sum, x)| *sum += x);
            }
            let count = ids.len().max(1) as f32;
            vector.iter_mut().for_each(|x| *x /= count);
        }
        Ok(vectors)
    }

    fn read(&self, id: usize, out: &mut [f32]) {
        let row = self.mapping.as_ref().map_or(id, |mapping| mapping[id] as usize);
        let place = row * self.size..(row + 1) * self.size;
        match &self.table {
            Table::F32(values) => out.copy_from_slice(&values[place]),
            Table::Q8 { values, rows } => dequantize_row(&values[place], rows[row], out),
        }
        if let Some(factors) = &self.factors {
            out.iter_mut().for_each(|x| *x *= factors[id]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tensor of a file: its name, dtype, shape and bytes.
    type Tensor<'a> = (&'a str, &'a str, &'a [usize], Vec<u8>);

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn longs(values: &[i64]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn file(tensors: &[Tensor]) -> Vec<u8> {
        let (mut entries, mut data) = (Vec::new(), Vec::new());
        for (name, dtype, shape, bytes) in tensors {
            let begin = data.len();
            data.extend_from_slice(bytes);
            entries.push(format!(
                r#""{name}": {{"dtype": "{dtype}", "shape": {shape:?}, "data_offsets": [{begin}, {}]}}"#,
                data.len()
            ));
        }
        let header = format!("{{{}}}", entries.join(", "));
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes().chain(data));
        bytes
    }

    fn load(bytes: &[u8], dtype: WeightDtype) -> Result<StaticEmbedding> {
        let mut loader = StaticLoader::new(dtype);
        let mut reader = loader.reader("model.safetensors");
        reader.push(bytes)?;
        loader.take("model.safetensors", reader.finish()?)?;
        loader.finish()
    }

    fn vectors(model: &StaticEmbedding, texts: &[&[u32]]) -> Result<Vec<f32>> {
        let mut batch = PackedBatch::new();
        texts.iter().try_for_each(|ids| batch.push(ids, &vec![0; ids.len()]))?;
        model.forward(&batch)
    }

    fn table(name: &str) -> Tensor<'_> {
        (name, "F32", &[3, 2], floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 7.0]))
    }

    #[test]
    fn a_vector_is_the_mean_of_its_tokens_rows() {
        for name in [TABLE, MODEL2VEC_TABLE] {
            let model = load(&file(&[table(name)]), WeightDtype::Fp32).expect(name);
            let found = vectors(&model, &[&[0, 2], &[], &[1]]).expect(name);
            assert_eq!(found, [3.0, 4.5, 0.0, 0.0, 3.0, 4.0]);
            assert!(vectors(&model, &[&[3]]).is_err());
        }
    }

    #[test]
    fn tokens_may_share_rows_and_have_factors() {
        let mapping = (MAPPING, "I64", &[4][..], longs(&[2, 0, 0, 1]));
        let factors = (FACTORS, "F32", &[4][..], floats(&[1.0, 2.0, 0.5, 0.0]));
        let of = |name: &'static str| file(&[table(name), mapping.clone(), factors.clone()]);
        let model = load(&of(MODEL2VEC_TABLE), WeightDtype::Fp32).expect("a model");
        let found = vectors(&model, &[&[0], &[1], &[2, 3]]).expect("vectors");
        assert_eq!(found, [5.0, 7.0, 2.0, 4.0, 0.25, 0.5]);
        // Python does not look at them beside a table of its own.
        let model = load(&of(TABLE), WeightDtype::Fp32).expect("a model");
        assert_eq!(vectors(&model, &[&[0]]).expect("a vector"), [1.0, 2.0]);
    }

    #[test]
    fn what_is_stored_in_8_bits_is_read_again() {
        let mapping = (MAPPING, "I32", &[2][..], [2i32, 0].map(i32::to_le_bytes).concat());
        let bytes = file(&[table(MODEL2VEC_TABLE), mapping]);
        let loader = StaticLoader::new(WeightDtype::Q8);
        let mut reader = loader.reader("model.safetensors");
        reader.push(&bytes).expect("weights");
        let stored = reader.take_converted();
        let [first, again] = [&bytes, &stored].map(|bytes| {
            let model = load(bytes, WeightDtype::Q8).expect("a model");
            vectors(&model, &[&[0, 1]]).expect("a vector")
        });
        assert_eq!(first, again);
        let is_near = (first[0] - 3.0).abs() < 0.02 && (first[1] - 4.5).abs() < 0.02;
        assert!(is_near, "{first:?}");
    }

    #[test]
    fn tensors_that_do_not_fit_are_refused_by_name() {
        let mapping = |rows: &[i64]| (MAPPING, "I64", &[2][..], longs(rows));
        let scales = |rows: usize| vec![0; 4 * rows];
        let own = MODEL2VEC_TABLE;
        for (tensors, name) in [
            (vec![], TABLE),
            (vec![table(TABLE), table(own)], "stands for the same"),
            (vec![(own, "F32", &[6][..], floats(&[0.0; 6]))], own),
            (vec![(own, "F32", &[0, 2][..], vec![])], own),
            (vec![(own, "F32", &[2, 0][..], vec![])], own),
            (vec![(own, "I8", &[1, 1][..], vec![1])], own),
            (vec![(own, "F32", &[1, 1][..], floats(&[f32::NAN]))], own),
            (vec![table(own), mapping(&[0, 3])], MAPPING),
            (vec![table(own), mapping(&[0, -1])], MAPPING),
            (vec![table(own), mapping(&[i64::MAX, i64::MIN])], MAPPING),
            (vec![table(own), (MAPPING, "F32", &[1][..], floats(&[0.5]))], MAPPING),
            (vec![table(own), (MAPPING, "F64", &[1][..], vec![0; 8])], MAPPING),
            (vec![table(own), (FACTORS, "F32", &[2][..], floats(&[1.0; 2]))], FACTORS),
            (
                vec![
                    (own, "U8", &[2, 4][..], vec![0; 8]),
                    ("embeddings_scale", "F32", &[1][..], scales(1)),
                    ("embeddings_zero_point", "U8", &[2][..], vec![0; 2]),
                ],
                "scales",
            ),
        ] {
            let error = load(&file(&tensors), WeightDtype::Q8).map(drop).expect_err(name);
            assert!(error.to_string().contains(name), "{error}, not {name}");
        }
    }
}
