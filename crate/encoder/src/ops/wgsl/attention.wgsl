// Softmax attention of every token to the tokens of its own text: a thread for each token and head, which
// reads keys and values once, or those in reach, and rescales what it has when a larger score comes (Milakov & Gimelshein,
// https://arxiv.org/abs/1805.02867). The heads of a token are in one workgroup.

fn context_of(token: u32, head: u32) -> array<vec4<f32>, HEAD4> {
    let own = token * (3u * SIZE4) + head * HEAD4;
    var query: array<vec4<f32>, HEAD4>;
    var context: array<vec4<f32>, HEAD4>;
    for (var i = 0u; i < HEAD4; i++) {
        query[i] = SCALE * qkv[own + i];
    }
    let seen = in_reach(token, vec2<u32>(batch[4u * token + 2u], batch[4u * token + 3u]));
    var largest = -3e38;
    var total = 0.0;
    for (var other = seen.x; other < seen.y; other++) {
        let key = other * (3u * SIZE4) + SIZE4 + head * HEAD4;
        var products = vec4<f32>();
        for (var i = 0u; i < HEAD4; i++) {
            products += query[i] * qkv[key + i];
        }
        let score = (products.x + products.y) + (products.z + products.w) + bias_of(head, token, other);
        if (score > largest) {
            let factor = exp(largest - score);
            largest = score;
            total *= factor;
            for (var i = 0u; i < HEAD4; i++) {
                context[i] *= factor;
            }
        }
        let share = exp(score - largest);
        total += share;
        for (var i = 0u; i < HEAD4; i++) {
            context[i] += share * qkv[key + SIZE4 + i];
        }
    }
    for (var i = 0u; i < HEAD4; i++) {
        context[i] /= total;
    }
    return context;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let end = info[0];
    let token = info[1] + group.x * ROWS + thread / ROW_THREADS;
    let head = thread % ROW_THREADS;
    let live = token < end;
    if (live && head < HEADS) {
        let context = context_of(token, head);
        for (var i = 0u; i < HEAD4; i++) {
            write(token, thread / ROW_THREADS, head * HEAD4 + i, context[i]);
        }
    }
    next(thread, token, live);
}
