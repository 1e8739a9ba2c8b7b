//! Filters mean what they mean in MongoDB, and what they cannot mean is refused with its place.

use embervec_search::{Index, Similarity, quantize};

fn index(metadata: &[&str]) -> Index {
    let mut index = Index::new(1, Similarity::Dot).expect("an index");
    let part = quantize(&vec![1.0; metadata.len()], 1).expect("a part");
    index.append(&part, &format!("[{}]", metadata.join(", "))).expect("rows");
    index
}

#[test]
fn filters_match_as_mongodb_says() {
    let index = index(&[
        r#"{"lang": "de", "year": 2020, "tags": ["a", "b"], "n": {"x": 1}}"#,
        r#"{"lang": "en", "year": 2021, "tags": [], "n": {"x": "1"}}"#,
        r#"{"lang": null, "year": -0.5, "tags": "a", "ok": true}"#,
        "null",
        r#"{"year": 1e2, "tags": [1, [2], {"k": 7}], "n.x": 2, "ok": false, "ü, \"]": "[{"}"#,
    ]);
    for (filter, rows) in [
        (r#"{}"#, &[0, 1, 2, 3, 4][..]),
        (r#"{"lang": "de"}"#, &[0]),
        (r#"{"lang": {"$eq": "de"}}"#, &[0]),
        (r#"{"lang": {"$ne": "de"}}"#, &[1, 2, 3, 4]),
        (r#"{"lang": null}"#, &[2, 3, 4]),
        (r#"{"lang": {"$ne": null}}"#, &[0, 1]),
        (r#"{"lang": {"$in": ["en", null]}}"#, &[1, 2, 3, 4]),
        (r#"{"lang": {"$in": []}}"#, &[]),
        (r#"{"lang": {"$nin": []}}"#, &[0, 1, 2, 3, 4]),
        (r#"{"lang": {"$nin": ["de", "en"]}}"#, &[2, 3, 4]),
        (r#"{"lang": {"$exists": true}}"#, &[0, 1, 2]),
        (r#"{"lang": {"$exists": false}}"#, &[3, 4]),
        (r#"{"n": {"$exists": true}}"#, &[0, 1]),
        (r#"{"n.x": {"$exists": true}}"#, &[0, 1, 4]),
        (r#"{"n.x": 1}"#, &[0]),
        (r#"{"n.x": "1"}"#, &[1]),
        (r#"{"n.x": {"$gte": 1}}"#, &[0, 4]),
        (r#"{"year": {"$gt": 100}}"#, &[0, 1]),
        (r#"{"year": {"$gte": 100}}"#, &[0, 1, 4]),
        (r#"{"year": {"$lt": 100}}"#, &[2]),
        (r#"{"year": {"$lte": 100, "$gt": -1}}"#, &[2, 4]),
        (r#"{"year": {"$gt": "100"}}"#, &[]),
        (r#"{"year": "2020"}"#, &[]),
        (r#"{"lang": {"$gt": "de"}}"#, &[1]),
        (r#"{"lang": {"$lte": "de"}}"#, &[0]),
        (r#"{"tags": "a"}"#, &[0, 2]),
        (r#"{"tags": {"$ne": "a"}}"#, &[1, 3, 4]),
        (r#"{"tags": {"$in": ["b", 1]}}"#, &[0, 4]),
        (r#"{"tags": {"$exists": true}}"#, &[0, 1, 2, 4]),
        (r#"{"tags": 2}"#, &[]),
        (r#"{"tags.k": 7}"#, &[4]),
        (r#"{"ok": true}"#, &[2]),
        (r#"{"ok": {"$ne": true}}"#, &[0, 1, 3, 4]),
        (r#"{"ok": {"$in": [true, false]}}"#, &[2, 4]),
        (r#"{"year": {"$not": {"$gt": 100}}}"#, &[2, 3, 4]),
        (r#"{"$not": {"lang": "de", "year": 2020}}"#, &[1, 2, 3, 4]),
        (r#"{"$or": [{"lang": "de"}, {"year": 2021}]}"#, &[0, 1]),
        (r#"{"$and": [{"tags": "a"}, {"tags": "b"}]}"#, &[0]),
        (r#"{"$or": [{"$and": [{"ok": true}, {"lang": null}]}, {"n.x": 2}], "year": 100}"#, &[4]),
        (r#"{"ü, \"]": "[{"}"#, &[4]),
        (r#"{"ü, \"]": {"$exists": true}}"#, &[4]),
        (r#"{"n.": {"$exists": true}}"#, &[]),
        (r#"{"nothing": 1}"#, &[]),
        (r#"{"nothing": {"$gt": 1}}"#, &[]),
    ] {
        assert_eq!(index.matching(filter).expect(filter), rows, "{filter}");
    }
}

/// Of both forms in which the rows of a value are kept, and of chunks' borders.
#[test]
fn equality_and_ranges_over_many_rows() {
    let rows: Vec<_> = (0..5000)
        .map(|i| format!(r#"{{"i": {i}, "mod": {}, "even": {}}}"#, i % 7, i % 2 == 0))
        .collect();
    let rows: Vec<_> = rows.iter().map(String::as_str).collect();
    let index = index(&rows);
    let expect = |filter: &str, is_in: &dyn Fn(u32) -> bool| {
        let rows: Vec<_> = (0..5000).filter(|&i| is_in(i)).collect();
        assert_eq!(index.matching(filter).expect(filter), rows, "{filter}");
    };
    expect(r#"{"mod": 3}"#, &|i| i % 7 == 3);
    expect(r#"{"mod": {"$nin": [3, 4]}, "even": true}"#, &|i| {
        ![3, 4].contains(&(i % 7)) && i % 2 == 0
    });
    expect(r#"{"i": {"$gte": 1000, "$lt": 2100}}"#, &|i| (1000..2100).contains(&i));
    expect(r#"{"i": {"$in": [4999, 0, 1023, 1024, 6000]}}"#, &|i| {
        [0, 1023, 1024, 4999].contains(&i)
    });
}

#[test]
fn what_means_nothing_is_refused_with_its_place() {
    let index = index(&["null"]);
    let nested =
        |depth: usize| format!("{}{}{}", r#"{"$not": "#.repeat(depth), "{}", "}".repeat(depth));
    let many = format!(r#"{{"$or": [{}]}}"#, vec![r#"{"a": 1}"#; 2000].join(", "));
    let long = format!(r#"{{"a": "{}"}}"#, "x".repeat(2 << 20));
    for (filter, message) in [
        ("", "the filter is not JSON: a value is missing"),
        ("[]", "filter: a filter must be an object"),
        (r#"{"$where": "1"}"#, "filter, at $where: unknown operator; use $and"),
        (r#"{"a": {"$regex": "x"}}"#, "filter, at a → $regex: unknown operator; use $eq"),
        (r#"{"a": {"$eq": 1, "b": 2}}"#, "filter, at a → b: an object here must hold operators"),
        (r#"{"a": {}}"#, "filter, at a: an object here must hold operators"),
        (r#"{"a": [1]}"#, "filter, at a: a value must be a string, a number, true, false or null"),
        (r#"{"a": {"$in": 1}}"#, "filter, at a → $in: the value must be an array"),
        (r#"{"a": {"$in": [[]]}}"#, "filter, at a → $in: a value must be a string"),
        (r#"{"a": {"$gt": null}}"#, "filter, at a → $gt: the value must be a number or a string"),
        (r#"{"a": {"$exists": 1}}"#, "filter, at a → $exists: the value must be true or false"),
        (r#"{"a": {"$not": 5}}"#, "filter, at a → $not: the value must be an object of operators"),
        (r#"{"$and": {}}"#, "filter, at $and: the value must be an array of at least one filter"),
        (
            r#"{"$or": [{"b": {"$lt": true}}]}"#,
            "filter, at $or → b → $lt: the value must be a number",
        ),
        (&nested(40), "nested more than 32 deep"),
        (&many, "more than 1024 conditions"),
        (&long, "longer than 1048576 bytes"),
    ] {
        let error = index.matching(filter).expect_err(filter);
        assert_eq!(error.code(), "invalid_input");
        assert!(error.to_string().contains(message), "{error}, not {message}");
    }
    assert!(index.matching(&nested(31)).is_ok());
}

#[test]
fn metadata_that_are_none_leave_the_index_as_it_was() {
    let mut index = index(&[r#"{"a": 1}"#]);
    let part = quantize(&[1.0, 2.0], 1).expect("a part");
    let deep = format!("[null, {}1{}]", r#"{"a": "#.repeat(600), "}".repeat(600));
    let points = format!(r#"[null, {{"list": [{{"{}": 1}}]}}]"#, ".".repeat(32));
    for (metadata, message) in [
        ("", "not a JSON array"),
        ("{}", "not a JSON array"),
        ("[]", "metadata has 0 rows, but there are 2 vectors"),
        ("[null]", "metadata has 1 rows, but there are 2 vectors"),
        ("[null, null, null]", "metadata has 3 rows, but there are 2 vectors"),
        (r#"[{"a": 2}, 1]"#, "row 1 must be an object or null"),
        (r#"[{"a": 2}, ]"#, "row 1 is not JSON"),
        (r#"[{"a": 2}, {]"#, "row 1 is not JSON"),
        (r#"[{"a": 2}], null]"#, "is not JSON"),
        (r#"[{"a": 2}, {"b": "x]"#, "row 1 is not JSON"),
        (&deep, "nested too deep"),
        (&points, "row 1: a key has more than 32 parts"),
    ] {
        let error = index.append(&part, metadata).expect_err(metadata);
        assert_eq!(error.code(), "invalid_input");
        assert!(error.to_string().contains(message), "{error}, not {message}");
        assert_eq!((index.rows(), index.alive()), (1, 1));
        assert_eq!(index.matching(r#"{"a": {"$exists": true}}"#).expect("rows"), [0]);
    }
    assert_eq!(index.append(&part, "[ {\"a\": 2} ,\n null ]").expect("rows"), 1);
    assert_eq!(index.matching(r#"{"a": 2}"#).expect("rows"), [1]);
}

/// A thousand rows of as many names, and names within each other: nothing grows with the way to a name.
#[test]
fn names_take_no_more_than_they_are_long() {
    let long = "x".repeat(10_000);
    let many: Vec<_> = (0..10_000).map(|i| format!("\"{i}\": {i}")).collect();
    let wide = format!("{{\"{long}\": {{{}}}}}", many.join(", "));
    let deep = format!("{}1{}", r#"{"yyyyyyyyyy": "#.repeat(400), "}".repeat(400));
    let index = index(&[&wide, &deep]);
    assert_eq!(index.matching(&format!(r#"{{"{long}.9999": 9999}}"#)).expect("rows"), [0]);
    assert_eq!(
        index.matching(r#"{"yyyyyyyyyy.yyyyyyyyyy": {"$exists": true}}"#).expect("rows"),
        [1]
    );
}
