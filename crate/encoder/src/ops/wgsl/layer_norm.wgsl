// Layer normalisation of x + residual, ROWS rows for each workgroup.

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let rows = info[0];
    let row = group.x * ROWS + thread / ROW_THREADS;
    let live = row < rows;
    let t = thread % ROW_THREADS;
    let first = min(row, rows - 1u) * SIZE;
    var values: array<f32, PER_THREAD>;
    var sum = 0.0;
    for (var i = 0u; i < PER_THREAD; i++) {
        let k = place(t, i);
        if (k < SIZE) {
            values[i] = x[first + k] + residual_at(first + k);
            sum += values[i];
        }
    }
    let mean = row_sum(thread, sum) / f32(SIZE);
    var squares = 0.0;
    for (var i = 0u; i < PER_THREAD; i++) {
        if (place(t, i) < SIZE) {
            let difference = values[i] - mean;
            squares += difference * difference;
        }
    }
    let factor = 1.0 / sqrt(row_sum(thread, squares) / f32(SIZE) + EPSILON);
    for (var i = 0u; i < PER_THREAD; i++) {
        let k = place(t, i);
        if (k < SIZE) {
            values[i] = (values[i] - mean) * factor * weight[k] + bias[k];
            if (live) { y[first + k] = values[i]; }
        }
    }
    next(&values, thread, row, live);
}
