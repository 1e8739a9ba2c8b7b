//! Parts come back as they were written, and bytes that are none are refused.

use embervec_search::{Index, Similarity, TermsBuilder, quantize};

const DIMENSION: usize = 3;

fn scan() -> Vec<u8> {
    quantize(&[0.1, -0.2, 0.3, 1.0, 2.0, -3.0, 0.0, 0.0, 0.0], DIMENSION).expect("a part")
}

fn index() -> Index {
    let mut index = Index::new(DIMENSION, Similarity::Cosine).expect("an index");
    index.append(&scan(), "[null, null, null]").expect("rows");
    index
}

/// More terms than a block has, some of them beginning alike.
fn terms() -> Vec<u8> {
    let mut terms = TermsBuilder::new(0);
    terms.add_row((0..40).map(|i| format!("word{i}"))).expect("a row");
    terms.add_row(["word1", "Ünicode", "word1", "", "日本"]).expect("a row");
    terms.add_row(["word39", "word1"]).expect("a row");
    terms.encode()
}

/// `term: row×count …` of each term.
fn lookup(index: &Index, word: &str, is_prefix: bool) -> Vec<String> {
    let found = index.lookup(word, is_prefix).expect("terms");
    let rows = |rows: &[u64]| -> Vec<String> {
        rows.iter().map(|row| format!("{}×{}", row >> 32, *row as u32)).collect()
    };
    found.iter().map(|(term, found)| format!("{term}: {}", rows(found).join(" "))).collect()
}

#[test]
fn words_are_found_with_their_rows() {
    let mut index = index();
    let handle = index.append_terms(&terms()).expect("terms");
    assert_eq!(lookup(&index, "word1", false), ["word1: 0×1 1×2 2×1"]);
    assert_eq!(lookup(&index, "word39", false), ["word39: 0×1 2×1"]);
    assert_eq!(lookup(&index, "word3", true).len(), 11);
    assert_eq!(lookup(&index, "word", true).len(), 40);
    assert_eq!(lookup(&index, "", true).len(), 42);
    assert_eq!(lookup(&index, "日", true), ["日本: 1×1"]);
    for word in ["", "word", "word40", "a", "zzz", "日"] {
        assert_eq!(lookup(&index, word, false), [""; 0], "{word:?}");
    }
    for i in 0..40 {
        assert_eq!(lookup(&index, &format!("word{i}"), false).len(), 1, "word{i}");
    }

    // The same term of another part; a removed row; a part that is dropped.
    let mut more = TermsBuilder::new(3);
    more.add_row(["word1", "word1"]).expect("a row");
    let more = more.encode();
    assert_eq!(index.append_terms(&more).expect_err("no such row").code(), "integrity");
    let row = quantize(&[1.0; DIMENSION], DIMENSION).expect("a part");
    index.append(&row, "[null]").expect("a row");
    let later = index.append_terms(&more).expect("terms");
    assert_eq!(lookup(&index, "word1", false), ["word1: 0×1 1×2 2×1 3×2"]);
    index.remove(&[1]).expect("a row");
    assert_eq!(lookup(&index, "word1", true)[0], "word1: 0×1 2×1 3×2");
    assert_eq!(lookup(&index, "日本", false), [""; 0]);
    index.remove_terms(handle).expect("terms");
    assert_eq!(lookup(&index, "word1", true), ["word1: 3×2"]);
    index.remove_terms(later).expect("terms");
    assert!(index.remove_terms(later).is_err());
    assert!(index.remove_terms(99).is_err());
}

#[test]
fn pieces_are_slices_of_the_dictionary() {
    let mut all = TermsBuilder::new(0);
    let mut index = index();
    for row in 0..3 {
        all.add_row((0..500).filter(|i| i % (row + 2) == 0).map(|i| format!("t{i}")))
            .expect("a row");
    }
    let pieces = all.encode_pieces(300);
    assert!(pieces.len() > 5, "{}", pieces.len());
    assert!(pieces.is_sorted_by(|(a, _), (b, _)| a < b));
    for (first, piece) in pieces {
        assert!(piece.len() < 1000, "{}", piece.len());
        let handle = index.append_terms(&piece).expect("terms");
        let found = index.lookup("", true).expect("terms");
        assert_eq!(found.first_key_value().map(|(term, _)| term), Some(&first));
        index.remove_terms(handle).expect("terms");
    }
}

#[test]
fn another_form_is_refused_by_name() {
    let mut index = index();
    let other = quantize(&[1.0; 4], 4).expect("a part");
    let mut newer = scan();
    newer[4] = 2;
    let mut wrapping = scan();
    *wrapping.last_mut().expect("a value") = 0x80;
    let mut not_finite = scan();
    not_finite[16..20].copy_from_slice(&f32::NAN.to_le_bytes());
    for (part, message) in [
        (&b""[..], "first bytes"),
        (&terms(), "first bytes"),
        (&other, "its vectors have 4 dimensions, but the index has 3"),
        (&newer, "it has version 2"),
        (&wrapping, "-128"),
        (&not_finite, "scale, error or length"),
        (&[scan(), vec![0]].concat(), "more data after its end"),
    ] {
        let error = index.append(part, "[null, null, null]").expect_err(message);
        assert_eq!(error.code(), "integrity");
        assert!(error.to_string().contains(message), "{error}, not {message}");
    }
    assert_eq!(index.rows(), 3);
}

/// Whatever the bytes are: an error, or an index that answers.
#[test]
fn damaged_bytes_do_no_harm() {
    let query = [0.5, -0.5, 0.1];
    for (part, is_scan) in [(scan(), true), (terms(), false)] {
        let check = |bytes: &[u8]| {
            let mut index = index();
            let taken = match is_scan {
                true => index.append(bytes, "[null, null, null]").map(drop),
                false => index.append_terms(bytes).map(drop),
            };
            index.search(&query, 2, None).expect("an answer");
            index.lookup("word", true).expect("an answer");
            index.lookup("word1", false).expect("an answer");
            taken
        };
        assert!(check(&part).is_ok());
        for end in 0..part.len() {
            assert!(check(&part[..end]).is_err(), "{end} bytes");
        }
        for at in 0..part.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, part[at] ^ 0x10] {
                let mut bytes = part.clone();
                bytes[at] = value;
                let _ = check(&bytes);
            }
        }
        for at in (0..part.len() - 4).step_by(4) {
            for value in [0, 1, 0x7fff_ffff, u32::MAX] {
                let mut bytes = part.clone();
                bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
                let _ = check(&bytes);
            }
        }
    }
}
