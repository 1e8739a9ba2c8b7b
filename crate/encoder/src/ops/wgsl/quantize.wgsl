// Where value `i` of a row's thread `t` lies: the values that the rotation mixes are 4 apart.
fn place(t: u32, i: u32) -> u32 {
    return (t / 4u * PER_THREAD + i) * 4u + t % 4u;
}

// Multiplies by a Hadamard matrix, then quantises to -127..=127 (crate/kernels/src/rotate.rs and
// quantize.rs). Values are written in the order of threads, in which the weights lie, too.
fn quantize(values: ptr<function, array<f32, PER_THREAD>>, thread: u32, row: u32, live: bool) {
    for (var half = 1u; half < PER_THREAD; half *= 2u) {
        for (var i = 0u; i < PER_THREAD; i++) {
            if ((i & half) == 0u) {
                let a = (*values)[i];
                let b = (*values)[i + half];
                (*values)[i] = a + b;
                (*values)[i + half] = a - b;
            }
        }
    }
    var largest = 0.0;
    for (var i = 0u; i < PER_THREAD; i++) {
        largest = max(largest, abs((*values)[i]));
    }
    largest = row_max(thread, largest);
    // The inverse of a smaller one would not be finite.
    let inverse = select(0.0, 127.0 / largest, largest >= 1.5e-36);
    var sum = 0;
    let t = thread % ROW_THREADS;
    // Where there are more heads than parts of a row, the last threads have none.
    let owns = live && t * PER_THREAD < SIZE;
    let to = row * (SIZE / 4u) + t * (PER_THREAD / 4u);
    for (var i = 0u; i < PER_THREAD; i += 4u) {
        var word = 0u;
        for (var j = 0u; j < 4u; j++) {
            let q = i32(round((*values)[i + j] * inverse));
            sum += q;
            word |= (u32(q) & 0xffu) << (8u * j);
        }
        if (owns) { q_values[to + i / 4u] = word; }
    }
    // Exact in f32: at most 127 times SIZE.
    let total = row_sum(thread, f32(sum));
    if (live && t == 0u) {
        q_rows[row] = vec2<f32>(select(0.0, largest / 127.0, inverse > 0.0), total);
    }
}
