//! Texts as the encoder takes them: token ids without padding.

use std::ops::Range;

use crate::spec::Positions;
use crate::{EncoderSpec, Error, Result};

/// The tokens of several texts, one text after the other.
///
/// There is no padding and so no attention mask: [`PackedBatch::ranges`] says where each text
/// begins and ends, and attention never crosses these borders. Padding would cost time and, worse,
/// let a text's vector depend on its neighbours.
#[derive(Clone, Debug, Default)]
pub struct PackedBatch {
    input_ids: Vec<u32>,
    token_type_ids: Vec<u32>,
    /// Set by [`PackedBatch::of_model`].
    position_ids: Vec<u32>,
    /// Where each text ends (the prefix sums that flash attention calls `cu_seqlens`, without the
    /// leading 0).
    ends: Vec<usize>,
}

impl PackedBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a text.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] when the two lists differ in length.
    pub fn push(&mut self, input_ids: &[u32], token_type_ids: &[u32]) -> Result<()> {
        if input_ids.len() != token_type_ids.len() {
            return Err(Error::InvalidInput(format!(
                "a text has {} input_ids but {} token_type_ids",
                input_ids.len(),
                token_type_ids.len()
            )));
        }
        self.input_ids.extend_from_slice(input_ids);
        self.token_type_ids.extend_from_slice(token_type_ids);
        self.ends.push(self.input_ids.len());
        Ok(())
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it has no texts.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Number of tokens of all texts together.
    pub fn token_count(&self) -> usize {
        self.input_ids.len()
    }

    /// The tokens of all texts.
    pub fn input_ids(&self) -> &[u32] {
        &self.input_ids
    }

    /// The segment (0 or 1) of each token.
    pub fn token_type_ids(&self) -> &[u32] {
        &self.token_type_ids
    }

    /// The position of each token within its own text, in a batch that was made for a model.
    #[cfg(any(feature = "cpu", test))]
    pub(crate) fn position_ids(&self) -> &[u32] {
        &self.position_ids
    }

    /// The same batch for a model's tables: with positions, and with token type 0 if the model has no token types.
    pub(crate) fn of_model(&self, positions: Positions, has_token_types: bool) -> Self {
        let ids = |text: Range<usize>| positions.ids(&self.input_ids[text]);
        let mut batch = self.clone();
        batch.position_ids = self.ranges().flat_map(ids).collect();
        if !has_token_types {
            batch.token_type_ids.fill(0);
        }
        batch
    }

    /// Each text's range of rows.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + Clone + '_ {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| start..end)
    }

    /// For every token its id, token type and position (16 bits each), and first and last-plus-one row of its text; then
    /// where each text ends.
    #[cfg(feature = "webgpu")]
    pub(crate) fn words(&self) -> Vec<u32> {
        let mut words = Vec::with_capacity(4 * self.token_count() + self.len());
        for text in self.ranges() {
            for row in text.clone() {
                let [start, end] = [text.start, text.end].map(|row| row as u32);
                let place = self.token_type_ids[row] << 16 | self.position_ids[row];
                words.extend([self.input_ids[row], place, start, end]);
            }
        }
        words.extend(self.ends.iter().map(|&end| end as u32));
        words
    }

    /// Refuses what would read outside the model's tables.
    pub(crate) fn check(&self, spec: &EncoderSpec) -> Result<()> {
        self.ranges().try_for_each(|text| {
            let (ids, types) = (&self.input_ids[text.clone()], &self.token_type_ids[text]);
            spec.check_text(ids, types)
                .map_err(|problem| Error::InvalidInput(format!("a text {problem}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_lie_one_after_the_other() {
        let mut batch = PackedBatch::new();
        batch.push(&[101, 7, 102], &[0, 0, 0]).expect("valid");
        batch.push(&[101, 102], &[0, 0]).expect("valid");
        assert_eq!(batch.input_ids(), [101, 7, 102, 101, 102]);
        let positions = |padding| {
            let batch = batch.of_model(Positions { padding, ..Positions::table(8) }, true);
            batch.position_ids().to_vec()
        };
        assert_eq!(positions(None), [0, 1, 2, 0, 1]);
        assert_eq!(positions(Some(7)), [8, 7, 9, 8, 9]);
        assert_eq!(batch.ranges().collect::<Vec<_>>(), [0..3, 3..5]);
        assert_eq!(batch.len(), 2);
    }

    #[test]
    fn a_model_without_token_types_is_not_told_of_them() {
        let mut batch = PackedBatch::new();
        batch.push(&[101, 102], &[0, 1]).expect("valid");
        let positions = Positions::table(8);
        assert_eq!(batch.of_model(positions, true).token_type_ids(), [0, 1]);
        assert_eq!(batch.of_model(positions, false).token_type_ids(), [0, 0]);
    }

    #[test]
    fn a_text_needs_tokens_and_each_its_type() {
        let mut batch = PackedBatch::new();
        batch.push(&[], &[]).expect("no token, and no type");
        let spec =
            EncoderSpec::from_json("config.json", br#"{"model_type": "bert"}"#).expect("BERT");
        assert!(matches!(batch.check(&spec), Err(Error::InvalidInput(_))));
        assert!(matches!(PackedBatch::new().push(&[1], &[]), Err(Error::InvalidInput(_))));
    }
}
