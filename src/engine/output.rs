//! Output: a folder that appears under its name when it is complete and on the disk, or not at all.
//!
//! Everything is written into `.NAME.ckpt-partial` beside it, synced, and renamed at the end. The partial
//! folder is locked while a run writes there: one that is not is stale and is replaced.

mod single;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, RenameFlags, flock, renameat_with, statvfs};

use super::file::NewFile;
use super::header::header;
use super::journal::{JOURNAL, Journal};
use super::{Options, Progress};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::files::Shard;
use crate::container::bytes::SourceFile;
use crate::error::{Error, ErrorKind, Result};
use crate::name::escape;
use crate::plan::{DataRun, OutShard, Plan};
use crate::units;

/// The file in a partial folder that its run holds locked.
pub(super) const LOCK: &str = ".lock";
/// Bytes that a disk keeps free beyond the result.
const SLACK_BYTES: u64 = 16 << 20;

/// A result that is being written.
pub(super) struct Output {
    target: PathBuf,
    partial: PathBuf,
    lock: File,
    journal: Journal,
    replaces: bool,
    notes: Vec<String>,
    keeps: bool,
    /// The one file that gets the output's name, instead of the folder.
    single: Option<String>,
}

impl Output {
    /// Checks that the output may be made, and makes its partial folder, or takes up the one that an earlier
    /// run of the same `identity` left.
    pub(super) fn begin(
        plan: &Plan,
        inputs: &[&Checkpoint],
        identity: &str,
        options: &Options,
    ) -> Result<Self> {
        let (target, bytes) = (&plan.order.output, plan.bytes_written());
        let single = plan.single_file().map(str::to_owned);
        let place = Place::of(target)?;
        let replaces = place.check(inputs, (options.force, single.is_some()))?;
        let partial = place.parent.join(format!(".{}.ckpt-partial", place.name));
        let mut notes = Vec::new();
        let (lock, journal) = take_partial(&partial, identity, options.resume, &mut notes)?;
        let bytes = bytes.saturating_sub(journal.bytes());
        let room = free_bytes(&place.parent)?;
        if room < bytes.saturating_add(SLACK_BYTES) {
            if journal.is_empty() {
                remove_folder(&partial)?;
            }
            return Err(no_room(target, room, bytes));
        }
        let target = place.parent.join(&place.name);
        Ok(Self { target, partial, lock, journal, replaces, notes, keeps: false, single })
    }

    /// Returns true if an earlier run has finished this file.
    pub(super) fn has(&self, file: &str) -> bool {
        self.journal.has(file)
    }

    /// Notes that a file of tensors is whole and on the disk.
    fn done(&mut self, shard: &OutShard) -> Result<()> {
        self.note(&shard.file, shard.bytes())
    }

    /// Notes that a file of so many bytes is whole and on the disk.
    pub(super) fn note(&mut self, file: &str, bytes: u64) -> Result<()> {
        self.journal.add(file, bytes)
    }

    /// Writes a file of tensors whose data the kernel copies.
    pub(super) fn run(
        &mut self,
        shard: &OutShard,
        data: DataRun,
        from: &Path,
        progress: &Progress,
    ) -> Result<()> {
        let source = File::open(from).map_err(|e| Error::io("read", from, &e))?;
        let mut file = NewFile::create(self.partial.join(&shard.file), false)?;
        file.write(&header(shard, 0))?;
        file.copy((&source, from), data.begin..data.begin + data.bytes, progress)?;
        self.done(shard)
    }

    /// Keeps what is done when the run ends early, so that it can be continued; returns how many files.
    pub(super) fn keep(&mut self) -> usize {
        if self.single.is_some() {
            return 0;
        }
        self.keeps = !self.journal.is_empty();
        self.journal.len()
    }

    /// Returns the folder that is written.
    pub(super) fn folder(&self) -> &Path {
        &self.partial
    }

    /// Begins a file of tensors. Its header is written at once; or last, into the room that is left for it, if tensors
    /// may become smaller than planned. Until then the file has a header of no length, which no reader takes.
    pub(super) fn shard(&self, shard: &OutShard, is_header_last: bool) -> Result<NewFile> {
        let mut file = NewFile::create(self.partial.join(&shard.file), true)?;
        match &shard.gguf {
            None => {
                let mut header = header(shard, 0);
                if is_header_last {
                    header.fill(0);
                }
                file.write(&header)?;
            }
            Some(gguf) => {
                let source = SourceFile::open(&gguf.source, gguf.source.display().to_string())?;
                gguf.head.write(&source, &mut |bytes| file.write(bytes))?;
            }
        }
        Ok(file)
    }

    /// Ends a file of tensors that is written; `settled`: with the bytes that its tensors came to have, if its header is
    /// written last.
    pub(super) fn close(
        &mut self,
        file: NewFile,
        shard: &OutShard,
        settled: Option<&OutShard>,
    ) -> Result<()> {
        match settled {
            None => file.finish()?,
            Some(settled) => file.finish_headed(&header(settled, header(shard, 0).len()))?,
        }
        self.done(settled.unwrap_or(shard))
    }

