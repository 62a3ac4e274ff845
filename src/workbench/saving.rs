//! Saving: screens and figures in new files. One that is there is left alone.

use std::io::Write as _;
use std::path::Path;

use ratatui::buffer::Buffer;

use super::work::expanded;
use super::{script, text_of};
use crate::app::App;
use crate::error::{Error, Result};
use crate::name::escape;
use crate::ui::picture;
use crate::ui::theme::Theme;

/// Extensions of pictures that are not made here.
const OTHER_PICTURES: [&str; 8] = ["png", "jpg", "jpeg", "gif", "webp", "bmp", "tiff", "pdf"];

/// Returns true if the name asks for a picture, false for text.
///
/// # Errors
/// It asks for a picture of a kind that is not made.
pub fn is_picture(path: &Path) -> Result<bool> {
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    match extension.as_deref() {
        Some("svg") => Ok(true),
        Some(other) if OTHER_PICTURES.contains(&other) => {
            let (name, svg) = (path.display().to_string(), path.with_extension("svg").display().to_string());
            let (name, svg) = (escape(&name), escape(&svg));
            Err(Error::input(format!(
                "{name}: only .svg or text is written; rsvg-convert {svg} makes a PNG of one"
            )))
        }
        _ => Ok(false),
    }
}

/// Writes a screen to a new file, as SVG where its name ends so, else as text; an existing one is left alone.
///
/// # Errors
/// The name asks for another kind of picture, the file is there, or it cannot be written.
pub fn write_picture(buffer: &Buffer, theme: &Theme, path: &Path) -> Result<()> {
    let text = if is_picture(path)? { picture::svg(buffer, theme) } else { text_of(buffer) };
    write_new(path, &text)
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            let name = path.display().to_string();
            Error::input(format!("{}: File exists, and is left alone: give another name", escape(&name)))
        }
        _ => Error::io("write", path, &error),
    };
    let mut file = std::fs::File::create_new(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

/// Makes a picture of the app as it is now; returns what is to be said of it.
pub(super) fn picture(app: &mut App, size: Result<(u16, u16)>, theme: &Theme, path: &str) -> String {
    let file = expanded(Path::new(path));
    let made = size.and_then(|size| {
        let buffer = script::as_it_is(app, size, theme, is_picture(&file)?)?;
        write_picture(&buffer, theme, &file)
    });
    said(made, format!("{}: the screen as it was", escape(path)))
}

/// Writes what was exported; returns what is to be said of it.
pub(super) fn export(path: &str, text: &str) -> String {
    said(write_new(&expanded(Path::new(path)), text), format!("{}: what was on screen", escape(path)))
}

fn said(made: Result<()>, done: String) -> String {
    made.map_or_else(|error| error.message, |()| done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_is_not_made_is_refused_in_words_that_help() {
        for (name, want) in
            [("a.svg", Some(true)), ("a.SVG", Some(true)), ("a.txt", Some(false)), ("a", Some(false))]
        {
            assert_eq!(is_picture(Path::new(name)).ok(), want, "{name}");
        }
        let error = is_picture(Path::new("out/a.PNG")).expect_err("no PNG is made");
        let want = "out/a.PNG: only .svg or text is written; rsvg-convert out/a.svg makes a PNG of one";
        assert_eq!(error.message, want);
    }
}
