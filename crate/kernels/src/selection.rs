//! Which variant of a kernel runs: measured, because an engine does not say what it compiles to.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::attention;
use crate::quantize::{ActivationRow, WEIGHT_MAX};
use crate::tile::{MR, NR, f32::f32_tile, q8};

/// Columns that an `f32` tile computes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum F32Tile {
    /// 5 x 8: all in registers. The faster one in V8 as it is.
    N8,
    /// 5 x 16: spills in 15 registers. For engines that have more, or that make 256-bit instructions of it.
    N16,
}

/// How 8-bit products are summed, and columns at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Q8Tile {
    /// The engine's dot product (in a build without relaxed SIMD that of 16-bit pairs), 5 x 8.
    DotN8,
    /// The same, 5 x 16.
    DotN16,
    /// Relaxed SIMD only: by way of 16-bit pairs, 5 x 8.
    PairsN8,
    /// The same, 5 x 16.
    PairsN16,
}

/// The variants in use. Which they are never changes a bit of any result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// For `f32` weights and [`crate::attention`].
    pub f32_tile: F32Tile,
    /// For 7-bit weights.
    pub q8_tile: Q8Tile,
}

/// As in the kernels' names: `f32 5x8, q8 dot 5x16`.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let f32_tile = match self.f32_tile {
            F32Tile::N8 => "5x8",
            F32Tile::N16 => "5x16",
        };
        let q8_tile = match self.q8_tile {
            Q8Tile::DotN8 => "dot 5x8",
            Q8Tile::DotN16 => "dot 5x16",
            Q8Tile::PairsN8 => "pairs 5x8",
            Q8Tile::PairsN16 => "pairs 5x16",
        };
        write!(f, "f32 {f32_tile}, q8 {q8_tile}")
    }
}

const F32_TILES: &[F32Tile] = &[F32Tile::N8, F32Tile::N16];

const Q8_TILES: &[Q8Tile] = if cfg!(all(target_arch = "wasm32", feature = "relaxed")) {
    &[Q8Tile::DotN8, Q8Tile::DotN16, Q8Tile::PairsN8, Q8Tile::PairsN16]
} else if cfg!(target_arch = "wasm32") {
    &[Q8Tile::DotN8, Q8Tile::DotN16]
} else {
    &[Q8Tile::DotN16]
};

/// Indices into the lists above.
static F32_TILE: AtomicU8 = AtomicU8::new(0);
static Q8_TILE: AtomicU8 = AtomicU8::new(0);

impl Selection {
    /// The one in use.
    pub fn current() -> Self {
        Self {
            f32_tile: F32_TILES[usize::from(F32_TILE.load(Relaxed))],
            q8_tile: Q8_TILES[usize::from(Q8_TILE.load(Relaxed))],
        }
    }

    /// Every combination that this build has.
    pub fn all() -> impl Iterator<Item = Self> {
        F32_TILES
            .iter()
            .flat_map(|&f32_tile| Q8_TILES.iter().map(move |&q8_tile| Self { f32_tile, q8_tile }))
    }

    /// Puts it to use.
    pub fn install(self) {
        let f32_tile = F32_TILES.iter().position(|&tile| tile == self.f32_tile);
        let q8_tile = Q8_TILES.iter().position(|&tile| tile == self.q8_tile);
        if let (Some(f32_tile), Some(q8_tile)) = (f32_tile, q8_tile) {
            F32_TILE.store(f32_tile as u8, Relaxed);
            Q8_TILE.store(q8_tile as u8, Relaxed);
        }
    }

    /// Runs the variants that [`Selection::measure`] compares until the engine sees that they are worth
    /// compiling well: about 5 ms, which the first encoding would take otherwise.
    pub fn warm_up() {
        let work = Probe::new();
        for _ in 0..WARM_UP_ROUNDS {
            F32_TILES.iter().for_each(|&tile| work.f32(tile));
            q8_candidates().for_each(|tile| work.q8(tile));
        }
        for _ in 0..WARM_UP_ATTENTIONS {
            work.attention();
        }
    }

    /// Times the variants and gives the fastest ones: about 2 ms per kind of tile. `now` is a clock
    /// in milliseconds; one that ticks too slowly to tell the variants apart gives the first ones. Some time
    /// must have passed since [`Selection::warm_up`], for engines compile in the background.
    pub fn measure(now: impl Fn() -> f64) -> Self {
        if !is_fine(&now) {
            return Self { f32_tile: F32_TILES[0], q8_tile: first_q8_tile() };
        }
        let work = Probe::new();
        let q8_candidates: Vec<_> = q8_candidates().collect();
        Self {
            f32_tile: fastest(F32_TILES, &now, |tile| work.f32(tile)),
            q8_tile: fastest(&q8_candidates, &now, |tile| work.q8(tile)),
        }
    }
}

