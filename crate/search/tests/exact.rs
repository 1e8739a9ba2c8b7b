//! The best of the candidates are the best of all rows, whatever the vectors are.

use embervec_search::{Candidates, Index, SIGNS_FROM, Similarity, quantize};

const SIMILARITIES: [&str; 3] = ["cosine", "dot", "euclidean"];

/// Numbers that look random and are the same everywhere: xorshift64* (Vigna 2016).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }

    /// About normally distributed: the sum of four of -1 to 1.
    fn normal(&mut self) -> f32 {
        (0..4).map(|_| self.next() as f32 / (1u64 << 31) as f32 - 1.0).sum()
    }

    fn vector(&mut self, dimension: usize) -> Vec<f32> {
        (0..dimension).map(|_| self.normal()).collect()
    }

    fn unit(&mut self, dimension: usize) -> Vec<f32> {
        let vector = self.vector(dimension);
        let size = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.into_iter().map(|x| x / size).collect()
    }
}

/// The score as sentence-transformers computes it, in `f64`.
fn score(similarity: &str, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    let dot: f64 = pairs().map(|(a, b)| a * b).sum();
    let size = |x: &[f32]| x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(1e-12);
    let score = match similarity {
        "cosine" => dot / (size(a) * size(b)),
        "dot" => dot,
        _ => -pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
    };
    // -0 is 0.
    score + 0.0
}

fn index(similarity: &str, rows: &[Vec<f32>]) -> Index {
    let dimension = rows[0].len();
    let similarity = Similarity::parse(similarity).expect("a similarity");
    let mut index = Index::new(dimension, similarity).expect("an index");
    // Of a length that shares no factor with the rows of a chunk.
    for rows in rows.chunks(333) {
        let part = quantize(&rows.concat(), dimension).expect("a part");
        let metadata = vec!["null"; rows.len()].join(",");
        index.append(&part, &format!("[{metadata}]")).expect("rows");
    }
    index
}

/// The best `k` of some rows: the higher score first, then the lower row.
fn best(similarity: &str, rows: &[Vec<f32>], query: &[f32], k: usize, among: &[u32]) -> Vec<u32> {
    let scored = among.iter().map(|&row| (score(similarity, query, &rows[row as usize]), row));
    let mut scored: Vec<_> = scored.collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    scored.into_iter().take(k).map(|(_, row)| row).collect()
}

/// Checks the candidates, and gives how many there were.
fn check(
    similarity: &str,
    rows: &[Vec<f32>],
    query: &[f32],
    k: usize,
    found: &Candidates,
) -> usize {
    assert!(found.is_proven);
    assert!(found.scores.is_sorted_by(|a, b| a >= b), "{similarity}: best first");
    for ((&row, &estimate), &error) in found.rows.iter().zip(&found.scores).zip(&found.errors) {
        let off = (score(similarity, query, &rows[row as usize]) - f64::from(estimate)).abs();
        assert!(off <= f64::from(error), "{similarity}: row {row} is {off} off, not {error}");
    }
    let all: Vec<u32> = (0..rows.len() as u32).collect();
    let expected = best(similarity, rows, query, k, &all);
    assert_eq!(best(similarity, rows, query, k, &found.rows), expected, "{similarity}, k = {k}");
    found.rows.len()
}

fn check_all(rows: &[Vec<f32>], queries: &[Vec<f32>], ks: &[usize]) -> usize {
    let mut most = 0;
    for similarity in SIMILARITIES {
        let index = index(similarity, rows);
        for query in queries {
            for &k in ks {
                let found = index.search(query, k, None).expect("an answer");
                most = most.max(check(similarity, rows, query, k, &found));
            }
        }
    }
    most
}

#[test]
fn random_unit_vectors() {
    let mut numbers = Numbers(1);
    let rows: Vec<_> = (0..20_000).map(|_| numbers.unit(384)).collect();
    let queries: Vec<_> = (0..8).map(|_| numbers.unit(384)).collect();
    let most = check_all(&rows, &queries, &[1, 10]);
    assert!(most < 200, "{most} candidates for 10");
}

#[test]
fn clustered_vectors() {
    let mut numbers = Numbers(2);
    let centers: Vec<_> = (0..20).map(|_| numbers.unit(128)).collect();
    let near = |numbers: &mut Numbers, spread: f32| -> Vec<f32> {
        let center = &centers[numbers.below(centers.len())];
        let noise = numbers.unit(128);
        center.iter().zip(noise).map(|(center, noise)| center + noise * spread).collect()
    };
    let rows: Vec<_> = (0..10_000).map(|_| near(&mut numbers, 0.3)).collect();
    let queries: Vec<_> = (0..10).map(|_| near(&mut numbers, 0.1)).collect();
    let most = check_all(&rows, &queries, &[1, 10, 100]);
    assert!(most < 3000, "{most} candidates for 100");
}

