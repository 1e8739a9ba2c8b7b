//! `config.json` alone.

use embervec_embed::WeightDtype;
use embervec_encoder::keys::key_table;
use embervec_encoder::{BertConfig, GpuNeeds};

use super::{check_message, check_same};

pub(super) fn run(bytes: &[u8]) -> Result<usize, String> {
    let config = match BertConfig::from_json("config.json", bytes) {
        Ok(config) => config,
        Err(error) => {
            check_message(&error.to_string(), &["config.json"])?;
            return Ok(bytes.len());
        }
    };
    let again = BertConfig::from_json("again", config.to_json().as_bytes());
    check_same("written and read", &again.map_err(|error| error.to_string())?, &config)?;
    for dtype in [WeightDtype::Fp32, WeightDtype::Fp16, WeightDtype::Q8] {
        let _ = GpuNeeds::new(&config, dtype);
    }
    let _ = (key_table(&config), config.linear_weights(), config.attention_head_size());
    Ok(bytes.len())
}
