//! The ramp of the heat map: colors between the theme's four, where the terminal shows that many.
//!
//! With them a line of the screen holds two rows of the map, in half blocks: the upper half is the foreground, the lower
//! one the background. Where there are no such colors the map is drawn in glyphs that grow denser.

use ratatui::style::{Color, Style};

use crate::ui::Look;
use crate::ui::degrade::{Colors, rgb};
use crate::ui::theme::Role;

/// Colors of the ramp: the theme's four, and three between each two.
pub(super) const STEPS: usize = 13;
/// The theme's own, lightest first.
const ANCHORS: [Role; 4] = [Role::Heat1, Role::Heat2, Role::Heat3, Role::Heat4];

/// What a cell of the map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shade {
    /// Nothing but zeros, or no cell at all.
    Zero,
    /// A step of the scale, from 0.
    Step(usize),
    /// A value in it is NaN or infinite.
    Broken,
    /// The cursor is on it.
    Cursor,
}

/// The colors of a map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ramp {
    steps: [Color; STEPS],
    broken: Color,
    cursor: Color,
}

impl Ramp {
    /// Returns the ramp of a theme; `None` where the terminal has 16 colors or fewer, draws ASCII only, or where the
    /// theme's colors are none to lay others between.
    pub(super) fn of(look: &Look<'_>) -> Option<Self> {
        if look.degrade.is_ascii || !matches!(look.degrade.colors, Colors::True | Colors::Indexed) {
            return None;
        }
        let fg = |role: Role| look.theme.style(role).fg;
        let mut anchors = [[0; 3]; ANCHORS.len()];
        for (anchor, role) in anchors.iter_mut().zip(ANCHORS) {
            *anchor = rgb(fg(role)?)?;
        }
        let between = (STEPS - 1) / (ANCHORS.len() - 1);
        let step = |at: usize| {
            let (a, b) = (anchors[at / between], anchors[(at / between + 1).min(ANCHORS.len() - 1)]);
            let part = at % between;
            let mix = |channel: usize| {
                let [a, b] = [a[channel], b[channel]].map(usize::from);
                ((a * (between - part) + b * part) / between) as u8
            };
            Color::Rgb(mix(0), mix(1), mix(2))
        };
        let or_own = |role: Role| fg(role).unwrap_or(Color::Reset);
        Some(Self {
            steps: std::array::from_fn(step),
            broken: or_own(Role::Error),
            cursor: or_own(Role::HeatCursor),
        })
    }

    /// Returns the color of a shade; `None` of a blank.
    pub(super) fn color(&self, shade: Shade) -> Option<Color> {
        match shade {
            Shade::Zero => None,
            Shade::Step(at) => self.steps.get(at).copied(),
            Shade::Broken => Some(self.broken),
            Shade::Cursor => Some(self.cursor),
        }
    }

    /// Returns the glyph of two cells above each other, and its style.
    pub(super) fn halves(&self, upper: Shade, lower: Shade) -> (char, Style) {
        match (self.color(upper), self.color(lower)) {
            (None, None) => (' ', Style::new()),
            (Some(upper), None) => ('▀', Style::new().fg(upper)),
            (None, Some(lower)) => ('▄', Style::new().fg(lower)),
            (Some(upper), Some(lower)) if upper == lower => ('█', Style::new().fg(upper)),
            (Some(upper), Some(lower)) => ('▀', Style::new().fg(upper).bg(lower)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::degrade::{Degrade, map_color};
    use crate::ui::theme::{BUILT_IN, Theme};

    fn ramp(theme: &Theme, colors: Colors, is_ascii: bool) -> Option<Ramp> {
        Ramp::of(&Look { theme: &theme.clone().at(colors), degrade: Degrade { colors, is_ascii } })
    }

    /// How bright a color is to the eye, about.
    fn luma(color: Color) -> i32 {
        let [r, g, b] = rgb(color).expect("a color of the ramp").map(i32::from);
        3 * r + 6 * g + b
    }

    #[test]
    fn a_ramp_goes_one_way_and_its_cursor_and_what_is_broken_are_none_of_it() {
        for name in ["dark", "light", "high-contrast"] {
            let theme = Theme::built_in(name).expect("it is built in");
            let full = ramp(&theme, Colors::True, false).expect("a ramp");
            assert_eq!(
                [full.steps[0], full.steps[STEPS - 1]].map(Some),
                [theme.style(Role::Heat1).fg, theme.style(Role::Heat4).fg]
            );
            let lumas = full.steps.map(luma);
            let is_one_way = lumas.is_sorted_by(|a, b| a < b) || lumas.is_sorted_by(|a, b| a > b);
            assert!(is_one_way, "{name}: {lumas:?}");
            // On 256 colors neighbors may be one, but none goes back, and the ends are far apart.
            let fewer = full.steps.map(|color| luma(map_color(color, Colors::Indexed)));
            let is_one_way = fewer.is_sorted() || fewer.is_sorted_by(|a, b| a >= b);
            let mut steps = fewer.to_vec();
            steps.dedup();
            assert!(is_one_way && steps.len() >= 5, "{name}: {fewer:?}");
            for other in [full.broken, full.cursor] {
                for colors in [Colors::True, Colors::Indexed] {
                    let is_step = |step: &Color| map_color(*step, colors) == map_color(other, colors);
                    assert!(!full.steps.iter().any(is_step), "{name}: {other}");
                }
            }
            assert_ne!(full.broken, full.cursor, "{name}");
        }
    }

    #[test]
    fn few_colors_and_ascii_have_no_ramp() {
        for theme in BUILT_IN {
            let theme = Theme::built_in(theme.name).expect("it is built in");
            for (colors, is_ascii) in
                [(Colors::True, true), (Colors::Sixteen, false), (Colors::None, false), (Colors::None, true)]
            {
                assert!(ramp(&theme, colors, is_ascii).is_none(), "{} {colors:?}", theme.name());
            }
        }
        for name in ["16-color", "none"] {
            let theme = Theme::built_in(name).expect("it is built in");
            assert!(ramp(&theme, Colors::True, false).is_none(), "{name}");
        }
    }

    #[test]
    fn halves_are_foreground_and_background() {
        let theme = Theme::default();
        let ramp = ramp(&theme, Colors::True, false).expect("a ramp");
        let [low, high] = [0, STEPS - 1].map(|at| ramp.steps[at]);
        let cases = [
            ((Shade::Zero, Shade::Zero), (' ', None, None)),
            ((Shade::Step(0), Shade::Zero), ('▀', Some(low), None)),
            ((Shade::Zero, Shade::Step(0)), ('▄', Some(low), None)),
            ((Shade::Step(0), Shade::Step(STEPS - 1)), ('▀', Some(low), Some(high))),
            ((Shade::Step(0), Shade::Step(0)), ('█', Some(low), None)),
            ((Shade::Broken, Shade::Cursor), ('▀', Some(ramp.broken), Some(ramp.cursor))),
        ];
        for ((upper, lower), want) in cases {
            let (glyph, style) = ramp.halves(upper, lower);
            assert_eq!((glyph, style.fg, style.bg), want, "{upper:?} over {lower:?}");
        }
    }
}
