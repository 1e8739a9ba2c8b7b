//! Writes a folder for `SearchIndex.fetch` with random vectors and texts, for the benchmark.
//!
//! `cargo run -p embervec-search --features folder --example random_folder -- FOLDER PASSAGES`

use std::error::Error;
use std::path::Path;

use embervec_search::Similarity;
use embervec_search::folder::{Passage, Writer};

const DIMENSION: usize = 384;
/// Of a document.
const PASSAGES: usize = 4;
/// Different words of all texts.
const VOCABULARY: f64 = 20_000.0;

/// `SplitMix64`: the same numbers in every run.
struct Random(u64);

impl Random {
    /// In [0, 1).
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Four numbers make nearly a normal distribution, and so directions that are spread evenly.
    fn vector(&mut self) -> Vec<f32> {
        let values: Vec<_> = (0..DIMENSION)
            .map(|_| self.next() + self.next() + self.next() + self.next() - 2.0)
            .collect();
        let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
        values.into_iter().map(|x| (x / norm) as f32).collect()
    }

    /// 50 to 99 words.
    fn text(&mut self) -> String {
        let count = 50 + (self.next() * 50.0) as usize;
        let words: Vec<_> = (0..count).map(|_| self.word()).collect();
        words.join(" ")
    }

    /// Few words are frequent, as in a language.
    fn word(&mut self) -> String {
        let mut rest = (self.next().powi(3) * VOCABULARY) as usize;
        let mut word = String::new();
        while word.len() < 4 || rest > 0 {
            for letters in ["bdfgklmnprstvz", "aeiou"] {
                word.push_str(&letters[rest % letters.len()..][..1]);
                rest /= letters.len();
            }
        }
        word
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: random_folder FOLDER PASSAGES";
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or(usage)?;
    let passages: usize = arguments.next().ok_or(usage)?.parse()?;
    let mut random = Random(1);
    let mut writer = Writer::new(DIMENSION, Similarity::parse("cosine")?)?;
    let mut start = 0;
    for row in 0..passages {
        if row % PASSAGES == 0 {
            start = 0;
        }
        let document = format!("document {}", row / PASSAGES);
        let text = random.text();
        let end = start + text.len();
        let passage = Passage { document: &document, text: &text, start, end, metadata: None };
        writer.add(passage, &random.vector())?;
        start = end + 1;
    }
    writer.write(Path::new(&folder), "random vectors", None, Vec::new())?;
    Ok(())
}
