//! Cases of the rules in `diagnose/quant`.

use serde_json::json;

use super::folder::{Folder, HIDDEN};
use super::{Case, Tensor};

/// Makes all `q_proj` GPTQ of 4 bits in groups of 16.
pub(super) fn gptq(folder: &mut Folder) {
    for layer in 0..2 {
        let name = format!("model.layers.{layer}.self_attn.q_proj");
        let tensors = folder.tensors();
        tensors.remove(&format!("{name}.weight"));
        let mut zeros = Tensor::new("I32", &[HIDDEN / 16, HIDDEN / 8]);
        zeros.bytes.fill(0x77);
        tensors.insert(format!("{name}.qweight"), Tensor::new("I32", &[HIDDEN / 8, HIDDEN]));
        tensors.insert(format!("{name}.qzeros"), zeros);
        tensors.insert(format!("{name}.scales"), Tensor::new("F16", &[HIDDEN / 16, HIDDEN]));
    }
    let block = json!({"quant_method": "gptq", "bits": 4, "group_size": 16, "sym": true, "desc_act": false});
    folder.config().insert("quantization_config".into(), block);
}

pub(super) const CASES: &[Case] = &[Case { code: "Q001", hit: gptq, miss: |_| () }];
