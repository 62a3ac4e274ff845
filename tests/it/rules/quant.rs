//! Cases of the rules in `diagnose/quant`.

mod fixes;
pub(super) mod made;
mod matrix;

use serde_json::json;

use self::made::{
    awq, block, filled, fp8, g_idx, gptq, gptq_down, hqq, mlx, module, mxfp4, nf4, part, two_shards,
};
use super::folder::{Folder, HIDDEN};
use super::{Case, Tensor};

/// Gives the config of the quantization another place: a file of its own.
fn beside(folder: &mut Folder, is_moved: bool) {
    gptq(folder);
    let block = folder.config().get("quantization_config").unwrap().clone();
    folder.json.insert("quantize_config.json".into(), block);
    if is_moved {
        folder.config().remove("quantization_config");
    }
}

/// Makes a plain block of a method over plain weights.
fn block_over_plain(folder: &mut Folder, method: &str) {
    folder.config().insert("quantization_config".into(), json!({"quant_method": method}));
}

/// Casts the matrices of which `is_it` is true to F16.
fn half(folder: &mut Folder, is_it: fn(&str) -> bool) {
    for (name, tensor) in folder.tensors() {
        if is_it(name) {
            tensor.dtype = "F16";
        }
    }
}

/// Makes GPTQ zero points that are not symmetric, all of one nibble.
fn zero_points(folder: &mut Folder, byte: u8, symmetric: bool) {
    gptq(folder);
    for layer in 0..2 {
        let zeros = folder.tensors().get_mut(&format!("{}.qzeros", module(layer))).unwrap();
        zeros.bytes.fill(byte);
        zeros.bytes[0] = 0x35;
    }
    block(folder, "sym", json!(symmetric));
}

