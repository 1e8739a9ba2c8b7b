//! Unigram behind Hugging Face `tokenizers`, in a twentieth of the memory.
//!
//! `tokenizers` keeps every piece as two strings, and all their bytes as a trie of hash maps: XLM-RoBERTa's 250,002 pieces
//! take 240 MB of a worker's memory. Here the pieces are one string and their order. The last piece that does not come
//! behind a text in that order begins with every piece that the text begins with, so one search finds all of them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use tokenizers::tokenizer::{Result, Token};

use crate::limits::{MAX_PIECE_BYTES, MAX_PREFIX_BYTES, MAX_VOCABULARY};

/// The pieces with the best sum of scores (Kudo, <https://arxiv.org/abs/1804.10959>), as
/// [`tokenizers::models::unigram::Unigram`].
#[derive(Clone)]
pub(crate) struct Unigram {
    pieces: Pieces,
    /// The ids in the order of the pieces' bytes; what stands at one place is a rank.
    order: Vec<u32>,
    /// By rank, the first bytes of the piece: nearly every search is decided by them.
    heads: Vec<u64>,
    /// Every `BLOCK`th of `heads`, which stay in a processor's nearest cache.
    top: Vec<u64>,
    /// By rank, the rank of the longest other piece that the piece begins with, or `NONE`.
    parents: Vec<u32>,
    unk_id: Option<u32>,
    unk_score: f64,
    byte_fallback: bool,
}

/// Pieces by id, with their scores.
#[derive(Clone, Default)]
pub(crate) struct Pieces {
    /// All pieces, one after the other.
    text: String,
    /// Where each of them ends.
    ends: Vec<u32>,
    scores: Vec<f64>,
}

const NONE: u32 = u32::MAX;

impl Pieces {
    /// The number of the first piece of this text.
    pub fn position(&self, text: &str) -> Option<usize> {
        (0..self.len() as u32).position(|id| self.piece(id) == text.as_bytes())
    }
}

/// Heads between two of the top: 8 lines of a cache. Of 250,002 pieces the top has 31 kB.
const BLOCK: usize = 64;

/// What an unknown character costs beyond the worst piece: `K_UNK_PENALTY` of the library.
const UNK_PENALTY: f64 = 10.0;

/// The best way to a place in a text.
#[derive(Clone, Copy)]
struct Best {
    score: f64,
    start: u32,
    id: u32,
}

impl Pieces {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn get(&self, id: usize) -> Option<&str> {
        let end = *self.ends.get(id)? as usize;
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Some(&self.text[start..end])
    }

    fn piece(&self, id: u32) -> &[u8] {
        let (id, bytes) = (id as usize, self.text.as_bytes());
        let start = if id == 0 { 0 } else { self.ends[id - 1] as usize };
        &bytes[start..self.ends[id] as usize]
    }

    /// Else what is wrong with the piece.
    fn push(&mut self, piece: &str, score: f64) -> std::result::Result<(), String> {
        let id = self.len();
        if id == MAX_VOCABULARY {
            return Err(format!("has more than {MAX_VOCABULARY} pieces"));
        }
        if piece.len() > MAX_PIECE_BYTES {
            let len = piece.len();
            return Err(format!("piece {id} has {len} bytes; the maximum is {MAX_PIECE_BYTES}"));
        }
        if piece.is_empty() {
            return Err(format!("piece {id} is empty"));
        }
        if !score.is_finite() {
            return Err(format!("piece {id}, \"{piece}\", has a score that is not finite"));
        }
        self.text.push_str(piece);
        // At most 2^22 pieces of 2^8 bytes.
        self.ends.push(self.text.len() as u32);
        self.scores.push(score);
        Ok(())
    }
}

/// From a list of pieces with their scores.
impl<'de> Deserialize<'de> for Pieces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Scored<'a>(#[serde(borrow)] Cow<'a, str>, f64);
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Pieces;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list of pieces with their scores")
            }

            fn visit_seq<S: SeqAccess<'de>>(
                self,
                mut list: S,
            ) -> std::result::Result<Pieces, S::Error> {
                let mut pieces = Pieces::default();
                while let Some(Scored(piece, score)) = list.next_element()? {
                    pieces.push(&piece, score).map_err(S::Error::custom)?;
                }
                pieces.text.shrink_to_fit();
                pieces.ends.shrink_to_fit();
                pieces.scores.shrink_to_fit();
                Ok(pieces)
            }
        }
        deserializer.deserialize_seq(List)
    }
}

