//! Places: the user's config and state files, and where checkpoints lie: recent, cached, here.
//!
//! Config: `$XDG_CONFIG_HOME/ckpt/` (`keys.toml`, `themes/NAME.toml`). State: `$XDG_STATE_HOME/ckpt/recent`,
//! one path a line, newest first, replaced as a whole.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::adapter::Adapter;
use crate::app::picker::{Facts, Group, Place};
use crate::checkpoint::folder::container_of;
use crate::checkpoint::{Checkpoint, folder, hub_cache, locate};
use crate::error::Result;
use crate::job;
use crate::ui::theme::Theme;

/// A config file is not read beyond this.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Recent checkpoints that are kept.
const RECENT_MAX: usize = 50;
/// Recent checkpoints that the picker shows.
const RECENT_SHOWN: usize = 8;
/// Cached checkpoints that the picker shows.
const HUB_SHOWN: usize = 200;
/// Adapters beside a base that the picker shows.
const BESIDE_SHOWN: usize = 100;
/// Folders near a base that are looked into.
const LOOKED_MAX: usize = 2000;
/// Folders below the working folder that are looked at.
const BELOW_MAX: usize = 300;

/// Returns the text of a file in the config folder, if it is there.
pub(super) fn config_text(name: &str) -> Option<String> {
    let path = base("XDG_CONFIG_HOME", ".config")?.join("ckpt").join(name);
    let small = std::fs::metadata(&path).ok().filter(|meta| meta.is_file() && meta.len() <= CONFIG_BYTES_MAX);
    small.and_then(|_| std::fs::read_to_string(path).ok())
}

/// Returns the theme that was asked for, or the default one.
pub(super) fn theme(name: Option<&str>) -> Result<Theme> {
    let find = |name: &str| config_text(&format!("themes/{name}.toml"));
    name.map_or_else(|| Ok(Theme::default()), |name| Theme::load(name, &find))
}

fn base(variable: &str, below_home: &str) -> Option<PathBuf> {
    let set = std::env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from);
    set.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(below_home)))
}

fn recent_file() -> Option<PathBuf> {
    Some(base("XDG_STATE_HOME", ".local/state")?.join("ckpt").join("recent"))
}

fn recent() -> Vec<String> {
    let Some(path) = recent_file() else { return Vec::new() };
    let small = std::fs::metadata(&path).is_ok_and(|meta| meta.len() <= CONFIG_BYTES_MAX);
    let text =
        if small { std::fs::read_to_string(path).unwrap_or_else(|_| String::new()) } else { String::new() };
    text.lines().filter(|line| !line.is_empty()).take(RECENT_MAX).map(str::to_owned).collect()
}

/// Puts a path in front of the recent ones. A list that cannot be written is no reason to stop: the
/// checkpoint is open.
pub(super) fn remember(path: &str) {
    let full = Path::new(path).canonicalize().map_or_else(|_| path.to_owned(), |p| p.display().to_string());
    if full.contains(['\n', '\r']) {
        return;
    }
    let mut list = recent();
    list.retain(|known| *known != full);
    list.insert(0, full);
    list.truncate(RECENT_MAX);
    let _ = recent_file().map(|file| replace(&file, &(list.join("\n") + "\n")));
}

/// Writes a file beside itself and renames it: it is there whole, or as it was.
#[expect(clippy::disallowed_methods, reason = "the one state file: the list of recent checkpoints")]
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().ok_or(std::io::ErrorKind::NotFound)?;
    std::fs::create_dir_all(folder)?;
    let beside = folder.join(format!(".recent.{}", std::process::id()));
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(beside, path)
}

/// Looks for checkpoints: recent, in the Hub cache, in the working folder and below.
pub(super) fn find() -> Vec<Place> {
    let home = std::env::var("HOME").unwrap_or_else(|_| String::new());
    let short = |path: &str| match path.strip_prefix(&home) {
        Some(rest) if !home.is_empty() && rest.starts_with('/') => format!("~{rest}"),
        _ => path.to_owned(),
    };
    let place = |group, path: String, label: String, note: String| Place {
        group,
        path,
        label,
        note,
        facts: Facts::Unknown,
    };
    let mut found: Vec<Place> = recent()
        .into_iter()
        .take(RECENT_SHOWN)
        .map(|path| {
            let label = short(&path);
            place(Group::Recent, path, label, String::new())
        })
        .collect();
    for repo in hub_cache::list().into_iter().take(HUB_SHOWN) {
        let Some(snapshot) = &repo.snapshot else { continue };
        let mut note =
            snapshot.reference.clone().unwrap_or_else(|| snapshot.commit.chars().take(8).collect());
        if repo.revisions > 1 {
            note = format!("{note}  {} revisions", repo.revisions);
        }
        if repo.incomplete > 0 {
            note = format!("{note}  ▲ download incomplete");
        }
        found.push(place(Group::Hub, repo.name.clone(), repo.name.clone(), note));
    }
    found.extend(here().into_iter().map(|path| place(Group::Here, path.clone(), path, String::new())));
    found
}

