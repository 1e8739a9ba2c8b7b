// The sum of each token's word, position and token type embeddings: four values for each thread.

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let token = id.x / SIZE4;
    let column = id.x % SIZE4;
    if (token >= info[0]) {
        return;
    }
    let word = batch[4u * token];
    // 16 bits each.
    let place = batch[4u * token + 1u];
    let token_type = place >> 16u;
    let position = place & 0xffffu;
    y[id.x] = word_row(word, column) + position_row(position, column) + token_types[token_type * SIZE4 + column];
}
