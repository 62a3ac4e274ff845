//! The gauges row and the weights part of the Memory tab, drawn from literals.

use insta::assert_snapshot;

use super::*;
use crate::gauges::ram::RamLimit;
use crate::gauges::{GpuState, GpuStateKind, Missing};

fn gib_bytes(value: f64) -> u64 {
    (value * GIB) as u64
}

fn gpu(index: u32, name: &str, used: f64, total: f64, percent: u32) -> GpuSample {
    let (used, total) = (gib_bytes(used), gib_bytes(total));
    GpuSample {
        name: Ok(name.to_string()),
        vram: Ok(Vram { used, free: total - used, total }),
        utilization_percent: Ok(percent),
        temperature_celsius: Ok(41),
        power_watts: Ok(58.4),
        ..GpuSample::missing(index, &Missing::because("not asked"))
    }
}

fn machine(gpus: Vec<GpuSample>) -> Sample {
    Sample {
        gpu_state: GpuState::new(GpuStateKind::Ready, ""),
        gpus,
        ram: Ok(Ram { used: gib_bytes(3.1), total: gib_bytes(24.0), limit: RamLimit::Machine }),
        io: Ok(Io {
            read_bytes_per_second: 0.4 * GIB,
            write_bytes_per_second: 0.0,
            cached_read_bytes_per_second: 0.0,
        }),
    }
}

fn two_gpus() -> Sample {
    machine(vec![gpu(0, "NVIDIA L4", 19.8, 22.5, 63), gpu(1, "NVIDIA L4", 0.4, 22.5, 0)])
}

fn no_gpu() -> Sample {
    let gpu_state = GpuState::new(GpuStateKind::Absent, "libnvidia-ml.so not found");
    Sample { gpu_state, ..machine(Vec::new()) }
}

const MERGE: JobSummary<'static> = JobSummary {
    verb: "merge",
    ratio: Some(0.68),
    bytes_per_second: Some(1.39 * GIB),
    left: Some(Duration::from_secs(31)),
};

fn draw(width: u16, sample: &Sample, job: Option<JobSummary<'_>>) -> String {
    let area = Rect::new(0, 0, width, 1);
    let mut buffer = Buffer::empty(area);
    GaugeBar { sample: Some(sample), job, theme: &Theme::default() }.render(area, &mut buffer);
    let row: String = buffer.content.iter().map(ratatui::buffer::Cell::symbol).collect();
    format!("{row}|")
}

#[test]
fn two_gpus_and_ram_as_in_the_mock_ups() {
    let sample = two_gpus();
    assert_snapshot!(draw(120, &sample, None), @" GPU0 L4 ████████▊░ 19.8/22.5 GiB 63% │ GPU1 L4 ▏░░░░░░░░░  0.4/22.5 GiB  0% │ RAM █▎░░░░░░░░  3.1/24.0 GiB             |");
    assert_snapshot!(draw(80, &sample, None), @" GPU0 19.8/22.5 GiB ████████▊░ 63% │ GPU1  0.4/22.5 │ RAM  3.1/24.0 GiB         |");
    assert_snapshot!(draw(60, &sample, None), @" GPU0 19.8/22.5 GiB ████████▊░ │ GPU1  0.4/22.5             |");
    assert_snapshot!(draw(40, &sample, None), @" GPU0 19.8/22.5 GiB │ GPU1  0.4/22.5    |");
    assert_snapshot!(draw(160, &sample, None), @" GPU0 L4 ████████▊░ 19.8/22.5 GiB 63%  41 °C   58 W │ GPU1 L4 ▏░░░░░░░░░  0.4/22.5 GiB  0%  41 °C   58 W │ RAM █▎░░░░░░░░  3.1/24.0 GiB                         |");
}

#[test]
fn the_job_is_never_dropped() {
    let mut sample = two_gpus();
    sample.gpus[1] = gpu(1, "NVIDIA L4", 1.0, 22.5, 21);
    assert_snapshot!(draw(120, &sample, Some(MERGE)), @" GPU0 L4 ████████▊░ 19.8/22.5 GiB 63% │ GPU1 L4 ▍░░░░░░░░░  1.0/22.5 GiB 21% │ merge ██████▊░░░ 68% 1.39 GiB/s 0:31 left|");
    assert_snapshot!(draw(80, &sample, Some(MERGE)), @" GPU0 19.8/22.5 GiB │ GPU1  1.0/22.5 │ merge ██████▊░░░ 68% 1.39 GiB/s 0:31 left|");
    assert_snapshot!(draw(60, &sample, Some(MERGE)), @" merge ██████▊░░░ 68% 1.39 GiB/s 0:31 left                  |");
    assert_snapshot!(draw(32, &sample, Some(MERGE)), @" merge ██████▊░░░ 68% 0:31 left |");
    assert_snapshot!(draw(12, &sample, Some(MERGE)), @" merge 68%  |");
}

#[test]
fn without_a_gpu_the_row_says_why() {
    let sample = no_gpu();
    assert_snapshot!(draw(120, &sample, None), @" RAM █▎░░░░░░░░  3.1/24.0 GiB │ read 0.40 GiB/s │ no GPU: libnvidia-ml.so not found                                     |");
    assert_snapshot!(draw(80, &sample, None), @" RAM █▎░░░░░░░░  3.1/24.0 GiB │ no GPU: libnvidia-ml.so not found               |");
    assert_snapshot!(draw(60, &sample, None), @" RAM  3.1/24.0 GiB │ no GPU: libnvidia-ml.so not found      |");
}

