//! Tests of the degrade pass: colors, glyphs, the decision, and what the pass costs.

use std::time::Instant;

use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::*;
use crate::ui::theme::{BUILT_IN, Role, Theme};

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn environment(pairs: Pairs) -> Environment {
    Environment::read(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

#[test]
fn the_environment_decides_the_colors() {
    let cases: &[(Pairs, ColorFlag, Colors)] = &[
        (&[("TERM", "xterm-256color")], ColorFlag::Auto, Colors::Indexed),
        (&[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")], ColorFlag::Auto, Colors::True),
        (&[("TERM", "xterm-256color"), ("NO_COLOR", "1")], ColorFlag::Auto, Colors::None),
        (&[("TERM", "xterm-256color"), ("NO_COLOR", "")], ColorFlag::Auto, Colors::Indexed),
        (&[("TERM", "xterm-256color"), ("NO_COLOR", "1")], ColorFlag::Always, Colors::Indexed),
        (&[("TERM", "xterm"), ("NO_COLOR", "1")], ColorFlag::TrueColor, Colors::True),
        (&[("TERM", "tmux-256color"), ("TERM_PROGRAM", "tmux")], ColorFlag::Auto, Colors::Indexed),
        (
            &[("TERM", "tmux-256color"), ("TERM_PROGRAM", "tmux"), ("COLORTERM", "truecolor")],
            ColorFlag::Auto,
            Colors::True,
        ),
        (&[("TERM", "screen"), ("COLORTERM", "truecolor")], ColorFlag::Auto, Colors::Indexed),
        (&[("TERM", "xterm-kitty")], ColorFlag::Auto, Colors::True),
        (&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "iTerm.app")], ColorFlag::Auto, Colors::True),
        (&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "Apple_Terminal")], ColorFlag::Auto, Colors::Indexed),
        (&[("TERM", "linux")], ColorFlag::Auto, Colors::Sixteen),
        (&[("TERM", "dumb")], ColorFlag::Auto, Colors::None),
        (&[("TERM", "dumb")], ColorFlag::Always, Colors::Sixteen),
        (&[], ColorFlag::Auto, Colors::Sixteen),
        (&[("TERM", "xterm-direct")], ColorFlag::Never, Colors::None),
    ];
    for (pairs, flag, want) in cases {
        assert_eq!(decide(&environment(pairs), *flag, false).colors, *want, "{pairs:?} {flag:?}");
    }
}

#[test]
fn the_locale_decides_the_glyphs() {
    let cases: &[(&[(&str, &str)], bool)] = &[
        (&[("LANG", "en_US.UTF-8")], false),
        (&[("LANG", "C.utf8")], false),
        (&[("LANG", "en_US.UTF-8"), ("LC_ALL", "C")], true),
        (&[("LANG", "C"), ("LC_CTYPE", "de_DE.UTF-8")], false),
        (&[("LANG", "de_DE.UTF-8"), ("LC_ALL", "")], false),
        (&[("LANG", "ja_JP.UTF-8")], true),
        (&[("LANG", "en_US.UTF-8"), ("TERM", "linux")], true),
        (&[], true),
    ];
    for (pairs, want) in cases {
        assert_eq!(decide(&environment(pairs), ColorFlag::Auto, false).is_ascii, *want, "{pairs:?}");
    }
    assert!(decide(&environment(&[("LANG", "C.UTF-8")]), ColorFlag::Auto, true).is_ascii);
}

#[test]
fn flag_values_are_those_of_the_help() {
    for value in ["auto", "always", "truecolor", "256", "16", "never"] {
        assert!(ColorFlag::parse(value).is_some(), "{value}");
    }
    assert_eq!(ColorFlag::parse("yes"), None);
}