pub(super) const CASES: &[Case] = &[
    Case { code: "Q001", hit: gptq, miss: |folder| nf4(folder, "U8") },
    Case {
        code: "Q002",
        hit: |folder| {
            gptq(folder);
            *part(folder, "qzeros") = filled("I32", &[HIDDEN / 16 + 1, HIDDEN / 8], 0x77);
        },
        miss: gptq,
    },
    Case {
        code: "Q003",
        hit: |folder| {
            beside(folder, false);
            folder.json.get_mut("quantize_config.json").unwrap()["bits"] = json!(8);
        },
        miss: |folder| beside(folder, false),
    },
    Case {
        code: "Q004",
        hit: |folder| {
            gptq(folder);
            part(folder, "scales").bytes[..2].copy_from_slice(&0x7e00u16.to_le_bytes());
        },
        miss: |folder| {
            gptq(folder);
            // The largest number that is still finite.
            part(folder, "scales").bytes[..2].copy_from_slice(&0x7bffu16.to_le_bytes());
        },
    },
    Case {
        code: "Q005",
        hit: |folder| {
            gptq(folder);
            g_idx(folder, 2);
        },
        miss: |folder| {
            gptq(folder);
            g_idx(folder, 1);
        },
    },
    Case {
        code: "Q006",
        hit: |folder| {
            gptq(folder);
            g_idx(folder, -1);
        },
        miss: |folder| {
            gptq(folder);
            g_idx(folder, 0);
        },
    },
    Case {
        code: "Q007",
        hit: |folder| {
            nf4(folder, "U8");
            folder.config().remove("quantization_config");
        },
        miss: |folder| nf4(folder, "U8"),
    },
    Case {
        code: "Q008",
        hit: |folder| {
            awq(folder);
            block(folder, "quant_method", json!("gptq"));
        },
        miss: |folder| {
            gptq(folder);
            block(folder, "quant_method", json!("GPTQ"));
        },
    },
    Case {
        code: "Q009",
        hit: |folder| {
            gptq(folder);
            block(folder, "quant_method", json!("frobnicate"));
        },
        miss: gptq,
    },
    Case {
        code: "Q010",
        hit: |folder| {
            gptq(folder);
            block(folder, "bits", json!(8));
        },
        miss: |folder| {
            gptq(folder);
            block(folder, "bits", json!("4"));
        },
    },
    Case {
        code: "Q011",
        hit: |folder| {
            gptq(folder);
            block(folder, "group_size", json!(8));
        },
        miss: |folder| {
            gptq(folder);
            block(folder, "group_size", json!(16.0));
        },
    },
    Case {
        code: "Q012",
        hit: |folder| block_over_plain(folder, "bitsandbytes"),
        miss: |folder| block_over_plain(folder, "quanto"),
    },
    Case {
        code: "Q013",
        hit: |folder| zero_points(folder, 0x55, true),
        miss: |folder| zero_points(folder, 0x55, false),
    },
    Case {
        code: "Q014",
        hit: gptq,
        miss: |folder| {
            folder.adapter_config().insert("base_model_name_or_path".into(), json!("someone/model-GPTQ"));
        },
    },
    Case {
        code: "Q015",
        hit: |folder| {
            nf4(folder, "U8");
            part(folder, "weight.quant_state.bitsandbytes__nf4").bytes.fill(b'?');
        },
        miss: |folder| nf4(folder, "U8"),
    },
    Case {
        code: "Q016",
        hit: |folder| zero_points(folder, 0xff, false),
        miss: |folder| zero_points(folder, 0xee, false),
    },
    Case {
        code: "Q017",
        hit: gptq,
        miss: |folder| {
            gptq(folder);
            folder.config().insert("torch_dtype".into(), json!("float16"));
        },
    },
    Case {
        code: "Q018",
        hit: |folder| {
            gptq(folder);
            block(folder, "checkpoint_format", json!("gptq_v2"));
        },
        miss: |folder| {
            gptq(folder);
            block(folder, "checkpoint_format", json!("gptq"));
        },
    },
    Case {
        code: "Q019",
        hit: |folder| {
            nf4(folder, "U8");
            part(folder, "weight.quant_map").bytes[4..8].copy_from_slice(&(-0.7f32).to_le_bytes());
        },
        miss: |folder| nf4(folder, "U8"),
    },
    Case {
        code: "Q020",
        hit: |folder| {
            gptq(folder);
            folder.tensors().remove(&format!("{}.scales", module(0)));
        },
        miss: |folder| {
            gptq(folder);
            folder.tensors().remove(&format!("{}.weight", module(0)));
        },
    },
    Case {
        code: "Q021",
        hit: |folder| {
            folder.tensors().insert(format!("{}.weight", module(0)), Tensor::new("I8", &[HIDDEN, HIDDEN]));
        },
        miss: |folder| {
            // A table of positions is no weight.
            folder.tensors().insert("model.position_ids".into(), Tensor::new("I64", &[1, HIDDEN]));
        },
    },
    Case {
        code: "Q022",
        hit: gptq,
        miss: |folder| {
            gptq(folder);
            block(folder, "use_exllama", json!(false));
        },
    },
    Case {
        code: "Q023",
        hit: |folder| {
            let weight = Tensor::new("F8_E4M3", &[HIDDEN, HIDDEN]);
            folder.tensors().insert(format!("{}.weight", module(0)), weight);
        },
        miss: fp8,
    },
    Case {
        code: "Q024",
        hit: |folder| block_over_plain(folder, "bf16"),
        miss: |folder| block_over_plain(folder, "quanto"),
    },
    Case {
        code: "Q025",
        hit: |folder| {
            gptq(folder);
            block(folder, "quant_method", json!(null));
        },
        miss: |folder| {
            nf4(folder, "U8");
            block(folder, "quant_method", json!(null));
        },
    },
    Case { code: "Q026", hit: mlx, miss: hqq },
    Case { code: "Q027", hit: hqq, miss: fp8 },
    Case { code: "Q028", hit: |folder| beside(folder, true), miss: |folder| beside(folder, false) },
    Case { code: "Q029", hit: |folder| gptq_down(folder, 64), miss: |folder| gptq_down(folder, 16) },
    // As Qwen of 2023 names them.
    Case {
        code: "Q029",
        hit: |folder| {
            gptq_down(folder, 64);
            folder.rename(|name| name.replace("mlp.down_proj", "mlp.c_proj"));
        },
        miss: |folder| {
            gptq_down(folder, 64);
            // What is not cut along its inputs may have one group.
            folder.rename(|name| name.replace("mlp.down_proj", "mlp.router"));
        },
    },
    Case { code: "Q030", hit: |folder| gptq_down(folder, 48), miss: |folder| gptq_down(folder, 32) },
    Case {
        code: "Q031",
        hit: fp8,
        miss: |folder| {
            let weight = Tensor::new("F8_E4M3", &[HIDDEN, HIDDEN]);
            folder.tensors().insert(format!("{}.weight", module(0)), weight);
        },
    },
    Case {
        code: "Q032",
        hit: |folder| {
            gptq(folder);
            two_shards(folder, |name| name.ends_with(".scales"));
        },
        miss: |folder| {
            gptq(folder);
            two_shards(folder, |name| name.contains("layers.1."));
        },
    },
    Case {
        code: "Q033",
        hit: |folder| {
            mxfp4(folder);
            let tensors = std::mem::take(folder.adapter_tensors());
            let renamed =
                tensors.into_iter().map(|(name, tensor)| (name.replace("self_attn", "mlp.experts"), tensor));
            *folder.adapter_tensors() = renamed.collect();
        },
        miss: |folder| {
            mxfp4(folder);
            folder.attach_lora();
        },
    },
    Case { code: "Q034", hit: hqq, miss: gptq },
    Case { code: "Q035", hit: gptq, miss: |folder| nf4(folder, "U8") },
    Case { code: "Q036", hit: mxfp4, miss: gptq },
    Case {
        code: "Q037",
        hit: |folder| {
            gptq(folder);
            folder.adapter_config().insert("use_dora".into(), json!(true));
        },
        miss: |folder| {
            nf4(folder, "U8");
            folder.adapter_config().insert("use_dora".into(), json!(true));
        },
    },
    Case { code: "Q038", hit: |folder| nf4(folder, "U8"), miss: |folder| nf4(folder, "BF16") },
    Case { code: "Q039", hit: gptq, miss: |folder| block_over_plain(folder, "gptq") },
    Case { code: "Q040", hit: gptq, miss: |folder| beside(folder, false) },
    Case {
        code: "T001",
        hit: |folder| {
            folder.config().insert("torch_dtype".into(), json!("float4"));
        },
        miss: |folder| {
            folder.config().insert("torch_dtype".into(), json!("float16"));
        },
    },
    Case {
        code: "T003",
        hit: |folder| half(folder, |name| name.contains("layers.0.mlp")),
        miss: |folder| half(folder, |name| name.contains("norm")),
    },
    Case {
        code: "T004",
        hit: |folder| half(folder, |_| true),
        miss: |folder| half(folder, |name| name.contains("layers.0.self_attn")),
    },
];
