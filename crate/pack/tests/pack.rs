//! Packed folders hold what the original holds, in 8 bits.

#[path = "../../embed/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, f16};
use embervec_embed::{Embedder, EncodeOptions, WeightDtype, open_folder};
use embervec_pack::{CHUNK_BYTES, MANIFEST_JSON, Options, brotli_size, pack};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::{Expected, root, tiny_models};

const ORIGINAL: &str = "model.safetensors";
const PACKED: &str = "model.q8.safetensors";

/// A folder that is gone when the test is over.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        let name = format!("embervec-pack-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// With copies of a tiny model's files.
    fn copy_of(model: &str, name: &str) -> Self {
        let copy = Self::new(name);
        copy_folder(&tiny(model), &copy.0);
        copy
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a file");
        }
    }
}

fn tiny(name: &str) -> PathBuf {
    root().join("tests/fixtures/models").join(name)
}

fn mini_lm() -> PathBuf {
    root().join("www/models/all-MiniLM-L6-v2")
}

fn packed(folder: &Path, output: &Path, table_bits: u32) {
    let options = Options { folder: folder.into(), output: Some(output.into()), table_bits };
    pack(&options).unwrap_or_else(|error| panic!("{error:#}"));
}

fn in_place(folder: &Path) -> Options {
    Options { folder: folder.into(), output: None, table_bits: 8 }
}

fn refused(options: &Options) -> String {
    format!("{:#}", pack(options).expect_err("it cannot be packed"))
}

fn open(folder: &Path, dtype: WeightDtype) -> Embedder {
    open_folder(folder, dtype, &Device::flex())
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

fn expected(path: &Path) -> Expected {
    serde_json::from_slice(&fs::read(path).expect("expected vectors")).expect("expected vectors")
}

/// Every file below a folder, by path.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below it").to_string_lossy();
                files.insert(name.replace('\\', "/"), fs::read(&path).expect("a file"));
            }
        }
    }
    files
}

