//! Device memory of layers: it is used again by later layers, and given up before slots are where memory is short.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;

use ckpt::engine::cpu::Cpu;
use ckpt::engine::cuda::Cuda;
use ckpt::engine::{Device, Resident, Scratch as Space, Work};
use ckpt::quant::noise::layer;
use ckpt::tensor::Dtype;
use libtest_mimic::Trial;
use serde_json::json;

use super::layers::Random;
use super::samples::{Scratch, cards, files};
use super::trial;

pub(crate) fn trials() -> Vec<Trial> {
    let simulated = trial("memory: what is kept goes before slots do", what_is_kept_goes_before_slots_do);
    let on_any = trial("memory: layers after layers take no more", layers_after_layers_take_no_more);
    vec![on_any, simulated.with_ignored_flag(super::is_real())]
}

/// Decodes a layer of random bits on a device; returns its values in bf16.
fn decoded(device: &dyn Device, [rows, columns]: [u64; 2]) -> Vec<u8> {
    let layer = layer("gptq", rows, columns).unwrap();
    let decoding = layer.decoding().unwrap();
    let (resident, dtype) = (Resident::default(), Dtype::BF16);
    let mut out = vec![0; (rows * columns * 2) as usize];
    let (codes, native) = (layer.codes(&decoding), dtype);
    let work = Work {
        decoding: &decoding,
        rows: 0..rows,
        codes,
        is_whole: true,
        codes_start: 0,
        native,
        dtype,
        resident: &resident,
    };
    device.decode(&work, &mut Space::default(), &mut out).unwrap();
    out
}

fn layers_after_layers_take_no_more() {
    let cuda = Cuda::open(&cards(1), 1).unwrap();
    let held = Device::held(&cuda).remove(0);
    let now = || held.now.load(Ordering::Relaxed);
    let (large, small) = ([256, 512], [128, 256]);
    let should = [large, small].map(|size| decoded(&Cpu, size));
    assert!(decoded(&cuda, large) == should[0]);
    // A slot, and what the layer had, which nobody uses now: the codes at least.
    let kept = now();
    assert!(kept >= 256 * 512 / 2, "{kept}");
    for round in 0..4 {
        assert!(decoded(&cuda, large) == should[0], "round {round}");
        assert_eq!([now(), held.peak.load(Ordering::Relaxed)], [kept; 2], "round {round}");
    }
    // Of another size, for which what is kept is too large: it goes, as there is room for no more.
    for round in 0..2 {
        assert!(decoded(&cuda, small) == should[1], "round {round}");
        assert!(decoded(&cuda, large) == should[0], "round {round}");
        assert!(now() <= kept && held.peak.load(Ordering::Relaxed) <= kept, "round {round}");
    }
    assert_eq!(cuda.notes(), Vec::<String>::new());
    drop(cuda);
    assert_eq!(now(), 0);
}

/// Writes two layers of GPTQ, the second twice as large as the first, and a plain one between, as long as many segments.
fn write_model(folder: &Path) {
    let mut random = Random::new(77);
    let mut tensors: Vec<(String, &str, [u64; 2], Vec<u8>)> = Vec::new();
    for (name, inputs) in [("a", 512), ("z", 1024)] {
        let (outputs, groups) = (2048, inputs / 128);
        let codes = random.bytes(inputs / 8 * outputs * 4);
        tensors.push((format!("{name}.qweight"), "I32", [inputs / 8, outputs], codes));
        let zeros = random.bytes(groups * outputs / 8 * 4);
        tensors.push((format!("{name}.qzeros"), "I32", [groups, outputs / 8], zeros));
        let scales = random.scales(Dtype::F16, groups * outputs, false);
        tensors.push((format!("{name}.scales"), "F16", [groups, outputs], scales));
    }
    tensors.insert(3, ("m.weight".into(), "F16", [1024, 1024], random.scales(Dtype::F16, 1 << 20, false)));
    let (mut header, mut at) = (serde_json::Map::new(), 0);
    for (name, dtype, shape, bytes) in &tensors {
        let end = at + bytes.len();
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [at, end]}));
        at = end;
    }
    let header = serde_json::to_string(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.into_bytes());
    for (_, _, _, bytes) in &tensors {
        file.extend(bytes);
    }
    std::fs::create_dir(folder).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::File::create_new(folder.join(name)).unwrap().write_all(bytes).unwrap();
    };
    write("model.safetensors", &file);
    let quantization =
        json!({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": true, "desc_act": false});
    let config = json!({"model_type": "llama", "quantization_config": quantization});
    write("config.json", config.to_string().as_bytes());
}

fn what_is_kept_goes_before_slots_do() {
    let scratch = Scratch::new("kept");
    write_model(&scratch.join("model"));
    let run = |name: &str, device: &str, memory: u64| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
        command.arg("convert").arg(scratch.join("model")).args(["--to", "dense", "--threads", "1"]);
        command.args(["--slot-size", "64KiB", "--device", device, "-o"]).arg(scratch.join(name));
        command.env("SIM_CUDA_MEMORY", memory.to_string()).env("SIM_CUDA_REPORT", scratch.join("report"));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{said}");
        // On the processor the driver is not loaded.
        let Ok(report) = std::fs::read_to_string(scratch.join("report")) else { return (said, 0) };
        let numbers: Vec<u64> = report.split_whitespace().map(|number| number.parse().unwrap()).collect();
        assert_eq!(numbers[0], 0, "held at the end");
        (said, numbers[1])
    };
    run("by-cpu", "cpu", 1 << 30);
    // Four slots, the second layer, and not the first beside it.
    let memory = 4 * (12 * (64 << 10) + 8) + (1 << 20) + (300 << 10);
    let (_, peak) = run("roomy", "cuda:0", 1 << 30);
    assert!(peak > memory, "the first layer's memory is not kept: {peak}");
    let (said, peak) = run("short", "cuda:0", memory);
    assert!(!said.contains("fewer or smaller") && !said.contains("computed on the cpu"), "{said}");
    assert!(0 < peak && peak <= memory, "{peak}");
    let should = files(&scratch.join("by-cpu"));
    for name in ["roomy", "short"] {
        assert!(files(&scratch.join(name)) == should, "{name}: other bytes than the processor's");
    }
}
