//! Packing in the workbench: the form with its candidates, what a job says it took, and the tree of its result; at both
//! sizes, with real plans and samples.

use ckpt::engine::Outcome;
use ckpt::engine::verify::measured::Sums;
use ckpt::engine::verify::{Proven, Quality};

use crate::jobs::{Robot, outcome};

const BASE: &str = "samples/base-A-bf16/model";
const GPTQ: &str = "samples/gptq-w4-g128-sym-v1-A/model";
const LORA: &str = "samples/peft-lora-all-A/adapter";

/// What was measured of so many layers: each loses more than the one before.
fn proven(layers: u32, is_merged: bool) -> Proven {
    let quality = |at: u32| {
        let share = f64::from(at + 1) / f64::from(layers);
        let sums = Sums {
            lost: 0.01 * share,
            all: 1.0,
            kept: if is_merged { 0.02 * (1.0 - 0.7 * share) } else { 0.0 },
            change: if is_merged { 0.02 } else { 0.0 },
        };
        let quality = Quality {
            sums,
            nearest: None,
            is_merged,
            codes_changed: is_merged.then_some(0.05 * share),
            blocks: None,
            keeps_grid: is_merged.then_some(true),
        };
        (at, quality)
    };
    Proven {
        files: 1,
        copied: 7,
        packed: 8,
        packed_of: layers as usize,
        merged: if is_merged { 8 } else { 0 },
        merged_of: if is_merged { layers as usize } else { 0 },
        rows: if is_merged { 512 } else { 0 },
        ulps: 0.5,
        quality: (0..layers).map(quality).collect(),
        ..Proven::default()
    }
}

#[test]
fn packing_is_as_it_was_looked_at() {
    let mut pictures = Vec::new();
    for (name, path, keys) in [
        ("pack-formats", BASE, "c tab"),
        ("pack-gptq", BASE, "c tab right right right right"),
        ("pack-options", BASE, "c tab right right right right tab right tab right tab right tab tab right"),
        ("pack-scheme", BASE, "c tab right right right right right right tab right right right"),
        ("pack-awq-to-nf4", "samples/awq-gemm-g128-A/model", "c tab right"),
        ("pack-kept", BASE, "c tab right tab tab type:*.down_proj"),
        ("pack-nothing", BASE, "c tab right tab tab type:*"),
        ("pack-gguf", "samples/gguf-mixed-K/model.gguf", "c tab right right right right"),
    ] {
        let mut robot = Robot::open(path);
        robot.press(keys);
        pictures.push((name, robot));
    }
    let mut robot = Robot::attach_to(GPTQ, LORA);
    robot.press("m tab right");
    pictures.push(("pack-merge-same", robot));
    let mut robot = Robot::open(BASE);
    robot.press("c tab right backtab enter").end(Ok(Outcome { proof: Some(proven(14, false)), ..outcome() }));
    pictures.push(("pack-done", robot));
    let mut searched = proven(14, false);
    for (_, quality) in &mut searched.quality {
        quality.nearest = Some(Sums { lost: 1.3 * quality.sums.lost, ..quality.sums });
    }
    let mut robot = Robot::open(BASE);
    robot
        .press(
            "c tab right right right right tab tab tab tab tab right backtab backtab backtab backtab backtab",
        )
        .press("backtab enter")
        .end(Ok(Outcome { proof: Some(searched), ..outcome() }));
    pictures.push(("pack-searched", robot));
    let mut robot = Robot::open(BASE);
    robot.press("c tab right backtab enter").end(Ok(Outcome { proof: None, ..outcome() }));
    pictures.push(("pack-unmeasured", robot));
    let mut robot = Robot::attach_to(GPTQ, LORA);
    robot
        .press("m tab right backtab enter")
        .end(Ok(Outcome { proof: Some(proven(14, true)), ..outcome() }))
        .press("pgdn");
    pictures.push(("pack-merge-done", robot));
    // The result, which stands among the samples here, with what it took along its tree.
    for (name, is_merged) in [("pack-tree", false), ("pack-tree-merged", true)] {
        let mut robot = Robot::open(BASE);
        robot
            .press("c tab right tab tab tab tab tab ctrl-u type:samples/bnb-nf4-A/model down down down enter")
            .end(Ok(Outcome { proof: Some(proven(14, is_merged)), ..outcome() }))
            .press("enter");
        pictures.push((name, robot));
    }
    for (name, robot) in &mut pictures {
        for size in [(120, 36), (80, 24)] {
            let text = robot.draw(size);
            let widest = text.lines().map(unicode_width::UnicodeWidthStr::width).max().unwrap_or(0);
            assert!(widest <= usize::from(size.0), "{name}: a line of {widest} cells");
            insta::assert_snapshot!(format!("{name}-{}x{}", size.0, size.1), text);
        }
    }
}
