//! Screens: claims that hold for all views, the screens with little room, and the picker.
//!
//! The pictures of the views themselves are in `views.rs`.

use ckpt::app::picker::{Facts, Group, Place};
use ckpt::app::{App, Effect, Event, keys};
use ckpt::ui::degrade::{Colors, Degrade};
use ckpt::ui::theme::Theme;
use ckpt::ui::{Look, Scroll};
use ckpt::workbench::{Script, screenshot, text_of};
use unicode_width::UnicodeWidthStr;

/// A terminal that shows everything.
const FULL: Degrade = Degrade { colors: Colors::True, is_ascii: false };

/// Draws a sample after a script of keys. Paths are relative, so that pictures are alike everywhere.
fn draw(path: &str, keys: &str, size: (u16, u16)) -> String {
    let theme = Theme::built_in("dark").unwrap();
    let paths = [format!("samples/{path}")];
    let script = Script { paths: &paths, adapter: None, keys, size, theme: &theme, degrade: FULL };
    text_of(&screenshot(&script).unwrap())
}

const LARGE: (u16, u16) = (120, 36);
const SMALL: (u16, u16) = (80, 24);

const GPTQ: &str = "gptq-w4-g128-sym-v1-A/model";
const NF4: &str = "bnb-nf4-dq-A/model";
const LORA: &str = "peft-lora-all-A/adapter";
const CUT: &str = "bad-folders/one-shard-truncated";
const GGUF: &str = "gguf-q4_k_m-K/model.gguf";

/// Samples, and keys that lead to each view.
const VIEWS: [(&str, &str); 9] = [
    (GPTQ, "j j j j j j"),
    (GPTQ, "t l j"),
    (GPTQ, "/ type:shape:x"),
    (GPTQ, "s j enter"),
    (NF4, "?"),
    (NF4, ": type:me"),
    (LORA, "4"),
    (CUT, "3"),
    (GGUF, "5"),
];

#[test]
fn a_screen_without_room_says_what_it_needs_and_what_is_open() {
    insta::assert_snapshot!("too_small", draw(GPTQ, "", (34, 7)));
    insta::assert_snapshot!("one_pane_tree", draw(GPTQ, "j j j", (50, 14)));
    insta::assert_snapshot!("one_pane_detail", draw(GPTQ, "j j j j j j enter", (50, 14)));
}

#[test]
fn no_line_is_wider_than_the_screen_at_any_size() {
    for width in [1, 20, 40, 41, 59, 60, 79, 99, 100, 159, 160, 240] {
        for height in [1, 10, 24] {
            for (path, keys) in VIEWS {
                let text = draw(path, keys, (width, height));
                assert_eq!(text.lines().count(), usize::from(height));
                let widest = text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0);
                assert!(widest <= usize::from(width), "{path} {keys} at {width}x{height}: {widest} cells");
            }
        }
    }
}

#[test]
fn escape_goes_back_and_never_quits() {
    let first = draw(GPTQ, "", LARGE);
    let head = |text: &str| text.lines().take(34).map(str::to_owned).collect::<Vec<_>>();
    for keys in
        ["3 esc", "5 esc", "? esc", ": esc", "s esc", "@ esc", "/ type:q_proj esc gg", "o esc", "enter esc"]
    {
        let keys = keys.replace("gg", "g g");
        assert_eq!(head(&draw(GPTQ, &keys, LARGE)), head(&first), "{keys}");
    }
}

#[test]
fn all_views_of_all_samples_draw() {
    for entry in std::fs::read_dir(crate::sample("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        for below in ["", "/model", "/adapter"] {
            if !crate::sample(&format!("{name}{below}")).is_dir() {
                continue;
            }
            let path = format!("{name}{below}");
            let text = draw(&path, "t j j l l u n 3 G 4 5 1 s j enter j esc /", SMALL);
            assert_eq!(text.lines().count(), 24, "{path}");
            let unsafe_char = text.chars().find(|c| *c != '\n' && ckpt::name::is_unsafe_char(*c));
            assert_eq!(unsafe_char, None, "{path}");
        }
    }
}

fn place(group: Group, path: &str) -> Place {
    Place { group, path: path.into(), label: path.into(), note: String::new(), facts: Facts::Unknown }
}

/// A picker with one place of each kind.
fn picker() -> App {
    let (mut app, effects) = App::new(&[], keys::keymap(None).unwrap());
    assert_eq!(effects, [Effect::FindPlaces]);
    app.update(Event::Places(vec![
        place(Group::Recent, "/data/old/mistral-7b-awq"),
        place(Group::Hub, "Qwen/Qwen2-1.5B-Instruct-GPTQ-Int4"),
        place(Group::Here, "out/checkpoint-1200"),
    ]));
    let known = Facts::Known { format: "GPTQ4 g128 sym".into(), bytes: 1_148_903_752, shards: 1, errors: 0 };
    app.update(Event::PlaceFacts("Qwen/Qwen2-1.5B-Instruct-GPTQ-Int4".into(), known));
    app.update(Event::PlaceFacts("/data/old/mistral-7b-awq".into(), Facts::Gone("no such folder".into())));
    // Of a list that is no longer there.
    app.update(Event::PlaceFacts("elsewhere".into(), Facts::Gone("no such folder".into())));
    app
}

fn draw_app(app: &mut App, (width, height): (u16, u16)) -> String {
    let theme = Theme::built_in("dark").unwrap();
    let look = Look { theme: &theme, degrade: FULL };
    let mut terminal = ratatui::Terminal::new(ratatui::backend::TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| ckpt::ui::draw(frame, app, &mut Scroll::default(), &look)).unwrap();
    text_of(terminal.backend().buffer())
}

#[test]
fn without_a_path_the_first_screen_lists_what_could_be_opened() {
    insta::assert_snapshot!("picker_120x36", draw_app(&mut picker(), LARGE));
    insta::assert_snapshot!("picker_80x24", draw_app(&mut picker(), SMALL));
}

#[test]
fn in_the_first_picker_escape_stays_and_q_quits() {
    let mut app = picker();
    assert_eq!(app.update(Event::Key("esc".into())), []);
    assert!(draw_app(&mut app, SMALL).contains("in the Hub cache"));
    assert_eq!(app.update(Event::Key("q".into())), [Effect::Quit]);
}

#[test]
fn a_second_click_on_a_place_opens_it() {
    let mut app = picker();
    assert_eq!(app.update(Event::ClickPlace(1)), []);
    let asked = app.update(Event::ClickPlace(1));
    assert_eq!(asked, [Effect::Open(0, "Qwen/Qwen2-1.5B-Instruct-GPTQ-Int4".into())]);
}
