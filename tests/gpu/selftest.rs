//! The self-test of a card, and what it is made of. Speeds mean nothing on a simulated device; results do.

use std::process::Command;
use std::time::Duration;

use ckpt::engine::cuda::measure::{Host, Meter, Times, Way};
use ckpt::engine::cuda::selftest;
use ckpt::quant::{ggml, noise};
use ckpt::tensor::Dtype;
use libtest_mimic::Trial;
use serde_json::Value;

use super::samples::cards;
use super::trial;

fn kernels_and_processor_agree() {
    let tested = selftest::run(&cards(1)[0], Duration::from_mins(2)).unwrap();
    assert!(tested.is_equal(), "{:?}", tested.checks);
    let is_there = |name: &str| tested.checks.iter().any(|check| check.name == name);
    assert!(is_there("bnb-nf4 to bf16") && is_there("Q4_K to f16") && is_there("merge of rank 24 in bf16"));
    for (name, _) in noise::BLOCKS {
        assert!(["bf16", "f16", "f32"].iter().all(|dtype| is_there(&format!("{name} to {dtype}"))), "{name}");
    }
    for name in
        ["bnb-nf4", "bnb-fp4", "bnb-int8", "gptq", "awq", "compressed-tensors", "nvfp4", "fp8", "mxfp4"]
    {
        assert!(is_there(&format!("to {name}")), "{name}: {:?}", tested.checks);
    }
    for (name, _) in noise::BLOCKS.iter().filter(|(name, _)| ggml::encode::is_written(name)) {
        assert!(is_there(&format!("to {name}")), "{name}: {:?}", tested.checks);
    }
    for name in ["gptq", "awq", "compressed-tensors", "nvfp4", "fp8"] {
        assert!(is_there(&format!("{name} to same")), "{name}: {:?}", tested.checks);
    }
    assert!(tested.checks.iter().all(|check| check.values == 128 * 512));
    let rates: Vec<_> = tested.rates.iter().map(|rate| rate.name.as_str()).collect();
    assert_eq!(rates[..3], ["host to device, pinned", "device to host, pinned", "copy on the device"]);
    assert!(rates.contains(&"Q4_K to bf16") && rates.contains(&"merge of rank 64 in bf16"), "{rates:?}");
    assert!(tested.rates.iter().all(|rate| rate.bytes_per_second > 0.0), "{:?}", tested.rates);
}

/// Checks are never left out; rates are once the time is over.
fn no_time_leaves_the_checks() {
    let tested = selftest::run(&cards(1)[0], Duration::ZERO).unwrap();
    assert!(tested.is_equal() && tested.rates.is_empty());
}

fn every_way_is_measured() {
    let meter = Meter::open(&cards(1)[0]).unwrap();
    let times = Times { runs: 3, each: 2 };
    for host in [Host::Pinned, Host::Pageable] {
        for (way, ways) in [(Way::In, 1), (Way::Out, 1), (Way::Both, 2)] {
            let speed = meter.transfer(way, host, 1 << 20, times).unwrap();
            assert_eq!(speed.bytes, (ways * 2) << 20);
            assert!(speed.seconds > 0.0);
        }
    }
    assert_eq!(meter.copy(1 << 20, times).unwrap().bytes, 2 << 20);
}

/// What a kernel's speed counts: codes, what rows share, and the result, once each.
fn bytes_are_those_that_move() {
    let meter = Meter::open(&cards(1)[0]).unwrap();
    let layer = noise::layer("bnb-nf4", 256, 512).unwrap();
    let decoding = layer.decoding().unwrap();
    let task = ckpt::engine::cuda::measure::Task {
        program: decoding.rows.program().unwrap(),
        codes: layer.codes(&decoding),
        rows: 256,
        columns: 512,
        native: Dtype::BF16,
        dtype: Dtype::BF16,
    };
    let speed = meter.load(task).unwrap().unwrap().speed(Times { runs: 1, each: 1 }).unwrap();
    let count = 256 * 512;
    assert_eq!(speed.bytes, count / 2 + 4 * count / 64 + 64 + 2 * count);
}

/// What is read before the device has made it is not what the processor makes: each row of it says so.
fn wrong_bytes_are_seen() {
    if super::is_real() {
        return;
    }
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    doctor.args(["doctor", "--gpu-selftest", "--json"]).env("SIM_CUDA_DEVICES", "1");
    let output = doctor.env("SIM_CUDA_FORGET", "wait").output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let report: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let report = report.iter().find_map(|line| line.get("selftest")).unwrap();
    assert_eq!(report["ok"], false, "{report}");
    let checks = report["cards"][0]["checks"].as_array().unwrap();
    let encoded: Vec<&Value> = checks.iter().filter(|check| check["unit"] == "bytes").collect();
    assert!(encoded.len() > 20, "{report}");
    for check in encoded {
        assert!(check["differing"].as_u64().unwrap() > 0, "{check}");
    }
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("selftest::wrong bytes are seen", wrong_bytes_are_seen),
        trial("selftest::kernels and processor agree", kernels_and_processor_agree),
        trial("selftest::no time leaves the checks", no_time_leaves_the_checks),
        trial("selftest::every way is measured", every_way_is_measured),
        trial("selftest::bytes are those that move", bytes_are_those_that_move),
    ]
}
