//! Memory: the tab and the command over models of real size (headers with nothing behind them) and over all samples.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use ckpt::adapter::held::Held;
use ckpt::app::{Event, Tab};
use ckpt::checkpoint::Checkpoint;
use ckpt::footprint::{Anatomy, Footprint, Settings, Targets, TaskKind, Trainable, Verdict, weights};
use ckpt::gauges::ram::RamLimit;
use ckpt::gauges::{GpuSample, GpuState, GpuStateKind, Missing, Ram, Sample, Vram};
use serde_json::{Map, Value, json};

use crate::convert::{Scratch, put};
use crate::jobs::{LARGE, Robot, SMALL};
use crate::sample;

/// Writes a checkpoint of which only the header is there; its data is a hole in the file.
fn sparse(folder: &Path, tensors: &[(String, &str, Vec<u64>)], config: &Value) {
    let (mut header, mut end) = (Map::new(), 0);
    for (name, dtype, shape) in tensors {
        let width = match *dtype {
            "I32" | "F32" => 4,
            "F16" | "BF16" => 2,
            other => panic!("{other}"),
        };
        let begin = end;
        end += shape.iter().product::<u64>() * width;
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}));
    }
    let mut text = serde_json::to_vec(&header).unwrap();
    text.resize(text.len().next_multiple_of(8), b' ');
    let head = [&(text.len() as u64).to_le_bytes()[..], &text].concat();
    std::fs::create_dir_all(folder).unwrap();
    put(&folder.join("model.safetensors"), &head);
    let file = File::options().write(true).open(folder.join("model.safetensors")).unwrap();
    file.set_len(head.len() as u64 + end).unwrap();
    put(&folder.join("config.json"), config.to_string().as_bytes());
}

/// Qwen2-1.5B-Instruct in GPTQ of 4 bit: the checkpoint of the design's pictures.
fn qwen(scratch: &Scratch) -> PathBuf {
    let folder = scratch.join("Qwen2-1.5B-Instruct-GPTQ-Int4");
    let (hidden, inner, layers) = (1536, 8960, 28);
    let mut tensors = vec![("model.embed_tokens.weight".to_owned(), "F16", vec![151_936, hidden])];
    for layer in 0..layers {
        let at = format!("model.layers.{layer}");
        for (name, rows, columns) in [
            ("self_attn.q_proj", hidden, hidden),
            ("self_attn.k_proj", 256, hidden),
            ("self_attn.v_proj", 256, hidden),
            ("self_attn.o_proj", hidden, hidden),
            ("mlp.gate_proj", inner, hidden),
            ("mlp.up_proj", inner, hidden),
            ("mlp.down_proj", hidden, inner),
        ] {
            let name = format!("{at}.{name}");
            tensors.push((format!("{name}.qweight"), "I32", vec![columns / 8, rows]));
            tensors.push((format!("{name}.qzeros"), "I32", vec![columns / 128, rows / 8]));
            tensors.push((format!("{name}.scales"), "F16", vec![columns / 128, rows]));
            tensors.push((format!("{name}.g_idx"), "I32", vec![columns]));
            if ["q_proj", "k_proj", "v_proj"].iter().any(|label| name.ends_with(label)) {
                tensors.push((format!("{name}.bias"), "F16", vec![rows]));
            }
        }
        for name in ["input_layernorm", "post_attention_layernorm"] {
            tensors.push((format!("{at}.{name}.weight"), "F16", vec![hidden]));
        }
    }
    tensors.push(("model.norm.weight".to_owned(), "F16", vec![hidden]));
    let config = json!({
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "num_hidden_layers": layers,
        "hidden_size": hidden, "intermediate_size": inner, "num_attention_heads": 12, "num_key_value_heads": 2,
        "vocab_size": 151_936, "max_position_embeddings": 32_768, "tie_word_embeddings": true,
        "sliding_window": 32_768, "max_window_layers": 28, "use_sliding_window": false,
        "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": false, "sym": true},
    });
    sparse(&folder, &tensors, &config);
    folder
}

