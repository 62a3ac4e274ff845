//! An output that is one file: it takes its name when it is complete and on the disk, as a folder does.

use std::path::Path;

use rustix::fs::{RenameFlags, renameat_with};

use super::{Output, sync_folder, taken};
use crate::container::Container as _;
use crate::container::bytes::SourceFile;
use crate::container::gguf::Gguf;
use crate::error::{Error, Result};
use crate::name::escape;

impl Output {
    /// Gives the one file its name; a file that stood there is replaced if it may be.
    pub(super) fn finish_file(&mut self, file: &str) -> Result<()> {
        let (here, from) = (rustix::fs::CWD, self.partial.join(file));
        let flags = if self.replaces { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match renameat_with(here, &from, here, &self.target, flags) {
            Ok(()) => {}
            // File systems that do not know the flag: the target was free.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if self.target.exists() => {
                return Err(taken(&self.target));
            }
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                std::fs::rename(&from, &self.target).map_err(|e| Error::io("rename", &self.target, &e))?;
            }
            Err(errno) => return Err(Error::io("rename", &self.target, &errno.into())),
        }
        if let Some(parent) = self.target.parent() {
            sync_folder(parent)?;
        }
        if self.replaces {
            self.notes.push("what stood there was replaced".into());
        }
        // The emptied folder goes with this value.
        Ok(())
    }
}

/// Only a GGUF is replaced by one.
pub(super) fn check_replaceable(target: &Path) -> Result<()> {
    let is_gguf = !target.is_symlink()
        && target.is_file()
        && SourceFile::open(target, "").and_then(|file| file.head(4)).is_ok_and(|head| Gguf.sniff(&head));
    if is_gguf {
        return Ok(());
    }
    let shown = escape(&target.display().to_string()).into_owned();
    Err(Error::input(format!("-o {shown}: no GGUF; --force replaces one by another")).at(target))
}