/// V8 compiles a function anew after it has run for about 13 MB of its machine code
/// (`--wasm-tiering-budget`); a tile runs for about 25 kB, so 500 tiles would do.
const WARM_UP_ROUNDS: usize = 80;

/// Attention has loops of its own, which take the tile that was chosen, and that is nearly always the
/// first.
const WARM_UP_ATTENTIONS: usize = 5;

/// Those of one way to sum, which follows from what the engine computes.
fn q8_candidates() -> impl Iterator<Item = Q8Tile> {
    let wide = q8::dot_saturates();
    Q8_TILES
        .iter()
        .copied()
        .filter(move |tile| wide == matches!(tile, Q8Tile::PairsN8 | Q8Tile::PairsN16))
}

/// The variant where nothing can be measured.
fn first_q8_tile() -> Q8Tile {
    q8_candidates().next().unwrap_or(Q8_TILES[0])
}

/// The longest time between two ticks of a clock that tells variants apart, in milliseconds. Chromium's tick every
/// 0.1 ms. Safari's and Firefox's tick every millisecond, against fingerprinting every 16.7 or 100: one race would
/// take 16 ticks.
const FINE_MS: f64 = 0.25;

/// Readings of a clock before it counts as standing still. One takes 50 ns (Chromium, AMD EPYC), so these take 1 ms.
const MAX_READINGS: usize = 20_000;

/// Rounds of a variant before the clock counts as standing still: 40 times those of 0.25 ms.
const MAX_ROUNDS: u32 = 1_000;

/// Whether the clock ticks often enough.
fn is_fine(now: &impl Fn() -> f64) -> bool {
    let ticks = next_tick(now).and_then(|first| Some((first, next_tick(now)?)));
    ticks.is_some_and(|(first, second)| second - first <= FINE_MS)
}

/// The time at the clock's next tick.
fn next_tick(now: &impl Fn() -> f64) -> Option<f64> {
    let before = now();
    (0..MAX_READINGS).map(|_| now()).find(|&time| time > before)
}

/// A variant must beat the ones before it by this factor, or noise could decide. Where V8 revectorises,
/// wide tiles of 4 rows won by 1.6 to 1.9; elsewhere they lose.
const CLEARLY: f64 = 1.2;

/// The variant that is the fastest. Any but the first must be so twice: on a busy machine what disturbs may
/// last as long as one race (seen beside a compiler), and a wide tile that is not the fastest costs 40 %.
fn fastest<T: Copy>(tiles: &[T], now: &impl Fn() -> f64, run: impl Fn(T)) -> T {
    let winner = race(tiles, now, &run);
    let is_fastest = winner == 0 || race(tiles, now, &run) == winner;
    tiles[if is_fastest { winner } else { 0 }]
}

/// The index of the variant that does most rounds in its time. A browser's clock may tick as slowly as every
/// 0.1 ms, so rounds are counted from one tick to another; four times for each, of which the best
/// counts, because whatever disturbs makes it slower.
fn race<T: Copy>(tiles: &[T], now: &impl Fn() -> f64, run: &impl Fn(T)) -> usize {
    if tiles.len() == 1 {
        return 0;
    }
    let mut rates = vec![0.0_f64; tiles.len()];
    for _ in 0..4 {
        for (&tile, best) in tiles.iter().zip(&mut rates) {
            // The clock stopped.
            let Some(rate) = rate(now, || run(tile)) else { return 0 };
            *best = best.max(rate);
        }
    }
    let faster = |best: usize, i: usize| if rates[i] > CLEARLY * rates[best] { i } else { best };
    (1..tiles.len()).fold(0, faster)
}

/// Rounds in a millisecond.
fn rate(now: &impl Fn() -> f64, run: impl Fn()) -> Option<f64> {
    let start = next_tick(now)?;
    (1..=MAX_ROUNDS).find_map(|rounds| {
        run();
        let elapsed = now() - start;
        (elapsed > FINE_MS).then(|| f64::from(rounds) / elapsed)
    })
}

/// A panel of MiniLM's width, in the first-level cache.
struct Probe {
    a: Vec<f32>,
    panel: Vec<[f32; NR]>,
    a_q8: Vec<q8::Group>,
    panel_q8: Vec<q8::Step>,
    qkv: Vec<f32>,
}

