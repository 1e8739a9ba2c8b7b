//! `config.json` alone.

use embervec_embed::WeightDtype;
use embervec_encoder::{EncoderSpec, GpuNeeds};

use super::{check_message, check_same};

pub(super) fn run(bytes: &[u8]) -> Result<usize, String> {
    let spec = match EncoderSpec::from_json("config.json", bytes) {
        Ok(spec) => spec,
        Err(error) => {
            check_message(&error.to_string(), &["config.json"])?;
            return Ok(bytes.len());
        }
    };
    let again = EncoderSpec::from_line(&spec.to_line());
    check_same("written and read", &again.map_err(|error| error.to_string())?, &spec)?;
    for dtype in [WeightDtype::Fp32, WeightDtype::Fp16, WeightDtype::Q8] {
        let _ = GpuNeeds::new(&spec, dtype);
    }
    let _ = (spec.key_table(), spec.linear_weights(), spec.attention_head_size());
    Ok(bytes.len())
}