fn gib(value: f64) -> u64 {
    (value * (1u64 << 30) as f64) as u64
}

fn machine(gpus: Vec<GpuSample>) -> Sample {
    let gpu_state = if gpus.is_empty() {
        GpuState::new(GpuStateKind::Absent, "libnvidia-ml.so not found")
    } else {
        GpuState::new(GpuStateKind::Ready, "")
    };
    Sample {
        gpu_state,
        gpus,
        ram: Ok(Ram { used: gib(3.1), total: gib(24.0), limit: RamLimit::Machine }),
        io: Err(Missing::because("not asked")),
    }
}

fn gpu(index: u32, used: f64, total: f64) -> GpuSample {
    GpuSample {
        name: Ok("NVIDIA L4".into()),
        vram: Ok(Vram { used: gib(used), free: gib(total - used), total: gib(total) }),
        utilization_percent: Ok(0),
        ..GpuSample::missing(index, &Missing::because("not asked"))
    }
}

fn two_gpus() -> Sample {
    machine(vec![gpu(0, 19.8, 22.5), gpu(1, 0.4, 22.5)])
}

fn ckpt(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ckpt")).args(args).output().unwrap()
}

#[test]
fn the_tab_is_as_it_was_looked_at() {
    let scratch = Scratch::new("memory-tab");
    let folder = qwen(&scratch);
    let mut hidden = machine(vec![
        gpu(0, 0.0, 80.0),
        GpuSample::missing(1, &Missing::because("not reported by this GPU")),
    ]);
    hidden.gpus.extend((2..8).map(|index| gpu(index, 1.0, 80.0)));
    let views = [
        ("two-gpus", Some(two_gpus()), "5 j j"),
        ("no-gpu", Some(machine(Vec::new())), "5"),
        ("gauges-off", None, "5 G"),
        ("number", Some(two_gpus()), "5 tab 2 0 4 8 tab tab"),
        ("many-gpus", Some(hidden), "5 j j j"),
    ];
    for (name, sample, keys) in views {
        for size in [LARGE, SMALL] {
            let mut robot = Robot::open(&folder.display().to_string());
            if let Some(sample) = &sample {
                robot.app.update(Event::Sampled(Box::new(sample.clone())));
            }
            robot.press(keys);
            insta::assert_snapshot!(format!("{name}-{}x{}", size.0, size.1), robot.draw(size));
        }
    }
}

#[test]
fn each_gpu_is_judged_by_what_is_free_on_it_now() {
    let scratch = Scratch::new("memory-live");
    let mut robot = Robot::open(&qwen(&scratch).display().to_string());
    robot.app.update(Event::Sampled(Box::new(two_gpus())));
    let text = robot.press("5").draw(LARGE);
    let row = text.lines().find(|line| line.contains("load and generate")).unwrap();
    assert!(row.contains("✓ fits") && text.contains("GPU0 2.70 GiB free"), "{text}");
    robot.app.update(Event::Sampled(Box::new(machine(vec![gpu(0, 22.0, 22.5), gpu(1, 0.4, 22.5)]))));
    let text = robot.draw(LARGE);
    let row = text.lines().find(|line| line.contains("load and generate")).unwrap();
    assert!(
        row.contains("GiB over") && row.contains("✓ fits") && text.contains("GPU0 512 MiB free"),
        "{text}"
    );
}

