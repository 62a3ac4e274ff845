//! Two checkpoints compared in the workbench: real samples and made ones, as pictures at both sizes.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use ckpt::app::compare::News;
use ckpt::app::{App, Effect, Event, OpenState, keys};
use ckpt::checkpoint::Checkpoint;
use ckpt::tensor::Dtype;
use ckpt::ui::degrade::{Colors, Degrade};
use ckpt::ui::theme::Theme;
use ckpt::ui::{Look, Scroll};
use ckpt::workbench::{Script, screenshot, text_of};
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

use crate::convert::{convert, done};
use crate::jobs::{LARGE, SMALL};
use crate::pty::Scratch;

const GPTQ: &str = "samples/gptq-w4-g128-sym-v1-A/model";
const BASE: &str = "samples/base-A-bf16/model";
const FULL: Degrade = Degrade { colors: Colors::True, is_ascii: false };

/// Drives the app in the loop's place; what a comparison finds waits until it is told.
struct View {
    app: App,
    found: VecDeque<Event>,
}

impl View {
    /// Opens A and B.
    fn open(a: &str, b: &str) -> Self {
        let paths = [a.to_owned(), b.to_owned()];
        let (app, effects) = App::new(&paths, keys::keymap(None).unwrap());
        let mut view = Self { app, found: VecDeque::new() };
        view.answer(effects);
        view
    }

    /// Compares all of A with all of B.
    fn compared(a: &str, b: &str, keys: &str) -> Self {
        let mut view = Self::open(a, b);
        view.press("b enter").tell(usize::MAX).press(keys);
        view
    }

    fn answer(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let event = match effect {
                Effect::Open(id, path) => Event::Opened(id, Box::new(Checkpoint::open_examined(&path))),
                Effect::Examine(id) => {
                    let open = self.app.opens.iter().find(|open| open.id == id).unwrap();
                    let OpenState::Ready(ready) = &open.state else { panic!("it is not open") };
                    Event::Examined(id, Box::new(ready.checkpoint.examine()))
                }
                Effect::Compare(number) => {
                    self.app.compare_request(number).unwrap().run(1, &mut |news| {
                        self.found.push_back(Event::Compared(number, Box::new(news)));
                        true
                    });
                    continue;
                }
                Effect::LookAtPair(number) => {
                    let news = self.app.close_request(number).unwrap().look().unwrap();
                    Event::Compared(number, Box::new(news))
                }
                Effect::ReadBeside(number) => {
                    let news = self.app.beside_request(number).unwrap().read().unwrap();
                    Event::Compared(number, Box::new(news))
                }
                _ => continue,
            };
            let more = self.app.update(event);
            self.answer(more);
        }
    }

    /// Tells the app of what was found, so much of it.
    fn tell(&mut self, count: usize) -> &mut Self {
        for _ in 0..count {
            let Some(event) = self.found.pop_front() else { break };
            let effects = self.app.update(event);
            self.answer(effects);
        }
        self
    }

    fn press(&mut self, keys: &str) -> &mut Self {
        for key in keys.split_whitespace() {
            self.app.update(Event::ToastRead);
            let effects = self.app.update(Event::Key(key.to_owned()));
            self.answer(effects);
        }
        self
    }

    fn draw(&mut self, (width, height): (u16, u16), degrade: Degrade) -> Buffer {
        let theme = Theme::built_in("dark").unwrap().at(degrade.colors);
        let look = Look { theme: &theme, degrade };
        let mut terminal = ratatui::Terminal::new(ratatui::backend::TestBackend::new(width, height)).unwrap();
        let mut scroll = Scroll::default();
        for _ in 0..2 {
            terminal.draw(|frame| ckpt::ui::draw(frame, &mut self.app, &mut scroll, &look)).unwrap();
            // How many values there is room for is known once they were drawn.
            let effects = self.app.ask_for_room();
            self.answer(effects);
        }
        terminal.backend().buffer().clone()
    }
}

