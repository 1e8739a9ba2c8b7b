// One vector for each text: its poolings side by side, scaled to length 1 where that is wanted. A workgroup for
// each text.

var<workgroup> squares: array<f32, 64>;

// By the bits: a driver may take for granted that no number is NaN or infinite.
fn not_finite(value: vec4<f32>) -> vec4<bool> {
    let exponent = vec4<u32>(0x7f800000u);
    return (bitcast<vec4<u32>>(value) & exponent) == exponent;
}

fn pool(mode: u32, start: u32, first: u32, end: u32, column: u32) -> vec4<f32> {
    if (first >= end) {
        // A prompt that leaves nothing of its text, as crate/encoder/src/pooling.rs has it; a maximum never comes here.
        return select(vec4<f32>(), x[start * SIZE4 + column], mode == 0u);
    }
    var result = x[first * SIZE4 + column];
    switch mode {
        case 0u: {}
        case 1u: { result = x[(end - 1u) * SIZE4 + column]; }
        case 2u: {
            for (var row = first + 1u; row < end; row++) {
                let value = x[row * SIZE4 + column];
                let larger = select(max(result, value), value, not_finite(value));
                result = select(larger, result, not_finite(result));
            }
        }
        case 3u: {
            // Weighted with the position within the text, which counts from 1.
            result = vec4<f32>();
            var total = 0.0;
            for (var row = first; row < end; row++) {
                let weight = f32(row - start + 1u);
                result += weight * x[row * SIZE4 + column];
                total += weight;
            }
            result /= total;
        }
        default: {
            for (var row = first + 1u; row < end; row++) {
                result += x[row * SIZE4 + column];
            }
            let count = f32(end - first);
            if (mode == 5u) { result /= count; }
            if (mode == 6u) { result /= sqrt(count); }
        }
    }
    return result;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let tokens = info[0];
    let text = group.x;
    var start = 0u;
    if (text > 0u) { start = batch[4u * tokens + text - 1u]; }
    let end = batch[4u * tokens + text];
    let width = info[3] * SIZE4;
    var sum = 0.0;
    for (var i = thread; i < width; i += 64u) {
        let value = pool(info[4u + i / SIZE4], start, start + info[1], end, i % SIZE4);
        y[text * width + i] = value;
        sum += dot(value, value);
    }
    squares[thread] = sum;
    workgroupBarrier();
    if (info[2] == 0u) {
        return;
    }
    sum = 0.0;
    for (var i = 0u; i < 64u; i++) { sum += squares[i]; }
    let length = max(sqrt(sum), 1e-12);
    for (var i = thread; i < width; i += 64u) { y[text * width + i] /= length; }
}