/// `in_features` of the probe's panel, and how many tiles make a round (about 10 microseconds).
const PROBE_K: usize = 384;
const PROBE_TILES: usize = 8;

/// One head of a text.
const PROBE_TOKENS: usize = 128;
const PROBE_HEAD: usize = 32;

impl Probe {
    fn new() -> Self {
        Self {
            a: vec![0.5; MR * PROBE_K],
            panel: vec![[0.25; NR]; 1 + PROBE_K],
            a_q8: vec![[[-1; q8::GROUP]; MR]; PROBE_TILES * PROBE_K / q8::GROUP],
            panel_q8: vec![[WEIGHT_MAX; NR * q8::GROUP]; PROBE_K / q8::GROUP],
            qkv: vec![0.5; PROBE_TOKENS * 3 * PROBE_HEAD],
        }
    }

    fn attention(&self) {
        let mut out = [0.0; PROBE_TOKENS * PROBE_HEAD];
        let texts = std::iter::once(0..PROBE_TOKENS);
        attention(&self.qkv, texts, 1, PROBE_HEAD, &mut out, PROBE_HEAD);
        std::hint::black_box(&out);
    }

    fn f32(&self, variant: F32Tile) {
        let mut out = [0.0; MR * NR];
        for _ in 0..PROBE_TILES {
            f32_tile(variant, MR, &self.a, PROBE_K, &self.panel, &mut out, NR);
        }
        std::hint::black_box(&out);
    }

    fn q8(&self, variant: Q8Tile) {
        let rows = [ActivationRow::default(); PROBE_TILES * MR];
        let params = [[0.0; NR]; 3];
        let mut out = [0.0; PROBE_TILES * MR * NR];
        q8::q8_tiles(variant, &rows, &self.a_q8, &self.panel_q8, &params, &mut out, NR);
        std::hint::black_box(&out);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::{fastest, is_fine};

    /// A clock that goes on by a nanosecond at every reading, and by what is added to it.
    #[derive(Default)]
    struct Clock(Cell<f64>);

    impl Clock {
        fn now(&self) -> f64 {
            self.add(1e-6);
            self.0.get()
        }

        fn add(&self, milliseconds: f64) {
            self.0.set(self.0.get() + milliseconds);
        }
    }

    /// Of `[0, 1]`, where a round of the first takes 0.01 ms and of the second `wide` ms, and whatever is computed before
    /// `disturbed_until` ms takes the first eight times as long.
    fn choice(wide: f64, disturbed_until: f64) -> usize {
        let clock = Clock::default();
        fastest(&[0, 1], &|| clock.now(), |tile| {
            let disturbance = if clock.0.get() < disturbed_until { 8.0 } else { 1.0 };
            clock.add(if tile == 0 { 0.01 * disturbance } else { wide });
        })
    }

    #[test]
    fn a_wide_tile_must_win_twice() {
        assert_eq!(choice(0.014, 0.0), 0, "slower");
        assert_eq!(choice(0.009, 0.0), 0, "hardly faster");
        assert_eq!(choice(0.006, 0.0), 1, "faster");
        // One race takes about 2 ms.
        assert_eq!(choice(0.014, 2.0), 0, "only the first race was disturbed");
        assert_eq!(choice(0.014, 100.0), 1, "nothing else can be seen");
    }

    #[test]
    fn a_clock_that_ticks_slowly_or_never_is_soon_given_up() {
        for (tick, fine) in
            [(0.005, true), (0.1, true), (1.0, false), (16.7, false), (100.0, false)]
        {
            let clock = Clock::default();
            let begin = clock.0.get();
            // A reading takes 50 ns.
            let now = || {
                clock.add(49e-6);
                (clock.now() / tick).floor() * tick
            };
            assert_eq!(is_fine(&now), fine, "{tick}");
            assert!(clock.0.get() - begin < 2.1, "{tick}");
        }
        assert!(!is_fine(&|| 7.0));

        // It stops within a race.
        let readings = Cell::new(0);
        let now = || {
            readings.set(readings.get() + 1);
            f64::from(readings.get().min(50)) * 0.01
        };
        let rounds = Cell::new(0);
        assert_eq!(fastest(&[0, 1], &now, |_| rounds.set(rounds.get() + 1)), 0);
        assert!(rounds.get() <= 1_100, "{}", rounds.get());
    }
}
