// x · Φ(x) with the rational approximation of crate/kernels/src/math.rs: absolute error below 4e-7.
fn gelu(x: vec4<f32>) -> vec4<f32> {
    let z = min(abs(x), vec4<f32>(5.6));
    var p = z * -1.4332043e-4 + 3.6248474e-3;
    p = p * z - 3.683634e-2;
    p = p * z + 0.18814555;
    p = p * z - 0.48334828;
    p = p * z + 0.5000097;
    var q = z * 8.823486e-4 - 2.5293918e-3;
    q = q * z + 8.927867e-3;
    q = q * z + 1.0636125e-2;
    q = q * z - 8.419321e-3;
    q = q * z + 0.23961472;
    q = q * z - 0.16845417;
    q = q * z + 1.0;
    return max(x, vec4<f32>()) - z * p / q;
}

// x / (1 + e^-y)
fn gated(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    return x / (vec4<f32>(1.0) + exp(min(-y, vec4<f32>(88.0))));
}

fn activate(x: vec4<f32>) -> vec4<f32> {
    switch ACTIVATION {
        case 1u: { return gelu(x); }
        // Beyond 10 it is 1 in f32, and the exponential within may overflow.
        case 2u: { return tanh(clamp(x, vec4<f32>(-10.0), vec4<f32>(10.0))); }
        case 3u: { return gated(x, x * (1.5957691 + 0.071354814 * x * x)); }
        case 4u: { return max(x, vec4<f32>()); }
        case 5u: { return gated(x, x); }
        default: { return x; }
    }
}
