//! A picture of the screen: where it goes is asked for, and a file that is there is left alone.

use tui_input::Input;

use super::{App, Effect, Overlay, keys};

/// Asks for the file of a picture.
pub(super) fn screenshot(app: &mut App) -> Vec<Effect> {
    app.overlay = Some(Overlay::Picture(Input::from("ckpt.svg")));
    Vec::new()
}

impl App {
    pub(super) fn picture_key(&mut self, mut input: Input, key: &str) -> Vec<Effect> {
        match key {
            "esc" => return Vec::new(),
            // The overlay is gone when the picture is made.
            "enter" if !input.value().trim().is_empty() => {
                return vec![Effect::Picture(input.value().trim().to_owned())];
            }
            _ => {
                keys::edit(&mut input, key);
            }
        }
        self.overlay = Some(Overlay::Picture(input));
        Vec::new()
    }
}
