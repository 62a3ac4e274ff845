//! Picker: choosing what to open: a typed path or Hub name, or a recent, cached or near checkpoint.
//!
//! Names are there at once; what each place holds comes from its headers, as they are read by a job.

use tui_input::Input;

use super::keys;
use crate::stats::matched::NameMap;

/// A place that can be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Under which heading it stands.
    pub group: Group,
    /// What to open.
    pub path: String,
    /// What to show.
    pub label: String,
    /// A note: `main`, `2 revisions`, `download incomplete`.
    pub note: String,
    /// What it holds, once read.
    pub facts: Facts,
}

/// The headings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Open in this session.
    Open,
    /// Opened before.
    Recent,
    /// Beside the checkpoint that an adapter is looked for.
    Beside,
    /// In the Hub cache.
    Hub,
    /// In the working folder and below.
    Here,
}

impl Group {
    /// Returns the heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Recent => "recent",
            Self::Beside => "beside this checkpoint",
            Self::Hub => "in the Hub cache",
            Self::Here => "here",
        }
    }
}

/// What a place holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Facts {
    /// Its headers have not been read yet.
    #[default]
    Unknown,
    /// It is there.
    Known {
        /// Format words: `GPTQ4 g128`.
        format: String,
        /// Bytes of its tensors.
        bytes: u64,
        /// Weight files.
        shards: usize,
        /// Error problems.
        errors: usize,
    },
    /// It cannot be opened, and why in a few words.
    Gone(String),
}

/// The picker.
#[derive(Default)]
pub struct Picker {
    /// What is typed.
    pub input: Input,
    /// The places, once they were looked for.
    pub places: Option<Vec<Place>>,
    /// Places that are open, which stand first.
    pub open: Vec<Place>,
    /// Row under the cursor.
    pub cursor: usize,
    /// True if no checkpoint is open behind it.
    pub is_first: bool,
    /// What a place is chosen for.
    pub purpose: Purpose,
    /// How names are matched, of what is chosen to be compared: as `NAMES` calls them.
    pub names: [Input; 3],
    /// Which of them is typed in; `None` while the place is.
    pub in_name: Option<usize>,
    /// Why they cannot be.
    pub refused: Option<String>,
}

/// What is asked of names, by the flags of the command line: each with what it takes.
pub const NAMES: [(&str, &str); 3] = [
    ("strip-prefix-a", "prefix that A has and B has not; a blank separates"),
    ("strip-prefix-b", "prefix that B has and A has not; a blank separates"),
    ("map", "FROM=TO: a name of A and what B calls it; one * each"),
];

/// What a place is chosen for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To be opened.
    #[default]
    Open,
    /// To be attached, as an adapter, to the checkpoint that is shown.
    Attach,
    /// To be merged, as an adapter, with those of the form.
    Merge,
    /// To be opened as the base of the adapter that is shown, which is attached to it.
    Base,
    /// To be compared with the checkpoint that is shown.
    Compare,
}

impl Purpose {
    /// Returns true if adapters are looked for.
    #[must_use]
    pub fn is_adapter(self) -> bool {
        matches!(self, Self::Attach | Self::Merge)
    }
}

/// What a key did.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The picker stays.
    Stay,
    /// It closes.
    Close,
    /// The workbench ends.
    Quit,
    /// It closes, and this is opened.
    Open(String),
}

impl Picker {
    /// Returns the places that match what is typed, with their index.
    #[must_use]
    pub fn shown(&self) -> Vec<(usize, &Place)> {
        let typed = self.input.value().to_lowercase();
        let words: Vec<&str> = typed.split_whitespace().collect();
        let places = self.places.as_deref().unwrap_or(&self.open);
        let matches = |place: &Place| {
            let text = format!("{} {}", place.label, place.path).to_lowercase();
            words.iter().all(|word| text.contains(word))
        };
        places.iter().enumerate().filter(|(_, place)| matches(place)).collect()
    }

    /// Takes the places that were found.
    pub fn take(&mut self, found: Vec<Place>) {
        let mut places = self.open.clone();
        places.extend(found);
        self.places = Some(places);
    }

    /// Takes facts about a place. By its path: the list can be another than the one that was read for.
    pub fn learn(&mut self, path: &str, facts: &Facts) {
        for place in self.places.iter_mut().flatten().filter(|place| place.path == path) {
            place.facts = facts.clone();
        }
    }

