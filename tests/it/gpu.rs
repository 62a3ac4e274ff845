//! The tab of GPUs: two, many, none, and a driver without a device, at both sizes, in color and without.

use ckpt::app::{App, Effect, Event, Tab, keys};
use ckpt::engine::cuda::probe::{Card, Probed};
use ckpt::gauges::ram::RamLimit;
use ckpt::gauges::{
    GpuProcess, GpuSample, GpuSource, GpuState, GpuStateKind, Missing, PcieLink, PcieRate, Ram, Sample,
    Sampler, Vram,
};
use ckpt::ui::degrade::{Colors, Degrade};
use ckpt::ui::theme::Theme;
use ckpt::ui::{Look, Scroll};
use ckpt::workbench::text_of;
use ratatui::buffer::Buffer;
use ratatui::style::Color;

use crate::jobs::{LARGE, Robot, SMALL};

const GPTQ: &str = "samples/gptq-w4-g128-sym-v1-A/model";
const FULL: Degrade = Degrade { colors: Colors::True, is_ascii: false };

pub(crate) fn gib(value: f64) -> u64 {
    (value * (1u64 << 30) as f64) as u64
}

fn process(pid: u32, name: Result<&str, &'static str>, bytes: Option<f64>, is_own: bool) -> GpuProcess {
    GpuProcess {
        pid,
        name: name.map(str::to_owned).map_err(Missing::because),
        bytes: bytes.map(gib).ok_or(Missing::because("not reported by this GPU")),
        is_own,
    }
}

/// A source with the two GPUs of the design's pictures; each read is a second later.
struct TwoGpus(u32);

impl GpuSource for TwoGpus {
    fn read(&mut self) -> (GpuState, Vec<GpuSample>) {
        self.0 += 1;
        let wave = self.0 % 7;
        let first = GpuSample {
            name: Ok("NVIDIA L4".into()),
            uuid: Ok("GPU-17171717-1717-1717-1717-171717171717".into()),
            vram: Ok(Vram { used: gib(19.8), free: gib(2.7), total: gib(22.5) }),
            utilization_percent: Ok(40 + 8 * wave),
            temperature_celsius: Ok(71),
            power_watts: Ok(48.0 + 3.0 * wave as f32),
            power_limit_watts: Ok(72.0),
            pcie_link: Ok(PcieLink { generation: 4, lanes: 16 }),
            pcie_rate: Ok(PcieRate { to_gpu: gib(1.39), from_gpu: gib(0.4) }),
            processor_mhz: Ok(1980),
            memory_mhz: Ok(6251),
            slowed: Ok(vec!["power limit", "heat"]),
            processes: Ok(vec![
                process(4121, Ok("python"), Some(17.9), false),
                process(90_210, Ok("ckpt"), Some(0.6 + 0.1 * f64::from(wave)), true),
                process(4_000_000_000, Err("not seen from here"), None, false),
            ]),
            ..GpuSample::missing(0, &Missing::because("not asked"))
        };
        let second = GpuSample {
            index: 1,
            name: Ok("NVIDIA GeForce GTX 1080 with a long name that somebody gave it".into()),
            uuid: Ok("GPU-18181818-1818-1818-1818-181818181818".into()),
            vram: Ok(Vram { used: gib(0.4), free: gib(7.6), total: gib(8.0) }),
            utilization_percent: Ok(0),
            temperature_celsius: Err(Missing::because("not reported by this GPU")),
            power_watts: Ok(9.0),
            slowed: Ok(Vec::new()),
            processes: Ok(Vec::new()),
            ..GpuSample::missing(1, &Missing::because("closed to this user"))
        };
        let state = GpuState { driver: Some("570.86.15".into()), ..GpuState::new(GpuStateKind::Ready, "") };
        (state, vec![first, second])
    }
}

fn cards() -> Probed {
    let card = |ordinal: u32, name: &str, byte: &str, capability, refused: Option<&str>| Card {
        ordinal,
        name: name.into(),
        uuid: format!(
            "GPU-{}-{}-{}-{}-{}",
            byte.repeat(4),
            byte.repeat(2),
            byte.repeat(2),
            byte.repeat(2),
            byte.repeat(6)
        ),
        capability,
        memory: gib(22.5),
        multiprocessors: 58,
        clock_khz: None,
        refused: refused.map(str::to_owned),
    };
    let old = "GPU older than Volta: compute capability 6.1, the kernels need 7.0";
    Probed::Ready {
        driver: 12_080,
        cards: vec![card(0, "NVIDIA L4", "17", [8, 9], None), card(1, "GTX 1080", "18", [6, 1], Some(old))],
    }
}

