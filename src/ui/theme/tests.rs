//! Tests of the theme files and of what a user gets wrong in one.

use super::*;

fn alone(_: &str) -> Option<String> {
    None
}

fn check_error(text: &str, want: &str) {
    let error = Theme::parse("mine", text, &alone).expect_err(text);
    assert_eq!(error.message, want, "{text}");
}

#[test]
fn every_built_in_theme_names_every_role_but_the_four_that_inherit() {
    for theme in BUILT_IN {
        let (file, _) = Source { name: theme.name, text: theme.text }.parse().unwrap();
        for role in Role::ALL.iter().filter(|role| role.parent().is_none()) {
            assert!(file.styles.contains_key(role.name()), "{}: {}", theme.name, role.name());
        }
        let loaded = Theme::built_in(theme.name).unwrap();
        assert_eq!(loaded.name(), theme.name);
        assert_eq!(loaded.style(Role::Unit), loaded.style(Role::Muted));
        assert_eq!(loaded.style(Role::Number), loaded.style(Role::Text));
    }
}

#[test]
fn a_theme_changes_what_it_names_and_inherits_the_rest() {
    let text = "inherits = \"light\"\nquant = 'red'\n\"bar.this\" = { fg = '208', add_modifier = 'BOLD | REVERSED' }\n";
    let mine = Theme::parse("mine", text, &alone).unwrap();
    let light = Theme::built_in("light").unwrap();
    assert_eq!(mine.style(Role::Quant), Style::new().fg(Color::Red));
    let bar = Style::new().fg(Color::Indexed(208)).add_modifier(Modifier::BOLD | Modifier::REVERSED);
    assert_eq!(mine.style(Role::BarThis), bar);
    assert_eq!(mine.style(Role::Text), light.style(Role::Text));
    assert_eq!(mine.at(Colors::Sixteen).style(Role::Text), Style::new().fg(Color::Indexed(0)));
}

#[test]
fn a_user_theme_may_extend_the_built_in_of_its_own_name() {
    let find = |name: &str| (name == "dark").then(|| "inherits = 'dark'\nok = 'green'\n".to_string());
    let mine = Theme::load("dark", &find).unwrap();
    assert_eq!(mine.style(Role::Ok), Style::new().fg(Color::Green));
    assert_eq!(mine.style(Role::Text), Theme::default().style(Role::Text));
}

#[test]
fn errors_name_line_column_and_the_nearest_role() {
    check_error("text = '#fff'\nquand = 'red'\n", "theme mine.toml:2:1: no role quand; the nearest is quant");
    check_error("[sixteen]\nboarder = '1'\n", "theme mine.toml:2:1: no role boarder; the nearest is border");
    let color = "not a color; one is #rrggbb, a name like red, or 0 to 255";
    check_error("text = 'rad'\n", &format!("theme mine.toml:1:8: text: {color}"));
    check_error("\nok = { fg = '#12' }", &format!("theme mine.toml:2:13: ok: {color}"));
    check_error("inherits = 3\n", "theme mine.toml:1:12: inherits is a integer, not a name");
    check_error(
        "ok = { fg = 'green', bold = true }\n",
        "theme mine.toml:1:22: ok: unknown field `bold`, expected one of `fg`, `bg`, `add_modifier`, `sub_modifier`",
    );
    check_error("\n\nok = {", "theme mine.toml:3:7: unclosed inline table, expected `}`");
    check_error(
        "inherits = 'nord'\n",
        "theme mine.toml:1:12: nord not found; there are dark, light, high-contrast, 16-color, none",
    );
    check_error(
        "inherits = '../../etc/x'\n",
        "theme mine.toml:1:12: ../../etc/x is no theme name: letters, digits, - and _ only",
    );
}

