// What is done with whole rows. ROW_THREADS threads hold a row, PER_THREAD values each; a workgroup has
// THREADS of them.

var<workgroup> shared_values: array<f32, THREADS>;

fn row_sum(thread: u32, value: f32) -> f32 {
    shared_values[thread] = value;
    workgroupBarrier();
    let first = thread / ROW_THREADS * ROW_THREADS;
    var sum = 0.0;
    for (var i = 0u; i < ROW_THREADS; i++) {
        sum += shared_values[first + i];
    }
    workgroupBarrier();
    return sum;
}

fn row_max(thread: u32, value: f32) -> f32 {
    shared_values[thread] = value;
    workgroupBarrier();
    let first = thread / ROW_THREADS * ROW_THREADS;
    var largest = 0.0;
    for (var i = 0u; i < ROW_THREADS; i++) {
        largest = max(largest, shared_values[first + i]);
    }
    workgroupBarrier();
    return largest;
}