fn sha256(bytes: &[u8]) -> Value {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// The folder's files are those of its manifest, or some that a loader does not ask for.
fn assert_manifest(folder: &Path, unlisted: &[&str]) {
    let mut files = contents(folder);
    let manifest = files.remove(MANIFEST_JSON).expect("a manifest");
    files.retain(|path, _| !unlisted.contains(&&path[..]));
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let entry = |bytes: &Vec<u8>| {
        let chunks: Vec<Value> = bytes.chunks(CHUNK_BYTES).map(sha256).collect();
        serde_json::json!({ "size": bytes.len(), "sha256": sha256(bytes), "chunks": chunks })
    };
    let entries: BTreeMap<_, _> = files.iter().map(|(path, bytes)| (path, entry(bytes))).collect();
    assert_eq!(
        manifest,
        serde_json::json!({
            "format": "embervec-manifest-1",
            "chunk_bytes": 524_288,
            "files": entries,
        })
    );
}

/// Packed or not, the weights are the same 8 bits.
#[test]
fn every_family_can_be_packed() {
    let families = root().join("tests/fixtures/families");
    for entry in fs::read_dir(families).expect("families") {
        let folder = entry.expect("an entry").path();
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let output = Temporary::new(&name);
        packed(&folder, &output.0, 8);
        assert!(!output.0.join(ORIGINAL).exists() && output.0.join(PACKED).exists(), "{name}");
        let texts: Vec<_> = expected(&folder.join("expected.json"))
            .cases
            .iter()
            .map(|case| case.text.clone())
            .collect();
        let vectors = |folder: &Path| {
            let embedder = open(folder, WeightDtype::Q8);
            embedder.encode(&texts, &EncodeOptions::default()).expect("vectors").vectors
        };
        assert_eq!(vectors(&folder), vectors(&output.0), "{name}");
    }
}

#[test]
fn a_packed_folder_gives_the_bits_of_the_original_in_q8() {
    for name in tiny_models() {
        let output = Temporary::new(&name);
        packed(&tiny(&name), &output.0, 8);
        assert_manifest(&output.0, &[]);
        let (original, packed) = (contents(&tiny(&name)), contents(&output.0));
        for (path, bytes) in &packed {
            if path != PACKED && path != MANIFEST_JSON {
                assert_eq!(Some(bytes), original.get(path), "{name}: {path}");
            }
        }
        assert!(!packed.contains_key(ORIGINAL), "{name}");
        for dense in ["2_Dense/model.safetensors", "2_Dense/config.json"] {
            assert_eq!(packed.contains_key(dense), original.contains_key(dense), "{name}");
        }

        let pooler = |bytes: &[u8]| {
            let tensors = SafeTensors::deserialize(bytes).expect("a safetensors file");
            tensors.names().iter().any(|name| name.contains("pooler."))
        };
        let is_plain = !original.contains_key("modules.json");
        assert_eq!(pooler(&packed[PACKED]), is_plain && pooler(&original[ORIGINAL]), "{name}");

        let expected = expected(&tiny(&name).join("expected.json"));
        let texts: Vec<&str> = expected.cases.iter().map(|case| case.text.as_str()).collect();
        let encode = |folder: &Path| {
            let embedder = open(folder, WeightDtype::Q8);
            embedder.encode(&texts, &EncodeOptions::default()).expect("vectors").vectors
        };
        assert_eq!(encode(&output.0), encode(&tiny(&name)), "{name}");

        let error = open_folder(&output.0, WeightDtype::Fp32, &Device::flex());
        let error = error.expect_err("the original is not there").to_string();
        assert!(error.contains(PACKED) && error.contains("has only 8-bit weights"), "{error}");
    }
}

#[test]
fn both_weights_may_lie_side_by_side() {
    let folder = Temporary::copy_of("tiny-dense", "in-place");
    pack(&in_place(&folder.0)).expect("packs");
    let once = contents(&folder.0);
    assert_manifest(&folder.0, &["expected.json"]);
    open(&folder.0, WeightDtype::Fp32);
    open(&folder.0, WeightDtype::Q8);
    let again = Options { output: Some(folder.0.join(".")), ..in_place(&folder.0) };
    pack(&again).expect("packs");
    assert!(contents(&folder.0) == once, "packing again changes nothing");
}

/// With nothing but a library for safetensors and the recipe in the file's metadata.
#[test]
fn the_weights_can_be_restored_from_the_metadatas_recipe() {
    for name in ["tiny-no-modules", "tiny-fp16", "tiny-cased-notype"] {
        let output = Temporary::new(&format!("restore-{name}"));
        packed(&tiny(name), &output.0, 8);
        let packed = fs::read(output.0.join(PACKED)).expect("packed weights");
        let (_, header) = SafeTensors::read_metadata(&packed).expect("a header");
        let metadata = header.metadata().as_ref().expect("metadata");
        assert_eq!(metadata["format"], "pt");
        assert_eq!(metadata["embervec"], "q8-1");
        assert!(metadata["quantization"].contains("t_zero_point"));

        let packed = SafeTensors::deserialize(&packed).expect("a safetensors file");
        let original = fs::read(tiny(name).join(ORIGINAL)).expect("the original");
        let original = SafeTensors::deserialize(&original).expect("a safetensors file");
        let mut matrices = 0;
        for (tensor, view) in packed.iter() {
            if tensor.ends_with("_scale") || tensor.ends_with("_zero_point") {
                continue;
            }
            let weights = floats(&original.tensor(tensor).expect("it was in the original"));
            if view.dtype() == Dtype::F32 {
                assert_eq!(floats(&view), weights, "{name}: {tensor}");
                continue;
            }
            matrices += 1;
            let scales = floats(&packed.tensor(&format!("{tensor}_scale")).expect("scales"));
            let zero_points = packed.tensor(&format!("{tensor}_zero_point")).expect("zero points");
            let columns = view.shape()[1];
            let restored = view.data().chunks(columns).zip(&scales).zip(zero_points.data());
            let rows = restored.zip(weights.chunks(columns));
            for (((values, &scale), &zero_point), row) in rows {
                let mut restored: Vec<f32> = values
                    .iter()
                    .map(|&t| scale * (f32::from(t) - f32::from(zero_point)))
                    .collect();
                let mut block = 1;
                if !tensor.starts_with("embeddings.") {
                    block = block_size(columns);
                    restored = rotated(&restored, block);
                }
                // Half a step for each of the values that were mixed.
                let most = 0.51 * scale * block as f32;
                for (a, b) in restored.iter().zip(row) {
                    assert!((a - b).abs() <= most, "{name}: {tensor}: {a} for {b}");
                }
            }
        }
        assert!(matrices >= 14, "{name}: {matrices}");
    }
}

fn block_size(columns: usize) -> usize {
    let divides = |block: &usize| columns.is_multiple_of(4 * block);
    [32, 16, 8, 4, 2].into_iter().find(divides).unwrap_or(1)
}

/// A row of `[columns / (4 * block), block, 4]`, multiplied along its second axis.
fn rotated(row: &[f32], block: usize) -> Vec<f32> {
    let entry =
        |i: usize, j: usize| if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
    let at = |index: usize| {
        let (group, i, lane) = (index / (4 * block), index / 4 % block, index % 4);
        (0..block).map(|j| entry(i, j) * row[(group * block + j) * 4 + lane]).sum()
    };
    (0..row.len()).map(at).collect()
}

fn floats(view: &TensorView) -> Vec<f32> {
    match view.dtype() {
        Dtype::F32 => {
            view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
        }
        Dtype::F16 => {
            let halves = view.data().as_chunks().0.iter();
            halves.map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn table_values_have_the_bits_that_were_asked_for() {
    let largest = |bits| {
        let output = Temporary::new(&format!("bits-{bits}"));
        packed(&tiny("tiny-cls"), &output.0, bits);
        open(&output.0, WeightDtype::Q8);
        let bytes = fs::read(output.0.join(PACKED)).expect("packed weights");
        let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let largest = |suffix: &str| {
            let of = tensors.iter().filter(|(name, _)| name.ends_with(suffix));
            of.flat_map(|(_, view)| view.data().iter().copied()).max()
        };
        (largest("word_embeddings.weight"), largest("output.dense.weight"))
    };
    assert_eq!(largest(8), (Some(255), Some(127)));
    assert_eq!(largest(6), (Some(63), Some(127)));
    assert_eq!(largest(4), (Some(15), Some(127)));
}

#[test]
fn what_is_packed_already_is_not_packed_again() {
    let output = Temporary::new("again");
    packed(&tiny("tiny-cls"), &output.0, 8);
    let error = refused(&in_place(&output.0));
    assert!(error.contains(PACKED) && error.contains("already in 8 bits"), "{error}");

    fs::rename(output.0.join(PACKED), output.0.join(ORIGINAL)).expect("a file");
    let before = contents(&output.0);
    let error = refused(&in_place(&output.0));
    assert!(error.contains(ORIGINAL) && error.contains("already in 8 bits"), "{error}");
    assert!(contents(&output.0) == before, "nothing half written is left");
}

#[test]
fn errors_name_the_file() {
    let missing = Temporary::new("missing");
    let error = refused(&in_place(&missing.0));
    assert!(error.contains("embervec-pack-") && error.contains("not a folder"), "{error}");
    let error = refused(&in_place(&tiny("unsupported-deberta")));
    assert!(error.contains("config.json") && error.contains("deberta-v2"), "{error}");

    let folder = Temporary::copy_of("tiny-dense", "damaged");
    fs::write(folder.0.join(ORIGINAL), "<!doctype html>").expect("a file");
    let before = contents(&folder.0);
    let error = refused(&in_place(&folder.0));
    assert!(error.contains("model.safetensors is damaged"), "{error}");
    assert!(contents(&folder.0) == before, "nothing half written is left");
    fs::remove_file(folder.0.join(ORIGINAL)).expect("a file");
    let error = refused(&in_place(&folder.0));
    assert!(error.contains("model.safetensors is missing"), "{error}");

    // Another model's file would be served as a part of this one.
    let output = Temporary::new("in-the-way");
    fs::create_dir_all(&output.0).expect("a folder");
    fs::write(output.0.join(ORIGINAL), "of another").expect("a file");
    let options = Options { output: Some(output.0.clone()), ..in_place(&tiny("tiny-cls")) };
    let error = refused(&options);
    assert!(error.contains("model.safetensors already exists"), "{error}");
    fs::remove_file(folder.0.join("2_Dense/model.safetensors")).expect("a file");
    fs::copy(tiny("tiny-dense").join(ORIGINAL), folder.0.join(ORIGINAL)).expect("a file");
    let options = Options { output: Some(output.0.join("new")), ..in_place(&folder.0) };
    let error = refused(&options);
    assert!(error.contains("2_Dense/model.safetensors is missing"), "{error}");
}

#[test]
fn mini_lm_takes_a_quarter_and_keeps_its_vectors() {
    // The entropy of its values is 20.06 MB.
    assert_mini_lm(8, 20_200_000);
}

#[test]
fn mini_lm_compresses_better_with_7_bits() {
    assert_mini_lm(7, 18_700_000);
}

/// As the tool shows it.
const BROTLI_QUALITY: i32 = 5;

fn assert_mini_lm(table_bits: u32, most_compressed: u64) {
    let output = Temporary::new(&format!("mini-lm-{table_bits}"));
    packed(&mini_lm(), &output.0, table_bits);
    let weights = output.0.join(PACKED);
    let size = fs::metadata(&weights).expect("packed weights").len();
    let compressed = brotli_size(&weights, BROTLI_QUALITY).expect("it can be read");

    let embedder = open(&output.0, WeightDtype::Q8);
    let expected = expected(&root().join("tests/fixtures/all-MiniLM-L6-v2.json"));
    let texts: Vec<&str> = expected.cases.iter().map(|case| case.text.as_str()).collect();
    let encoded = embedder.encode(&texts, &EncodeOptions::default()).expect("vectors");
    let vectors = encoded.vectors.chunks_exact(encoded.dimension);
    let cosines: Vec<f64> = vectors
        .zip(&expected.cases)
        .map(|(vector, case)| {
            let products = vector.iter().zip(case.embedding());
            products.map(|(&a, b)| f64::from(a) * f64::from(b)).sum()
        })
        .collect();
    let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
    let worst = cosines.iter().copied().fold(f64::INFINITY, f64::min);
    println!("{table_bits} bits: {size}, {compressed} compressed, mean {mean}, worst {worst}");
    assert!(size <= 23_000_000, "{size}");
    assert!(compressed <= most_compressed, "{compressed}");
    assert!(mean >= 0.998 && worst >= 0.995, "mean {mean}, worst {worst}");
}

#[test]
fn shards_become_one_file_with_the_bits_of_the_whole() {
    let whole = Temporary::new("whole");
    packed(&tiny("tiny-cls"), &whole.0, 8);

    let shards = Temporary::copy_of("tiny-cls", "shards");
    let bytes = fs::read(shards.0.join(ORIGINAL)).expect("a file");
    fs::remove_file(shards.0.join(ORIGINAL)).expect("a file");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("tensors").tensors();
    let mut weight_map = serde_json::Map::new();
    for (i, part) in tensors.chunks(tensors.len().div_ceil(3)).enumerate() {
        let name = format!("part-{i}.safetensors");
        weight_map.extend(part.iter().map(|(tensor, _)| (tensor.clone(), name.clone().into())));
        let views = part.iter().map(|(tensor, view)| (tensor, view));
        fs::write(shards.0.join(&name), safetensors::serialize(views, None).expect("a file"))
            .expect("a file");
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": weight_map });
    fs::write(shards.0.join("model.safetensors.index.json"), index.to_string()).expect("a file");

    let output = Temporary::new("joined");
    packed(&shards.0, &output.0, 8);
    assert_manifest(&output.0, &[]);
    let names: Vec<_> = contents(&output.0).into_keys().collect();
    assert!(
        !names.iter().any(|name| name.contains("part-") || name.contains("index")),
        "{names:?}"
    );
    let vectors = |folder: &Path| {
        let encoded = open(folder, WeightDtype::Q8).encode(&["the fox"], &EncodeOptions::default());
        encoded.expect("a vector").vectors
    };
    assert_eq!(vectors(&output.0), vectors(&whole.0));
    assert_eq!(vectors(&shards.0), vectors(&whole.0));
}

#[cfg(unix)]
#[test]
fn links_are_not_followed_and_pipes_are_not_waited_for() {
    use std::os::unix::fs::symlink;

    let secret = Temporary::new("secret");
    fs::create_dir_all(&secret.0).expect("a folder");
    let file = secret.0.join("file");
    fs::write(&file, "of somebody else").expect("a file");
    let output = Temporary::new("links");
    fs::create_dir_all(&output.0).expect("a folder");
    // Every name that the packer writes or could write on the way.
    let partial = |name: &str| format!("{name}.partial-{}", std::process::id());
    for name in [PACKED, MANIFEST_JSON, "config.json", "tokenizer.json"] {
        for name in [name.to_owned(), partial(name)] {
            symlink(&file, output.0.join(name)).expect("a link");
        }
    }
    let options = Options { output: Some(output.0.clone()), ..in_place(&tiny("tiny-cls")) };
    // Whether it refuses or writes beside them: what they lead to stays.
    let _ = pack(&options);
    assert_eq!(fs::read(&file).expect("a file"), b"of somebody else");

    for name in ["config.json", "tokenizer.json", ORIGINAL] {
        let folder = Temporary::copy_of("tiny-cls", &format!("pipe-{name}"));
        fs::remove_file(folder.0.join(name)).expect("a file");
        let made = std::process::Command::new("mkfifo").arg(folder.0.join(name)).status();
        assert!(made.expect("mkfifo").success());
        let error = refused(&in_place(&folder.0));
        assert!(error.contains(name) && error.contains("not a plain file"), "{error}");
    }
    // An endless file.
    let folder = Temporary::copy_of("tiny-cls", "endless");
    fs::remove_file(folder.0.join("tokenizer.json")).expect("a file");
    symlink("/dev/zero", folder.0.join("tokenizer.json")).expect("a link");
    let error = refused(&in_place(&folder.0));
    assert!(error.contains("not a plain file"), "{error}");
}