#[test]
fn a_circle_is_an_error() {
    let find = |name: &str| match name {
        "a" => Some("inherits = 'b'".to_string()),
        "b" => Some("inherits = 'a'".to_string()),
        _ => None,
    };
    let error = Theme::load("a", &find).expect_err("a circle");
    assert_eq!(error.message, "theme b.toml:1:12: inherits in a circle: a > b > a");
    let deep = |name: &str| Some(format!("inherits = '{name}x'"));
    let error = Theme::load("x", &deep).expect_err("too deep");
    assert!(error.message.contains("inherits through 8 files"), "{}", error.message);
}

#[test]
fn hostile_text_is_refused_without_a_panic() {
    let long = format!("text = '{}'", "#".repeat(THEME_BYTES_MAX));
    assert!(Theme::parse("mine", &long, &alone).is_err());
    let nested = format!("text = {}1{}", "[".repeat(5000), "]".repeat(5000));
    assert!(Theme::parse("mine", &nested, &alone).is_err());
    let name = format!("\"{}\" = 'red'", "\\u001b[31m".repeat(100));
    let error = Theme::parse("mine", &name, &alone).expect_err("no such role");
    assert!(!error.message.contains('\u{1b}'));
    for end in (0..BUILT_IN[0].text.len()).step_by(7) {
        let _ = Theme::parse("cut", BUILT_IN[0].text.get(..end).unwrap_or_default(), &alone);
    }
}

/// Relative luminance and contrast: WCAG 2.2.
fn luminance(color: Color) -> f64 {
    let Color::Rgb(r, g, b) = color else { panic!("{color:?} is not #rrggbb") };
    let [r, g, b] = [r, g, b].map(|channel| {
        let c = f64::from(channel) / 255.0;
        if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

fn contrast(a: Color, b: Color) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

/// Lines, other processes' bars and heat are shapes, not text.
fn is_text(role: Role) -> bool {
    use Role as R;
    use Role::{Heat1, Heat2, Heat3, Heat4, HeatCursor};
    !matches!(role, R::Border | R::BarOthers | Heat1 | Heat2 | Heat3 | Heat4 | HeatCursor)
}

fn check_contrast(theme: &str, backgrounds: &[u32], at_least: f64) {
    let theme = Theme::built_in(theme).unwrap();
    for &role in Role::ALL.iter().filter(|role| is_text(**role)) {
        let style = theme.style(role);
        let fg = style.fg.unwrap();
        let terminal = backgrounds.iter().map(|&rgb| Color::from_u32(rgb)).collect();
        for bg in style.bg.map_or(terminal, |own| vec![own]) {
            let ratio = contrast(fg, bg);
            assert!(ratio >= at_least, "{} {}: {ratio:.2} over {bg}", theme.name(), role.name());
        }
    }
}

#[test]
fn text_keeps_its_contrast_over_the_backgrounds_of_the_table() {
    check_contrast("dark", &[0x14_17_1c, 0x1e_1e_2e, 0x28_2c_34], 4.5);
    check_contrast("light", &[0xff_ff_ff, 0xfd_f6_e3, 0xef_f1_f5], 4.5);
}

#[test]
fn high_contrast_text_has_seven_to_one_over_black() {
    check_contrast("high-contrast", &[0x00_00_00], 7.0);
}

#[test]
fn without_color_every_theme_is_none_and_the_cursor_is_reversed() {
    for theme in BUILT_IN {
        let theme = Theme::built_in(theme.name).unwrap().at(Colors::None);
        assert!(theme.style(Role::Cursor).add_modifier.contains(Modifier::REVERSED));
        for &role in Role::ALL {
            assert_eq!((theme.style(role).fg, theme.style(role).bg), (None, None));
        }
    }
}

#[test]
fn sixteen_colors_stay_below_sixteen() {
    for theme in BUILT_IN {
        let theme = Theme::built_in(theme.name).unwrap().at(Colors::Sixteen);
        for &role in Role::ALL {
            for color in [theme.style(role).fg, theme.style(role).bg].into_iter().flatten() {
                assert!(matches!(color, Color::Indexed(..16)), "{} {}", theme.name(), role.name());
            }
        }
    }
}
