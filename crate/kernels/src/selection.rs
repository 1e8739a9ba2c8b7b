//! Which variant of a kernel runs: measured, because an engine does not say what it compiles to.

use std::cell::Cell;
use std::fmt;
use std::slice;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::quantize::{ActivationRow, WEIGHT_MAX};
use crate::tile::{MR, NR, f32::f32_tile, q8};
use crate::{Relative, attention};

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

    /// The one of this name, if the engine computes with it: names may have been kept for another engine.
    pub fn parse(name: &str) -> Option<Self> {
        let is_candidate = |selection: &Self| q8_candidates().any(|tile| tile == selection.q8_tile);
        Self::all().filter(is_candidate).find(|selection| selection.to_string() == name)
    }

    /// Runs the variants that [`Selection::measure`] compares until the engine sees that they are worth
    /// compiling well: about 5 ms, which the first encoding would take otherwise. `now` is a clock in milliseconds.
    pub fn warm_up(now: impl Fn() -> f64) {
        Self::warm_up_tiles(F32_TILES, &q8_candidates().collect::<Vec<_>>(), now);
    }

    /// As [`Selection::warm_up`], where it is known already which variants will be used.
    pub fn warm_up_only(self, now: impl Fn() -> f64) {
        Self::warm_up_tiles(&[self.f32_tile], &[self.q8_tile], now);
    }

    fn warm_up_tiles(f32_tiles: &[F32Tile], q8_tiles: &[Q8Tile], now: impl Fn() -> f64) {
        let work = Probe::new();
        let clock = Clock::new(now);
        for round in 0..WARM_UP_ROUNDS {
            f32_tiles.iter().for_each(|&tile| work.f32(tile));
            q8_tiles.iter().for_each(|&tile| work.q8(tile));
            if round % WARM_UP_PER_ATTENTION == 0 {
                work.attention();
            }
            if clock.read().is_none() {
                break;
            }
        }
    }

    /// Times the variants and gives the fastest ones: about 2 ms per kind of tile. `now` is a clock
    /// in milliseconds; one that ticks too slowly to tell the variants apart gives the first ones. Some time
    /// must have passed since [`Selection::warm_up`], for engines compile in the background.
    pub fn measure(now: impl Fn() -> f64) -> Self {
        let clock = Clock::new(now);
        if !clock.is_fine() {
            return Self { f32_tile: F32_TILES[0], q8_tile: first_q8_tile() };
        }
        let work = Probe::new();
        let q8_candidates: Vec<_> = q8_candidates().collect();
        Self {
            f32_tile: fastest(F32_TILES, &clock, |tile| work.f32(tile)),
            q8_tile: fastest(&q8_candidates, &clock, |tile| work.q8(tile)),
        }
    }
}

/// V8 compiles a function anew after it has run for about 13 MB of its machine code
/// (`--wasm-tiering-budget`); a tile runs for about 25 kB, so 500 tiles would do.
const WARM_UP_ROUNDS: usize = 80;

/// Attention has loops of its own, which take the tile that was chosen, and that is nearly always the
/// first. It runs 5 times.
const WARM_UP_PER_ATTENTION: usize = 16;

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
const MAX_READINGS: u32 = 20_000;

/// Of a whole measurement, 10 ms: in 34 waits for a tick of 0.1 ms there are 68,000.
const ALL_READINGS: u32 = 10 * MAX_READINGS;

/// Rounds of a whole measurement, 40 ms: on a clock that ticks every 0.25 ms, 32 rates take 50 each at most.
const ALL_ROUNDS: u32 = 4_000;

/// Longer than a measurement takes, by its own clock, on a machine of a fifth of the speed.
const MAX_MS: f64 = 50.0;

/// A clock in milliseconds that is believed as long as it goes on, and for so long.
struct Clock<Now> {
    now: Now,
    start: f64,
    last: Cell<f64>,
    readings: Cell<u32>,
    rounds: Cell<u32>,
}

impl<Now: Fn() -> f64> Clock<Now> {
    fn new(now: Now) -> Self {
        let start = now();
        let (readings, rounds) = (Cell::new(ALL_READINGS), Cell::new(ALL_ROUNDS));
        Self { now, start, last: Cell::new(start), readings, rounds }
    }

    /// The time, until the clock is NaN, goes back, or has been used for too long.
    fn read(&self) -> Option<f64> {
        self.readings.set(self.readings.get().checked_sub(1)?);
        let time = (self.now)();
        let last = self.last.replace(time);
        (time >= last && time - self.start <= MAX_MS).then_some(time)
    }

    /// The time at the next tick.
    fn next_tick(&self) -> Option<f64> {
        let before = self.read()?;
        (0..MAX_READINGS).map_while(|_| self.read()).find(|&time| time > before)
    }

    /// Whether it ticks often enough.
    fn is_fine(&self) -> bool {
        let ticks = self.next_tick().and_then(|first| Some((first, self.next_tick()?)));
        ticks.is_some_and(|(first, second)| second - first <= FINE_MS)
    }

    /// Rounds of `run` in a millisecond.
    fn rate(&self, run: impl Fn()) -> Option<f64> {
        let start = self.next_tick()?;
        let mut rounds = 0;
        loop {
            self.rounds.set(self.rounds.get().checked_sub(1)?);
            run();
            rounds += 1;
            let elapsed = self.read()? - start;
            if elapsed > FINE_MS {
                return Some(f64::from(rounds) / elapsed);
            }
        }
    }
}

/// A variant must beat the ones before it by this factor, or noise could decide. Where V8 revectorises,
/// wide tiles of 4 rows won by 1.6 to 1.9; elsewhere they lose.
const CLEARLY: f64 = 1.2;

