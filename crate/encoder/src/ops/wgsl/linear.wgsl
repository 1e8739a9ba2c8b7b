// y = activation(x · weight + bias): four rows by four columns for each thread.
//
// No workgroup memory: the threads of a workgroup read the same few rows and columns at nearly the same
// time, so the caches hold them, and no thread waits for another.

@compute @workgroup_size(16, 4)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let rows = info[0];
    let column = id.x;
    let first = 4u * id.y;
    if (column >= OUT4 || first >= rows) {
        return;
    }
    // Rows beyond the last are computed as the last one, and not written.
    let last = rows - 1u;
    let r0 = first * IN4;
    let r1 = min(first + 1u, last) * IN4;
    let r2 = min(first + 2u, last) * IN4;
    let r3 = min(first + 3u, last) * IN4;
    var y0 = bias_at(column);
    var y1 = y0;
    var y2 = y0;
    var y3 = y0;
    for (var k = 0u; k < IN4; k++) {
        let x0 = x[r0 + k];
        let x1 = x[r1 + k];
        let x2 = x[r2 + k];
        let x3 = x[r3 + k];
        var w = weight_at(4u * k, column);
        y0 += x0.x * w;
        y1 += x1.x * w;
        y2 += x2.x * w;
        y3 += x3.x * w;
        w = weight_at(4u * k + 1u, column);
        y0 += x0.y * w;
        y1 += x1.y * w;
        y2 += x2.y * w;
        y3 += x3.y * w;
        w = weight_at(4u * k + 2u, column);
        y0 += x0.z * w;
        y1 += x1.z * w;
        y2 += x2.z * w;
        y3 += x3.z * w;
        w = weight_at(4u * k + 3u, column);
        y0 += x0.w * w;
        y1 += x1.w * w;
        y2 += x2.w * w;
        y3 += x3.w * w;
    }
    let to = first * OUT4 + column;
    y[to] = activate(y0);
    if (first + 1u < rows) { y[to + OUT4] = activate(y1); }
    if (first + 2u < rows) { y[to + 2u * OUT4] = activate(y2); }
    if (first + 3u < rows) { y[to + 3u * OUT4] = activate(y3); }
}