impl Unigram {
    /// Else what is wrong with the pieces.
    pub fn new(
        pieces: Pieces,
        unk_id: Option<usize>,
        byte_fallback: bool,
    ) -> std::result::Result<Self, String> {
        if let Some(id) = unk_id
            && id >= pieces.len()
        {
            return Err(format!("its unk_id is {id}, but it has {} pieces", pieces.len()));
        }
        let mut order: Vec<u32> = (0..pieces.len() as u32).collect();
        order.sort_unstable_by_key(|&id| (head(pieces.piece(id)), pieces.piece(id)));
        let heads: Vec<u64> = order.iter().map(|&id| head(pieces.piece(id))).collect();
        let parents = parents(&pieces, &order)?;
        let least = pieces.scores.iter().copied().fold(f64::INFINITY, f64::min);
        Ok(Self {
            top: heads.iter().copied().step_by(BLOCK).collect(),
            order,
            heads,
            parents,
            unk_id: unk_id.map(|id| id as u32),
            unk_score: least - UNK_PENALTY,
            byte_fallback,
            pieces,
        })
    }

    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    pub fn piece(&self, id: u32) -> Option<&str> {
        self.pieces.get(id as usize)
    }

    pub fn id(&self, piece: &str) -> Option<u32> {
        let id = self.order[self.rank(piece.as_bytes())? as usize];
        (self.pieces.piece(id) == piece.as_bytes()).then_some(id)
    }

    pub fn tokens(&self) -> HashMap<String, u32> {
        let ids = 0..self.len() as u32;
        ids.filter_map(|id| Some((self.piece(id)?.to_owned(), id))).collect()
    }

    /// The rank of the last piece that is no greater than `text`.
    fn rank(&self, text: &[u8]) -> Option<u32> {
        let head = head(text);
        let block = self.top.partition_point(|&first| first < head).saturating_sub(1) * BLOCK;
        let until = self.heads.len().min(block + BLOCK);
        let mut rank = block + self.heads[block..until].partition_point(|&first| first < head);
        if self.heads.get(rank) == Some(&head) {
            let same = self.heads[rank..].partition_point(|&first| first == head);
            let order = &self.order[rank..rank + same];
            rank += order.partition_point(|&id| self.pieces.piece(id) <= text);
        }
        rank.checked_sub(1).map(|rank| rank as u32)
    }

    /// The pieces that `text` begins with, longest first: id and bytes.
    fn beginnings<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (u32, usize)> + 'a {
        let mut rank = self.rank(text).unwrap_or(NONE);
        let common = match self.order.get(rank as usize) {
            Some(&id) => self.pieces.piece(id).iter().zip(text).take_while(|(a, b)| a == b).count(),
            None => 0,
        };
        std::iter::from_fn(move || {
            loop {
                let &id = self.order.get(rank as usize)?;
                rank = self.parents[rank as usize];
                let len = self.pieces.piece(id).len();
                if len <= common {
                    return Some((id, len));
                }
            }
        })
    }

    pub fn tokenize(&self, sentence: &str) -> Result<Vec<Token>> {
        let (bytes, missing) = (sentence.as_bytes(), "the model has no unknown token");
        u32::try_from(bytes.len()).map_err(|_| "it has a word of 4 GiB or more")?;
        // Of places that nothing has led to yet, the start is `NONE`.
        let mut best = vec![Best { score: 0.0, start: NONE, id: 0 }; bytes.len() + 1];
        for (start, character) in sentence.char_indices() {
            let here = best[start].score;
            let mut reach = |len: usize, id: Option<u32>, score: f64| {
                let there = &mut best[start + len];
                // Of two ways that are as good, the one with the longer last piece.
                if there.start == NONE || here + score > there.score {
                    let id = id.ok_or(missing)?;
                    *there = Best { score: here + score, start: start as u32, id };
                }
                Ok::<_, tokenizers::Error>(())
            };
            let mut is_known = false;
            for (id, len) in self.beginnings(&bytes[start..]) {
                is_known |= len == character.len_utf8();
                reach(len, Some(id), self.pieces.scores[id as usize])?;
            }
            if !is_known {
                reach(character.len_utf8(), self.unk_id, self.unk_score)?;
            }
        }
        let mut tokens = Vec::new();
        let mut end = bytes.len();
        while end > 0 {
            let Best { id, mut start, .. } = best[end];
            if Some(id) != self.unk_id {
                let text = &sentence[start as usize..end];
                tokens.push(Token::new(id, text.to_owned(), (start as usize, end)));
            } else {
                // Unknown characters beside each other are one token.
                while start > 0 && Some(best[start as usize].id) == self.unk_id {
                    start = best[start as usize].start;
                }
                self.push_unknown(sentence, (start as usize, end), id, &mut tokens);
            }
            end = start as usize;
        }
        tokens.reverse();
        Ok(tokens)
    }

    /// Backwards.
    fn push_unknown(
        &self,
        sentence: &str,
        offsets: (usize, usize),
        unk_id: u32,
        tokens: &mut Vec<Token>,
    ) {
        let text = &sentence[offsets.0..offsets.1];
        let known = self.id(text);
        if known.is_none() && self.byte_fallback {
            let before = tokens.len();
            for byte in text.bytes().rev() {
                let piece = format!("<0x{byte:02X}>");
                let Some(id) = self.id(&piece) else {
                    tokens.truncate(before);
                    break;
                };
                tokens.push(Token::new(id, piece, offsets));
            }
            if tokens.len() > before {
                return;
            }
        }
        tokens.push(Token::new(known.unwrap_or(unk_id), text.to_owned(), offsets));
    }
}

