//! Tests of `picture`.

use super::*;

#[test]
fn a_picture_has_the_ground_that_its_theme_is_made_for() {
    let buffer = Buffer::with_lines(["a<b"]);
    for (name, ground) in [("dark", DARK), ("light", LIGHT), ("high-contrast", DARK), ("none", DARK)] {
        let svg = svg(&buffer, &Theme::load(name, &|_| None).unwrap());
        assert!(svg.contains(&format!("fill=\"{}\"/>", ground.background)), "{name}");
        assert!(svg.contains("a&lt;b"));
    }
}