#[test]
fn no_glyph_survives_in_ascii_and_no_row_changes_its_length() {
    let rows = [
        "◆·●✓▲✗≈▾▸▌▶×…→≥±α‹›",
        "████▊░ ▏▎▍▋▊▉ ░▒▓█ ▁▂▃▄▅▆▇█ ▀▐",
        "┌─┐│└┘├┤┬┴┼━┃┏┓┗┛═║╔╗╚╝╭╮╯╰",
        "↑↓←→ 41 °C ≤ é",
        "漢字 model 🦙.weight",
    ];
    let want = [
        "#.@o!X%v>*>x~>>~a<>",
        "#####. ...### .:+# _.--==## \"|",
        "+-+|++++++",
        "^v<> 41  C < ?",
        "???? model ??.weight",
    ];
    let area = Rect::new(0, 0, 48, 5);
    let mut buffer = Buffer::empty(area);
    for (y, row) in rows.iter().enumerate() {
        buffer.set_string(0, y as u16, row, Style::new());
    }
    apply(&mut buffer, Degrade { colors: Colors::True, is_ascii: true });
    assert_eq!(buffer.area, area);
    for y in 0..5 {
        let mut text = String::new();
        let mut x = 0;
        while x < 48 {
            let symbol = buffer[(x, y)].symbol();
            text.push_str(symbol);
            x += symbol.len().max(1) as u16;
        }
        assert!(text.is_ascii(), "{text}");
        assert!(text.starts_with(want[usize::from(y)]), "{text}");
        assert_eq!(text.len(), 48, "{text}");
    }
}

#[test]
fn the_cursor_keeps_its_reverse_without_color() {
    let theme = Theme::default().at(Colors::None);
    let mut buffer = Buffer::empty(Rect::new(0, 0, 4, 1));
    buffer.set_string(0, 0, "▌row", theme.style(Role::Cursor).fg(Color::Rgb(1, 2, 3)));
    apply(&mut buffer, Degrade { colors: Colors::None, is_ascii: false });
    let cell = &buffer[(1, 0)];
    assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset));
    assert!(cell.modifier.contains(Modifier::REVERSED));
}

#[test]
fn every_role_maps_to_256_and_16_near_where_it_was() {
    for theme in BUILT_IN {
        let theme = Theme::built_in(theme.name).unwrap();
        for &role in Role::ALL {
            for color in [theme.style(role).fg, theme.style(role).bg].into_iter().flatten() {
                let Color::Rgb(r, g, b) = color else { continue };
                let Color::Indexed(index) = map_color(color, Colors::Indexed) else { panic!("not 256") };
                // Half a step of the cube in each channel.
                let away = distance([r, g, b], rgb_of_256(index));
                assert!(index >= 16 && away <= 3 * 48 * 48, "{} {}", theme.name(), role.name());
                assert!(matches!(map_color(color, Colors::Sixteen), Color::Indexed(..16)));
                assert_eq!(map_color(color, Colors::None), Color::Reset);
            }
        }
    }
}

#[test]
fn hues_survive_sixteen_colors() {
    let theme = Theme::default();
    let wants = [
        (Role::Quant, 13),
        (Role::Adapter, 14),
        (Role::Ok, 10),
        (Role::Warn, 11),
        (Role::Error, 9),
        (Role::Key, 12),
    ];
    for (role, want) in wants {
        let color = theme.style(role).fg.unwrap();
        assert_eq!(map_color(color, Colors::Sixteen), Color::Indexed(want), "{}", role.name());
    }
    for (rgb, want) in
        [([0, 0, 0], 0), ([255, 255, 255], 15), ([128, 0, 0], 1), ([0, 0, 128], 4), ([90, 90, 96], 8)]
    {
        assert_eq!(nearest_of_16(rgb), want, "{rgb:?}");
    }
    assert_eq!(map_color(Color::Indexed(196), Colors::Sixteen), Color::Indexed(9));
    assert_eq!(map_color(Color::Indexed(5), Colors::Sixteen), Color::Indexed(5));
}

#[test]
fn a_full_screen_of_colors_and_glyphs_is_mapped_in_one_walk() {
    let area = Rect::new(0, 0, 200, 60);
    let glyphs = ['█', '▓', '▒', '░', '◆', '│'];
    let mut full = Buffer::empty(area);
    for (at, cell) in full.content.iter_mut().enumerate() {
        let step = (at % 251) as u8;
        cell.set_char(glyphs[at % glyphs.len()]);
        cell.fg = Color::Rgb(step, 255 - step, at as u8);
        cell.bg = Color::Rgb(at as u8, step, 7);
    }
    for colors in [Colors::Indexed, Colors::Sixteen, Colors::None] {
        let mut buffer = full.clone();
        let start = Instant::now();
        apply(&mut buffer, Degrade { colors, is_ascii: true });
        println!("degrade of {} cells to {colors:?}: {:?}", buffer.content.len(), start.elapsed());
        assert!(
            buffer.content.iter().all(|cell| cell.symbol().is_ascii() && !matches!(cell.fg, Color::Rgb(..)))
        );
    }
}
