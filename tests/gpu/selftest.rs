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
    for name in ["gptq", "awq", "compressed-tensors"] {
        assert!(is_there(&format!("to {name}, mse")), "{name}: {:?}", tested.checks);
        assert!(is_there(&format!("to {name}, hqq")), "{name}: {:?}", tested.checks);
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

/// One bit of each piece that comes back is another: each row says so, and how many bytes, or values, are wrong.
fn a_wrong_byte_is_seen() {
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    doctor.args(["doctor", "--gpu-selftest", "--json"]);
    let output = doctor.env("SIM_CUDA_DEVICES", "1").env("SIM_CUDA_WRONG", "1000").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let report: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let report = report.iter().find_map(|line| line.get("selftest")).unwrap();
    assert_eq!((&report["ok"], &report["why"]), (&Value::Bool(false), &Value::Null), "{report}");
    let checks = report["cards"][0]["checks"].as_array().unwrap();
    let encoded = checks.iter().filter(|check| check["unit"] == "bytes").count();
    assert!(encoded > 25 && encoded < checks.len(), "{encoded} of {}", checks.len());
    for check in checks {
        // A layer is more than one piece where its codes are wider than a slot.
        assert!((1..=4).contains(&check["differing"].as_u64().unwrap()), "{check}");
    }
}

pub(crate) fn trials() -> Vec<Trial> {
    // What is planted is planted in the simulator.
    let planted = trial("selftest::a wrong byte is seen", a_wrong_byte_is_seen);
    vec![
        planted.with_ignored_flag(super::is_real()),
        trial("selftest::kernels and processor agree", kernels_and_processor_agree),
        trial("selftest::no time leaves the checks", no_time_leaves_the_checks),
        trial("selftest::every way is measured", every_way_is_measured),
        trial("selftest::bytes are those that move", bytes_are_those_that_move),
    ]
}
