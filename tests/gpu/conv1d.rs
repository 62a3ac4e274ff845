//! Whole runs over a model of `Conv1D`, whose weights are packed turned: with adapters of every method that changes them,
//! byte for byte what the processor makes, and nothing left to it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use ckpt::checkpoint::Checkpoint;
use ckpt::engine::cpu::Cpu;
use ckpt::engine::{Options, Proof};
use ckpt::plan::{Order, Plan, Source, To, Values};
use ckpt::quant::change::Change;
use ckpt::quant::target::{Aim, GroupSize, Search, Wishes};
use libtest_mimic::Trial;
use serde_json::{Map, Value, json};

use super::encode::on_both;
use super::merge::Dice;
use super::samples::{Scratch, carry_out};
use super::trial;

/// What a model of `Conv1D` is packed as.
pub(crate) fn aims() -> [Aim; 3] {
    let wishes = Wishes { group_size: Some(GroupSize::Of(32)), ..Wishes::default() };
    [Aim::of("bnb-nf4"), Aim::of("bnb-int8"), Aim { name: "gptq".into(), wishes }]
}

/// The same, with scales that are searched for.
fn searched() -> Aim {
    let [.., gptq] = aims();
    Aim { wishes: Wishes { search: Search::Mse, ..gptq.wishes }, ..gptq }
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/peft-lora-conv1d-gpt2").join(name)
}

/// The layers of the sample, with their outputs and inputs.
const LAYERS: [(&str, [u64; 2]); 4] = [
    ("attn.c_attn", [288, 96]),
    ("attn.c_proj", [96, 96]),
    ("mlp.c_fc", [384, 96]),
    ("mlp.c_proj", [96, 384]),
];

/// What an adapter of a method has: its config, and its tensors of each layer.
type Made = (Value, Vec<(String, Vec<u64>)>);

/// Methods that change a `Conv1D` other than by one product.
const METHODS: [&str; 6] = ["dora", "adalora", "loha", "lokr", "ia3", "vera"];

fn made(method: &str) -> Made {
    let mut tensors: Vec<(String, Vec<u64>)> = Vec::new();
    let mut add = |layer: &str, part: &str, shape: &[u64]| {
        let name = format!("base_model.model.transformer.h.0.{layer}.{part}");
        tensors.push((name, shape.to_vec()));
    };
    for (layer, [out, inputs]) in LAYERS {
        match method {
            "dora" => {
                add(layer, "lora_A.weight", &[4, inputs]);
                add(layer, "lora_B.weight", &[out, 4]);
                add(layer, "lora_magnitude_vector", &[out]);
            }
            "adalora" => {
                add(layer, "lora_A", &[6, inputs]);
                add(layer, "lora_B", &[out, 6]);
                add(layer, "lora_E", &[6, 1]);
            }
            "loha" => {
                for half in ["hada_w1", "hada_w2"] {
                    add(layer, &format!("{half}_a"), &[out, 5]);
                    add(layer, &format!("{half}_b"), &[5, inputs]);
                }
            }
            "lokr" => {
                add(layer, "lokr_w1", &[8, 6]);
                add(layer, "lokr_w2_a", &[out / 8, 3]);
                add(layer, "lokr_w2_b", &[3, inputs / 6]);
            }
            "ia3" => add(layer, "ia3_l", &if layer.starts_with("mlp") { [1, inputs] } else { [out, 1] }),
            _ => {
                add(layer, "vera_lambda_b", &[out]);
                add(layer, "vera_lambda_d", &[8]);
            }
        }
    }
    if method == "vera" {
        tensors.push(("base_model.vera_A".into(), vec![8, 384]));
        tensors.push(("base_model.vera_B".into(), vec![384, 8]));
    }
    let peft_type = if method == "dora" { "LORA".into() } else { method.to_uppercase() };
    let config = json!({"peft_type": peft_type, "peft_version": "0.21.2", "r": tensors[0].1[0].min(8),
        "alpha": 8, "lora_alpha": 8, "use_dora": method == "dora", "fan_in_fan_out": true, "bias": "none",
        "task_type": "CAUSAL_LM", "target_modules": ["c_attn", "c_proj", "c_fc"],
        "feedforward_modules": ["c_fc", "mlp.c_proj"], "projection_prng_key": 0, "save_projection": true});
    (config, tensors)
}

