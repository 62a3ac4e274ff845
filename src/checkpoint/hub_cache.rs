//! The Hub cache on this disk: finding a model by its name, and listing what is there.
//!
//! ```text
//! <root>/models--<org>--<name>/refs/<ref>              a commit hash, 40 hexadecimal digits
//!                              snapshots/<commit>/...  links into blobs, by file name
//!                              blobs/<hash>            the files; `*.incomplete` while they download
//! ```
//!
//! Directory listings and metadata only: no weight file is read, nothing is written, nothing is
//! downloaded. A name cannot lead out of the cache: it is checked by the Hub's own rules first.
//! Source: `huggingface_hub`, `constants.py`, `file_download.py` (`repo_folder_name`, `try_to_load_from_cache`),
//! `utils/_validators.py` (`validate_repo_id`).

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::name::{escape, natural_cmp};
use crate::units;

/// Longest name that the Hub takes.
const NAME_BYTES_MAX: usize = 96;
/// Longest revision that is looked up.
const REVISION_BYTES_MAX: usize = 256;
/// Digits of a commit hash.
const COMMIT_DIGITS: usize = 40;
/// Fewest digits by which a commit is looked up.
const SHORT_COMMIT_DIGITS: usize = 4;
/// Entries of one cache root, and of one folder in it, that are looked at.
const ENTRIES_MAX: usize = 20_000;
/// Folders below a snapshot that are entered; checkpoints keep `original/` and the like.
const DEPTH_MAX: usize = 4;
/// Commits that an error message names.
const NAMED_MAX: usize = 5;

/// A snapshot: the files of one revision of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The folder; its files are links to blobs.
    pub path: PathBuf,
    /// Name on the Hub, `org/model`.
    pub name: String,
    /// Full commit hash.
    pub commit: String,
    /// The ref it was found by, `main`; `None` when a commit was given or no ref names it.
    pub reference: Option<String>,
}

/// A model of the cache, as a picker shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedRepo {
    /// Name on the Hub, `org/model`.
    pub name: String,
    /// Its folder in the cache.
    pub folder: PathBuf,
    /// The snapshot that the bare name opens: that of `main`, else the newest; `None` when there is none.
    pub snapshot: Option<Snapshot>,
    /// How many snapshots there are.
    pub revisions: usize,
    /// How many blobs are not downloaded to their end.
    pub incomplete: usize,
    /// Bytes of the snapshot's files.
    pub bytes: u64,
    /// When the snapshot's newest file was written.
    pub modified: Option<SystemTime>,
}

/// Returns the folders in which the cache may lie, the one that the Hub's own library uses first. They
/// need not exist.
#[must_use]
pub fn roots() -> Vec<PathBuf> {
    roots_from(&|key| std::env::var_os(key))
}

/// Finds a model in the local cache. `name` is `org/model`, `model` or either with `@revision`; the
/// revision is a ref (`main`, `refs/pr/1`), a commit or the start of one.
///
/// # Errors
/// The name or the revision is not one, the model is not in the cache, or the revision is not there or
/// not unique.
pub fn resolve(name: &str, revision: Option<&str>) -> Result<Snapshot> {
    resolve_in(&roots(), name, revision)
}

/// Returns the models of the cache in the order of their names.
#[must_use]
pub fn list() -> Vec<CachedRepo> {
    list_in(&roots())
}

