//! The PTX that ships, on a simulated driver that executes it: that each kernel was launched by some test, and that what is
//! wrong in a kernel is seen. A kernel's text is altered on its way into the driver, and the real program runs it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use libtest_mimic::Trial;

use super::samples::{Scratch, files};
use super::trial;

/// Kernels that are in the PTX and not among those that were launched, one a line.
pub(crate) fn missed(launched: &str) -> Vec<String> {
    let launched: BTreeSet<&str> = launched.lines().collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/ptx");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|is| is == "ptx") {
            let text = std::fs::read_to_string(path).unwrap();
            let names = text.lines().filter_map(|line| line.split_once(".entry ")?.1.split('(').next());
            all.extend(names.map(str::to_owned));
        }
    }
    assert!(all.len() > 150, "{} kernels", all.len());
    all.retain(|name| !launched.contains(name.as_str()));
    all.sort();
    all
}

/// A kernel that decodes nf4 to f32, altered: a text of its PTX, and what stands in the place of the first one.
struct Planted {
    name: &'static str,
    text: &'static str,
    other: &'static str,
    /// What the driver says.
    said: &'static str,
}

const PLANTED: [Planted; 13] = [
    Planted {
        name: "a pointer that is a count",
        text: "bnb4_f32_param_5]",
        other: "bnb4_f32_param_3]",
        said: "in no memory of the device",
    },
    Planted {
        name: "a parameter beside its alignment",
        text: "bnb4_f32_param_5]",
        other: "bnb4_f32_param_5+4]",
        said: "are not aligned",
    },
    Planted {
        name: "less shared memory",
        text: "E6shared[64]",
        other: "E6shared[32]",
        said: "are beyond the block's shared memory",
    },
    Planted {
        name: "a parameter that is not there",
        text: "bnb4_f32_param_0+8]",
        other: "bnb4_f32_param_0+8192]",
        said: "are beyond the kernel's parameters",
    },
    Planted {
        name: "memory that nothing was put in",
        text: "bnb4_f32_param_1]",
        other: "bnb4_f32_param_5]",
        said: "were never written",
    },
    Planted { name: "no barrier", text: "bar.sync \t0;", other: "", said: "hazard at" },
    Planted {
        name: "a barrier of some",
        text: "bar.sync",
        other: "{ .reg .b32 %lane; .reg .pred %low; mov.u32 %lane, %laneid; setp.lt.u32 %low, %lane, 16; \
                @%low ret; } bar.sync",
        said: "a barrier after 128 threads have left",
    },
    Planted { name: "blocks that do the same", text: "%ctaid.x", other: "%tid.y", said: "hazard at" },
    Planted { name: "threads that do the same", text: "%tid.x", other: "%tid.y", said: "hazard at" },
    Planted {
        name: "lanes that take no part",
        text: "bar.sync",
        other: "{ .reg .b32 %lane; .reg .pred %low; mov.u32 %lane, %laneid; setp.lt.u32 %low, %lane, 16; \
                @%low ret; shfl.sync.bfly.b32 %lane|%low, %lane, 16, 31, -1; } bar.sync",
        said: "which takes no part",
    },
    Planted {
        name: "fewer threads than are started",
        text: ".maxntid 256",
        other: ".maxntid 128",
        said: "256 threads, of at most 128",
    },
    Planted {
        name: "arithmetic that is not exact",
        text: "mul.rn.f32",
        other: "mul.ftz.f32",
        said: "unknown instruction mul.ftz.f32",
    },
    Planted {
        name: "a register that is not there",
        text: "mul.rn.f32 \t%f",
        other: "mul.rn.f32 \t%f9",
        said: "no register %f9",
    },
];

/// Converts a sample with an altered kernel.
fn run(scratch: &Scratch, sample: &str, more: &[&str], setting: (&str, &str)) -> Output {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(sample);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    command.arg("convert").arg(sample).arg("-o").arg(scratch.join("out")).args(more);
    command.args(["--device", "cuda:0", "--slot-size", "64KiB"]).env("SIM_CUDA_RACES", "1");
    // What an altered kernel was launched for counts for nothing.
    let (name, value) = setting;
    command.env(format!("SIM_CUDA_{name}"), value).env_remove("SIM_CUDA_PTX_RAN").output().unwrap()
}

/// The setting makes the simulator say this, and the run writes nothing.
fn check(setting: (&str, &str), words: &str) {
    let scratch = Scratch::new("planted");
    let output = run(&scratch, "bnb-nf4-A/model", &["--to", "dense", "--dtype", "f32"], setting);
    let said = String::from_utf8_lossy(&output.stderr);
    let is_said = said.contains("simulated GPU: ") && said.contains(words);
    assert!(!output.status.success() && is_said, "{setting:?}: {said}");
    assert!(!scratch.join("out").exists(), "{setting:?}");
}

fn is_seen(planted: &Planted) {
    let edit = format!("bnb4_f32:{}=>{}:1", planted.text, planted.other);
    check(("PTX_EDIT", &edit), planted.said);
}

/// Memory that is a byte shorter than was asked for.
fn short_memory_is_seen() {
    check(("SHORT", "1"), "reach beyond memory of ");
}

fn a_kernel_that_no_test_launches_is_named() {
    let all = missed("");
    assert_eq!(missed(&all[1..].join("\n")), all[..1]);
}

/// What kernels compute is what their PTX says: a scale that is rounded otherwise is another one. Of a kernel as it is
/// nothing is said.
fn another_rounding_gives_other_bytes() {
    let made = |edit| {
        let scratch = Scratch::new("rounded");
        let output = run(&scratch, "base-A-bf16/model", &["--to", "fp8"], ("PTX_EDIT", edit));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("simulated GPU"), "{said}");
        files(&scratch.join("out")).remove("model.safetensors").unwrap()
    };
    let as_it_is = made("");
    assert!(made("tiles_e4m3:div.rn.f32=>div.rn.f32:1") == as_it_is);
    assert!(made("tiles_e4m3:div.rn.f32=>div.rz.f32:0") != as_it_is);
}

pub(crate) fn trials() -> Vec<Trial> {
    let planted = PLANTED
        .iter()
        .map(|planted| trial(format!("ptx::{} is seen", planted.name), move || is_seen(planted)));
    let others = [
        trial("ptx::a_kernel_that_no_test_launches_is_named", a_kernel_that_no_test_launches_is_named),
        trial("ptx::short_memory_is_seen", short_memory_is_seen),
        trial("ptx::another_rounding_gives_other_bytes", another_rounding_gives_other_bytes),
    ];
    planted.chain(others).collect()
}
