//! The tab of values over real samples, at both sizes, in color and without: snapshots, what keys copy, and a run in a
//! terminal.

use std::io::Write as _;
use std::sync::Arc;

use ckpt::app::values::Seen;
use ckpt::app::values::figures::Figures;
use ckpt::app::{App, Effect, Event, Focus, OpenState, Tab, keys};
use ckpt::checkpoint::Checkpoint;
use ckpt::stats::{Of, Options, Part, Source, Watch, scan};
use ckpt::ui::degrade::{Colors, Degrade};
use ckpt::ui::theme::{Role, Theme};
use ckpt::ui::values::Drawn;
use ckpt::ui::{Look, Scroll};
use ckpt::workbench::{Script, screenshot, text_of};
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr;

use crate::jobs::{LARGE, SMALL};
use crate::pty::Scratch;
use crate::robot::Robot;
use crate::sample;

const FULL: Degrade = Degrade { colors: Colors::True, is_ascii: false };
const UNCOLORED: Degrade = Degrade { colors: Colors::None, is_ascii: false };
const PLAIN: Degrade = Degrade { colors: Colors::None, is_ascii: true };
const GPTQ: &str = "gptq-w4-g128-sym-v1-A/model";

fn draw(path: &str, keys: &str, size: (u16, u16), degrade: Degrade) -> Buffer {
    let paths = [format!("samples/{path}")];
    let theme = Theme::built_in("dark").unwrap().at(degrade.colors);
    screenshot(&Script { paths: &paths, adapter: None, keys, size, theme: &theme, degrade }).unwrap()
}

/// Name of the view, what is open, and the keys that lead there.
const VIEWS: [(&str, &str, &str); 23] = [
    ("nf4-layer", "bnb-nf4-A/model", "v j j j j j j j"),
    ("gptq-layer", GPTQ, "v j j j j j j j"),
    ("gptq-codes", GPTQ, "v j j j j j j j f j enter"),
    ("gptq-scales", GPTQ, "v j j j j j j j f j j enter"),
    ("gptq-zero-points", GPTQ, "v j j j j j j j f j j j enter"),
    ("part-menu", GPTQ, "v j j j j j j j f j"),
    ("norm", "base-A-bf16/model", "v j j j j"),
    ("embed", "base-A-bf16/model", "v j j"),
    ("gguf-layer", "gguf-q4_k_m-K/model.gguf", "v j"),
    ("broken", "bad-quantized/gptq-missing-scales", "v n"),
    ("nan-scale", "bad-quantized/gptq-nan-scale", "v n"),
    ("fold", "base-A-bf16/model", "v j j j"),
    ("log", "base-A-bf16/model", "v L j j"),
    ("map", GPTQ, "v j j j j j j j tab j j l l l"),
    ("map-close", GPTQ, "v j j j j j j j tab + + + + + + G j l l"),
    ("map-wide", GPTQ, "v j j j j j j j z + l l l j"),
    ("vector", "base-A-bf16/model", "v j j j j tab j j l l"),
    ("vector-end", "gptq-w4-g128-sym-v1-A/model", "v j j j j j j j f j j enter tab G"),
    ("norms-rows", GPTQ, "v j j j j j j j f j j j j enter j j"),
    ("norms-columns", GPTQ, "v j j j j j j j f j j j j j enter s j enter G tab"),
    ("norm-order-menu", GPTQ, "v j j j j j j j f j j j j enter s j j"),
    ("export", GPTQ, "v j j j j j j j : type:export enter"),
    ("tensor", "bnb-nf4-A/model", "v t / type:k_proj.weight.absmax enter G"),
];

#[test]
fn every_view_is_as_it_was_looked_at() {
    for (name, path, keys) in VIEWS {
        for size in [LARGE, SMALL] {
            let text = text_of(&draw(path, keys, size, FULL));
            let widest = text.lines().map(UnicodeWidthStr::width).max().unwrap();
            assert!(widest <= usize::from(size.0), "{name}: {text}");
            insta::assert_snapshot!(format!("{name}-{}x{}", size.0, size.1), text);
            // Without colors there is none, and glyphs say what colors said.
            let plain = draw(path, keys, size, UNCOLORED);
            let is_colored = |cell: &ratatui::buffer::Cell| [cell.fg, cell.bg] != [Color::Reset; 2];
            assert!(!plain.content.iter().any(is_colored), "{name}: a color");
            if text_of(&plain) != text {
                insta::assert_snapshot!(format!("{name}-no-color-{}x{}", size.0, size.1), text_of(&plain));
            }
        }
    }
}

