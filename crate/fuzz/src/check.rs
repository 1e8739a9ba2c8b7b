//! Runs a case and holds it to what no input may do: panic, take long, or take much memory.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cpu_time::ThreadTime;
use peak_alloc::PeakAlloc;

use crate::Target;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// For each byte of the input.
const MEMORY_PER_BYTE: usize = 16;

/// And for what does not depend on the input.
const MEMORY_FLOOR: usize = 16 << 20;

/// For each 2^20 bytes of the input, and for one that is smaller: of the processor, not of the clock. Who waits for a
/// file that never ends is found by those who call [`check`].
const TIME_PER_MB: Duration = Duration::from_secs(1);

/// A build that is made slower than it is for users gets more time. Counting every branch takes two to three times as
/// long, and up to twice that beside other programs; without optimisation our own crates take up to ten times as long.
const SLOWNESS: u32 = if cfg!(debug_assertions) {
    10
} else if cfg!(feature = "libfuzzer") {
    6
} else {
    1
};

/// A case that is too slow is run so many times, and its fastest run counts: caches are shared with other programs.
const RUNS: u32 = 3;

/// The message of the last panic.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// Whether a case is running.
static IS_RUNNING: AtomicBool = AtomicBool::new(false);

/// Has the panics of cases be kept for [`check`]'s answer, in place of being printed.
pub fn keep_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !IS_RUNNING.load(Ordering::Relaxed) {
            return usual(info);
        }
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let message = info.payload_as_str().unwrap_or_default();
        if let Ok(mut last) = PANIC.lock() {
            *last = format!("panic at {place}: {message}");
        }
    }));
}

/// Runs a case; says what is wrong with it.
///
/// # Errors
///
/// What it has broken.
pub fn check(target: &Target, input: &[u8]) -> Result<(), String> {
    let mut fastest = Duration::MAX;
    let mut size = 0;
    for _ in 0..RUNS {
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let started = ThreadTime::now();
        IS_RUNNING.store(true, Ordering::Relaxed);
        let result = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
        IS_RUNNING.store(false, Ordering::Relaxed);
        fastest = fastest.min(started.elapsed());
        let used = ALLOCATOR.peak_usage().saturating_sub(before);
        size = match result {
            Ok(result) => result?,
            Err(_) => {
                return Err(PANIC.lock().map(|last| last.clone()).unwrap_or_default());
            }
        };
        let allowed = MEMORY_FLOOR + MEMORY_PER_BYTE * size;
        if used > allowed {
            return Err(format!("{used} bytes of memory for {size} of input, {allowed} allowed"));
        }
        if fastest <= time_for(size) {
            return Ok(());
        }
    }
    Err(format!("{fastest:?} for {size} bytes of input, {:?} allowed", time_for(size)))
}

fn time_for(size: usize) -> Duration {
    (TIME_PER_MB * SLOWNESS).mul_f64((size as f64 / f64::from(1 << 20)).max(1.0))
}
