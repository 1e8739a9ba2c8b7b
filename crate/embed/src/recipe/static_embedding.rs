//! `StaticEmbedding`: a tokenizer.json, and a table that its weight file alone describes.
//!
//! As [`StaticEmbedding.load`] reads it: the tokenizer of that file as it is, without special tokens.
//!
//! [`StaticEmbedding.load`]: https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/sentence_transformer/modules/static_embedding.py#L142

use embervec_tokenizer::Tokenizer;

use super::transformer::Limits;
use crate::Result;
use crate::folder::Folder;

/// The tokenizer of a folder, and how many tokens a text may have: all, unless the file itself cuts them.
pub(crate) fn read(folder: &Folder, path: &str) -> Result<(Tokenizer, Limits)> {
    let tokenizer = Tokenizer::of_tokenizer_json(&folder.files(path))?;
    let limits = Limits::of_all(tokenizer.limit().clone());
    Ok((tokenizer, limits))
}
