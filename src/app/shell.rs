//! Words and paths as a shell takes them.

/// Returns a word as a shell takes it.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@,%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Returns a path as a shell takes it: `~/` stays what it means there, and no path is taken for a flag.
#[must_use]
pub fn shell_path(path: &str) -> String {
    match path.strip_prefix("~/") {
        Some("") => "~/".into(),
        Some(rest) => format!("~/{}", shell_word(rest)),
        None if path.starts_with('-') => format!("./{}", shell_word(path)),
        None => shell_word(path),
    }
}
