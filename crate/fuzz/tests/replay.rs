//! Every seed, and edits of them: the same at every run.
//!
//! `EMBERVEC_FUZZ_SECONDS`: how long all of it takes, in place of a fixed number of edits. `EMBERVEC_FUZZ_TARGET`:
//! only this target. `EMBERVEC_FUZZ_SEED`: a number for other edits. `EMBERVEC_FUZZ_INPUT`: a file to run in place of
//! all that; it is how a finding is looked at.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use embervec_fuzz::mutate::Mutator;
use embervec_fuzz::random::Random;
use embervec_fuzz::seeds::seeds;
use embervec_fuzz::{TARGETS, Target, check, keep_panics};

/// Of a target, where no time is given: all targets together take a few seconds.
const EDITS: usize = 50;

/// A case that has no end would have no answer either.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// When the case that is running began.
static STARTED: Mutex<Option<Instant>> = Mutex::new(None);

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().expect(name))
}

/// One test: memory is counted for the whole program.
#[test]
fn no_input_breaks_anything() {
    let folder = env::temp_dir().join(format!("embervec-replay-{}", process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    keep_panics();
    thread::spawn(watch);
    let only = env::var("EMBERVEC_FUZZ_TARGET").ok();
    let is_wanted = |target: &&Target| only.as_deref().is_none_or(|name| target.name == name);
    let targets: Vec<&Target> = TARGETS.iter().filter(is_wanted).collect();
    assert!(!targets.is_empty(), "there is no target {only:?}");
    if let Some(path) = env::var_os("EMBERVEC_FUZZ_INPUT") {
        let input = fs::read(path).expect("EMBERVEC_FUZZ_INPUT");
        for target in targets {
            println!("{}: {:?}", target.name, check(target, &input));
        }
        return;
    }
    let time = number("EMBERVEC_FUZZ_SECONDS").map(Duration::from_secs);
    let time = time.map(|time| time / targets.len() as u32);
    let problems: usize = targets.into_iter().map(|target| fuzz(target, time, &folder)).sum();
    assert_eq!(problems, 0, "see above");
    fs::remove_dir_all(&folder).expect("a folder");
}

/// Prints what it finds, and gives its number.
fn fuzz(target: &Target, time: Option<Duration>, folder: &Path) -> usize {
    let started = Instant::now();
    let mut seeds = seeds(target).expect("seeds");
    assert!(seeds.len() > 1, "{}", target.name);
    let inputs: Vec<Vec<u8>> = seeds.iter().map(|(_, input)| input.clone()).collect();
    let mutator = Mutator::new(target.form, &inputs);
    let mut random = Random::new(number("EMBERVEC_FUZZ_SEED").unwrap_or(0));
    // Where a case ends the program, it is in here.
    let current = folder.join(target.name);
    let (mut edits, mut kinds, mut problems) = (0, Vec::new(), 0);
    let is_over = |edits| time.map_or(edits >= EDITS, |time| started.elapsed() >= time);
    while !seeds.is_empty() || !is_over(edits) {
        let (name, input) = seeds.pop().unwrap_or_else(|| {
            edits += 1;
            let input = random.pick(&inputs).expect("seeds");
            (format!("edit {edits}"), mutator.mutate(input, &mut random))
        });
        fs::write(&current, &input).expect("a file");
        set_started(Some(Instant::now()));
        let result = check(target, &input);
        set_started(None);
        let Err(problem) = result else { continue };
        // What differs in numbers only is the same fault once more.
        let kind: String = problem.chars().filter(|c| c.is_alphabetic()).take(60).collect();
        if kinds.contains(&kind) {
            continue;
        }
        kinds.push(kind);
        let kept = PathBuf::from(format!("{}-{}", current.display(), kinds.len()));
        fs::write(&kept, &input).expect("a file");
        println!("{}, {name}: {problem:.2000}\n  in {}", target.name, kept.display());
        problems += 1;
    }
    println!("{:>11}: {} seeds, {edits} edits", target.name, inputs.len());
    problems
}

fn set_started(time: Option<Instant>) {
    *STARTED.lock().expect("no panic while it is held") = time;
}

/// Ends the program when a case does not.
fn watch() {
    loop {
        thread::sleep(Duration::from_secs(1));
        let started = *STARTED.lock().expect("no panic while it is held");
        if started.is_some_and(|started| started.elapsed() > HANGS_AFTER) {
            eprintln!("error: a case takes more than {HANGS_AFTER:?}");
            process::exit(1);
        }
    }
}

#[test]
fn every_target_has_a_folder_of_seeds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let entries = fs::read_dir(folder).expect("seeds");
    let mut folders: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    folders.sort();
    let mut names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    names.sort_unstable();
    assert_eq!(folders, names);
}