    /// Writes a file whole.
    pub(super) fn text(&self, name: &str, content: &[u8]) -> Result<()> {
        let mut file = NewFile::create(self.partial.join(name), false)?;
        file.write(content)?;
        file.finish()
    }

    /// Copies a file by the file system's own means.
    pub(super) fn copy(&self, from: &Path, name: &str, progress: &Progress) -> Result<()> {
        for folder in Path::new(name).ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            let folder = self.partial.join(folder);
            std::fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, &e))?;
        }
        let source = File::open(from).map_err(|e| Error::io("read", from, &e))?;
        let state = || {
            let meta = source.metadata().map_err(|e| Error::io("read", from, &e))?;
            Ok((meta.len(), meta.modified().ok()))
        };
        let before = state()?;
        NewFile::create(self.partial.join(name), false)?.copy((&source, from), 0..before.0, progress)?;
        if state()? != before {
            let shown = escape(&from.display().to_string()).into_owned();
            return Err(Error::input(format!("{shown}: has changed while it was copied")).at(from));
        }
        Ok(())
    }

    /// Gives the folder its name. What was there, if it may be replaced, is removed after that.
    pub(super) fn finish(mut self) -> Result<Vec<String>> {
        for own in [LOCK, JOURNAL] {
            let own = self.partial.join(own);
            std::fs::remove_file(&own).map_err(|e| Error::io("remove", &own, &e))?;
        }
        sync_folders(&self.partial)?;
        if let Some(file) = self.single.take() {
            self.finish_file(&file)?;
            return Ok(std::mem::take(&mut self.notes));
        }
        let here = rustix::fs::CWD;
        let flags = if self.replaces { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        match renameat_with(here, &self.partial, here, &self.target, flags) {
            Ok(()) => {}
            // File systems that know neither flag: the target was free, or was to go.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => self.rename_plainly()?,
            Err(errno) => return Err(Error::io("rename", &self.target, &errno.into())),
        }
        // The name is free for what stood there.
        self.keeps = true;
        if let Some(parent) = self.target.parent() {
            sync_folder(parent)?;
        }
        if self.replaces && self.partial.exists() {
            // What stood there now has the partial name.
            remove_folder(&self.partial)?;
            self.notes.push("what stood there was replaced".into());
        }
        Ok(std::mem::take(&mut self.notes))
    }

    fn rename_plainly(&self) -> Result<()> {
        if self.replaces {
            remove_folder(&self.target)?;
        } else if self.target.exists() {
            return Err(taken(&self.target));
        }
        std::fs::rename(&self.partial, &self.target).map_err(|e| Error::io("rename", &self.target, &e))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.keeps {
            // A run that ends early leaves nothing; if even that fails, the name still says what it is.
            let _ = std::fs::remove_dir_all(&self.partial);
        }
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

/// Where an output goes.
struct Place {
    parent: PathBuf,
    name: String,
}

impl Place {
    fn of(target: &Path) -> Result<Self> {
        let shown = || escape(&target.display().to_string()).into_owned();
        let name = target.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::input(format!("-o {}: not a name for a folder", shown())))?;
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let parent = parent.canonicalize().map_err(|e| Error::io("open", parent, &e))?;
        Ok(Self { parent, name: name.to_owned() })
    }

    /// Refuses an output that is taken, or lies in an input; returns true if it replaces what is there.
    fn check(&self, inputs: &[&Checkpoint], (force, is_file): (bool, bool)) -> Result<bool> {
        let target = self.parent.join(&self.name);
        let real = target.canonicalize().unwrap_or_else(|_| target.clone());
        let shown = || escape(&real.display().to_string()).into_owned();
        let mut real_inputs = Vec::new();
        for (number, checkpoint) in inputs.iter().enumerate() {
            // A file that was opened by its name is the input; what lies beside it is not.
            let files = &checkpoint.files;
            let input = if files.path.is_file() { &files.path } else { &files.folder };
            let input = input.canonicalize().map_err(|e| Error::io("open", input, &e))?;
            let name = if number == 0 { String::new() } else { format!(" {}", escape(&files.title)) };
            if real.starts_with(&input) {
                let message = format!("-o {}: inside the input{name}, or the input itself", shown());
                return Err(Error::input(message).at(&target));
            }
            let is_part = |shard: &Shard| shard.path.canonicalize().is_ok_and(|path| path == real);
            if files.shards.iter().any(is_part) {
                let message = format!("-o {}: a file of the input{name}", shown());
                return Err(Error::input(message).at(&target));
            }
            real_inputs.push((input, name));
        }
        if !target.exists() && !target.is_symlink() {
            return Ok(false);
        }
        if !force {
            return Err(taken(&target));
        }
        if let Some((_, name)) = real_inputs.iter().find(|(input, _)| input.starts_with(&real)) {
            let message = format!("-o {}: the input{name} lies in it", shown());
            return Err(Error::input(message).at(&target));
        }
        if is_file {
            single::check_replaceable(&target)?;
        } else {
            check_replaceable(&target)?;
        }
        Ok(true)
    }
}

/// Only a folder that holds a checkpoint, or nothing, is replaced: a slip of the hand must not cost a home.
fn check_replaceable(target: &Path) -> Result<()> {
    let shown = || escape(&target.display().to_string()).into_owned();
    let refuse = |what: &str| {
        Err(Error::input(format!("-o {}: {what}; --force replaces checkpoints only", shown())).at(target))
    };
    if target.is_symlink() || !target.is_dir() {
        return refuse("not a folder");
    }
    let entries = std::fs::read_dir(target).map_err(|e| Error::io("read", target, &e))?;
    let (mut count, mut has_weights) = (0, false);
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("read", target, &e))?;
        count += 1;
        if entry.path().is_dir() {
            return refuse("it holds folders");
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        has_weights |= crate::checkpoint::folder::container_of(&name).is_some() || name == "config.json";
    }
    if count > 0 && !has_weights {
        return refuse("it holds no checkpoint");
    }
    Ok(())
}