/// Values that differ from place to place, and between two seeds.
fn values(count: usize, seed: u64) -> impl Iterator<Item = f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // The sum of four is nearly normal.
        let sum: u64 = (0..4).map(|part| state >> (16 * part) & 0xffff).sum();
        (sum as f32 / 65_536.0 - 2.0) * 0.05
    })
    .take(count)
}

/// One layer that a made model has: its name, and how far it is moved.
type Layer = (String, f32);

/// Writes a model of layers of 32 × 32, each moved off the same values by noise of so much.
fn made(folder: &Path, layers: &[Layer]) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, moved) in layers {
        let begin = data.len();
        let seed = name
            .trim_start_matches("base.")
            .bytes()
            .fold(7, |hash: u64, byte| hash.wrapping_mul(31) + u64::from(byte));
        let noise = values(1024, seed ^ 0x5555);
        let moved = values(1024, seed).zip(noise).map(|(value, noise)| value + noise * moved);
        data.extend(moved.flat_map(f32::to_le_bytes));
        let entry = serde_json::json!({
            "dtype": Dtype::F32.name(), "shape": [32, 32], "data_offsets": [begin, data.len()],
        });
        header.insert(format!("{name}.weight"), entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    std::fs::create_dir_all(folder).unwrap();
    crate::convert::put(&folder.join("model.safetensors"), &bytes);
}

/// The layers of a deep model; `far` moves one by its layer and part.
fn deep(prefix: &str, far: impl Fn(u32, &str) -> f32) -> Vec<Layer> {
    let parts = ["mlp.up_proj", "self_attn.k_proj", "norm"];
    let of = |layer: u32| parts.map(|part| (format!("{prefix}layers.{layer}.{part}"), far(layer, part)));
    let mut layers: Vec<Layer> = (0..28).flat_map(of).collect();
    layers.push((format!("{prefix}embed_tokens"), 0.0));
    layers
}

/// A and B as folders: two deep models, of which only A has one layer more, and B two.
fn folders(scratch: &Scratch) -> [PathBuf; 2] {
    let far = |layer: u32, part: &str| match (layer, part) {
        (_, "norm") => 0.0,
        (0, "self_attn.k_proj") => 0.4,
        (1, "self_attn.k_proj") => 0.18,
        (27, _) => 0.11,
        (_, "self_attn.k_proj") => 0.06,
        _ => 0.05,
    };
    let mut a = deep("model.", far);
    a.push(("model.extra".into(), 0.0));
    let mut b = deep("model.", |_, _| 0.0);
    b.extend([("model.norm".into(), 0.0), ("lm_head".into(), 0.0)]);
    let folders = ["a", "b"].map(|name| scratch.0.join(name));
    made(&folders[0], &a);
    made(&folders[1], &b);
    folders
}

fn compared(folders: &[PathBuf; 2], keys: &str) -> View {
    View::compared(folders[0].to_str().unwrap(), folders[1].to_str().unwrap(), keys)
}

/// Compares a deep model with one of three layers more, and of a part more in some.
fn grown_compared(scratch: &Scratch, keys: &str) -> View {
    let folders = ["x/deep", "x/grown"].map(|name| scratch.0.join(name));
    made(&folders[0], &deep("model.", |_, _| 0.0));
    let mut grown = deep("model.", |_, _| 0.0);
    grown.extend((28..31).map(|layer| (format!("model.layers.{layer}.mlp.up_proj"), 0.0)));
    grown.extend((4..9).map(|layer| (format!("model.layers.{layer}.self_attn.k_norm"), 0.0)));
    made(&folders[1], &grown);
    compared(&folders, keys)
}

/// Compares a model that ties its head to its embeddings with one that stores both.
fn tied_compared(scratch: &Scratch, keys: &str) -> View {
    let folders = ["x/tied", "x/stored"].map(|name| scratch.0.join(name));
    made(&folders[0], &deep("model.", |_, _| 0.0));
    crate::convert::put(&folders[0].join("config.json"), br#"{"tie_word_embeddings":true}"#);
    let mut stored = deep("model.", |_, _| 0.0);
    stored.push(("lm_head".into(), 0.0));
    made(&folders[1], &stored);
    compared(&folders, keys)
}

#[test]
fn comparisons_are_as_they_were_looked_at() {
    let scratch = Scratch::new("compare-view");
    let two = folders(&scratch);
    let without = ["x/a", "x/b"].map(|name| scratch.0.join(name));
    made(&without[0], &deep("base.model.", |_, _| 0.1));
    made(&without[1], &deep("model.", |_, _| 0.0));
    let mut pictures = vec![
        ("first", View::compared(GPTQ, BASE, "")),
        ("worst", View::compared(GPTQ, BASE, "end k k")),
        ("group", View::compared(GPTQ, BASE, "j j j")),
        ("walked", View::compared(GPTQ, BASE, "end k k right")),
        ("sort-menu", View::compared(GPTQ, BASE, "s G k")),
        ("by-difference", View::compared(GPTQ, BASE, "s j j j j j j enter gg home")),
        ("itself", View::compared(BASE, BASE, "")),
        ("shapes", View::compared("samples/base-B-bf16/model", BASE, "")),
        ("no-values", View::compared("samples/layout-vptq/model", "samples/layout-vptq/model", "n")),
        ("deep", compared(&two, "n")),
        ("deep-worst", compared(&two, "n n n")),
        ("deep-root", compared(&two, "home")),
        ("deep-walked", compared(&two, "n n right right")),
        ("only-b", compared(&two, "end")),
        ("only-b-tied", tied_compared(&scratch, "end")),
        ("only-b-fold", grown_compared(&scratch, "n n n")),
        ("show-menu", compared(&two, "f j")),
        ("show-differing", compared(&two, "f j enter")),
        ("show-only", compared(&two, "f j j j enter end")),
        ("show-none", compared(&two, "f G k enter f j enter f j j j j enter")),
        ("show-filtered", compared(&two, "f j enter / 2 7 enter")),
        ("show-by-difference", compared(&two, "f j enter s j j j j j j enter home")),
        ("values", View::compared(GPTQ, BASE, "end k enter")),
        ("values-moved", View::compared(GPTQ, BASE, "end k enter n l l j")),
        ("values-vector", View::compared(GPTQ, BASE, "end enter")),
        ("values-of-one", compared(&two, "n n n enter G")),
        ("values-equal", compared(&two, "home j enter n")),
        ("prefix", compared(&without, "home")),
        ("prefix-stripped", {
            let mut view = compared(&without, "enter");
            view.tell(usize::MAX);
            view
        }),
    ];
    let mut running = View::open(GPTQ, BASE);
    running.press("b enter j j j j j j j").tell(5);
    pictures.push(("running", running));
    let mut stopped = View::open(GPTQ, BASE);
    stopped.press("b enter").tell(8).press("x");
    pictures.push(("stopped", stopped));
    let mut failed = View::open(GPTQ, "./samples/not-here");
    failed.press("b enter");
    pictures.push(("failed", failed));
    let mut choosing = View::open(GPTQ, BASE);
    choosing.press("b").app.update(Event::Places(Vec::new()));
    pictures.push(("choosing", choosing));
    let mut naming = View::open(GPTQ, BASE);
    naming.press("b tab m o d e l tab tab x").app.update(Event::Places(Vec::new()));
    naming.press("enter");
    pictures.push(("choosing-names", naming));
    for (name, view) in &mut pictures {
        for size in [LARGE, SMALL] {
            let text = text_of(&view.draw(size, FULL));
            insta::assert_snapshot!(format!("{name}-{}x{}", size.0, size.1), text);
            let widest = text.lines().map(unicode_width::UnicodeWidthStr::width).max().unwrap_or(0);
            assert!(widest <= usize::from(size.0), "{name} is {widest} cells wide");
            let plain = view.draw(size, Degrade { colors: Colors::None, is_ascii: false });
            let is_colored = |cell: &ratatui::buffer::Cell| [cell.fg, cell.bg] != [Color::Reset; 2];
            assert!(!plain.content().iter().any(is_colored), "{name}: a color");
            assert_eq!(text_of(&plain), text, "{name}: nothing is said by colors alone");
        }
    }
    let plain = Degrade { colors: Colors::None, is_ascii: true };
    let (_, view) = pictures.iter_mut().find(|(name, _)| *name == "deep").unwrap();
    insta::assert_snapshot!("deep-plain-80x24", text_of(&view.draw(SMALL, plain)));
    let (_, view) = pictures.iter_mut().find(|(name, _)| *name == "values").unwrap();
    insta::assert_snapshot!("values-plain-80x24", text_of(&view.draw(SMALL, plain)));
    insta::assert_snapshot!("values-plain-120x36", text_of(&view.draw(LARGE, plain)));
}

#[test]
fn a_script_compares_to_the_end() {
    let paths = [GPTQ.to_owned()];
    let theme = Theme::built_in("dark").unwrap();
    let script = Script {
        paths: &paths,
        adapter: None,
        keys: "b type:./samples/base-A-bf16/model enter",
        size: LARGE,
        theme: &theme,
        degrade: FULL,
    };
    let text = text_of(&screenshot(&script).unwrap());
    assert!(text.contains("compare by values ✓ done"), "{text}");
    assert!(text.contains("21 compared  0 equal"), "{text}");
}

/// What a cell of the screen is drawn with, by the text of its line and of itself.
fn cells<'b>(buffer: &'b Buffer, line: &str, symbol: &str) -> Vec<&'b ratatui::buffer::Cell> {
    let area = buffer.area;
    let rows = (area.y..area.bottom()).filter(|y| {
        let text: String = (area.x..area.right()).map(|x| buffer[(x, *y)].symbol()).collect();
        text.contains(line)
    });
    let cells = rows.flat_map(|y| (area.x..area.right()).map(move |x| &buffer[(x, y)]));
    cells.filter(|cell| cell.symbol() == symbol).collect()
}