#[test]
fn numbers_change_in_place() {
    let scratch = Scratch::new("memory-keys");
    let mut robot = Robot::open(&qwen(&scratch).display().to_string());
    let value = |robot: &mut Robot| {
        let memory = robot.app.ready_mut().unwrap().memory();
        let settings = &memory.settings;
        (settings.context, settings.batch, settings.rank, settings.optimizer.name(), settings.checkpointing)
    };
    robot.press("5");
    assert_eq!(value(&mut robot), (8192, 1, 16, "adamw", true));
    // Arrows change the marked number without any other key.
    robot.press("right right left left left");
    assert_eq!(value(&mut robot).0, 4096);
    // In a number digits are typed; elsewhere they are tabs.
    robot.press("tab 2 0 0 0 backspace tab 1 2 left tab 6 4 tab right tab right");
    assert_eq!(value(&mut robot), (200, 11, 64, "adamw-8bit", false));
    assert_eq!(robot.app.tab, Tab::Memory);
    robot.press("tab 1");
    assert_eq!(robot.app.tab, Tab::Detail, "behind the last number the digits are tabs again");
    robot.press("5 tab esc");
    assert_eq!(robot.app.tab, Tab::Memory, "Esc leaves the number first");
    robot.press("esc");
    assert_eq!(robot.app.tab, Tab::Detail);
    // What is typed stays within what can be computed; nothing typed is one.
    robot.press("5 tab 9 9 9 9 9 9 9 9 9 9");
    assert_eq!(robot.app.toast.as_deref(), Some("context: at most 4,294,967,296"));
    assert_eq!(value(&mut robot).0, 999_999_999);
    robot.press("enter tab 0");
    assert_eq!(value(&mut robot).0, 1);
    robot.press("esc left left left");
    assert_eq!(value(&mut robot).0, 1);
    let before = robot.press("esc 5 j").draw(LARGE);
    assert!(before.contains("▌  as 16-bit"), "{before}");
    // Read again, the numbers stay.
    robot.press("R");
    assert_eq!(value(&mut robot), (1, 11, 64, "adamw-8bit", false));
}

#[test]
fn the_command_of_the_tab_prints_the_same_numbers() {
    let scratch = Scratch::new("memory-command");
    let folder = qwen(&scratch);
    let mut robot = Robot::open(&folder.display().to_string());
    robot.press("5 tab 2 0 4 8 tab 3 tab 8 tab right right esc Y");
    let command = robot.app.log.last().unwrap().clone();
    let words: Vec<&str> = command.split(' ').collect();
    assert_eq!(words[..2], ["ckpt", "memory"]);
    let output = ckpt(&[&words[1..], &["--json"]].concat());
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["optimizer"], "paged-adamw");
    let footprint = robot.app.ready_mut().unwrap().memory().footprint();
    for task in &footprint.tasks {
        assert_eq!(printed["tasks"][task.kind.name()], task.likely(), "{}", task.name);
    }
}

#[test]
fn an_attached_adapter_is_what_is_trained() {
    let mut robot = Robot::attach_to("samples/base-A-bf16/model", "samples/peft-lora-all-A/adapter");
    let text = robot.press("5 j").draw(LARGE);
    assert!(text.contains("of the adapter") && text.contains("of the attached adapter"), "{text}");
    robot.press("tab tab tab right");
    assert_eq!(robot.app.toast.as_deref(), Some("rank: that of the attached adapter counts"));
    // PEFT made these tensors by the rule that a rank follows, on the same layers.
    let base = Arc::new(Checkpoint::open_examined("samples/base-A-bf16/model").unwrap());
    let held = Held::open(Arc::clone(&base), "samples/peft-lora-all-A/adapter", None).unwrap();
    let own = Trainable::of_adapter(&held);
    let by_rule = Trainable::lora(&Anatomy::of(&base), held.rank().unwrap(), &Targets::All).unwrap();
    assert_eq!((own.values, own.factored, own.trained), (by_rule.values, by_rule.factored, by_rule.trained));
}