#[test]
fn without_color_and_in_ascii_the_map_and_its_cursor_are_seen() {
    for (name, keys) in [
        ("plain", "v j j j j j j j"),
        ("plain-map", "v j j j j j j j tab j l"),
        ("plain-norms", "v j j j j j j j f j j j j enter j"),
        ("plain-vector", "v j j j j tab j l"),
    ] {
        for size in [LARGE, SMALL] {
            let buffer = draw(GPTQ, keys, size, PLAIN);
            let text = text_of(&buffer);
            assert!(text.is_ascii(), "{text}");
            assert!(
                buffer.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset),
                "a color"
            );
            insta::assert_snapshot!(format!("{name}-{}x{}", size.0, size.1), text);
        }
    }
    let buffer = draw(GPTQ, "v j j j j j j j tab j l", LARGE, PLAIN);
    let reversed = buffer.content.iter().filter(|cell| cell.modifier.contains(Modifier::REVERSED));
    let text: String = reversed.map(ratatui::buffer::Cell::symbol).collect();
    // The number of the row, the cell of the map, the mark below its column, and the number.
    let rest = text.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
    let number = rest.trim_start_matches(['.', ':', '+', '#']).strip_prefix('^');
    assert!(number.is_some_and(|number| number.trim().parse::<f64>().is_ok()), "{text}");
}

#[test]
fn every_size_draws_and_no_line_is_wider() {
    for (path, keys) in [
        (GPTQ, "v j j j j j j j"),
        (GPTQ, "v j j j j j j j tab + j"),
        (GPTQ, "v j j j j j j j f j j j j enter j"),
        (GPTQ, "v j j j j j j j f j j j j j enter tab"),
        ("base-A-bf16/model", "v j j j j"),
        ("base-A-bf16/model", "v j j j j tab j l"),
    ] {
        for width in [40, 60, 100, 250] {
            for height in [10, 14, 20, 60] {
                let text = text_of(&draw(path, keys, (width, height), FULL));
                let widest = text.lines().map(UnicodeWidthStr::width).max().unwrap();
                assert!(widest <= usize::from(width), "{path} {keys} at {width}x{height}: {text}");
                assert!(text.contains("values"), "{path} {keys} at {width}x{height}: {text}");
            }
        }
    }
}

#[test]
fn the_values_of_every_row_of_every_sample_draw() {
    let mut drawn = 0;
    for entry in std::fs::read_dir(sample("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        for below in ["", "/model", "/adapter"] {
            let path = format!("{name}{below}");
            if sample(&path).is_dir() {
                let text = text_of(&draw(&path, "v j j l j n G tab + j t G", SMALL, FULL));
                let unsafe_char = text.chars().find(|c| *c != '\n' && ckpt::name::is_unsafe_char(*c));
                assert_eq!(unsafe_char, None, "{path}");
                drawn += 1;
            }
        }
    }
    println!("{drawn} samples");
    assert!(drawn > 100, "{drawn}");
}

/// Opens a sample in the tab, on the row of a layer, and leaves its question open.
fn asked(path: &str, layer: &str) -> (App, u32, Arc<Checkpoint>) {
    let path = format!("samples/{path}");
    let (mut app, _) = App::new(std::slice::from_ref(&path), keys::keymap(None).unwrap());
    app.update(Event::Opened(0, Box::new(Checkpoint::open_examined(&path))));
    let OpenState::Ready(ready) = &app.opens[0].state else { panic!("it is open") };
    let checkpoint = Arc::clone(&ready.checkpoint);
    let ready = app.ready_mut().unwrap();
    ready.tree.open_all(&checkpoint);
    let node = ready.tree.find(&checkpoint, layer).unwrap();
    ready.tree.select_node(&checkpoint, node).unwrap();
    let effects = app.update(Event::Key("v".into()));
    let number = effects.iter().find_map(|e| if let Effect::ScanValues(n) = e { Some(*n) } else { None });
    (app, number.unwrap(), checkpoint)
}