#[test]
fn glyphs_and_letters_say_what_colors_do() {
    let scratch = Scratch::new("compare-colors");
    let two = folders(&scratch);
    let mut view = compared(&two, "n n right right");
    let colored = view.draw(LARGE, FULL);
    let heat = |symbol: &str| cells(&colored, "· k_proj", symbol).first().map(|cell| cell.fg);
    let legend = |symbol: &str| cells(&colored, "strip:", symbol).first().map(|cell| cell.fg);
    let steps: Vec<_> = ["=", "░", "▒", "▓", "█"].into_iter().filter_map(legend).collect();
    assert_eq!(steps.len(), 5, "all steps are explained");
    assert!(steps.windows(2).all(|two| two[0] != two[1]), "{steps:?}");
    for symbol in ["░", "▒", "▓", "█"] {
        assert_eq!(heat(symbol), legend(symbol), "the strip has the colors of its legend: {symbol}");
    }
    let plain = view.draw(LARGE, Degrade { colors: Colors::None, is_ascii: false });
    let all = plain.content();
    assert!(all.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    assert_eq!(text_of(&plain), text_of(&colored), "nothing is said by colors alone");
    // On the row under the cursor, which is reversed, the cell that is walked to is not.
    let strip = cells(&plain, "· up_proj", "░");
    let upright = strip.iter().filter(|cell| !cell.modifier.contains(Modifier::REVERSED));
    assert_eq!(upright.count(), 1, "one cell is marked");
}

#[test]
fn what_is_found_is_sent_pair_by_pair() {
    let mut view = View::open(GPTQ, BASE);
    view.press("b enter");
    let kinds: Vec<bool> = view
        .found
        .iter()
        .map(|event| match event {
            Event::Compared(_, news) => matches!(**news, News::Figures(_)),
            _ => panic!("another event"),
        })
        .collect();
    let pairs = kinds.iter().filter(|is_figures| **is_figures).count();
    assert_eq!((kinds.len(), pairs, kinds[0], kinds[kinds.len() - 1]), (23, 21, false, false));
    view.tell(5);
    assert_eq!(view.app.compare().unwrap().table.done(), 4);
    view.press("esc").tell(usize::MAX);
    assert!(view.app.compare().is_none(), "what comes late changes nothing");
}

/// Walks all rows of a comparison: the values that stand beside each other lie as far apart at the largest difference as
/// the comparison says. Returns how many rows have such values.
fn check_beside(a: &str, b: &str) -> usize {
    let mut view = View::compared(a, b, "home");
    let rows = view.app.ready().unwrap().tree.rows().len();
    let mut looked = 0;
    for _ in 0..rows {
        view.press("enter");
        if view.app.beside().is_some() {
            view.draw(SMALL, FULL);
            let beside = view.app.beside().unwrap();
            let compare = view.app.compare().unwrap();
            let figures = compare.table.known[beside.pair as usize].as_ref().unwrap().as_ref().unwrap();
            let name = &compare.pair(beside.pair).unwrap().0.name;
            let [a, b] = beside.under_cursor().unwrap();
            match figures.max_abs {
                Some((most, [row, column])) => {
                    assert!(((a - b).abs() - most).abs() <= 1e-12, "{name}: {a} {b} {most}");
                    let place = if beside.is_upright { [column, 0] } else { [row, column] };
                    assert_eq!(beside.cursor, place, "{name}");
                }
                None => assert_eq!(a, b, "{name}"),
            }
            looked += 1;
            view.press("esc");
        }
        view.press("1 j");
    }
    looked
}

#[test]
fn values_beside_each_other_are_those_that_were_compared() {
    let scratch = Scratch::new("compare-beside");
    assert_eq!(check_beside(GPTQ, BASE), 12);
    // llama.cpp's order of rows is undone on its side only.
    let (gguf, named) = ("samples/gguf-q4_k_m-K/model.gguf", scratch.0.join("named"));
    done(&convert(Path::new(gguf), &named, &["--names", "hf", "--dtype", "bf16"]));
    let named = named.to_str().unwrap();
    assert_eq!((check_beside(gguf, named), check_beside(named, gguf)), (12, 12));
}

/// Types a file's name where a comparison is exported; returns what is to be written.
fn exported(view: &mut View, file: &str) -> Option<String> {
    view.press(": e x p o r t enter ctrl-u");
    for key in file.chars() {
        view.press(&key.to_string());
    }
    let effects = view.app.update(Event::Key("enter".into()));
    effects.into_iter().find_map(|effect| match effect {
        Effect::Export(path, text) if path == file => Some(text),
        _ => None,
    })
}

/// Holds what is exported of a comparison against what the command prints.
fn check_exported(a: &str, b: &str) {
    let mut view = View::compared(a, b, "");
    let text = exported(&mut view, "both.json").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ckpt"));
    command.args(["diff", a, b, "--values", "--json"]);
    assert_eq!(text, String::from_utf8(command.output().unwrap().stdout).unwrap(), "{a} {b}");
    // The log says how to have it again.
    let log = view.app.log.last().unwrap();
    assert!(log.starts_with("ckpt diff ") && log.ends_with("--values --json > both.json"), "{log}");
}

#[test]
fn a_comparison_is_exported_as_the_command_prints_it() {
    check_exported(GPTQ, BASE);
    check_exported(BASE, "samples/base-B-bf16/model");
    let scratch = Scratch::new("exported");
    let layer = |name: &str, moved: f32| (name.to_owned(), moved);
    let [a, b] = ["a", "b"].map(|name| scratch.0.join(name));
    made(&a, &[layer("x", 0.0), layer("y", 0.0), layer("only_here", 0.0)]);
    made(&b, &[layer("x", 0.0), layer("y", 0.1), layer("only_there", 0.0)]);
    let [a, b] = [a, b].map(|path| path.display().to_string());
    check_exported(&a, &b);
}

#[test]
fn a_comparison_is_exported_when_it_is_done_and_as_json() {
    let mut view = View::open(GPTQ, BASE);
    view.press("b enter").tell(5);
    view.press(": e x p o r t enter");
    assert_eq!(view.app.toast.as_deref(), Some("export: not all pairs are compared"));
    view.tell(usize::MAX);
    assert_eq!(exported(&mut view, "both.csv"), None);
    assert_eq!(view.app.toast.as_deref(), Some("its name is to end in .json"));
    let text = text_of(&view.draw(SMALL, FULL));
    assert!(text.contains("This comparison") && text.contains(".json: as ckpt diff prints it"), "{text}");
}
