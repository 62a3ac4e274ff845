//! Screens: what a person sees of the samples, view by view, at two sizes; and claims that hold for all.
//!
//! The pictures are in `snapshots/`. A change of a view shows there, to be looked at.

use ckpt::app::picker::{Facts, Group, Place};
use ckpt::app::{App, Effect, Event, keys};
use ckpt::ui::degrade::{ColorFlag, Degrade, Environment, decide};
use ckpt::ui::theme::Theme;
use ckpt::ui::{Look, Scroll};
use ckpt::workbench::{Script, screenshot, text_of};
use unicode_width::UnicodeWidthStr;

/// A terminal that shows everything.
fn everything(is_ascii: bool) -> Degrade {
    let anywhere = Environment { lang: Some("C.UTF-8".into()), ..Environment::default() };
    decide(&anywhere, ColorFlag::TrueColor, is_ascii)
}

/// Draws a sample after a script of keys. Paths are relative, so that pictures are alike everywhere.
fn draw_as(path: &str, keys: &str, size: (u16, u16), is_ascii: bool) -> String {
    let theme = Theme::built_in("dark").unwrap();
    let paths = [format!("samples/{path}")];
    let script = Script { paths: &paths, keys, size, theme: &theme, degrade: everything(is_ascii) };
    text_of(&screenshot(&script).unwrap())
}

fn draw(path: &str, keys: &str, size: (u16, u16)) -> String {
    draw_as(path, keys, size, false)
}

const LARGE: (u16, u16) = (120, 36);
const SMALL: (u16, u16) = (80, 24);

const GPTQ: &str = "gptq-w4-g128-sym-v1-A/model";
const NF4: &str = "bnb-nf4-dq-A/model";
const LORA: &str = "peft-lora-all-A/adapter";
const CUT: &str = "bad-folders/one-shard-truncated";
const GGUF: &str = "gguf-q4_k_m-K/model.gguf";

/// Name of the picture, sample, keys.
const VIEWS: [(&str, &str, &str); 16] = [
    ("first", GPTQ, ""),
    ("gptq_layer", GPTQ, "j j j j j j"),
    ("group", GPTQ, "j j j"),
    ("tensors", GPTQ, "t l j"),
    ("filter_while_typing", GPTQ, "/ type:q_pr"),
    ("filter_kept", GPTQ, "/ type:_proj enter n"),
    ("filter_refused", GPTQ, "/ type:shape:x"),
    ("sorted_by_bytes", GPTQ, "s j enter"),
    ("sort_menu", GPTQ, "s j"),
    ("nf4_layer", NF4, "j j j j j j j"),
    ("gguf_layer", GGUF, "j"),
    ("adapter", LORA, "4"),
    ("problems", CUT, "3"),
    ("no_problem", GPTQ, "3"),
    ("memory", GGUF, "5"),
    ("palette", NF4, ": type:me"),
];

#[test]
fn every_view_looks_as_it_did() {
    for (name, path, keys) in VIEWS {
        insta::assert_snapshot!(format!("{name}_120x36"), draw(path, keys, LARGE));
        insta::assert_snapshot!(format!("{name}_80x24"), draw(path, keys, SMALL));
    }
}

#[test]
fn a_screen_without_room_says_what_it_needs_and_what_is_open() {
    insta::assert_snapshot!("too_small", draw(GPTQ, "", (34, 7)));
    insta::assert_snapshot!("one_pane_tree", draw(GPTQ, "j j j", (50, 14)));
    insta::assert_snapshot!("one_pane_detail", draw(GPTQ, "j j j j j j enter", (50, 14)));
}

#[test]
fn what_cannot_be_opened_says_why_and_what_helps() {
    insta::assert_snapshot!(
        "lfs_pointer",
        draw("bad-safetensors/files/git-lfs-pointer.safetensors", "", LARGE)
    );
}

#[test]
fn no_line_is_wider_than_the_screen_at_any_size() {
    for width in [1, 20, 40, 41, 59, 60, 79, 99, 100, 159, 160, 240] {
        for height in [1, 10, 24] {
            for (_, path, keys) in VIEWS {
                let text = draw(path, keys, (width, height));
                assert_eq!(text.lines().count(), usize::from(height));
                let widest = text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0);
                assert!(widest <= usize::from(width), "{path} {keys} at {width}x{height}: {widest} cells");
            }
        }
    }
}

#[test]
fn ascii_screens_are_ascii() {
    for (_, path, keys) in VIEWS {
        let text = draw_as(path, keys, LARGE, true);
        let odd = text.chars().find(|c| !c.is_ascii());
        assert_eq!(odd, None, "{path} {keys}");
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
    let look = Look { theme: &theme, degrade: everything(false) };
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
