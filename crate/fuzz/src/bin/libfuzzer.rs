//! The coverage-guided program of one target, which `cargo xtask fuzz` builds and runs.
//!
//! `EMBERVEC_FUZZ_TARGET` is the target's name. `EMBERVEC_FUZZ_SEEDS` is a folder that the seeds are written into
//! first.

#![no_main]

use std::sync::OnceLock;
use std::{env, fs, path::PathBuf};

use embervec_fuzz::mutate::Mutator;
use embervec_fuzz::random::Random;
use embervec_fuzz::seeds::seeds;
use embervec_fuzz::{TARGETS, Target, check};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

static RUN: OnceLock<(Target, Mutator)> = OnceLock::new();

fn init() {
    let name = env::var("EMBERVEC_FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("EMBERVEC_FUZZ_TARGET: there is no \"{name}\""));
    let inputs = seeds(target).unwrap_or_else(|error| panic!("no seeds: {error}"));
    if let Some(folder) = env::var_os("EMBERVEC_FUZZ_SEEDS") {
        let folder = PathBuf::from(folder);
        for (i, (_, input)) in inputs.iter().enumerate() {
            fs::write(folder.join(format!("seed-{i}")), input)
                .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        }
    }
    let inputs: Vec<Vec<u8>> = inputs.into_iter().map(|(_, input)| input).collect();
    let mutator = Mutator::new(target.form, &inputs);
    RUN.get_or_init(|| (*target, mutator));
}

fuzz_target!(init: init(), |input: &[u8]| {
    if let Some((target, _)) = RUN.get()
        && let Err(problem) = check(target, input)
    {
        panic!("{}: {problem}", target.name);
    }
});

fuzz_mutator!(|input: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random::new(seed.into());
    // libFuzzer's own edits are of bytes, with what the code has compared them to.
    let Some((_, mutator)) = RUN.get().filter(|_| !random.once_in(4)) else {
        return fuzzer_mutate(input, size, max_size);
    };
    let edited = mutator.mutate(&input[..size], &mut random);
    match input.get_mut(..edited.len()) {
        Some(place) if !edited.is_empty() && edited.len() <= max_size => {
            place.copy_from_slice(&edited);
            edited.len()
        }
        _ => fuzzer_mutate(input, size, max_size),
    }
});
