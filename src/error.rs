//! Error: what could not be done, where (file, tensor), and whose fault it is.
//!
//! A damaged checkpoint is not an `Error`: it opens and carries `Problem`s (`problem.rs`). An `Error`
//! means that the workbench could not do what it was told.

use std::fmt;
use std::path::{Path, PathBuf};

/// Whose fault it is; `--json` carries it as `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// What the user gave cannot be used: a missing path, a bad flag value, a damaged file.
    Input,
    /// It does not fit: memory, disk, a bound of ours.
    Limit,
    /// We cannot do this, though the input is fine.
    Unsupported,
    /// A GPU or its driver.
    Device,
    /// The operating system refused a read or a write.
    Io,
    /// The user ended it.
    Cancelled,
}

impl ErrorKind {
    /// Returns the word that `--json` uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Limit => "limit",
            Self::Unsupported => "unsupported",
            Self::Device => "device",
            Self::Io => "io",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One line: what failed, where, the numbers.
#[derive(Clone, Debug)]
pub struct Error {
    /// Whose fault it is.
    pub kind: ErrorKind,
    /// The line itself; it names the file when there is one.
    pub message: String,
    /// The file it happened in.
    pub file: Option<PathBuf>,
    /// The tensor it happened in.
    pub tensor: Option<String>,
}

/// A result whose error is ours.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Returns an error of `kind` with no place.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), file: None, tensor: None }
    }

    /// Returns an input error.
    #[must_use]
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    /// Returns the error of an operating-system call on `path`; `verb` is what was tried (`read`, `open`).
    #[must_use]
    pub fn io(verb: &str, path: &Path, source: &std::io::Error) -> Self {
        let kind =
            if source.kind() == std::io::ErrorKind::NotFound { ErrorKind::Input } else { ErrorKind::Io };
        Self::new(kind, format!("{verb} {}: {source}", path.display())).at(path)
    }

    /// Returns the error with its file set.
    #[must_use]
    pub fn at(mut self, path: &Path) -> Self {
        self.file = Some(path.to_path_buf());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