fn roots_from(variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let home = variable("HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
    let get = |key: &str| {
        let path = PathBuf::from(variable(key).filter(|v| !v.is_empty())?);
        match (path.strip_prefix("~"), &home) {
            (Ok(rest), Some(home)) => Some(home.join(rest)),
            _ => Some(path),
        }
    };
    let candidates = [
        get("HF_HUB_CACHE"),
        get("HUGGINGFACE_HUB_CACHE"),
        get("HF_HOME").map(|path| path.join("hub")),
        get("XDG_CACHE_HOME").map(|path| path.join("huggingface/hub")),
        home.as_ref().map(|home| home.join(".cache/huggingface/hub")),
    ];
    let mut roots: Vec<PathBuf> = Vec::new();
    for path in candidates.into_iter().flatten() {
        if !roots.contains(&path) {
            roots.push(path);
        }
    }
    roots
}

fn resolve_in(roots: &[PathBuf], name: &str, revision: Option<&str>) -> Result<Snapshot> {
    let (name, revision) = match name.split_once('@') {
        Some((name, given)) => (name, revision.or(Some(given))),
        None => (name, revision),
    };
    check_name(name)?;
    if let Some(revision) = revision {
        check_revision(name, revision)?;
    }
    let folder_name = format!("models--{}", name.replace('/', "--"));
    let folders = roots.iter().map(|root| root.join(&folder_name)).filter(|folder| folder.is_dir());
    let mut refused = None;
    for folder in folders {
        match resolve_revision(&folder, name, revision) {
            Ok(snapshot) => return Ok(snapshot),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| {
        let looked: Vec<String> =
            roots.iter().map(|r| escape(&r.display().to_string()).into_owned()).collect();
        let looked = if looked.is_empty() { "no cache folder is set".into() } else { looked.join(", ") };
        Error::input(format!("{name} is not in the local cache ({looked}); nothing is downloaded"))
    }))
}

/// Checks a name by the Hub's rules, which leave no room for `..`, a second slash or a separator.
fn check_name(name: &str) -> Result<()> {
    let is_part = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty()
            && part.chars().all(allowed)
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
    };
    let is_name = name.len() <= NAME_BYTES_MAX
        && name.matches('/').count() <= 1
        && name.split('/').all(is_part)
        && !name.contains("--")
        && !name.contains("..")
        && Path::new(name).extension().is_none_or(|end| end != "git");
    if is_name {
        return Ok(());
    }
    let shown = crate::name::cut_middle(&escape(name), NAME_BYTES_MAX).into_owned();
    Err(Error::input(format!("{shown}: no such file or folder, and not a name that the Hub allows")))
}

fn check_revision(name: &str, revision: &str) -> Result<()> {
    let is_plain = !revision.is_empty()
        && revision.len() <= REVISION_BYTES_MAX
        && !revision.chars().any(|c| c.is_control() || c == '\\')
        && Path::new(revision).components().all(|part| matches!(part, Component::Normal(_)));
    if is_plain {
        return Ok(());
    }
    let shown = crate::name::cut_middle(&escape(revision), NAME_BYTES_MAX).into_owned();
    Err(Error::input(format!("{name}: `{shown}` is not a revision")))
}