    /// Returns how names are to be matched, as they are typed: the words of the command line, separated by blanks.
    ///
    /// # Errors
    /// A map is none, in the words of the command line.
    pub fn name_map(&self) -> Result<NameMap, String> {
        let [a, b, map] = self
            .names
            .each_ref()
            .map(|input| input.value().split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        NameMap::parse(&a, &b, &map).map_err(|error| error.message)
    }

    /// Writes how names are matched into the fields.
    pub fn fill_names(&mut self, names: &NameMap) {
        let map: Vec<String> = names.renames.iter().map(|(from, to)| format!("{from}={to}")).collect();
        let lists = [&names.strip_a, &names.strip_b, &map];
        self.names = lists.map(|list| Input::new(list.join(" ")));
    }

    /// Inserts pasted text.
    pub fn insert(&mut self, text: &str) {
        if let Some(field) = self.in_name {
            return keys::insert(&mut self.names[field], text);
        }
        keys::insert(&mut self.input, text);
        self.cursor = 0;
    }

    /// Takes a key.
    pub fn key(&mut self, key: &str) -> Answer {
        let last = self.shown().len().saturating_sub(1);
        self.refused = None;
        if let Some(field) = self.in_name {
            match key {
                "esc" => self.in_name = None,
                "tab" => self.in_name = (field + 1 < NAMES.len()).then_some(field + 1),
                "backtab" => self.in_name = field.checked_sub(1),
                "down" | "ctrl-n" => self.cursor = (self.cursor + 1).min(last),
                "up" | "ctrl-p" => self.cursor = self.cursor.saturating_sub(1),
                "ctrl-c" => return Answer::Quit,
                "enter" => return self.chosen().map_or(Answer::Stay, Answer::Open),
                _ => {
                    keys::edit(&mut self.names[field], key);
                }
            }
            return Answer::Stay;
        }
        match key {
            "backtab" if self.purpose == Purpose::Compare => self.in_name = Some(NAMES.len() - 1),
            "tab" if self.purpose == Purpose::Compare && !self.completes() => self.in_name = Some(0),
            "esc" if self.input.value().is_empty() => return Answer::Close,
            "ctrl-c" => return Answer::Quit,
            "q" if self.input.value().is_empty() => {
                return if self.is_first { Answer::Quit } else { Answer::Close };
            }
            "esc" => self.input = Input::default(),
            "down" | "ctrl-n" => self.cursor = (self.cursor + 1).min(last),
            "up" | "ctrl-p" => self.cursor = self.cursor.saturating_sub(1),
            "tab" => self.complete(),
            "enter" => return self.chosen().map_or(Answer::Stay, Answer::Open),
            // With an empty field letters are the habits of every list; a path begins with none of them alone.
            "j" if self.input.value().is_empty() => self.cursor = (self.cursor + 1).min(last),
            "k" if self.input.value().is_empty() => self.cursor = self.cursor.saturating_sub(1),
            _ => {
                if keys::edit(&mut self.input, key) {
                    self.cursor = 0;
                }
            }
        }
        Answer::Stay
    }

    /// Returns true if there is something to complete what is typed to.
    fn completes(&self) -> bool {
        let shown = self.shown();
        let marked = shown.get(self.cursor);
        !self.input.value().is_empty() && marked.is_some_and(|(_, place)| place.path != self.input.value())
    }

    /// Puts the path under the cursor into the field.
    fn complete(&mut self) {
        if let Some((_, place)) = self.shown().get(self.cursor) {
            self.input = Input::new(place.path.clone());
            self.cursor = 0;
        }
    }

    fn chosen(&self) -> Option<String> {
        let typed = self.input.value().trim();
        let shown = self.shown();
        // What is typed as a path is meant as one; else the marked row is.
        let is_path = typed.starts_with(['/', '.', '~']) || shown.is_empty();
        if is_path && !typed.is_empty() {
            return Some(typed.to_owned());
        }
        shown.get(self.cursor).map(|(_, place)| place.path.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Place {
        Place {
            group: Group::Here,
            path: path.into(),
            label: path.into(),
            note: String::new(),
            facts: Facts::Unknown,
        }
    }

    #[test]
    fn what_is_typed_filters_and_enter_opens_the_marked_row() {
        let mut picker = Picker { places: Some(vec![place("a/gptq"), place("a/awq")]), ..Picker::default() };
        for key in ["a", "w"] {
            picker.key(key);
        }
        assert_eq!(picker.shown().len(), 1);
        assert_eq!(picker.key("enter"), Answer::Open("a/awq".into()));
        assert_eq!(picker.key("esc"), Answer::Stay);
        assert_eq!(picker.key("esc"), Answer::Close);
    }

    #[test]
    fn a_typed_path_is_opened_as_it_is() {
        let mut picker = Picker { places: Some(vec![place("/x/a")]), ..Picker::default() };
        picker.insert("/x/other");
        assert_eq!(picker.key("enter"), Answer::Open("/x/other".into()));
    }
}