/// A sample of a source, in a machine whose RAM is that of the design's pictures.
pub(crate) fn sampled(source: impl GpuSource + Send + 'static, reads: usize) -> Vec<Sample> {
    let mut sampler = Sampler::with_gpus(Box::new(source));
    let ram = Ram { used: gib(3.1), total: gib(24.0), limit: RamLimit::Machine };
    let look = |_| Sample { ram: Ok(ram), io: Err(Missing::because("not asked")), ..sampler.sample() };
    (0..reads).map(look).collect()
}

struct Nothing(Option<&'static str>, &'static str);

impl GpuSource for Nothing {
    fn read(&mut self) -> (GpuState, Vec<GpuSample>) {
        let state = GpuState::new(GpuStateKind::Absent, self.1);
        (GpuState { driver: self.0.map(str::to_owned), ..state }, Vec::new())
    }
}

fn robot(samples: Vec<Sample>, probed: Option<Probed>) -> Robot {
    let mut robot = Robot::open(GPTQ);
    for sample in samples {
        robot.app.update(Event::Sampled(Box::new(sample)));
    }
    if let Some(probed) = probed {
        robot.app.update(Event::Probed(Box::new(probed)));
    }
    robot
}

fn buffer(app: &mut App, (width, height): (u16, u16), degrade: Degrade) -> Buffer {
    let theme = Theme::built_in("dark").unwrap().at(degrade.colors);
    let look = Look { theme: &theme, degrade };
    let mut terminal = ratatui::Terminal::new(ratatui::backend::TestBackend::new(width, height)).unwrap();
    let mut scroll = Scroll::default();
    for _ in 0..2 {
        terminal.draw(|frame| ckpt::ui::draw(frame, app, &mut scroll, &look)).unwrap();
    }
    terminal.backend().buffer().clone()
}

#[test]
fn the_tab_is_as_it_was_looked_at() {
    let nothing = || Nothing(None, "libnvidia-ml.so not found");
    let no_device = || Nothing(Some("570.86.15"), "NVIDIA driver found, but no GPU");
    let absent = |why: &str| Some(Probed::Absent(why.into()));
    let views = [
        ("two", sampled(TwoGpus(0), 70), Some(cards()), "7"),
        ("two-second", sampled(TwoGpus(0), 5), Some(cards()), "7 j"),
        ("asking", sampled(TwoGpus(0), 1), None, "7"),
        ("no-driver", sampled(nothing(), 1), absent("no NVIDIA driver found (libcuda.so.1)"), "7"),
        (
            "no-device",
            sampled(no_device(), 1),
            absent(
                "driver present, no CUDA device visible (CUDA_VISIBLE_DEVICES is not set; a container needs its flags for GPUs)",
            ),
            "7",
        ),
        ("gauges-off", Vec::new(), Some(cards()), "7"),
    ];
    for (name, samples, probed, keys) in views {
        for size in [LARGE, SMALL] {
            let mut robot = robot(samples.clone(), probed.clone());
            robot.press(keys);
            assert_eq!(robot.app.tab, Tab::Gpu);
            let text = text_of(&buffer(&mut robot.app, size, FULL));
            let widest = text.lines().map(unicode_width::UnicodeWidthStr::width).max().unwrap();
            assert!(widest <= usize::from(size.0), "{name}: {text}");
            insta::assert_snapshot!(format!("{name}-{}x{}", size.0, size.1), text);
        }
    }
}

#[test]
fn without_color_and_in_ascii_the_parts_of_the_bar_differ() {
    let plain = Degrade { colors: Colors::None, is_ascii: true };
    let mut robot = robot(sampled(TwoGpus(0), 70), Some(cards()));
    robot.press("7");
    let buffer = buffer(&mut robot.app, SMALL, plain);
    let text = text_of(&buffer);
    assert!(text.is_ascii(), "{text}");
    assert!(buffer.content.iter().all(|cell| cell.fg == Color::Reset), "a color");
    let bar = text.lines().find(|line| line.contains("memory     #")).unwrap();
    assert!(bar.contains("#++") && bar.contains("+.."), "{bar}");
    insta::assert_snapshot!("plain-80x24", text);
}

