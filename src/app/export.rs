//! Exporting: what the tab of values shows, in a new file, as JSON or CSV: what `ckpt stats` prints of it.

use tui_input::Input;

use super::values::Looked;
use super::{App, Effect, Overlay, keys, shell_path};
use crate::name::json;
use crate::stats::report::norms::{NormsDocument, write_csv};
use crate::stats::report::{Document, Entry, csv, find_odd, unread_files};

/// Asks for the file.
pub(super) fn export(app: &mut App) -> Vec<Effect> {
    app.overlay = Some(Overlay::Export(Input::from("ckpt.json")));
    Vec::new()
}

/// There is something to export.
pub(super) fn can_export(app: &App) -> Result<(), String> {
    if app.compare().is_some() && app.tab != super::Tab::Values {
        return Err("ckpt diff --json writes a comparison (Y copies its command)".into());
    }
    super::values::needs_values(app)?;
    match app.values_looked() {
        Looked::Seen(_) => Ok(()),
        Looked::Failed(_) | Looked::Nothing(_) => Err("no values are here to export".into()),
        Looked::Reading(_) | Looked::Stopped(_) => Err("not all values are read".into()),
    }
}

impl App {
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
        let is_csv = match path.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()) {
            Some(extension) if extension == "csv" => true,
            Some(extension) if extension == "json" => false,
            _ => return Err("its name is to end in .json or .csv".into()),
        };
        can_export(self)?;
        let text = self.export_text(is_csv).ok_or("no values are here to export")?;
        let text = String::from_utf8(text.map_err(|error| error.to_string())?).map_err(|e| e.to_string())?;
        let flag = if is_csv { "--csv" } else { "--json" };
        let command = self.values_command().map(|command| format!("{command} {flag} > {}", shell_path(path)));
        self.log.extend(command);
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