#[test]
fn all_dimensions_and_lengths() {
    let mut numbers = Numbers(3);
    for dimension in (1..=33).chain([63, 64, 65, 100, 767, 1024]) {
        let rows: Vec<_> = (0..257)
            .map(|i| {
                let factor = 10_f32.powi(numbers.below(9) as i32 - 4);
                // Vectors of zeros, and some that are there twice.
                if i % 50 == 7 { vec![0.0; dimension] } else { numbers.vector(dimension) }
                    .into_iter()
                    .map(|x| x * factor)
                    .collect::<Vec<_>>()
            })
            .collect();
        let rows: Vec<_> = (0..rows.len()).map(|i| rows[i - i % 3 / 2].clone()).collect();
        let queries = [numbers.vector(dimension), vec![0.0; dimension], rows[100].clone()];
        check_all(&rows, &queries, &[1, 5, 256, 257, 1000]);
    }
}

#[test]
fn extreme_values_do_not_wrap() {
    for dimension in [384, 4096, 16_384] {
        let rows: Vec<_> = [1.0, -1.0, 1e15 / 128.0, 1e-12]
            .iter()
            .map(|&x| vec![x; dimension])
            .chain([(0..dimension).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect()])
            .collect();
        check_all(&rows, &rows, &[1, 3]);
    }
}