#[test]
fn nf4_takes_the_bytes_that_bitsandbytes_wrote() {
    for (path, is_double, count) in
        [("bnb-nf4-A/model", false, 14), ("bnb-nf4-dq-A/model", true, 14), ("bnb-nf4-dq-B/model", true, 7)]
    {
        let checkpoint = Checkpoint::open_examined(&sample(path).display().to_string()).unwrap();
        let (files, layers) = (&checkpoint.files, &checkpoint.layers);
        let mut seen = 0;
        for layer in
            (0..layers.len() as u32).filter(|&layer| layers.spec(layer).format.get().name() == "bnb-nf4")
        {
            let spec = layers.spec(layer);
            let stored: u64 = layers
                .tensors(layer)
                .iter()
                .filter(|&&tensor| {
                    let name = files.tensor_name(tensor);
                    !name.contains("quant_state.") && name.rsplit('.').next() != Some("bias")
                })
                .map(|&tensor| files.tensors[tensor as usize].bytes)
                .sum();
            // The offset of the nested absmax is in the JSON of the quant state, and a tensor once it is loaded.
            let offset = if is_double { 4 } else { 0 };
            let values = spec.shape.iter().product();
            assert_eq!(weights::nf4_layer(values, is_double), stored + offset, "{path}: {:?}", spec.shape);
            seen += 1;
        }
        println!("{path}: {seen} layers");
        assert!(seen >= count, "{path}: {seen} layers");
    }
}

#[test]
fn every_sample_has_a_footprint_that_says_what_it_does_not_know() {
    let (mut seen, mut whole) = (0, 0);
    for entry in std::fs::read_dir(sample("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        for below in ["", "/model", "/adapter"] {
            let path = sample(&format!("{name}{below}")).display().to_string();
            let Ok(checkpoint) = Checkpoint::open_examined(&path) else { continue };
            let anatomy = Anatomy::of(&checkpoint);
            let footprint = Footprint::of(&anatomy, &Settings::first(anatomy.architecture.limit), None);
            assert_eq!(anatomy.stored_bytes, checkpoint.files.total_bytes(), "{path}");
            assert!(!footprint.unknown.is_empty(), "{path}");
            for task in &footprint.tasks {
                assert!(task.is_whole() || task.verdict(u64::MAX) == Verdict::Unknown, "{path}");
            }
            seen += 1;
            whole += usize::from(footprint.tasks.iter().all(ckpt::footprint::Task::is_whole));
        }
    }
    println!("{seen} checkpoints, {whole} of them known whole");
    assert!(seen > 80 && whole > 40 && whole < seen, "{whole} of {seen}");
}

#[test]
fn a_gguf_file_has_its_cache_by_its_metadata() {
    let path = sample("gguf-q4_k_m-K/model.gguf").display().to_string();
    let anatomy = Anatomy::of(&Checkpoint::open_examined(&path).unwrap());
    let cache = anatomy.architecture.cache.as_ref().unwrap();
    // One layer; its projections of K and V have 128 rows each.
    assert_eq!(cache.bytes_per_token(ckpt::footprint::CacheDtype::Bits16), Some((128 + 128) * 2));
    assert_eq!(anatomy.linear_count(), 7);
    let footprint = Footprint::of(&anatomy, &Settings::first(None), None);
    assert!(footprint.tasks.iter().all(ckpt::footprint::Task::is_whole), "{footprint:?}");
}