/// The variant that is the fastest. Any but the first must be so twice: on a busy machine what disturbs may
/// last as long as one race (seen beside a compiler), and a wide tile that is not the fastest costs 40 %.
fn fastest<T: Copy>(tiles: &[T], clock: &Clock<impl Fn() -> f64>, run: impl Fn(T)) -> T {
    let winner = race(tiles, clock, &run);
    let is_fastest = winner == 0 || race(tiles, clock, &run) == winner;
    tiles[if is_fastest { winner } else { 0 }]
}

/// The index of the variant that does most rounds in its time. A browser's clock may tick as slowly as every
/// 0.1 ms, so rounds are counted from one tick to another; four times for each, of which the best
/// counts, because whatever disturbs makes it slower.
fn race<T: Copy>(tiles: &[T], clock: &Clock<impl Fn() -> f64>, run: &impl Fn(T)) -> usize {
    if tiles.len() == 1 {
        return 0;
    }
    let mut rates = vec![0.0_f64; tiles.len()];
    for _ in 0..4 {
        for (&tile, best) in tiles.iter().zip(&mut rates) {
            // The clock is not to be believed any more.
            let Some(rate) = clock.rate(|| run(tile)) else { return 0 };
            *best = best.max(rate);
        }
    }
    let faster = |best: usize, i: usize| if rates[i] > CLEARLY * rates[best] { i } else { best };
    (1..tiles.len()).fold(0, faster)
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
        let text = 0..PROBE_TOKENS;
        let relative = Relative::default();
        attention(&self.qkv, slice::from_ref(&text), 1, PROBE_HEAD, relative, &mut out, PROBE_HEAD);
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

    use super::{Clock, Selection, fastest};

    /// What a clock shows, and the time that has passed: 50 ns at every reading, and what is added to it.
    #[derive(Default)]
    struct Time(Cell<f64>);

    impl Time {
        fn read(&self) -> f64 {
            self.add(50e-6);
            self.0.get()
        }

        fn add(&self, milliseconds: f64) {
            self.0.set(self.0.get() + milliseconds);
        }
    }

    /// Of `[0, 1]`, where a round of the first takes 0.01 ms and of the second `wide` ms, and whatever is computed before
    /// `disturbed_until` ms takes the first eight times as long.
    fn choice(wide: f64, disturbed_until: f64) -> usize {
        let time = Time::default();
        fastest(&[0, 1], &Clock::new(|| time.read()), |tile| {
            let disturbance = if time.0.get() < disturbed_until { 8.0 } else { 1.0 };
            time.add(if tile == 0 { 0.01 * disturbance } else { wide });
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

    /// What a clock shows at a time, and whether variants can be told apart by it.
    type Odd = (&'static str, fn(f64) -> f64, bool);

    fn ticking(time: f64, tick: f64) -> f64 {
        (time / tick).floor() * tick
    }

    const CLOCKS: &[Odd] = &[
        ("exact", |time| time, true),
        ("every 5 us", |time| ticking(time, 0.005), true),
        ("every 100 us", |time| ticking(time, 0.1), true),
        ("every ms", |time| ticking(time, 1.0), false),
        ("every 16.7 ms", |time| ticking(time, 16.7), false),
        ("every 100 ms", |time| ticking(time, 100.0), false),
        ("stands still", |_| 7.0, false),
        ("stops after 0.5 ms", |time| time.min(0.5), false),
        ("stops in the second race", |time| time.min(3.0), false),
        (
            "slows down to a tick of 100 ms",
            |time| if time < 1.0 { time } else { ticking(time, 100.0) },
            false,
        ),
        ("a fortieth of the time", |time| time / 40.0, false),
        ("goes back all the time", |time| -time, false),
        ("goes back after 1 ms", |time| if time < 1.0 { time } else { time - 1000.0 }, false),
        ("jumps ahead after 1 ms", |time| if time < 1.0 { time } else { time + 1e6 }, false),
        ("NaN", |_| f64::NAN, false),
        ("NaN after 1 ms", |time| if time < 1.0 { time } else { f64::NAN }, false),
        ("infinite", |_| f64::INFINITY, false),
        ("infinite after 1 ms", |time| if time < 1.0 { time } else { f64::INFINITY }, false),
    ];

    #[test]
    fn whatever_a_clock_shows_the_choice_ends_soon() {
        for &(name, shown, tells) in CLOCKS {
            let time = Time::default();
            let clock = Clock::new(|| shown(time.read()));
            // The second is three times as fast.
            let run = |tile| time.add(if tile == 0 { 0.009 } else { 0.003 });
            let choices =
                [0, 1].map(|_| if clock.is_fine() { fastest(&[0, 1], &clock, run) } else { 0 });
            assert_eq!(choices[0] == 1, tells, "{name}");
            assert!(time.0.get() < 60.0, "{name}: {} ms", time.0.get());
        }
    }

    #[test]
    fn warming_up_ends_soon_where_computing_is_slow() {
        let readings = Cell::new(0);
        let now = || {
            readings.set(readings.get() + 1);
            f64::from(readings.get()) * 20.0
        };
        Selection::warm_up(now);
        assert!(readings.get() <= 5, "{}", readings.get());
    }

    #[test]
    fn a_selection_is_known_by_its_name() {
        for selection in Selection::all() {
            assert_eq!(Selection::parse(&selection.to_string()), Some(selection));
        }
        for name in ["", "f32 5x8", "f32 4x8, q8 dot 4x8", "f32 5x8, q8 dot 5x16 "] {
            assert_eq!(Selection::parse(name), None, "{name}");
        }
    }
}