/// Looks for adapters: near the folder of a base, then among all other places.
pub(super) fn find_adapters(base: &Path) -> Vec<Place> {
    let above = base.canonicalize().ok().and_then(|full| full.parent().map(Path::to_path_buf));
    // As it was named where that leads up, so that what is shown is short.
    let named = |path: &Path| path.parent().filter(|p| !p.as_os_str().is_empty()).map(Path::to_path_buf);
    let above = named(base).or(above);
    // What lies two above is looked into as well, but for the root of all files.
    let two_above = above.as_deref().and_then(named).filter(|path| path.parent().is_some());
    let roots = [Some(base.to_path_buf()), above, two_above].into_iter().flatten();
    let mut beside: Vec<PathBuf> = Vec::new();
    let mut looked = 0;
    for path in roots.flat_map(|root| folders_of(&root)) {
        for path in std::iter::once(path.clone()).chain(folders_of(&path)) {
            looked += 1;
            if looked > LOOKED_MAX || beside.len() >= BESIDE_SHOWN {
                break;
            }
            if !beside.contains(&path) && is_adapter(&path) {
                beside.push(path);
            }
        }
    }
    let same =
        |a: &Path, b: &Path| a.canonicalize().ok().is_some_and(|a| b.canonicalize().is_ok_and(|b| a == b));
    let mut found: Vec<Place> = beside
        .iter()
        .map(|path| path.display().to_string())
        .map(|path| Place {
            group: Group::Beside,
            label: path.clone(),
            path,
            note: String::new(),
            facts: Facts::Unknown,
        })
        .collect();
    found.extend(find().into_iter().filter(|place| {
        let folder = locate(&place.path).map(|(folder, _)| folder);
        folder.is_ok_and(|folder| is_adapter(&folder) && !beside.iter().any(|known| same(known, &folder)))
    }));
    found
}

/// Returns true if a folder has what an adapter has: its config, or the weights under the name of one.
fn is_adapter(folder: &Path) -> bool {
    let files = folder::list(folder).unwrap_or_default();
    let has = |wanted: &str| files.iter().any(|(name, _)| name == wanted);
    has("adapters.safetensors") || has("adapter_config.json") && folder::has_weights(&files)
}

/// Reads the headers of a place for the picker.
pub(super) fn facts_of(place: &Place) -> Facts {
    let opened = match job::caught(|| Checkpoint::open(&place.path)) {
        Ok(opened) => opened,
        Err(text) => return Facts::Gone(text),
    };
    match opened {
        Ok(checkpoint) => Facts::Known {
            format: Adapter::of(&checkpoint)
                .map_or_else(|| checkpoint.headline(), |adapter| adapter.headline()),
            bytes: checkpoint.files.total_bytes(),
            shards: checkpoint.files.shards.len(),
            errors: checkpoint.problems.iter().filter(|p| p.is_error()).count(),
        },
        Err(error) => Facts::Gone(error.message),
    }
}

/// Returns folders with weight files, at most two levels below the working folder, and lone GGUF files.
fn here() -> Vec<String> {
    let mut found = Vec::new();
    let mut looked = 0;
    let mut level = vec![PathBuf::from(".")];
    for depth in 0..3 {
        let mut below = Vec::new();
        for path in level {
            looked += 1;
            if looked > BELOW_MAX {
                return found;
            }
            let Ok(files) = folder::list(&path) else { continue };
            let weights: Vec<&str> =
                files.iter().map(|(n, _)| n.as_str()).filter(|n| container_of(n).is_some()).collect();
            let show = |path: &Path| path.strip_prefix(".").unwrap_or(path).display().to_string();
            let is_gguf = |name: &&str| name.to_ascii_lowercase().rsplit('.').next() == Some("gguf");
            if weights.iter().any(|name| !is_gguf(name)) {
                let shown = show(&path);
                found.push(if shown.is_empty() { ".".into() } else { shown });
            }
            found.extend(weights.iter().filter(|n| is_gguf(n)).map(|n| show(&path.join(n))));
            if depth < 2 {
                below.extend(folders_of(&path));
            }
        }
        level = below;
    }
    found
}

fn folders_of(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten().take(BELOW_MAX);
    let mut folders: Vec<PathBuf> = entries
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .filter(|e| !e.file_name().to_string_lossy().starts_with('.'))
        .map(|e| e.path())
        .collect();
    folders.sort();
    folders
}
