//! Exporting to a new file: what the tab of values shows, as JSON or CSV, as `ckpt stats` prints it; or a comparison, as the
//! JSON of `ckpt diff`.

use tui_input::Input;

use super::compare::{Compare, Stage};
use super::values::Looked;
use super::{App, Effect, Overlay, Tab, keys, shell_path};
use crate::name::json;
use crate::stats::report::difference::Difference;
use crate::stats::report::norms::{NormsDocument, write_csv};
use crate::stats::report::{Document, Entry, csv, find_odd, unread_files};

/// Asks for the file.
pub(super) fn export(app: &mut App) -> Vec<Effect> {
    app.overlay = Some(Overlay::Export(Input::from("ckpt.json")));
    Vec::new()
}

/// There is something to export.
pub(super) fn can_export(app: &App) -> Result<(), String> {
    if let Some(compare) = app.exported_comparison() {
        return match &compare.stage {
            Stage::Done => Ok(()),
            Stage::Failed(why) => Err(why.clone()),
            Stage::Opening | Stage::Matching | Stage::Running | Stage::Stopped(_) => {
                Err("not all pairs are compared".into())
            }
        };
    }
    super::values::needs_values(app)?;
    match app.values_looked() {
        Looked::Seen(_) => Ok(()),
        Looked::Failed(_) | Looked::Nothing(_) => Err("no values are here to export".into()),
        Looked::Reading(_) | Looked::Stopped(_) => Err("not all values are read".into()),
    }
}

impl App {
    /// Returns the comparison, if it is what would be exported.
    #[must_use]
    pub fn exported_comparison(&self) -> Option<&Compare> {
        self.compare().filter(|_| self.tab != Tab::Values)
    }

    pub(super) fn export_key(&mut self, mut input: Input, key: &str) -> Vec<Effect> {
        match key {
            "esc" => return Vec::new(),
            "enter" if !input.value().trim().is_empty() => match self.exported(input.value().trim()) {
                Ok(effect) => return vec![effect],
                Err(why) => self.toast = Some(why),
            },
            _ => {
                keys::edit(&mut input, key);
            }
        }
        self.overlay = Some(Overlay::Export(input));
        Vec::new()
    }

    /// Returns what is to be written to a file.
    fn exported(&mut self, path: &str) -> Result<Effect, String> {
        can_export(self)?;
        let of_both = self.exported_comparison();
        let is_csv = match path.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()) {
            Some(extension) if extension == "json" => false,
            Some(extension) if extension == "csv" && of_both.is_none() => true,
            _ if of_both.is_some() => return Err("its name is to end in .json".into()),
            _ => return Err("its name is to end in .json or .csv".into()),
        };
        let (text, command) = match of_both {
            Some(compare) => (compare.export_text(), self.diff_command()),
            None => (self.export_text(is_csv), self.values_command()),
        };
        let text = text.ok_or("nothing is here to export")?.map_err(|error| error.to_string())?;
        let text = String::from_utf8(text).map_err(|error| error.to_string())?;
        let flag = if is_csv { "--csv" } else { "--json" };
        self.log.extend(command.map(|command| format!("{command} {flag} > {}", shell_path(path))));
        Ok(Effect::Export(path.to_owned(), text))
    }

    /// Returns what `ckpt stats` prints of the layer and the part that show, or of its norms.
    fn export_text(&self, is_csv: bool) -> Option<std::io::Result<Vec<u8>>> {
        let (figures, key) = (self.values.figures()?, self.values.key()?);
        let checkpoint = &self.ready()?.checkpoint;
        let summary = figures.summary.clone().without_counts();
        let mut entries = [Entry::of(checkpoint, key.of, figures.part, Ok(summary))];
        let files = unread_files(checkpoint);
        let mut out = Vec::new();
        let written = if let Some(list) = &self.values.list {
            let document = NormsDocument { entries: &entries, files: &files, axis: list.axis };
            if is_csv { write_csv(&document, &mut out) } else { json::write(&mut out, &document) }
        } else {
            find_odd(&mut entries);
            let document = Document { entries: &entries, files: &files };
            if is_csv { csv::write(&document, &mut out) } else { json::write(&mut out, &document) }
        };
        if !is_csv {
            out.push(b'\n');
        }
        Some(written.map(|()| out))
    }
}

impl Compare {
    /// Returns what `ckpt diff --values --json` prints of both.
    fn export_text(&self) -> Option<std::io::Result<Vec<u8>>> {
        let facts = self.facts.as_ref()?;
        let mut found = Difference::of([&facts.of[0], &facts.of[1]], &facts.matched, &|_| true);
        for at in found.comparable() {
            found.entries[at].values = self.table.known.get(at)?.clone()?.into();
        }
        let mut out = Vec::new();
        let written = json::write(&mut out, &found.document(true));
        out.push(b'\n');
        Some(written.map(|()| out))
    }
}