struct Quiet;

impl Watch for Quiet {}

/// The figures of a layer, as if it had so many values.
fn figures(checkpoint: &Checkpoint, layer: &str, total: Option<u64>) -> Figures {
    let layer = checkpoint.layers.find_name(&checkpoint.files.names, layer).unwrap();
    let source = Source::open(checkpoint, Of::Layer(layer), Part::Weights).unwrap();
    let with_sides = total.is_none();
    let summary = scan(&source, &Options { with_sides, ..Options::default() }, &Quiet).unwrap();
    let total = total.unwrap_or(source.count());
    Figures::of(source.name.clone(), (Part::Weights, source.parts()), total, summary)
}

fn draw_app(app: &mut App, size: (u16, u16)) -> String {
    text_of(&draw_buffer(app, size).0)
}

/// Draws the app; also returns where the map is.
fn draw_buffer(app: &mut App, (width, height): (u16, u16)) -> (Buffer, Drawn) {
    let theme = Theme::built_in("dark").unwrap();
    let look = Look { theme: &theme, degrade: FULL };
    let mut terminal = ratatui::Terminal::new(ratatui::backend::TestBackend::new(width, height)).unwrap();
    let mut scroll = Scroll::default();
    for _ in 0..2 {
        terminal.draw(|frame| ckpt::ui::draw(frame, app, &mut scroll, &look)).unwrap();
    }
    (terminal.backend().buffer().clone(), scroll.map)
}

const LAYER: &str = "model.layers.0.mlp.gate_proj";

#[test]
fn a_first_sample_shows_while_the_rest_is_read_and_when_it_is_stopped() {
    let (mut app, number, checkpoint) = asked("base-A-bf16/model", LAYER);
    let seen = figures(&checkpoint, LAYER, Some(32_768 * 24));
    app.update(Event::ValuesSeen(number, Box::new(Seen::SoFar(Arc::new(seen)))));
    for size in [LARGE, SMALL] {
        let text = draw_app(&mut app, size);
        assert!(text.contains("first 4%"), "{text}");
        insta::assert_snapshot!(format!("running-{}x{}", size.0, size.1), text);
    }
    assert_eq!(app.update(Event::Key("x".into())), [Effect::StopValues]);
    let text = draw_app(&mut app, LARGE);
    assert!(text.contains("stopped at 4%   x reads on") && text.contains("x read on"), "{text}");
    assert_eq!(app.update(Event::Key("x".into())), [Effect::ScanValues(number + 1)]);
}

#[test]
fn the_figures_and_the_command_are_copied() {
    let (mut app, number, checkpoint) = asked("base-A-bf16/model", LAYER);
    let seen = figures(&checkpoint, LAYER, None);
    app.update(Event::ValuesSeen(number, Box::new(Seen::Done(Arc::new(seen)))));
    let [Effect::Copy(text)] = &app.update(Event::Key("y".into()))[..] else { panic!("it copies") };
    insta::assert_snapshot!("copied", text);
    let command = format!("ckpt stats samples/base-A-bf16/model {LAYER}");
    assert_eq!(app.update(Event::Key("Y".into())), [Effect::Copy(command)]);
}

#[test]
fn a_click_on_the_map_goes_there_and_the_wheel_moves_on() {
    let (mut app, number, checkpoint) = asked("base-A-bf16/model", LAYER);
    let seen = figures(&checkpoint, LAYER, None);
    app.update(Event::ValuesSeen(number, Box::new(Seen::Done(Arc::new(seen)))));
    draw_app(&mut app, LARGE);
    let effects = app.update(Event::ClickCell([2, 5]));
    assert!(matches!(effects[..], [Effect::ReadRegion(_)]), "{effects:?}");
    let [row, column] = app.values.view.cursor;
    assert!(row > 0 && column > 0 && app.focus == Focus::Side, "{row} {column}");
    app.update(Event::Wheel(Focus::Side, 3));
    assert!(app.values.view.cursor[0] > row && app.values.view.cursor[1] == column);
    app.update(Event::ClickCell([9000, 9000]));
    assert_eq!(app.tab, Tab::Values);
    // The same on the list of norms.
    for key in ["f", "j", "enter", "s", "j", "j", "enter"] {
        app.update(Event::Key(key.into()));
    }
    let (buffer, drawn) = draw_buffer(&mut app, LARGE);
    let line =
        |y: u16| -> String { (drawn.area.x..drawn.area.right()).map(|x| buffer[(x, y)].symbol()).collect() };
    assert!(line(drawn.area.y).starts_with("▌        0 "), "{}", line(drawn.area.y));
    app.update(Event::ClickCell(drawn.at(drawn.area.x + 3, drawn.area.y + 4).unwrap()));
    assert_eq!(app.values.list.as_ref().unwrap().current(), Some(4));
    app.update(Event::Wheel(Focus::Side, 3));
    draw_app(&mut app, LARGE);
    app.update(Event::ClickCell([9000, 0]));
    app.update(Event::ClickCell([7, 0]));
    assert_eq!((app.values.list.is_none(), app.values.view.cursor[0]), (true, 7), "a second click");
}