/// Writes an adapter of a method, of values without a pattern.
fn adapter(method: &str, folder: &Path) {
    let (mut config, tensors) = made(method);
    if method == "loha" {
        config["r"] = json!(5);
    }
    let mut dice = Dice::new(7);
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, shape) in tensors {
        let start = data.len();
        let values = dice.values(shape.iter().product());
        // Magnitudes and factors are around 1.
        let is_factor = name.ends_with("vector") || name.ends_with("ia3_l");
        let values = values.into_iter().map(|value| if is_factor { 1.0 + value } else { value });
        data.extend(values.flat_map(f32::to_le_bytes));
        header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let header = Value::Object(header).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
    std::fs::create_dir_all(folder).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::File::create_new(folder.join(name)).unwrap().write_all(bytes).unwrap();
    };
    write("adapter_model.safetensors", &bytes);
    write("adapter_config.json", config.to_string().as_bytes());
}

/// Packs the model as its quantizers do it, with an adapter or without.
fn packed(adapter: Option<&Path>, aim: &Aim) {
    let (plan, notes) = on_both(&sample("base"), adapter, &To::Packed(aim.clone()));
    assert_eq!(notes, Vec::<String>::new(), "{}", aim.flags());
    assert_eq!(turned(&plan), [4, if adapter.is_some() { 4 } else { 0 }], "{}", aim.flags());
}

/// What a packed model of `Conv1D` becomes: plain as its class has it, and packed as another format; with an adapter or
/// without.
fn packed_before(method: Option<&str>, [before, after]: [&Aim; 2]) {
    let scratch = Scratch::new("conv1d-packed");
    let checkpoint = Checkpoint::open_examined(sample("base").to_str().unwrap()).unwrap();
    let (model, lora) = (scratch.join("model"), sample("adapter"));
    let order = Order {
        to: To::Packed(before.clone()),
        ..Order::new(&checkpoint.files.path.display().to_string(), &model)
    };
    let plan = Plan::convert(&checkpoint, order).unwrap();
    let options = Options { proof: Proof::None, ..Options::default() };
    carry_out(&plan, (&checkpoint, &[]), &Cpu, &options).unwrap();
    let adapter = method.map(|method| {
        let made = scratch.join("adapter");
        if method == "lora" {
            return lora;
        }
        adapter(method, &made);
        made
    });
    for to in [To::Dense, To::Packed(after.clone())] {
        let what = format!("{} with {method:?} to {to:?}", before.flags());
        let (plan, notes) = on_both(&model, adapter.as_deref(), &to);
        assert_eq!(notes, Vec::<String>::new(), "{what}");
        let turned = match (&to, &adapter) {
            (To::Dense, None) => decoded_turned(&plan),
            (To::Dense, Some(_)) => plan.merges.iter().filter(|merge| merge.change == Change::Turned).count(),
            _ => turned(&plan)[0],
        };
        assert_eq!(turned, 4, "{what}");
    }
}

/// How many layers are turned when they are decoded.
fn decoded_turned(plan: &Plan) -> usize {
    let tensors = plan.shards.iter().flat_map(|shard| &shard.tensors);
    tensors.filter(|tensor| matches!(tensor.source, Source::Decode { change: Change::Turned, .. })).count()
}

/// How many layers are turned before they are packed, and how many of them adapters change.
fn turned(plan: &Plan) -> [usize; 2] {
    let turned = plan.packs.iter().filter(|pack| pack.change == Change::Turned);
    let merged = turned.clone().filter(|pack| matches!(pack.values, Values::Merged(_)));
    [turned.clone().count(), merged.count()]
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for aim in aims().into_iter().chain([searched()]) {
        let name = format!("conv1d::{}", aim.flags().replace("--to ", ""));
        let (plain, merged) = (aim.clone(), aim.clone());
        trials.push(trial(name.clone(), move || packed(None, &plain)));
        trials.push(trial(format!("{name}::lora"), move || packed(Some(&sample("adapter")), &merged)));
    }
    let [nf4, int8, gptq] = aims();
    for (before, after) in [(&nf4, &int8), (&int8, &gptq), (&gptq, &nf4)] {
        for method in [None, Some("lora"), Some("dora"), Some("loha")] {
            let flags = [before, after].map(Aim::flags).concat().replace("--to ", "::");
            let name =
                format!("conv1d::packed{flags}{}", method.map_or(String::new(), |name| format!("::{name}")));
            let (before, after) = (before.clone(), after.clone());
            trials.push(trial(name, move || packed_before(method, [&before, &after])));
        }
    }
    for method in METHODS {
        for aim in aims() {
            let name = format!("conv1d::{}::{method}", aim.flags().replace("--to ", ""));
            trials.push(trial(name, move || {
                let scratch = Scratch::new(&format!("conv1d-{method}"));
                adapter(method, &scratch.join("adapter"));
                packed(Some(&scratch.join("adapter")), &aim);
            }));
        }
    }
    trials
}
