//! Which device `auto` takes, by what both make of the plan's own weights.

use std::fs::File;
use std::io::Write as _;

use ckpt::checkpoint::Checkpoint;
use ckpt::engine::choice::Choice;
use ckpt::engine::cpu::Cpu;
use ckpt::engine::{Options, Progress, Run};
use ckpt::plan::{Order, Plan, To};
use ckpt::quant::target::{Aim, Search, Wishes};
use ckpt::tensor::Dtype;
use libtest_mimic::Trial;

use super::samples::Scratch;
use super::trial;

/// A weight that is large enough for a GPU, all of it zero: of a file without blocks on the disk.
const SHAPE: [u64; 2] = [40_960, 16_384];

/// Opens what `auto` says for a checkpoint of zeros: its config, and a name, dtype and shape of each tensor; the words of
/// why.
fn opened(config: &str, tensors: &[(&str, Dtype, &[u64])], to: To) -> (String, Vec<String>) {
    let scratch = Scratch::new("auto");
    let folder = scratch.join("model");
    std::fs::create_dir(&folder).unwrap();
    let mut file = File::create_new(folder.join("config.json")).unwrap();
    file.write_all(config.as_bytes()).unwrap();
    let mut end = 0;
    let entries = tensors.iter().map(|(name, dtype, shape)| {
        let start = end;
        end += dtype.bytes_of(shape.iter().product()).unwrap();
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#)
    });
    let header = format!("{{{}}}", entries.collect::<Vec<_>>().join(","));
    let mut file = File::create_new(folder.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + end).unwrap();
    let input = folder.to_str().unwrap();
    let checkpoint = Checkpoint::open_examined(input).unwrap();
    let is_packed = matches!(to, To::Packed(_));
    let order = Order { to, ..Order::new(input, &scratch.join("out")) };
    let plan = Plan::convert(&checkpoint, order).unwrap();
    assert_eq!(plan.packs.len(), usize::from(is_packed));
    let options = Options { threads: 2, slot_bytes: 60_000, ..Options::default() };
    let progress = Progress::default();
    let (checkpoint, plan, options, progress) = (&checkpoint, &plan, &options, &progress);
    let run = Run { checkpoint, adapters: &[], plan, options, device: &Cpu, progress };
    let opened = Choice::Auto.open(&run).unwrap();
    (opened.why, opened.device.notes())
}

/// A weight that is packed is measured by what the run does with it; what that counted is forgotten before the run.
fn measured() {
    let mut aims = ["bnb-nf4", "gptq", "fp8", "nvfp4"].map(Aim::of).to_vec();
    aims.push(Aim { name: "gptq".into(), wishes: Wishes { search: Search::Hqq, ..Wishes::default() } });
    for aim in aims {
        let what = aim.flags();
        let config = r#"{"architectures": ["LlamaForCausalLM"]}"#;
        let weight = ("model.layers.0.mlp.up_proj.weight", Dtype::BF16, &SHAPE[..]);
        let (why, notes) = opened(config, &[weight], To::Packed(aim));
        assert_eq!(notes, Vec::<String>::new(), "{what}");
        assert!(
            why.starts_with("auto: of these weights the cpu makes ") && why.ends_with("/s"),
            "{what}: {why}"
        );
        assert!(why.contains(", the GPU "), "{what}: {why}");
    }
}

/// What no kernel makes is the processor's: a weight of more rows than kernels count.
fn without_kernels() {
    let config = r#"{"architectures": ["LlamaForCausalLM"], "quantization_config": {
        "quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {"group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": true}}}}}"#;
    let layer = "model.layers.0.mlp.up_proj";
    let [weight, scale] = ["weight", "weight_scale"].map(|part| format!("{layer}.{part}"));
    let tensors = [(&*weight, Dtype::F8E4M3, &[1 << 32, 1][..]), (&*scale, Dtype::F32, &[1][..])];
    let (why, notes) = opened(config, &tensors, To::Dense);
    assert_eq!((why.as_str(), notes), ("auto: no kernel for these formats", Vec::new()));
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("choice::measured", measured), trial("choice::without kernels", without_kernels)]
}