/// The first 8 bytes, in an order that never contradicts that of the whole.
fn head(text: &[u8]) -> u64 {
    match text.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => text.iter().rev().fold(0, |head, &byte| head >> 8 | u64::from(byte) << 56),
    }
}

/// See [`Unigram::parents`].
fn parents(pieces: &Pieces, order: &[u32]) -> std::result::Result<Vec<u32>, String> {
    let mut parents = Vec::with_capacity(order.len());
    // Ranks of pieces that are each the beginning of the next one, and the bytes of all of them.
    let (mut chain, mut bytes, mut most) = (Vec::<u32>::new(), 0, 0);
    for (rank, &id) in order.iter().enumerate() {
        let piece = pieces.piece(id);
        let before = |rank: u32| pieces.piece(order[rank as usize]);
        while let Some(last) = chain.pop_if(|last| !piece.starts_with(before(*last))) {
            bytes -= before(last).len();
        }
        if let Some(&last) = chain.last()
            && before(last) == piece
        {
            let (first, piece) = (order[last as usize], String::from_utf8_lossy(piece));
            let (first, second) = (first.min(id), first.max(id));
            return Err(format!("pieces {first} and {second} are both \"{piece}\""));
        }
        parents.push(chain.last().copied().unwrap_or(NONE));
        chain.push(rank as u32);
        bytes += piece.len();
        most = bytes.max(most);
    }
    if most > MAX_PREFIX_BYTES {
        return Err(format!(
            "has pieces that are prefixes of each other, with {most} bytes in all; the maximum is {MAX_PREFIX_BYTES}"
        ));
    }
    Ok(parents)
}

impl fmt::Debug for Unigram {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Unigram({} pieces)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::models::unigram::Unigram as Theirs;
    use tokenizers::tokenizer::Model as _;

    use super::*;

    type Vocab = Vec<(String, f64)>;

    fn ours(
        vocab: &[(String, f64)],
        unk_id: Option<usize>,
        byte_fallback: bool,
    ) -> std::result::Result<Unigram, String> {
        let mut pieces = Pieces::default();
        vocab.iter().try_for_each(|(piece, score)| pieces.push(piece, *score))?;
        Unigram::new(pieces, unk_id, byte_fallback)
    }