#[test]
fn equal_vectors_come_in_the_order_of_their_rows() {
    let mut numbers = Numbers(4);
    let vector = numbers.unit(48);
    let rows = vec![vector.clone(); 3000];
    for similarity in SIMILARITIES {
        let found = index(similarity, &rows).search(&vector, 10, None).expect("an answer");
        assert_eq!(found.rows[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "{similarity}");
        check(similarity, &rows, &vector, 10, &found);
    }
    // Nothing distinguishes rows from a query without a direction: no more of them than are wanted.
    let found = index("cosine", &rows).search(&[0.0; 48], 10, None).expect("an answer");
    assert_eq!(found.rows, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn removed_and_filtered_rows_are_not_found() {
    let mut numbers = Numbers(5);
    let rows: Vec<_> = (0..5000).map(|_| numbers.unit(32)).collect();
    let query = numbers.unit(32);
    let mut index = Index::new(32, Similarity::Cosine).expect("an index");
    let part = quantize(&rows.concat(), 32).expect("a part");
    let metadata: Vec<_> = (0..rows.len()).map(|i| format!("{{\"i\":{i}}}")).collect();
    index.append(&part, &format!("[{}]", metadata.join(","))).expect("rows");
    let removed: Vec<u32> = (0..5000).filter(|row| row % 3 == 0).collect();
    index.remove(&removed).expect("rows that are there");
    index.remove(&removed[..5]).expect("once more");
    assert_eq!((index.rows(), index.alive()), (5000, 5000 - removed.len()));
    for (filter, is_allowed) in [
        (None, (|_| true) as fn(u32) -> bool),
        (Some(r#"{"i": {"$lt": 100}}"#), |row| row < 100),
        (Some(r#"{"i": {"$gte": 1000, "$lt": 1004}}"#), |row| (1000..1004).contains(&row)),
        (Some(r#"{"i": 3}"#), |_| false),
    ] {
        let among: Vec<u32> = (0..5000).filter(|&row| row % 3 != 0 && is_allowed(row)).collect();
        let found = index.search(&query, 10, filter).expect("an answer");
        assert!(found.rows.iter().all(|row| among.contains(row)));
        let expected = best("cosine", &rows, &query, 10, &among);
        assert_eq!(best("cosine", &rows, &query, 10, &found.rows), expected, "{filter:?}");
    }
}

#[test]
fn within_finds_all_rows_of_a_score() {
    let mut numbers = Numbers(6);
    let rows: Vec<_> = (0..3000).map(|_| numbers.unit(24)).collect();
    for similarity in SIMILARITIES {
        let index = index(similarity, &rows);
        let query = &rows[10];
        for threshold in [-10.0, -1.2, -0.9, 0.0, 0.2, 0.5, 1.0, 2.0] {
            let found = index.within(query, threshold, 11, None).expect("an answer");
            for row in 0..rows.len() as u32 {
                let score = score(similarity, query, &rows[row as usize]);
                let is_in = row >= 11 && score >= f64::from(threshold);
                assert!(!is_in || found.rows.contains(&row), "{similarity} {threshold}: {row}");
                if let Some(i) = found.rows.iter().position(|&r| r == row) {
                    let highest = f64::from(found.scores[i]) + f64::from(found.errors[i]);
                    assert!(row >= 11 && highest >= f64::from(threshold) - 1e-5);
                }
            }
            let estimates = index.estimates(query, &found.rows).expect("rows that are there");
            assert_eq!(estimates, found.scores);
        }
    }
}

#[test]
fn what_cannot_be_answered_is_refused() {
    let mut index = index("cosine", &[vec![1.0, 2.0]]);
    let refused = |result: embervec_search::Result<Candidates>, part: &str| {
        let error = result.expect_err(part);
        assert_eq!(error.code(), "invalid_input");
        assert!(error.to_string().contains(part), "{error}");
    };
    refused(index.search(&[1.0], 1, None), "the query has 1 dimensions, but the index has 2");
    refused(index.search(&[1.0, 1.0], 0, None), "k must be at least 1");
    refused(index.search(&[f32::NAN, 1.0], 1, None), "the query contains NaN or Infinity");
    refused(index.search(&[1e20, 1.0], 1, None), "the query must have a length");
    refused(index.within(&[1.0, 1.0], f32::NAN, 0, None), "not a number");
    refused(index.search(&[1.0, 1.0], 1, Some("{")), "the filter is not JSON");
    assert!(index.estimates(&[1.0, 1.0], &[1]).is_err());
    assert!(index.remove(&[0, 1]).is_err());
    assert_eq!(index.alive(), 1, "nothing is removed where one row is not there");
    assert!(quantize(&[1.0, f32::INFINITY], 2).is_err());
    assert!(quantize(&[1.0, 1.0, 1.0], 2).is_err());
    assert!(Similarity::parse("manhattan").is_err());
    for dimension in [0, 1 << 20] {
        assert!(Index::new(dimension, Similarity::Dot).is_err());
    }
}

/// Of an index whose signs are looked at first. The share of hits does not depend on the dimension, so it is a small one: what
/// counts is how many standard deviations the hits are away.
fn recall(rows: &[f32], queries: &[Vec<f32>]) -> f64 {
    let dimension = queries[0].len();
    let mut index = Index::new(dimension, Similarity::Cosine).expect("an index");
    for rows in rows.chunks(50_000 * dimension) {
        let part = quantize(rows, dimension).expect("a part");
        let metadata = vec!["null"; rows.len() / dimension].join(",");
        index.append(&part, &format!("[{metadata}]")).expect("rows");
    }
    let mut found = 0;
    for query in queries {
        let scored = rows.chunks_exact(dimension).zip(0..);
        let mut scored: Vec<(f32, u32)> = scored
            .map(|(row, i)| (row.iter().zip(query).map(|(a, b)| a * b).sum::<f32>(), i))
            .collect();
        scored.select_nth_unstable_by(9, |a, b| b.0.total_cmp(&a.0));
        let candidates = index.search(query, 10, None).expect("an answer");
        assert!(!candidates.is_proven);
        found += scored[..10].iter().filter(|(_, row)| candidates.rows.contains(row)).count();
    }
    found as f64 / (10 * queries.len()) as f64
}

#[test]
fn signs_find_the_best_of_many_random_vectors() {
    let (mut numbers, dimension) = (Numbers(7), 48);
    let rows: Vec<f32> = (0..SIGNS_FROM).flat_map(|_| numbers.unit(dimension)).collect();
    let queries: Vec<_> = (0..12).map(|_| numbers.unit(dimension)).collect();
    let recall = recall(&rows, &queries);
    println!("recall {recall}");
    assert!(recall >= 0.99, "{recall}");
}

/// As vectors of many models: the cosine of any two of them is about 0.7.
#[test]
fn signs_find_the_best_of_many_vectors_in_a_cone() {
    let (mut numbers, dimension) = (Numbers(8), 48);
    let center = numbers.unit(dimension);
    let mut near = || -> Vec<f32> {
        let noise = numbers.unit(dimension);
        let sum = center.iter().zip(noise).map(|(center, noise)| center * 0.84 + noise * 0.54);
        let sum: Vec<f32> = sum.collect();
        let size = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
        sum.into_iter().map(|x| x / size).collect()
    };
    let rows: Vec<f32> = (0..SIGNS_FROM).flat_map(|_| near()).collect();
    let queries: Vec<_> = (0..12).map(|_| near()).collect();
    let recall = recall(&rows, &queries);
    println!("recall {recall}");
    assert!(recall >= 0.99, "{recall}");
}
