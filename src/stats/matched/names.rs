//! Names: what the layers of either side are called where they are matched.

use super::Side;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::gguf_names::{Fate, GgufNames};
use crate::error::{Error, Result};
use crate::name::escape;
use crate::quant::change::Change;

/// What is stripped of names, and what names of A are called in B.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameMap {
    /// Prefixes of names of A, of which the first that fits is stripped, with the dot behind it.
    pub strip_a: Vec<String>,
    /// Prefixes of names of B.
    pub strip_b: Vec<String>,
    /// What a name of A is, when prefixes are stripped, and what it is called in B; a `*` in both stands for the same
    /// text. The first that fits counts.
    pub renames: Vec<(String, String)>,
}

impl NameMap {
    /// Returns a map from what a command line says: prefixes of either side, and `FROM=TO` of names.
    ///
    /// # Errors
    /// One has no `=`, is empty on a side, or has a `*` on one side only or more than one on a side.
    pub fn parse(strip_a: &[String], strip_b: &[String], renames: &[String]) -> Result<Self> {
        let renames: Result<Vec<_>> = renames.iter().map(|text| parse(text)).collect();
        Ok(Self { strip_a: strip_a.to_vec(), strip_b: strip_b.to_vec(), renames: renames? })
    }

    fn strips(&self, side: Side) -> &[String] {
        match side {
            Side::A => &self.strip_a,
            Side::B => &self.strip_b,
        }
    }
}

fn parse(text: &str) -> Result<(String, String)> {
    let refused = |why: &str| Error::input(format!("--map {}: {why}", escape(text)));
    let (from, to) = text.split_once('=').ok_or_else(|| refused("not FROM=TO"))?;
    if from.is_empty() || to.is_empty() {
        return Err(refused("a name is empty"));
    }
    match (from.matches('*').count(), to.matches('*').count()) {
        (0, 0) | (1, 1) => Ok((from.to_owned(), to.to_owned())),
        _ => Err(refused("one * on each side, or none")),
    }
}

/// Returns what a name becomes by a rename; `None` if it does not fit.
fn renamed(name: &str, (from, to): &(String, String)) -> Option<String> {
    let Some((before, after)) = from.split_once('*') else {
        return (name == from).then(|| to.clone());
    };
    let text = name.strip_prefix(before)?.strip_suffix(after)?;
    Some(to.replacen('*', text, 1))
}

/// Returns what is left of a name without a prefix; `None` if it does not begin so.
fn stripped<'n>(name: &'n str, prefix: &str) -> Option<&'n str> {
    let rest = name.strip_prefix(prefix)?;
    let rest = if prefix.ends_with('.') { rest } else { rest.strip_prefix('.')? };
    (!rest.is_empty()).then_some(rest)
}

/// Last names of layers that may be tied to the embeddings.
const HEADS: [&str; 3] = ["lm_head", "embed_out", "output"];

/// Returns true for the name of a head.
pub(super) fn is_head(name: &str) -> bool {
    HEADS.contains(&name.rsplit('.').next().unwrap_or(name))
}

/// What a layer is called where it is matched.
pub(super) struct Called {
    pub(super) name: String,
    /// What becomes of its values.
    pub(super) change: Change,
    /// True if no model has it: it follows from the metadata.
    pub(super) is_dropped: bool,
}

/// Calls layers by the names under which they are matched.
pub(super) struct Caller<'a> {
    of: [&'a Checkpoint; 2],
    names: &'a NameMap,
    /// Hugging Face's names for a GGUF file, if the other side is none.
    gguf: [Option<GgufNames>; 2],
}

impl<'a> Caller<'a> {
    pub(super) fn new(of: [&'a Checkpoint; 2], names: &'a NameMap, notes: &mut Vec<String>) -> Self {
        let is_gguf = of.map(|of| of.files.container.name() == "gguf");
        let mut gguf = [None, None];
        for side in Side::BOTH {
            if !is_gguf[side as usize] || is_gguf == [true; 2] {
                continue;
            }
            match GgufNames::of(&of[side as usize].files) {
                Ok(names) => gguf[side as usize] = Some(names),
                Err((_, why)) => notes.push(format!(
                    "{} is a GGUF file whose names and order of rows are taken as they are: {why}",
                    side.name()
                )),
            }
        }
        Self { of, names, gguf }
    }

    /// Returns what the layers of a side are called; says which prefixes and renames fitted none.
    pub(super) fn called(&self, side: Side, notes: &mut Vec<String>) -> Vec<Called> {
        let of = self.of[side as usize];
        let strips = self.names.strips(side);
        let renames = if side == Side::A { &self.names.renames[..] } else { &[] };
        let (mut stripped_by, mut renamed_by) = (vec![false; strips.len()], vec![false; renames.len()]);
        let called = (0..of.layers.len() as u32).map(|layer| {
            let mut called = self.own(side, of.layers.name(&of.files.names, layer));
            let fits =
                |(at, prefix): (usize, &String)| Some((at, stripped(&called.name, prefix)?.to_owned()));
            if let Some((at, rest)) = strips.iter().enumerate().find_map(fits) {
                stripped_by[at] = true;
                called.name = rest;
            }
            let fits = |(at, rename)| Some((at, renamed(&called.name, rename)?));
            if let Some((at, name)) = renames.iter().enumerate().find_map(fits) {
                renamed_by[at] = true;
                called.name = name;
            }
            called
        });
        let called = called.collect();
        let unused = |by: &[bool]| by.iter().position(|by| !by);
        let side = side.name();
        if let Some(at) = unused(&stripped_by) {
            notes.push(format!("no name of {side} begins with {}", escape(&strips[at])));
        }
        if let Some(at) = unused(&renamed_by) {
            notes.push(format!("no name of {side} is {}", escape(&renames[at].0)));
        }
        called
    }

    /// Returns what a layer of this name is called before anything is stripped.
    fn own(&self, side: Side, name: String) -> Called {
        let fate = self.gguf[side as usize].as_ref().and_then(|gguf| gguf.fate(&format!("{name}.weight")));
        match fate {
            Some(Fate::Named(full, change)) => {
                let name = full.strip_suffix(".weight").unwrap_or(&full).to_owned();
                Called { name, change, is_dropped: false }
            }
            Some(Fate::Dropped) => Called { name, change: Change::None, is_dropped: true },
            None => Called { name, change: Change::None, is_dropped: false },
        }
    }
}