/// How bright a color is to the eye, about; a cell without one is darkest.
fn luma(color: Color) -> u32 {
    let Color::Rgb(r, g, b) = color else { return 0 };
    3 * u32::from(r) + 6 * u32::from(g) + u32::from(b)
}

#[test]
fn each_half_of_a_line_is_a_row_of_the_map_and_the_larger_the_brighter() {
    let (mut app, number, checkpoint) = asked("base-A-bf16/model", LAYER);
    let seen = figures(&checkpoint, LAYER, None);
    app.update(Event::ValuesSeen(number, Box::new(Seen::Done(Arc::new(seen)))));
    let theme = Theme::built_in("dark").unwrap();
    for keys in ["", "tab", "j", "l j", "G"] {
        for key in keys.split_whitespace() {
            app.update(Event::Key(key.into()));
        }
        let (buffer, drawn) = draw_buffer(&mut app, LARGE);
        let (cut, cells) = app.values.cells().unwrap();
        let [high, wide] = cut.size();
        assert_eq!((drawn.rows, usize::from(drawn.area.height)), (2, high.div_ceil(2)), "two rows a line");
        let marked = cut.cell(app.values.view.cursor).filter(|_| !keys.is_empty());
        let mut seen: Vec<(f32, u32)> = Vec::new();
        for line in 0..high {
            for column in 0..wide {
                let x = drawn.area.x + column as u16 * drawn.cell;
                let cell = &buffer[(x, drawn.area.y + (line / 2) as u16)];
                let color = match (cell.symbol(), line % 2) {
                    ("▀", 0) | ("▄", 1) | ("█", _) => cell.fg,
                    ("▀" | "▄", _) => cell.bg,
                    (other, _) => panic!("{other:?} on the map"),
                };
                if marked == Some([line, column]) {
                    assert_eq!(Some(color), theme.style(Role::HeatCursor).fg, "the cursor after {keys:?}");
                } else {
                    seen.push((cells[line * wide + column], luma(color)));
                }
            }
        }
        seen.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(seen.is_sorted_by_key(|(_, luma)| *luma), "after {keys:?}");
        assert!(seen.len() > 700 && seen[0].1 < seen[seen.len() - 1].1);
    }
}

#[test]
fn what_is_not_finite_is_marked_on_the_map_and_said_in_words() {
    for (degrade, mark) in [(FULL, '█'), (PLAIN, 'X')] {
        let buffer = draw("bad-quantized/gptq-inf-scale", "v n tab", LARGE, degrade);
        let text = text_of(&buffer);
        assert!(text.contains(&format!("{mark} NaN/Inf")), "{text}");
        let theme = Theme::built_in("dark").unwrap().at(degrade.colors);
        let is_broken = |cell: &ratatui::buffer::Cell| {
            let red = theme.style(Role::Error).fg;
            if degrade == FULL { Some(cell.fg) == red || Some(cell.bg) == red } else { cell.symbol() == "X" }
        };
        assert!(buffer.content.iter().filter(|cell| is_broken(cell)).count() > 3, "{text}");
    }
}