fn resolve_revision(folder: &Path, name: &str, revision: Option<&str>) -> Result<Snapshot> {
    let fail = |what: String| Err(Error::input(format!("{name}: {what}")).at(folder));
    let snapshot = |commit: String, reference: Option<&str>| Snapshot {
        path: folder.join("snapshots").join(&commit),
        name: name.to_owned(),
        commit,
        reference: reference.map(str::to_owned),
    };
    let commits = commits(folder);
    let shown_folder = escape(&folder.display().to_string()).into_owned();
    let reference = revision.unwrap_or("main");
    if let Some(commit) = read_ref(folder, reference) {
        if commits.contains(&commit) {
            return Ok(snapshot(commit, Some(reference)));
        }
        if revision.is_some() || commits.len() != 1 {
            return fail(format!(
                "{} is commit {}, whose files are not in {shown_folder}; nothing is downloaded",
                escape(reference),
                short(&commit)
            ));
        }
    }
    let Some(revision) = revision else {
        return match &commits[..] {
            [only] => Ok(snapshot(only.clone(), None)),
            [] => fail(format!("{shown_folder} holds no snapshot (a download that did not end?)")),
            several => fail(format!(
                "{} and none is `main`; name one: {}",
                units::plural(several.len(), "revision"),
                several
                    .iter()
                    .take(NAMED_MAX)
                    .map(|c| format!("{name}@{}", short(c)))
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
        };
    };
    let is_hex = revision.len() >= SHORT_COMMIT_DIGITS && revision.chars().all(|c| c.is_ascii_hexdigit());
    let prefix = revision.to_ascii_lowercase();
    let matching: Vec<&String> = commits.iter().filter(|c| is_hex && c.starts_with(&prefix)).collect();
    match matching[..] {
        [only] => Ok(snapshot(only.clone(), None)),
        [] => fail(format!(
            "revision `{}` is not in {shown_folder} ({} there); nothing is downloaded",
            escape(revision),
            units::plural(commits.len(), "revision")
        )),
        _ => fail(format!("{} commits start with {prefix}; give more digits", matching.len())),
    }
}

/// Returns the commit that a ref names. A pull request is kept as `refs/refs/pr/1`, `pr/1` finds it too.
fn read_ref(folder: &Path, reference: &str) -> Option<String> {
    [folder.join("refs").join(reference), folder.join("refs/refs").join(reference)].iter().find_map(|path| {
        let meta = fs::metadata(path).ok()?;
        // A ref holds one hash and perhaps a line end; anything longer is no ref.
        if !meta.is_file() || meta.len() > COMMIT_DIGITS as u64 + 2 {
            return None;
        }
        let text = fs::read_to_string(path).ok()?;
        is_commit(text.trim()).then(|| text.trim().to_owned())
    })
}

/// Returns the commits that have a snapshot, in order.
fn commits(folder: &Path) -> Vec<String> {
    let mut found: Vec<String> = entries(&folder.join("snapshots"))
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_commit(name))
        .collect();
    found.sort_unstable();
    found
}

fn is_commit(text: &str) -> bool {
    text.len() == COMMIT_DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn short(commit: &str) -> &str {
    &commit[..commit.len().min(8)]
}

fn list_in(roots: &[PathBuf]) -> Vec<CachedRepo> {
    let mut found: Vec<CachedRepo> = Vec::new();
    for root in roots {
        for entry in entries(root) {
            let Ok(file_name) = entry.file_name().into_string() else { continue };
            let Some(name) = file_name.strip_prefix("models--").map(|rest| rest.replace("--", "/")) else {
                continue;
            };
            // The first root wins, as in `resolve`.
            if check_name(&name).is_ok() && entry.path().is_dir() && !found.iter().any(|r| r.name == name) {
                found.push(describe(entry.path(), name));
            }
        }
    }
    found.sort_by(|a, b| natural_cmp(&a.name, &b.name));
    found
}

fn describe(folder: PathBuf, name: String) -> CachedRepo {
    let commits = commits(&folder);
    let newest = || {
        let time = |commit: &&String| modified(&folder.join("snapshots").join(commit));
        let commit = commits.iter().max_by_key(time)?.clone();
        let path = folder.join("snapshots").join(&commit);
        Some(Snapshot { path, name: name.clone(), commit, reference: None })
    };
    let snapshot = resolve_revision(&folder, &name, None).ok().or_else(newest);
    let is_incomplete =
        |entry: &fs::DirEntry| Path::new(&entry.file_name()).extension() == Some("incomplete".as_ref());
    let incomplete = entries(&folder.join("blobs")).filter(is_incomplete).count();
    let mut files = Files::default();
    if let Some(snapshot) = &snapshot {
        files.add(&snapshot.path, DEPTH_MAX);
    }
    CachedRepo {
        name,
        revisions: commits.len(),
        incomplete,
        bytes: files.bytes,
        modified: files.modified,
        snapshot,
        folder,
    }
}

/// The files of a snapshot in sum.
#[derive(Default)]
struct Files {
    count: usize,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Files {
    fn add(&mut self, folder: &Path, depth: usize) {
        for entry in entries(folder) {
            // Links are followed to their blob; a link to a folder is not entered, it could be a cycle.
            let Ok(meta) = fs::metadata(entry.path()) else { continue };
            self.count += 1;
            if self.count > ENTRIES_MAX {
                return;
            }
            if meta.is_file() {
                self.bytes = self.bytes.saturating_add(meta.len());
                self.modified = self.modified.max(meta.modified().ok());
            } else if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.add(&entry.path(), depth - 1);
            }
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(folder).into_iter().flatten().filter_map(std::result::Result::ok).take(ENTRIES_MAX)
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}
