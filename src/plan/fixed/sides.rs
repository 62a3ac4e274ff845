//! The files beside the tensors: all go over as they are, but for those that are edited, left out or brought.

use std::path::Path;

use serde_json::Value;

use super::json::Json;
use super::{Change, Code, is_plain_name};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::folder::list_below;
use crate::error::{Error, Result};
use crate::name::{cut_middle, escape};
use crate::plan::Plan;
use crate::plan::folder::{BELONGING, Copied, Text};
use crate::units;

/// A JSON file is not read beyond this: a tokenizer of a large vocabulary has some 30 MB.
const JSON_BYTES_MAX: u64 = 256 << 20;
/// Cells of a value that is shown.
const VALUE_CELLS: usize = 160;
/// Names in a folder that a run needs for itself.
const RESERVED: [&str; 2] = [".lock", ".journal"];

/// What an edit sets.
struct Setting {
    code: Code,
    file: String,
    path: Vec<String>,
    value: Option<Value>,
}

/// The files beside the tensors while edits are taken.
pub(super) struct Sides<'a> {
    checkpoint: &'a Checkpoint,
    texts: Vec<Text>,
    copies: Vec<Copied>,
    /// What edits have set: file and keys, and which edit.
    set: Vec<Setting>,
    brought: Vec<(String, Code)>,
    /// The conversion that these files are of, if they are.
    conversion: Option<Code>,
}

impl<'a> Sides<'a> {
    /// Returns all files beside the tensors of a checkpoint.
    pub(super) fn of(checkpoint: &'a Checkpoint, warnings: &mut Vec<String>) -> Result<Self> {
        let files = &checkpoint.files;
        let is_folder = files.path.is_dir();
        let below = if is_folder { list_below(&files.folder)? } else { Vec::new() };
        let mut copies = Vec::new();
        for (name, bytes) in files.others.iter().chain(&below) {
            // Beside a file that was named may be anything.
            let belongs = is_folder
                || name.starts_with("adapter_config")
                || name.ends_with(".index.json")
                || BELONGING.iter().any(|word| name.starts_with(word));
            let from = files.folder.join(name);
            if !belongs {
                continue;
            }
            if !from.is_file() || RESERVED.contains(&name.as_str()) {
                warnings.push(format!("{}: left out, no file that can be read", escape(name)));
                continue;
            }
            copies.push(Copied { from, file: name.clone(), bytes: *bytes });
        }
        Ok(Self::new(checkpoint, Vec::new(), copies, None))
    }

    /// Takes the files beside the tensors out of the plan of a conversion.
    pub(super) fn of_plan(checkpoint: &'a Checkpoint, code: Code, plan: &mut Plan) -> Self {
        let (texts, copies) = (std::mem::take(&mut plan.texts), std::mem::take(&mut plan.copies));
        Self::new(checkpoint, texts, copies, Some(code))
    }

    fn new(
        checkpoint: &'a Checkpoint,
        texts: Vec<Text>,
        copies: Vec<Copied>,
        conversion: Option<Code>,
    ) -> Self {
        Self { checkpoint, texts, copies, set: Vec::new(), brought: Vec::new(), conversion }
    }

    /// Returns what is written, and what goes over as it is.
    pub(super) fn into_parts(self) -> (Vec<Text>, Vec<Copied>) {
        (self.texts, self.copies)
    }

    pub(super) fn has(&self, file: &str) -> bool {
        self.copies.iter().any(|copied| copied.file == file)
            || self.texts.iter().any(|text| text.file == file)
    }

    /// Takes a file out without a word.
    pub(super) fn take_out(&mut self, file: &str) {
        self.copies.retain(|copied| copied.file != file);
        self.texts.retain(|text| text.file != file);
    }

    pub(super) fn leave_out(&mut self, code: Code, file: &str) -> Result<Change> {
        let bytes = self.copies.iter().find(|copied| copied.file == file).map(|copied| copied.bytes);
        let text = self.texts.iter().find(|text| text.file == file).map(|text| text.content.len() as u64);
        let Some(bytes) = bytes.or(text) else {
            return Err(Error::input(format!("{code}: there is no file {} to leave out", escape(file))));
        };
        self.take_out(file);
        Ok(Change {
            code,
            file: escape(file).into_owned(),
            what: String::new(),
            before: units::bytes(bytes),
            after: "left out".into(),
        })
    }