#[test]
fn a_person_reads_values_and_moves_on() {
    let model = sample(GPTQ).display().to_string();
    let mut robot = Robot::start(&[&model, "--no-gauges"], &[]);
    robot
        .shows("load ✓")
        .press("v")
        .shows("20,480 values")
        .press("j")
        .shows("Values are of one layer")
        .press("jjjjjj");
    robot
        .shows("model.layers.0.mlp.gate_proj")
        .shows("32,768 values")
        .shows("16 of 16 used")
        .shows("all read in");
    robot.press("j").shows("model.layers.0.mlp.up_proj").shows("scales 0.00").shows("all read in");
    robot.press("\t").shows("cursor [0, 0] = ").press("+++l").shows("cursor [0, 1] = ");
    robot.until("the number to be read", |s| !s.contents().contains("= …"));
    robot.press("fjj\r").shows("‹ scales ›").shows("[256] F32");
    robot.press("1").shows("[1 Detail]").press("q");
    let (code, robot) = robot.ends();
    assert_eq!(code, 0);
    robot.is_restored();
}

#[test]
fn the_numbers_of_a_vector_are_walked_along_their_indices() {
    let text = text_of(&draw("base-A-bf16/model", "v j j j j tab G", LARGE, FULL));
    assert!(text.contains("min    0.7383 at [127]") && text.contains("cursor [127] = 0.7383"), "{text}");
    let text = text_of(&draw("base-A-bf16/model", "v j j j j tab j j j j", LARGE, FULL));
    assert!(text.contains("max      1.25 at [20]") && text.contains("cursor [20] = 1.25"), "{text}");
    let text = text_of(&draw("base-A-bf16/model", "v j j j j tab +", LARGE, FULL));
    assert!(text.contains("a vector has no map: its numbers stand in a row"), "{text}");
}

#[test]
fn a_norm_of_the_list_is_that_of_the_row_on_the_map() {
    let list = "v j j j j j j j f j j j j enter";
    let text = text_of(&draw(GPTQ, list, LARGE, FULL));
    assert!(text.contains("▌      245     0.6971     1.8%"), "{text}");
    let text = text_of(&draw(GPTQ, &format!("{list} enter"), LARGE, FULL));
    assert!(text.contains("cursor [245, 0] = ") && text.contains("largest |w|"), "{text}");
    let text = text_of(&draw(GPTQ, &format!("{list} s j j enter j j"), LARGE, FULL));
    assert!(text.contains("▌        2 ") && text.contains("3 of 256 rows"), "{text}");
}

#[test]
fn what_is_exported_is_what_the_command_prints_and_no_file_is_replaced() {
    let scratch = Scratch::new("export");
    let model = sample(GPTQ).display().to_string();
    let mut robot = Robot::start(&[&model, "--no-gauges"], &[]);
    robot.shows("load ✓").press("v").shows("20,480 values").press("jjjjjjj").shows("32,768 values");
    robot.shows("all read in");
    let mut export = |keys: &str, shown: &str, asks: &str, name: &str, flags: &[&str]| {
        let file = scratch.0.join(name);
        robot.press(keys).shows(shown).shows("all read in").press(":").shows("Commands");
        robot.press("export\r").shows(asks).press("\x15").press(&format!("{}\r", file.display()));
        robot.shows("what was on screen");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_ckpt"))
            .args(["stats", &model, LAYER])
            .args(flags)
            .output()
            .unwrap();
        let written = std::fs::read_to_string(&file).unwrap();
        assert_eq!(written, String::from_utf8(output.stdout).unwrap(), "{name}");
        // The log says how to have it again.
        let command = format!("{LAYER} {} > ", flags.join(" "));
        robot.press("@").shows(&flags.join(" ")).press("@");
        robot.until("the log to close", |s| !s.contents().contains(&command));
        robot.press(":").shows("Commands").press("export\r").shows(asks);
        robot.press("\x15").press(&format!("{}\r", file.display())).shows("File exists");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), written, "{name} was left alone");
    };
    export("", "‹ weights ›", "The figures of these values", "weights.json", &["--json"]);
    export("fj\r", "‹ codes ›", "The figures of these values", "c.csv", &["--part", "codes", "--csv"]);
    let norms = ["--part", "codes", "--norms", "columns", "--json"];
    export("fjjjj\r", "norms of all columns", "The norms of all columns", "norms.JSON", &norms);
    robot.press("q");
    assert_eq!(robot.ends().0, 0);
}

