//! The fields of a form: what can be asked, and what decides whether it is.

use crate::adapter::repair::{Asks, Wishes};
use crate::engine::Options;
use crate::plan::Order;

/// One value of a field.
#[derive(Clone, Copy)]
pub struct Choice {
    /// Its word.
    pub word: &'static str,
    /// What it does.
    pub about: &'static str,
    /// What the command line says for it; nothing for its default.
    pub flag: &'static str,
    /// What it makes of the order and of how it is carried out.
    pub set: fn(&mut Order, &mut Options),
    /// What a repair is told.
    pub wish: fn(&mut Wishes),
    /// What the button says with it; nothing: what it always says.
    pub button: &'static str,
}

/// What a field holds.
#[derive(Clone, Copy)]
pub enum Kind {
    /// One of some values; the first is the default.
    Choice(&'static [Choice]),
    /// The folder that is made.
    Folder,
    /// Patterns of layer names, separated by blanks.
    Globs {
        /// What no pattern means.
        empty: &'static str,
        /// What the command line says before each.
        flag: &'static str,
        /// Where they go.
        set: fn(&mut Order, Vec<String>),
    },
    /// What the deltas of an adapter are multiplied by: the number of the adapter.
    Scale(usize),
    /// Something that a repair is told.
    Wish {
        /// What no text means.
        empty: &'static str,
        /// What the command line says before it.
        flag: &'static str,
        /// Where it goes; false if it is not what is asked for.
        set: fn(&mut Wishes, &str) -> bool,
    },
    /// What starts it, and what it says.
    Button(&'static str),
}

impl Kind {
    /// Returns true if any letter is text in it.
    #[must_use]
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Folder | Self::Globs { .. } | Self::Wish { .. })
    }
}

/// A field: a row of the table of a form.
#[derive(Clone, Copy)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What it is for, or why it has no other value.
    pub about: &'static str,
    /// True if it means something for what was seen.
    pub applies: fn(&Seen) -> bool,
    /// True if its value is about what stands in the folder: another folder begins with the default.
    pub is_of_folder: bool,
}

/// What decides which fields apply.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
pub struct Seen {
    /// True if the tensors have the names of a GGUF file.
    pub is_gguf: bool,
    /// True if a layer is quantized.
    pub is_quantized: bool,
    /// True if a layer is quantized in a format that can be written.
    pub is_writable: bool,
    /// True if several adapters are merged.
    pub is_several: bool,
    /// What a repair has to be told.
    pub asks: Asks,
    /// True if a layer is broken.
    pub is_broken: bool,
    /// True if a module of the adapter does not fit.
    pub is_misaligned: bool,
    /// What stands where the result goes.
    pub there: There,
    /// True if the plan decodes, merges or encodes something.
    pub is_computed: bool,
    /// The word of what layers become.
    pub to: &'static str,
}

/// What stands where the result goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum There {
    /// Nothing, or what no run may touch.
    #[default]
    Nothing,
    /// What an earlier run left.
    Unfinished(Content),
    /// A checkpoint, or an empty folder.
    Checkpoint(Content),
}

/// What a folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Names of its files, in order.
    pub files: Vec<String>,
    /// Their bytes, in sum.
    pub bytes: u64,
}