    /// Brings a file of another folder; `None` if the same is there.
    pub(super) fn bring(&mut self, code: Code, from: &Path, file: &str) -> Result<Option<Change>> {
        check_name(code, file)?;
        let shown = escape(&from.display().to_string()).into_owned();
        let meta = std::fs::metadata(from).map_err(|e| Error::io("open", from, &e))?;
        if !meta.is_file() {
            return Err(Error::input(format!("{code}: {shown}: not a file")).at(from));
        }
        if let Some((_, other)) = self.brought.iter().find(|(name, _)| name == file) {
            return Err(Error::input(format!(
                "{}: {other} and {code} both bring it; fix one of them first",
                escape(file)
            )));
        }
        self.brought.push((file.to_owned(), code));
        let there = self.copies.iter().find(|copied| copied.file == file);
        if there.is_some_and(|there| is_same(&there.from, from, meta.len())) {
            return Ok(None);
        }
        let before = there.map_or_else(|| "not there".into(), |there| units::bytes(there.bytes));
        self.take_out(file);
        self.copies.push(Copied { from: from.to_path_buf(), file: file.to_owned(), bytes: meta.len() });
        Ok(Some(Change {
            code,
            file: escape(file).into_owned(),
            what: String::new(),
            before,
            after: format!("{} of {shown}", units::bytes(meta.len())),
        }))
    }

    /// Puts a file that is made anew in the place of what is there.
    pub(super) fn put(&mut self, text: Text) -> Result<()> {
        if let Some((_, code)) = self.brought.iter().find(|(name, _)| *name == text.file) {
            let message =
                format!("{code}: {} is made anew from the headers and cannot be brought", escape(&text.file));
            return Err(Error::input(message));
        }
        self.take_out(&text.file);
        self.texts.push(text);
        Ok(())
    }

    /// Sets a value of a JSON file, or takes it out. Returns the change, or the words that it is so already.
    pub(super) fn set(
        &mut self,
        code: Code,
        (file, path): (&str, &[String]),
        value: Option<&Value>,
    ) -> Result<std::result::Result<Option<Change>, String>> {
        check_name(code, file)?;
        let key = || if path.is_empty() { String::new() } else { escape(&path.join(".")).into_owned() };
        let place = || format!("{}: {}", escape(file), key());
        if self.checkpoint.files.shards.iter().any(|shard| shard.name == file) {
            return Err(Error::input(format!("{code}: {} holds tensors and no JSON", escape(file))));
        }
        if self.is_set(code, (file, path), value)? {
            return Ok(Ok(None));
        }
        self.check_conversion(code, (file, path), value)?;
        let there = self.read(file).map_err(|why| Error::input(format!("{code}: {}: {why}", escape(file))));
        let is_there = self.has(file);
        // A whole file that is set need not have been JSON.
        let mut json = match there {
            Err(_) if path.is_empty() => Json::empty(),
            there => there?,
        };
        let before = json.get(path).filter(|_| is_there).cloned();
        let is_so = match (&before, value) {
            (Some(before), Some(value)) => before == value,
            (None, None) => true,
            _ => false,
        };
        if is_so {
            let shown = value.map_or_else(|| "not there".to_owned(), shown);
            return Ok(Err(format!("{code}: {} is {shown} already", place())));
        }
        json.set(path, value).map_err(|what| {
            let what = if what.is_empty() { "what it holds".into() } else { escape(&what).into_owned() };
            Error::input(format!("{code}: {}: {what} is no object with keys", escape(file)))
        })?;
        let text = Text { file: file.to_owned(), content: json.into_text() };
        if let Some(known) = self.texts.iter_mut().find(|text| text.file == file) {
            *known = text;
        } else {
            self.take_out(file);
            self.texts.push(text);
        }
        let absent = if is_there { "not set" } else { "no such file" };
        Ok(Ok(Some(Change {
            code,
            file: escape(file).into_owned(),
            what: key(),
            before: before.as_ref().map_or_else(|| absent.to_owned(), shown),
            after: value.map_or_else(|| "taken out".to_owned(), shown),
        })))
    }