#[test]
fn eight_gpus_are_summed_before_they_are_cut() {
    let gpus = (0..8).map(|at| gpu(at, "NVIDIA H100 80GB HBM3", 12.0 + f64::from(at), 79.6, 100)).collect();
    let sample = machine(gpus);
    assert_snapshot!(draw(160, &sample, None), @" GPU0 12.0/79.6 GiB █▍░░░░░░░░ │ GPU1 13.0/79.6 │ GPU2 14.0/79.6 │ GPU3 15.0/79.6 │ GPU4 16.0/79.6 │ GPU5 17.0/79.6 │ GPU6 18.0/79.6 │ GPU7 19.0/79.6           |");
    assert_snapshot!(draw(120, &sample, None), @" 8 GPUs █▉░░░░░░░░  124/637 GiB │ RAM █▎░░░░░░░░  3.1/24.0 GiB                                                          |");
    assert_snapshot!(draw(80, &sample, Some(MERGE)), @" 8 GPUs █▉░░░░░░░░  124/637 GiB │ merge ██████▊░░░ 68% 1.39 GiB/s 0:31 left     |");
}

#[test]
fn a_missing_figure_leaves_its_place() {
    let mut sample = machine(vec![gpu(0, "NVIDIA H200", 7.0, 140.4, 100)]);
    assert_snapshot!(draw(120, &sample, None), @" GPU0 H200 ▍░░░░░░░░░  7.0/140 GiB 100% 41 °C   58 W │ RAM █▎░░░░░░░░  3.1/24.0 GiB                                     |");
    sample.gpus[0].utilization_percent = Err(Missing::because("split by MIG"));
    sample.gpus[0].power_watts = Err(Missing::because("closed to this user"));
    assert_snapshot!(draw(120, &sample, None), @" GPU0 H200 ▍░░░░░░░░░  7.0/140 GiB   -  41 °C │ RAM █▎░░░░░░░░  3.1/24.0 GiB                                            |");
    sample.gpus[0].vram = Err(Missing::because("not reported by this GPU"));
    assert_snapshot!(draw(120, &sample, None), @" GPU0 H200 memory not reported by this GPU   -  41 °C │ RAM █▎░░░░░░░░  3.1/24.0 GiB                                    |");
    assert_snapshot!(draw(60, &sample, None), @" GPU0 memory ?   - │ RAM  3.1/24.0 GiB                      |");
}

#[test]
fn live_numbers_do_not_move_their_neighbors() {
    let at = |used: f64, percent: u32| {
        let sample =
            machine(vec![gpu(0, "NVIDIA L4", used, 22.5, percent), gpu(1, "NVIDIA L4", 1.0, 22.5, 5)]);
        let row = draw(120, &sample, None);
        row.chars().position(|c| c == '│').unwrap()
    };
    assert_eq!(at(0.0, 0), at(22.5, 99));
    assert_eq!(at(9.9, 7), at(10.0, 100), "the third digit takes the blank before the divider");
    let column = |percent: u32| {
        let sample =
            machine(vec![gpu(0, "NVIDIA L4", 1.0, 22.5, percent), gpu(1, "NVIDIA L4", 1.0, 22.5, 5)]);
        let row: Vec<char> = draw(120, &sample, None).chars().collect();
        row.windows(4).position(|w| w == ['G', 'P', 'U', '1']).unwrap()
    };
    assert_eq!(column(7), column(100));
}

#[test]
fn bars_show_something_for_something_and_never_the_cursor_sign() {
    assert_eq!(bar(10, 0.0), "░░░░░░░░░░");
    assert_eq!(bar(10, 1e-9), "▏░░░░░░░░░");
    assert_eq!(bar(10, 19.8 / 22.5), "████████▊░");
    assert_eq!(bar(10, 0.9999), "█████████▉");
    assert_eq!(bar(10, 7.0), "██████████");
    assert_eq!(bar(10, f64::NAN), "░░░░░░░░░░");
    assert_eq!(bar(0, 0.5), "");
    for step in 0..=800 {
        let drawn = bar(10, f64::from(step) / 800.0);
        assert_eq!(drawn.chars().count(), 10);
        assert!(!drawn.contains('▌'));
    }
}

#[test]
fn names_are_what_people_say() {
    let cases = [
        ("NVIDIA L4", "L4"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("Tesla V100-PCIE-16GB", "V100"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("", ""),
    ];
    for (name, want) in cases {
        assert_eq!(short_name(name), want, "{name}");
    }
}

#[test]
fn progress_is_never_whole_before_the_end() {
    for (ratio, want) in [(0.0, "0%"), (0.004, "<1%"), (0.68, "68%"), (0.9999, "99%"), (1.0, "99%")] {
        assert_eq!(units::percent_done(ratio), want, "{ratio}");
    }
    assert_eq!(units::clock(Duration::from_secs(3730)), "1:02:10");
    assert_eq!(gib_per_second(f64::INFINITY), "0.00");
}

#[test]
fn weights_are_shown_by_format() {
    let formats = [("GPTQ4".to_string(), 703 << 20), ("F16".to_string(), 2500 << 20)];
    let lines = format_lines(&formats, 58, &Theme::default());
    let text: Vec<String> = lines.iter().map(|line| format!("{line}|")).collect();
    assert_snapshot!(text.join("\n"), @r"
    GPTQ4              703 MiB   22%  █████▎░░░░░░░░░░░░░░░░░░|
    F16               2.44 GiB   78%  ██████████████████▋░░░░░|
    all weights       3.13 GiB|
    ");
}