    /// The same numbers every time.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) as usize % end
        }

        fn word(&mut self, alphabet: &[char], longest: usize) -> String {
            (0..=self.below(longest)).map(|_| alphabet[self.below(alphabet.len())]).collect()
        }
    }

    fn agree(ours: &Unigram, theirs: &Theirs, text: &str) {
        let told = |tokens: Result<Vec<Token>>| tokens.map_err(drop);
        assert_eq!(told(ours.tokenize(text)), told(theirs.tokenize(text)), "{text:?}");
    }

    #[test]
    fn words_are_cut_as_by_the_library() {
        let mut random = Random(7);
        // Some without a piece, some of which one begins with the bytes of another, one with a 0 in it.
        let alphabet: Vec<char> = "aaabbb▁é漢😀\0ä".chars().collect();
        // Equal sums, and scores that a sum in another order would round differently.
        let scores = [-1.0, -1.0, -2.0, -0.1, -0.3, 5.5, 0.0, 100.0, -1e-9, -13.0];
        let mut tokens = 0;
        for round in 0..150 {
            let mut vocab: Vocab = vec![("<unk>".into(), scores[random.below(scores.len())])];
            let letters = &alphabet[..3 + random.below(alphabet.len() - 2)];
            for _ in 0..random.below(200) {
                let piece = random.word(letters, 11);
                if vocab.iter().all(|(other, _)| *other != piece) {
                    vocab.push((piece, scores[random.below(scores.len())]));
                }
            }
            // All bytes of "é" and "ä", but not of the others.
            for byte in [0xC3, 0xA9, 0xA4] {
                vocab.push((format!("<0x{byte:02X}>"), -20.0));
            }
            let unk_id = match random.below(4) {
                0 => None,
                1 => Some(random.below(vocab.len())),
                _ => Some(0),
            };
            let byte_fallback = round % 2 == 1;
            let theirs = Theirs::from(vocab.clone(), unk_id, byte_fallback).expect("valid");
            let ours = ours(&vocab, unk_id, byte_fallback).expect("valid");
            for _ in 0..100 {
                let mut text = random.word(&alphabet, 40);
                if random.below(4) == 0 {
                    text.push_str("<unk>éäé<0xC3>");
                }
                agree(&ours, &theirs, &text);
                tokens += ours.tokenize(&text).map_or(0, |tokens| tokens.len());
            }
            agree(&ours, &theirs, "");
            assert_eq!(ours.tokens(), theirs.get_vocab());
            for id in 0..vocab.len() as u32 + 2 {
                assert_eq!(ours.piece(id), theirs.id_to_token(id).as_deref(), "{id}");
            }
            for text in ["", "a", "ab", "<unk>", "zebra", "漢漢"] {
                assert_eq!(ours.id(text), theirs.token_to_id(text), "{text}");
            }
        }
        assert!(tokens > 50_000, "{tokens}");
    }

    #[test]
    fn pieces_are_found_in_every_block() {
        // Many that begin with the same 8 bytes, and lengths on both sides of 8.
        let mut random = Random(3);
        let mut vocab: Vocab = vec![("?".into(), -9.0)];
        let mut seen = std::collections::HashSet::new();
        while vocab.len() < 20 * BLOCK + 1 {
            let (beginning, end) = (random.below(3), random.word(&['a', 'b', 'c', 'é'], 9));
            let piece = format!("{}{end}", ["", "sequence", "sequenc"][beginning]);
            if seen.insert(piece.clone()) {
                vocab.push((piece, -1.0 - random.below(1000) as f64 / 7.0));
            }
        }
        let theirs = Theirs::from(vocab.clone(), Some(0), false).expect("valid");
        let ours = ours(&vocab, Some(0), false).expect("valid");
        for (id, (piece, _)) in vocab.iter().enumerate() {
            assert_eq!(ours.id(piece), Some(id as u32), "{piece}");
        }
        for _ in 0..3000 {
            let text: String =
                (0..5).map(|_| vocab[random.below(vocab.len())].0.as_str()).collect();
            agree(&ours, &theirs, &text);
        }
    }

    #[test]
    fn what_cannot_be_a_piece_is_refused_by_name() {
        let scored = |pieces: &[&str]| {
            pieces.iter().map(|&piece| (piece.to_owned(), -1.0)).collect::<Vocab>()
        };
        let problem = |vocab: &[(String, f64)], unk_id| {
            ours(vocab, unk_id, false).expect_err("must be refused")
        };
        assert!(problem(&scored(&["a", ""]), None).contains("piece 1 is empty"));
        let twice = problem(&scored(&["x", "b", "a", "b"]), None);
        assert_eq!(twice, "pieces 1 and 3 are both \"b\"");
        assert!(problem(&scored(&["a"]), Some(1)).contains("unk_id is 1"));
        assert!(problem(&[("a".into(), f64::NAN)], None).contains("not finite"));
        assert!(problem(&scored(&[&"a".repeat(257)]), None).contains("257 bytes"));
        ours(&scored(&[&"a".repeat(256)]), None, false).expect("short");
    }

    #[test]
    fn pieces_that_cost_too_much_at_every_place_of_a_text_are_refused() {
        let unigram = |lengths: std::ops::RangeInclusive<usize>| {
            let vocab: Vocab = lengths.map(|length| ("a".repeat(length), -1.0)).collect();
            ours(&vocab, Some(0), false)
        };
        // 63 · 64 / 2 = 2016.
        let most = unigram(1..=63).expect("few");
        unigram(1..=64).expect_err("many");
        // At every place each of them.
        let started = std::time::Instant::now();
        most.tokenize(&"a".repeat(100_000)).expect("tokens");
        assert!(started.elapsed().as_secs() < 10);
    }

    #[test]
    fn lists_that_are_no_pieces_are_refused() {
        let read = |json: &str| serde_json::from_str::<Pieces>(json).map(|pieces| pieces.len());
        assert_eq!(read(r#"[["a", -1.5], ["\u00e9\n", 0], ["b", -3]]"#).expect("valid"), 3);
        for json in
            [r#"{"a": 1}"#, r#"["a"]"#, r#"[["a"]]"#, r#"[["a", null]]"#, r#"[["a", 1e999]]"#]
        {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