    /// Returns true if another edit has set the same; refuses one that has set something else there, or what it
    /// lies in.
    fn is_set(&mut self, code: Code, (file, path): (&str, &[String]), value: Option<&Value>) -> Result<bool> {
        let is_same = |set: &Setting| set.path == path && set.value.as_ref() == value;
        let mut of_file = self.set.iter().filter(|set| set.file == file);
        let clash =
            of_file.find(|set| !is_same(set) && (set.path.starts_with(path) || path.starts_with(&set.path)));
        if let Some(Setting { path: other, code: by, .. }) = clash {
            let (one, two) = (escape(&other.join(".")).into_owned(), escape(&path.join(".")).into_owned());
            let what = if one == two { one } else { format!("{one} and {two}") };
            return Err(Error::input(format!(
                "{}: {by} and {code} make different things of {what}; fix {by} first, then {code} in its result",
                escape(file)
            )));
        }
        let is_known = self.set.iter().any(|set| set.file == file && is_same(set));
        self.set.push(Setting { code, file: file.to_owned(), path: path.to_vec(), value: value.cloned() });
        Ok(is_known)
    }

    /// Refuses to set what a conversion changes too.
    fn check_conversion(
        &self,
        code: Code,
        (file, path): (&str, &[String]),
        value: Option<&Value>,
    ) -> Result<()> {
        let Some(by) = self.conversion.filter(|_| self.texts.iter().any(|text| text.file == file)) else {
            return Ok(());
        };
        let own = std::fs::read_to_string(self.checkpoint.files.folder.join(file)).ok();
        let own = own.and_then(|text| Json::parse(text).ok());
        let now = self.read(file).ok();
        let at = |json: &Option<Json>, length: usize| {
            json.as_ref().and_then(|json| json.get(&path[..length])).cloned()
        };
        let is_other = (1..=path.len()).any(|length| {
            let (own, now) = (at(&own, length), at(&now, length));
            own.is_some() != now.is_some() || length == path.len() && own != now
        });
        if is_other && at(&now, path.len()).as_ref() != value {
            let what = escape(&path.join(".")).into_owned();
            return Err(Error::input(format!(
                "{}: {code} sets {what}, and what {by} makes of the checkpoint changes it too; fix one of them alone",
                escape(file)
            )));
        }
        Ok(())
    }

    /// Returns a JSON file as it is now; an empty object if it is not there.
    fn read(&self, file: &str) -> std::result::Result<Json, String> {
        if let Some(text) = self.texts.iter().find(|text| text.file == file) {
            return Json::parse(text.content.clone());
        }
        let Some(copied) = self.copies.iter().find(|copied| copied.file == file) else {
            return Ok(Json::empty());
        };
        if copied.bytes > JSON_BYTES_MAX {
            return Err(format!("{} are more than is read of a JSON file", units::bytes(copied.bytes)));
        }
        let bytes = std::fs::read(&copied.from).map_err(|error| error.to_string())?;
        Json::parse(String::from_utf8(bytes).map_err(|error| format!("not text: {error}"))?)
    }
}

/// Refuses what is no name of a file in a folder.
fn check_name(code: Code, file: &str) -> Result<()> {
    if is_plain_name(file) && !RESERVED.contains(&file) {
        return Ok(());
    }
    Err(Error::input(format!("{code}: {} is no name of a file in the folder", escape(file))))
}

/// Returns true if two files hold the same bytes.
fn is_same(one: &Path, other: &Path, bytes: u64) -> bool {
    let is_long = bytes > JSON_BYTES_MAX;
    let read = |path: &Path| std::fs::read(path).ok();
    !is_long
        && std::fs::metadata(one).is_ok_and(|meta| meta.len() == bytes)
        && read(one).is_some_and(|content| read(other) == Some(content))
}

/// Returns a value as it is shown.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    cut_middle(&escape(&text), VALUE_CELLS).into_owned()
}
