// The rows of x in 8 bits, ROWS of them for each workgroup.

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let rows = info[0];
    let row = group.x * ROWS + thread / ROW_THREADS;
    let first = min(row, rows - 1u) * SIZE;
    var values: array<f32, PER_THREAD>;
    for (var i = 0u; i < PER_THREAD; i++) {
        values[i] = x[first + place(thread % ROW_THREADS, i)];
    }
    quantize(&values, thread, row, row < rows);
}
