// As linear.wgsl, with activations and weights in 8 bits, four to a word. Sums are exact.

// Sums of four rows by four columns, one word of each row.
fn add(sums: vec4<i32>, x: u32, w: vec4<u32>) -> vec4<i32> {
    return sums + vec4<i32>(dot4(x, w.x), dot4(x, w.y), dot4(x, w.z), dot4(x, w.w));
}

fn finish(sums: vec4<i32>, row: u32, column: u32) -> vec4<f32> {
    let scale_and_sum = x_rows[row];
    let exact = sums - vec4<i32>(params[2u * OUT4 + column]) * i32(scale_and_sum.y);
    let scale = params[column] * scale_and_sum.x;
    return activate(vec4<f32>(exact) * scale + params[OUT4 + column]);
}

@compute @workgroup_size(16, 4)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let rows = info[0];
    let column = id.x;
    let first = 4u * id.y;
    if (column >= OUT4 || first >= rows) {
        return;
    }
    let last = rows - 1u;
    let r0 = first * IN16;
    let r1 = min(first + 1u, last) * IN16;
    let r2 = min(first + 2u, last) * IN16;
    let r3 = min(first + 3u, last) * IN16;
    var y0 = vec4<i32>();
    var y1 = vec4<i32>();
    var y2 = vec4<i32>();
    var y3 = vec4<i32>();
    var at = column;
    for (var k = 0u; k < IN16; k++) {
        let x0 = x[r0 + k];
        let x1 = x[r1 + k];
        let x2 = x[r2 + k];
        let x3 = x[r3 + k];
        var w = weight[at];
        y0 = add(y0, x0.x, w);
        y1 = add(y1, x1.x, w);
        y2 = add(y2, x2.x, w);
        y3 = add(y3, x3.x, w);
        w = weight[at + OUT4];
        y0 = add(y0, x0.y, w);
        y1 = add(y1, x1.y, w);
        y2 = add(y2, x2.y, w);
        y3 = add(y3, x3.y, w);
        w = weight[at + 2u * OUT4];
        y0 = add(y0, x0.z, w);
        y1 = add(y1, x1.z, w);
        y2 = add(y2, x2.z, w);
        y3 = add(y3, x3.z, w);
        w = weight[at + 3u * OUT4];
        y0 = add(y0, x0.w, w);
        y1 = add(y1, x1.w, w);
        y2 = add(y2, x2.w, w);
        y3 = add(y3, x3.w, w);
        at += 4u * OUT4;
    }
    let to = first * OUT4 + column;
    y[to] = finish(y0, first, column);
    if (first + 1u < rows) { y[to + OUT4] = finish(y1, first + 1u, column); }
    if (first + 2u < rows) { y[to + 2u * OUT4] = finish(y2, first + 2u, column); }
    if (first + 3u < rows) { y[to + 3u * OUT4] = finish(y3, first + 3u, column); }
}
