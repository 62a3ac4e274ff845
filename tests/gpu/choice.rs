//! Which device `auto` takes, by what both make of the plan's own weights.

use std::fs::File;
use std::io::Write as _;

use ckpt::checkpoint::Checkpoint;
use ckpt::engine::choice::Choice;
use ckpt::engine::cpu::Cpu;
use ckpt::engine::{Options, Progress, Run};
use ckpt::plan::{Order, Plan, To};
use ckpt::quant::target::{Aim, Candidate, Search, Wishes};
use ckpt::tensor::Dtype;
use libtest_mimic::Trial;

use super::samples::Scratch;
use super::trial;

/// A weight that is large enough for a GPU, all of it zero: of a file without blocks on the disk.
const SHAPE: [u64; 2] = [40_960, 16_384];

/// Opens what `auto` says for a weight that is packed as a format; the words of why.
fn opened(aim: &Aim) -> (String, Vec<String>) {
    let scratch = Scratch::new("auto");
    let folder = scratch.join("model");
    std::fs::create_dir(&folder).unwrap();
    let mut config = File::create_new(folder.join("config.json")).unwrap();
    config.write_all(br#"{"architectures": ["LlamaForCausalLM"]}"#).unwrap();
    let [rows, columns] = SHAPE;
    let bytes = 2 * rows * columns;
    let header = format!(
        r#"{{"model.layers.0.mlp.up_proj.weight":{{"dtype":"BF16","shape":[{rows},{columns}],"data_offsets":[0,{bytes}]}}}}"#
    );
    let mut file = File::create_new(folder.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + bytes).unwrap();
    let input = folder.to_str().unwrap();
    let checkpoint = Checkpoint::open_examined(input).unwrap();
    let order = Order { to: To::Packed(aim.clone()), ..Order::new(input, &scratch.join("out")) };
    let plan = Plan::convert(&checkpoint, order).unwrap();
    assert_eq!(plan.packs.len(), 1);
    let options = Options { threads: 2, slot_bytes: 60_000, ..Options::default() };
    let progress = Progress::default();
    let (checkpoint, plan, options, progress) = (&checkpoint, &plan, &options, &progress);
    let run = Run { checkpoint, adapters: &[], plan, options, device: &Cpu, progress };
    let opened = Choice::Auto.open(&run).unwrap();
    (opened.why, opened.device.notes())
}

/// A weight that is packed is measured by what the run does with it, and is the processor's where no kernel encodes it;
/// what that counted is forgotten before the run.
fn measured() {
    let mut aims = ["bnb-nf4", "gptq", "fp8", "nvfp4"].map(Aim::of).to_vec();
    aims.push(Aim { name: "gptq".into(), wishes: Wishes { search: Search::Hqq, ..Wishes::default() } });
    for aim in aims {
        let target = aim.target(false).unwrap();
        let encoding = target.encoding(&Candidate { shape: &SHAPE, dtype: Dtype::BF16 }).unwrap();
        let (why, notes) = opened(&aim);
        let what = aim.flags();
        assert_eq!(notes, Vec::<String>::new(), "{what}");
        if encoding.encoder.kernel(1.0).is_none() {
            assert_eq!(why, "auto: no kernel for these formats", "{what}");
            continue;
        }
        assert!(
            why.starts_with("auto: of these weights the cpu makes ") && why.ends_with("/s"),
            "{what}: {why}"
        );
        assert!(why.contains(", the GPU "), "{what}: {why}");
    }
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("choice::measured", measured)]
}
