// Turns queries and keys by the angles of their token's position, in place (crate/kernels/src/rotary.rs): a thread for each pair of
// values, which are half a head apart.

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let pair = id.x;
    let token = id.y;
    // As many pairs of queries as of keys, which lie behind them.
    if (pair >= SIZE || token >= info[0]) {
        return;
    }
    let half = HEAD_SIZE / 2u;
    let i = pair % half;
    let first = token * (3u * SIZE) + pair / half * HEAD_SIZE + i;
    let position = token - batch[4u * token + 2u];
    let angle = position * HEAD_SIZE + i;
    let cosine = rotary[angle];
    let sine = rotary[angle + half];
    let a = qkv[first];
    let b = qkv[first + half];
    qkv[first] = a * cosine - b * sine;
    qkv[first + half] = b * cosine + a * sine;
}
