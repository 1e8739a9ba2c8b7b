// What is made of two tensors value by value: four for each thread.

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let row = id.y;
    if (column >= SIZE4 || row >= info[0]) {
        return;
    }
    let at = row * SIZE4 + column;
    y[at] = of_both(a[at], b[at]);
}