#[test]
fn json_has_the_schema_and_the_text_the_same_numbers() {
    let scratch = Scratch::new("memory-json");
    let folder = qwen(&scratch).display().to_string();
    let output = ckpt(&["memory", &folder, "--json", "--context", "2048", "--batch", "2"]);
    assert_eq!(output.status.code(), Some(0));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["context"], &json["batch"]), (&2048.into(), &2.into()));
    // 2 KV heads × 128 × 28 layers × K and V × 2 bytes.
    assert_eq!(json["kv_cache"], 2048 * 2 * 28 * 2 * 2 * 128 * 2);
    let anatomy = Anatomy::of(&Checkpoint::open_examined(&folder).unwrap());
    assert_eq!(json["weights"], anatomy.stored_bytes);
    for task in TaskKind::ALL.map(TaskKind::name) {
        let sum: u64 =
            json["parts"][task].as_object().unwrap().values().map(|part| part.as_u64().unwrap()).sum();
        assert_eq!(json["least"][task], sum, "{task}");
        assert_eq!(json["tasks"][task], sum * 110 / 100, "{task}");
        assert_eq!(json["known"][task]["weights"]["how"], "exact", "{task}");
        assert_eq!(json["left_out"][task], json!([]), "{task}");
    }
    for part in ["weights", "adapter", "gradients", "optimizer", "activations"] {
        assert!(json["parts"]["qlora"][part].is_u64(), "{part}");
    }
    assert!(json["devices"].is_array() && json["ram"]["fits"].is_array(), "{json}");
    let text = ckpt(&["memory", &folder, "--context", "2048", "--batch", "2"]);
    let text = String::from_utf8(text.stdout).unwrap();
    for words in [
        "context 2,048   batch 2   rank 16   optimizer adamw   checkpointing on",
        "196 layers nf4 (4.50 bit) 703 MiB + all else F32 891 MiB",
        "18.5M values F32, r 16 on 7 modules × 28",
        "KV cache  28.0 KiB a token   2,048 tokens × batch 2 112 MiB",
        "GQA: 2 KV heads × 128 × 28 layers × 2 × 16 bit",
        "not known from the files: your sequence packing",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn options_change_what_they_say_and_nothing_else() {
    let scratch = Scratch::new("memory-options");
    let folder = qwen(&scratch).display().to_string();
    let parts = |more: &[&str]| -> Value {
        let output = ckpt(&[&["memory", &folder, "--json", "--context", "1024"], more].concat());
        assert_eq!(output.status.code(), Some(0), "{more:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["parts"].clone()
    };
    let before = parts(&[]);
    let changed = |more: &[&str]| -> Vec<String> {
        let after = parts(more);
        let mut changed = Vec::new();
        for (task, parts) in before.as_object().unwrap() {
            for (part, bytes) in parts.as_object().unwrap() {
                if after[task][part] != *bytes {
                    changed.push(format!("{task} {part}"));
                }
            }
        }
        changed
    };
    assert_eq!(changed(&["--kv-dtype", "fp8"]), ["inference kv_cache", "inference_16bit kv_cache"]);
    assert_eq!(changed(&["--double-quant"]), ["qlora weights"]);
    assert_eq!(changed(&["--kbit-prep", "off"]), ["qlora weights", "qlora activations"]);
    let optimizer = ["qlora optimizer", "lora optimizer", "full optimizer", "full_16bit optimizer"];
    assert_eq!(changed(&["--optimizer", "adafactor"]), optimizer);
    let adapter = ["adapter", "gradients", "optimizer", "activations"];
    let adapters: Vec<String> =
        ["qlora", "lora"].iter().flat_map(|task| adapter.map(|part| format!("{task} {part}"))).collect();
    assert_eq!(changed(&["--rank", "32"]), adapters);
    assert_eq!(changed(&["--targets", "qv"]), adapters);
    let activations = ["qlora activations", "lora activations", "full activations", "full_16bit activations"];
    assert_eq!(changed(&["--checkpointing", "off"]), activations);
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let path = sample("base-A-bf16/model").display().to_string();
    let adapter = sample("peft-lora-all-A/adapter").display().to_string();
    for wrong in [
        &["--context", "0"][..],
        &["--context", "-1"],
        &["--context", "99999999999999999999"],
        &["--batch", "0"],
        &["--rank", "65537"],
        &["--optimizer", "adam"],
        &["--targets", "a,,b"],
        &["-a", &adapter, "--rank", "8"],
    ] {
        let output = ckpt(&[&["memory", &path], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
    let output = ckpt(&["memory", &path, "-a", &path]);
    assert_eq!(output.status.code(), Some(2), "a model is no adapter");
    let output = ckpt(&["memory", &adapter]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("its base, which takes nearly all of the memory"),
        "{text}"
    );
}
