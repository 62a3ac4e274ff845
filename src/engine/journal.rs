//! Journal: which files of a partial folder are whole and on the disk, and of which run they are.
//!
//! The first line is the run's identity (inputs with size and time, what was asked, the files planned); each
//! further line names a file that was synced before the line was written. A line that broke off counts for
//! nothing.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::output::LOCK;
use crate::error::{Error, Result};

/// Its name in a partial folder.
pub(super) const JOURNAL: &str = ".journal";
/// A journal is not read beyond this.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// The journal of a partial folder, open for adding.
pub(super) struct Journal {
    file: File,
    path: std::path::PathBuf,
    done: Vec<Done>,
}

/// A file that is whole.
#[derive(Serialize, Deserialize)]
struct Done {
    file: String,
    /// Bytes of its tensors.
    bytes: u64,
}

impl Journal {
    /// Begins the journal of a new folder.
    pub(super) fn begin(folder: &Path, identity: &str) -> Result<Self> {
        let path = folder.join(JOURNAL);
        let file = File::create_new(&path).map_err(|e| Error::io("create", &path, &e))?;
        let mut journal = Self { file, path, done: Vec::new() };
        journal.line(identity)?;
        Ok(journal)
    }

    /// Reads the journal of a folder; `None` if there is none, or it is of another run.
    pub(super) fn read(folder: &Path, identity: &str) -> Option<Self> {
        let path = folder.join(JOURNAL);
        if path.symlink_metadata().ok().is_none_or(|meta| !meta.is_file() || meta.len() > JOURNAL_BYTES_MAX) {
            return None;
        }
        let text = std::fs::read_to_string(&path).ok()?;
        let (first, rest) = text.split_once('\n')?;
        if first != identity {
            return None;
        }
        let whole = rest.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let done = whole.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
        let file = OpenOptions::new().append(true).open(&path).ok()?;
        // What broke off is cut, so that the next line begins anew.
        let kept = first.len() + 1 + if whole.is_empty() { 0 } else { whole.len() + 1 };
        file.set_len(kept as u64).ok()?;
        Some(Self { file, path, done })
    }

    /// Removes all files that are not whole.
    pub(super) fn clean(&self, folder: &Path) -> Result<()> {
        for entry in std::fs::read_dir(folder).map_err(|e| Error::io("read", folder, &e))? {
            let entry = entry.map_err(|e| Error::io("read", folder, &e))?;
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if name == JOURNAL || name == LOCK || self.has(&name) {
                continue;
            }
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed =
                if is_folder { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.map_err(|e| Error::io("remove", &path, &e))?;
        }
        Ok(())
    }

    /// Adds a file that is whole and synced.
    pub(super) fn add(&mut self, file: &str, bytes: u64) -> Result<()> {
        let done = Done { file: file.to_owned(), bytes };
        let line = serde_json::to_string(&done)
            .map_err(|e| Error::io("write", &self.path, &std::io::Error::from(e)))?;
        self.line(&line)?;
        self.done.push(done);
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let write = self.file.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.file.sync_all());
        write.map_err(|e| Error::io("write", &self.path, &e))
    }

    pub(super) fn has(&self, file: &str) -> bool {
        self.done.iter().any(|done| done.file == file)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.done.len()
    }

    /// Returns the bytes of tensors that are done.
    pub(super) fn bytes(&self) -> u64 {
        self.done.iter().map(|done| done.bytes).sum()
    }
}