#[test]
fn the_tab_is_offered_where_there_is_a_gpu_and_reached_by_key_and_by_name() {
    let mut with = robot(sampled(TwoGpus(0), 1), None);
    assert!(with.press("5").draw(LARGE).contains(" 7 GPU "), "a tab");
    let text = with.press("c enter 6").draw(LARGE);
    assert!(text.contains("7 GPUs") && text.contains("[6 Jobs]"), "in the footer: {text}");
    with.press("1 : type:gpu enter");
    assert_eq!(with.app.tab, Tab::Gpu);
    let mut without = robot(sampled(Nothing(None, "none"), 1), None);
    assert!(!without.draw(LARGE).contains("7 GPU"));
    let text = without.press("7").draw(LARGE);
    assert!(text.contains("[7 GPU]") && text.contains("No GPU is seen here"), "{text}");
    assert!(without.press("esc").app.tab == Tab::Detail);
    assert!(without.press("?").draw(LARGE).contains("GPUs, who holds their memory"));
}

#[test]
fn cuda_is_asked_when_the_tab_is_first_shown_and_only_then() {
    let (mut app, _) = App::new(&[GPTQ.to_owned()], keys::keymap(None).unwrap());
    let mut asked = |key: &str| app.update(Event::Key(key.into())).contains(&Effect::AskGpus);
    assert_eq!(["5", "7", "1", "7"].map(&mut asked), [false, true, false, false]);
}

#[test]
fn what_was_held_at_most_is_remembered() {
    let mut robot = robot(sampled(TwoGpus(0), 9), None);
    let gpu = robot.press("7").app.gpu().unwrap().clone();
    let seen = robot.app.gpus.seen(&gpu).unwrap();
    assert_eq!((seen.used_most, seen.own_most), (Some(gib(19.8)), Some(gib(1.2))));
    assert_eq!((seen.load.len(), seen.load.back()), (9, Some(&Some(56.0))));
    robot.press("j");
    let gpu = robot.app.gpu().unwrap();
    assert_eq!((gpu.index, robot.app.gpus.seen(gpu).unwrap().own_most), (1, None));
    // A GPU that is gone takes the cursor along.
    let mut one = sampled(TwoGpus(0), 1).remove(0);
    one.gpus.truncate(1);
    robot.app.update(Event::Sampled(Box::new(one)));
    assert_eq!(robot.app.gpus.cursor, 0);
    assert!(robot.draw(SMALL).contains("▌GPU0"));
    for _ in 0..100 {
        robot.app.update(Event::Sampled(Box::new(sampled(TwoGpus(0), 1).remove(0))));
    }
    assert_eq!(robot.app.gpus.seen(&robot.app.gpus_now()[0].clone()).unwrap().load.len(), 60);
}

#[test]
fn many_gpus_scroll_and_every_size_draws() {
    let mut sample = sampled(TwoGpus(0), 1).remove(0);
    let first = sample.gpus[0].clone();
    sample.gpus = (0..16).map(|index| GpuSample { index, ..first.clone() }).collect();
    sample.gpus.insert(3, GpuSample { slice: Some(1), index: 2, ..first });
    let mut robot = robot(vec![sample], Some(cards()));
    robot.press("7 G");
    for width in [40, 59, 80, 95, 120, 200] {
        for height in [10, 12, 24, 50] {
            let text = text_of(&buffer(&mut robot.app, (width, height), FULL));
            assert!(text.contains("▌GPU15"), "{width}x{height}: {text}");
            let widest = text.lines().map(unicode_width::UnicodeWidthStr::width).max().unwrap();
            assert!(widest <= usize::from(width), "{width}x{height}: {text}");
        }
    }
    let text = robot.press("g g j j j").draw(LARGE);
    assert!(text.contains("▌GPU2/1") && text.contains("16 GPUs, 1 slice"), "{text}");
    assert!(robot.press("pgdn pgdn").draw((120, 20)).contains("GPU2/1"));
    // Only what is above it is cut away: the last process shows.
    assert!(robot.draw((120, 20)).contains("4000000000"));
}

#[test]
fn copies_say_what_the_screen_shows() {
    let mut robot = robot(sampled(TwoGpus(0), 1), None);
    robot.press("7");
    let copied = robot.app.update(Event::Key("y".into()));
    assert_eq!(copied, [Effect::Copy("GPU0 NVIDIA L4: 19.8 GiB of 22.5 GiB used".into())]);
    let copied = robot.app.update(Event::Key("Y".into()));
    assert_eq!(copied, [Effect::Copy("ckpt doctor".into())]);
}