#[test]
fn the_narrowest_pane_draws_whatever_it_shows() {
    for keys in ["v", "v tab", "v f j enter", "v f j j enter"] {
        let (mut app, number, checkpoint) = asked("base-A-bf16/model", LAYER);
        let seen = figures(&checkpoint, LAYER, None);
        app.update(Event::ValuesSeen(number, Box::new(Seen::Done(Arc::new(seen)))));
        keys.split_whitespace().for_each(|key| drop(app.update(Event::Key(key.into()))));
        for percent in [0, 20, 80, 99] {
            app.update(Event::Split(percent));
            for size in [(60, 10), (60, 60), (41, 11), (120, 12)] {
                draw_app(&mut app, size);
            }
        }
    }
}

#[test]
fn the_figures_of_a_tensor_are_exported_as_the_command_prints_them() {
    let name = "model.layers.0.mlp.gate_proj.qzeros";
    let (mut app, ..) = asked(GPTQ, LAYER);
    app.update(Event::Key("t".into()));
    let OpenState::Ready(ready) = &app.opens[0].state else { panic!("it is open") };
    let checkpoint = Arc::clone(&ready.checkpoint);
    let ready = app.ready_mut().unwrap();
    ready.tree.open_all(&checkpoint);
    let node = ready.tree.find(&checkpoint, name).unwrap();
    ready.tree.select_node(&checkpoint, node).unwrap();
    let number =
        app.ask_values().iter().find_map(|e| if let Effect::ScanValues(n) = e { Some(*n) } else { None });
    let tensor = (0..checkpoint.files.tensors.len() as u32)
        .find(|at| checkpoint.files.tensor_name(*at) == name)
        .unwrap();
    let source = Source::open(&checkpoint, Of::Tensor(tensor), Part::Weights).unwrap();
    let summary = scan(&source, &Options { with_sides: true, ..Options::default() }, &Quiet).unwrap();
    let seen = Figures::of(source.name.clone(), (Part::Weights, source.parts()), source.count(), summary);
    app.update(Event::ValuesSeen(number.unwrap(), Box::new(Seen::Done(Arc::new(seen)))));
    for (file, flag) in [("a.json", "--json"), ("a.csv", "--csv")] {
        app.update(Event::Key(":".into()));
        for key in "export".chars().map(String::from).chain(["enter".into(), "ctrl-u".into()]) {
            app.update(Event::Key(key));
        }
        file.chars().for_each(|key| drop(app.update(Event::Key(key.into()))));
        let effects = app.update(Event::Key("enter".into()));
        let [Effect::Export(_, text)] = &effects[..] else { panic!("{effects:?}") };
        let path = format!("samples/{GPTQ}");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_ckpt"))
            .args(["stats", &path, name, "--tensors", flag])
            .output()
            .unwrap();
        assert_eq!(*text, String::from_utf8(output.stdout).unwrap());
        let command = format!("ckpt stats {path} {name} --tensors {flag} > {file}");
        assert_eq!(app.log.last(), Some(&command));
    }
}

#[test]
fn a_large_tensor_shows_a_first_sample_and_is_left_at_once() {
    let scratch = Scratch::new("values");
    let input = scratch.0.join("model");
    std::fs::create_dir(&input).unwrap();
    // A file with a hole: gibibytes that take no room, and seconds to read.
    let (bytes, small) = (4u64 << 30, 2048u64);
    let header = format!(
        r#"{{"a.weight":{{"dtype":"F16","shape":[{},2048],"data_offsets":[0,{bytes}]}},"b.weight":{{"dtype":"F16","shape":[32,32],"data_offsets":[{bytes},{}]}}}}"#,
        bytes >> 12,
        bytes + small
    );
    let mut file = std::fs::File::create_new(input.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + bytes + small).unwrap();
    let mut robot = Robot::start(&[&input.display().to_string(), "--no-gauges"], &[]);
    robot.shows("load").press("v").shows("2,147,483,648 values").shows("x stops").shows("first ");
    robot.press("x").shows("x reads on").press("x").shows("x stops");
    robot.press("j").shows("1,024 values").shows("all read in");
    robot.press("q");
    assert_eq!(robot.ends().0, 0);
}