fn taken(target: &Path) -> Error {
    let shown = escape(&target.display().to_string()).into_owned();
    Error::input(format!("-o {shown}: is there already; --force replaces a checkpoint")).at(target)
}

/// Makes the partial folder and locks it, or takes up the one that is there. One that is not to be continued, or
/// is of another run, is removed first.
fn take_partial(
    partial: &Path,
    identity: &str,
    resume: bool,
    notes: &mut Vec<String>,
) -> Result<(File, Journal)> {
    let lock = partial.join(LOCK);
    if partial.is_symlink() || partial.is_file() {
        return Err(
            Error::input(format!("{}: in the way", escape(&partial.display().to_string()))).at(partial)
        );
    }
    if partial.exists() {
        let held = hold(partial, &lock)?;
        if resume && let Some(journal) = Journal::read(partial, identity) {
            journal.clean(partial)?;
            notes.push(format!("continued: {} were done", units::plural(journal.len(), "file")));
            return Ok((held, journal));
        }
        remove_folder(partial)?;
        let why = if resume { " (of other inputs or another plan)" } else { "" };
        notes.push(format!("what an earlier run left unfinished was removed{why}"));
    }
    std::fs::create_dir(partial).map_err(|e| Error::io("create", partial, &e))?;
    Ok((hold(partial, &lock)?, Journal::begin(partial, identity)?))
}

/// Locks a partial folder, or fails: another run is writing there. A folder without a lock is one that another run has
/// only just made, or an old one: whoever makes and locks the file first has it.
fn hold(partial: &Path, lock: &Path) -> Result<File> {
    let taken = || {
        let shown = escape(&partial.display().to_string()).into_owned();
        Error::input(format!("{shown}: another run is writing there")).at(partial)
    };
    let no_link = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let file = OpenOptions::new().write(true).create(true).truncate(false).custom_flags(no_link).open(lock);
    let file = file.map_err(|e| Error::io("create", lock, &e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(taken()),
        Err(errno) => return Err(Error::io("lock", lock, &errno.into())),
    }
    // Another run may have removed the folder between the opening and the lock: then this is no longer the file there.
    let own = file.metadata().map_err(|e| Error::io("lock", lock, &e))?;
    let is_there = std::fs::metadata(lock).is_ok_and(|is| is.ino() == own.ino() && is.dev() == own.dev());
    if is_there { Ok(file) } else { Err(taken()) }
}

fn remove_folder(folder: &Path) -> Result<()> {
    std::fs::remove_dir_all(folder).map_err(|e| Error::io("remove", folder, &e))
}

/// Syncs a folder and all below it.
fn sync_folders(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io("read", folder, &e))? {
        let entry = entry.map_err(|e| Error::io("read", folder, &e))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sync_folders(&entry.path())?;
        }
    }
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> Result<()> {
    let opened = File::open(folder).map_err(|e| Error::io("open", folder, &e))?;
    opened.sync_all().map_err(|e| Error::io("sync", folder, &e))
}

/// Checks that a result of so many bytes may be made at `target`.
pub(super) fn check(target: &Path, inputs: &[&Checkpoint], bytes: u64, force: bool) -> Result<()> {
    let place = Place::of(target)?;
    place.check(inputs, (force, crate::plan::gguf::written::is_file_name(target)))?;
    let room = free_bytes(&place.parent)?;
    if room < bytes.saturating_add(SLACK_BYTES) { Err(no_room(target, room, bytes)) } else { Ok(()) }
}

fn no_room(target: &Path, room: u64, bytes: u64) -> Error {
    let message = format!(
        "{}: the disk has {} free, the result needs {}",
        escape(&target.display().to_string()),
        units::bytes(room),
        units::bytes(bytes)
    );
    Error::new(ErrorKind::Limit, message).at(target)
}

/// Returns the bytes that are free where an output goes.
pub(super) fn free_beside(target: &Path) -> Result<u64> {
    free_bytes(&Place::of(target)?.parent)
}

/// Returns the bytes that the disk of a folder has free for us.
fn free_bytes(folder: &Path) -> Result<u64> {
    let stat = statvfs(folder).map_err(|errno| Error::io("open", folder, &errno.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests;
