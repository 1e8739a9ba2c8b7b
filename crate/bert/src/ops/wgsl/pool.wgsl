// One vector for each text: four values for each thread.

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let tokens = info[0];
    let texts = info[1];
    let text = id.x / SIZE4;
    let column = id.x % SIZE4;
    if (text >= texts) {
        return;
    }
    var start = 0u;
    if (text > 0u) { start = batch[4u * tokens + text - 1u]; }
    let first = start + info[2];
    let end = batch[4u * tokens + text];
    var result = x[first * SIZE4 + column];
    switch MODE {
        case 0u: {}
        case 1u: { result = x[(end - 1u) * SIZE4 + column]; }
        case 2u: {
            for (var row = first + 1u; row < end; row++) {
                result = max(result, x[row * SIZE4 + column]);
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
            if (MODE == 5u) { result /= count; }
            if (MODE == 6u) { result /= sqrt(count); }
        }
    }
    y[id.x] = result;
}
