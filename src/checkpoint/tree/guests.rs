//! Guests: rows of layers that only another checkpoint has, at the end of what they belong to; and which layers show.
//!
//! A guest belongs to a node of this tree, or to none: then it stands at the end of all. Alike ones are one row: those
//! of the members of a fold that stand for each other, and those of one node whose names differ by numbers only
//! (`layers.28-31.q_proj`). A flat list has a row for each. In tensor mode there are none.

use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::filter::{Filter, Is, TermKind};
use super::structure::is_number;
use super::text::{RowText, State};
use super::words::{Fuzzy, Text};
use super::{Mode, Row, RowKind, Sort, Tree};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::names::{NONE, NodeId};

/// A layer that only another checkpoint has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// The layer there.
    pub layer: u32,
    /// What it is called, as names are here.
    pub name: String,
    /// The node that it belongs to; `NONE` where that is none.
    pub above: NodeId,
    /// What of its name comes behind that node's.
    pub label: String,
}

/// Which layers show; a fold whose members differ in that is unfolded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// By layer.
    pub layers: Vec<bool>,
    /// True if guests do.
    pub guests: bool,
}

/// The guests of a tree.
#[derive(Debug, Default)]
pub struct Guests {
    of: Option<Arc<Checkpoint>>,
    list: Vec<Guest>,
    /// By guest: equal for those that may be one row.
    kinds: Vec<u32>,
    /// The nodes that they belong to, ascending.
    aboves: Vec<NodeId>,
    /// By what they belong to, in its fold's first member.
    rows: Vec<GuestRow>,
    /// The row of each guest; `NONE` where it does not show.
    row_of: Vec<u32>,
}

/// Guests that are one row.
#[derive(Debug)]
struct GuestRow {
    above: NodeId,
    label: String,
    members: Vec<u32>,
}

impl Guests {
    /// Returns layers that only another checkpoint has, told by which of them may be one row.
    #[must_use]
    pub fn of(other: &Arc<Checkpoint>, list: Vec<Guest>) -> Self {
        let mut known = FxHashMap::default();
        let kinds = list.iter().map(|guest| {
            let (next, spec) = (known.len() as u32, other.layers.list()[guest.layer as usize].spec);
            *known.entry((pattern(&guest.label), spec)).or_insert(next)
        });
        let kinds = kinds.collect();
        let mut aboves: Vec<NodeId> = list.iter().map(|guest| guest.above).collect();
        aboves.sort_unstable();
        Self { of: Some(Arc::clone(other)), list, kinds, aboves, rows: Vec::new(), row_of: Vec::new() }
    }

    /// Returns the rows that belong to a node.
    fn of_node(&self, above: NodeId) -> &[GuestRow] {
        let first = self.rows.partition_point(|row| row.above < above);
        let rest = &self.rows[first..];
        &rest[..rest.partition_point(|row| row.above == above)]
    }

    pub(super) fn has(&self, above: NodeId) -> bool {
        !self.of_node(above).is_empty()
    }

    fn row(&self, guest: u32) -> Option<&GuestRow> {
        self.rows.get(*self.row_of.get(guest as usize)? as usize)
    }
}

impl Tree {
    /// Takes layers that only another checkpoint has; those it had are gone.
    pub fn set_guests(&mut self, checkpoint: &Checkpoint, guests: Guests) {
        self.guests = guests;
        self.refilter(checkpoint);
    }

    /// Lets guests go, and shows all layers.
    pub fn clear_guests(&mut self, checkpoint: &Checkpoint) {
        if self.guests.list.is_empty() && self.shown.is_none() {
            return;
        }
        (self.guests, self.shown) = (Guests::default(), None);
        self.refilter(checkpoint);
    }

    /// Shows some layers only, as a filter does; all for `None`.
    pub fn set_shown(&mut self, checkpoint: &Checkpoint, shown: Option<Shown>) {
        if self.shown != shown {
            self.shown = shown;
            self.refilter(checkpoint);
        }
    }

    /// Makes the rows anew with what is to show; the cursor stays on its name.
    pub(super) fn refilter(&mut self, checkpoint: &Checkpoint) {
        let at = self.place();
        let filter = self.filter.take();
        if filter.is_some() || self.shown.is_some() {
            self.apply_filter(checkpoint, filter);
        } else if self.matches.is_some() {
            self.clear_filter(checkpoint);
        } else {
            self.reflow(checkpoint);
        }
        self.return_to(checkpoint, at);
    }

    /// Returns the layers of the other checkpoint that a row stands for; none for rows of this one.
    #[must_use]
    pub fn guests(&self, row: usize) -> Vec<&Guest> {
        let Some(Row { kind: RowKind::Guest(guest), .. }) = self.rows.get(row) else { return Vec::new() };
        let members = self.guests.row(*guest).map_or(&[][..], |row| &row.members);
        members.iter().filter_map(|guest| self.guests.list.get(*guest as usize)).collect()
    }

    /// Returns how many guests belong to what a row stands for, whether they show or not.
    #[must_use]
    pub fn guests_below(&self, checkpoint: &Checkpoint, row: usize) -> usize {
        let Some(row) = self.rows.get(row).filter(|row| !matches!(row.kind, RowKind::Guest(_))) else {
            return 0;
        };
        if self.guests.list.is_empty() {
            return 0;
        }
        let before = |node: NodeId| self.guests.aboves.partition_point(|above| *above < node);
        let within = |node: NodeId| before(checkpoint.files.names.end(node)) - before(node);
        self.alike_nodes(checkpoint, row.node).into_iter().map(within).sum()
    }

    /// Puts guests into rows, as folds are now.
    pub(super) fn settle_guests(&mut self, checkpoint: &Checkpoint) {
        let mut guests = std::mem::take(&mut self.guests);
        guests.rows.clear();
        guests.row_of = vec![NONE; guests.list.len()];
        let mut places: FxHashMap<(NodeId, u32), usize> = FxHashMap::default();
        let mut last = (NONE, NONE);
        for (at, guest) in guests.list.iter().enumerate().filter(|_| self.mode == Mode::Layers) {
            if !self.takes(&guests, at) {
                continue;
            }
            // Neighbors mostly belong to the same node.
            if guest.above != last.0 {
                last = (guest.above, self.represented(checkpoint, guest.above));
            }
            let above = if guest.above == NONE { NONE } else { last.1 };
            let kind = if self.sort == Sort::Natural { guests.kinds[at] } else { at as u32 };
            let place = *places.entry((above, kind)).or_insert(guests.rows.len());
            if place == guests.rows.len() {
                guests.rows.push(GuestRow { above, label: guest.label.clone(), members: Vec::new() });
            }
            guests.rows[place].members.push(at as u32);
        }
        guests.rows.sort_by_key(|row| row.above);
        for (place, row) in (0..).zip(&mut guests.rows) {
            for guest in &row.members {
                guests.row_of[*guest as usize] = place;
            }
            row.label = spanned(row.members.iter().map(|guest| guests.list[*guest as usize].label.as_str()));
        }
        self.guests = guests;
    }

    /// Returns the guests that show as they are now filtered, with what they belong to.
    pub(super) fn taken_guests(&self) -> Vec<NodeId> {
        let taken = |(at, guest): (usize, &Guest)| self.takes(&self.guests, at).then_some(guest.above);
        self.guests.list.iter().enumerate().filter(|_| self.mode == Mode::Layers).filter_map(taken).collect()
    }

    fn takes(&self, guests: &Guests, at: usize) -> bool {
        let is_hit = |filter: &Filter| {
            guests
                .of
                .as_ref()
                .is_some_and(|of| filter.takes(&guests.list[at].name, of, guests.list[at].layer))
        };
        self.shown.as_ref().is_none_or(|shown| shown.guests) && self.filter.as_ref().is_none_or(is_hit)
    }

    /// Appends the rows that belong to a node, behind all that is below it.
    pub(super) fn push_guests(
        &self,
        checkpoint: &Checkpoint,
        above: NodeId,
        (depth, joined): (u8, u8),
        rows: &mut Vec<Row>,
    ) {
        let names = &checkpoint.files.names;
        let end = if above == NONE { names.len() as u32 } else { names.end(above) };
        let node = end.saturating_sub(1);
        let of_node = self.guests.of_node(above).iter().filter_map(|row| row.members.first());
        rows.extend(of_node.map(|first| Row { node, kind: RowKind::Guest(*first), depth, joined }));
    }

    /// Appends the guests of the nodes that have ended before a node.
    pub(super) fn end_above(
        &self,
        checkpoint: &Checkpoint,
        node: NodeId,
        above: &mut Vec<(NodeId, (u8, u8))>,
        rows: &mut Vec<Row>,
    ) {
        while let Some((of, place)) = above.pop_if(|(of, _)| checkpoint.files.names.end(*of) <= node) {
            self.push_guests(checkpoint, of, place, rows);
        }
    }

    /// Puts all guests into a flat list: by difference behind what lies apart, else behind all.
    pub(super) fn insert_guests(&self, rows: &mut Vec<Row>) {
        let is_before = |row: &Row| match row.kind {
            RowKind::Layer(layer) if self.sort == Sort::Difference => {
                self.differences.get(layer as usize).is_some_and(|far| *far > self.guest_weight)
            }
            _ => self.sort != Sort::Difference,
        };
        let at = rows.partition_point(is_before);
        let mut members: Vec<u32> =
            self.guests.rows.iter().flat_map(|row| row.members.iter().copied()).collect();
        members.sort_unstable();
        let row = |guest| Row { node: NONE, kind: RowKind::Guest(guest), depth: 0, joined: 0 };
        rows.splice(at..at, members.into_iter().map(row));
    }

    /// Returns the row of the list that a guest is in now.
    pub(super) fn row_of_guest(&self, guest: u32) -> Option<usize> {
        let first = *self.guests.row(guest)?.members.first()?;
        self.rows.iter().position(|row| row.kind == RowKind::Guest(first))
    }

    /// Returns the node that a row belongs to: its own, or of a guest the one above.
    pub(super) fn home(&self, row: &Row) -> NodeId {
        match row.kind {
            RowKind::Guest(guest) => self.guests.row(guest).map_or(NONE, |row| row.above),
            _ => row.node,
        }
    }

    /// Puts the cursor on a guest, and opens what hides it. Returns the row.
    pub(super) fn select_guest(&mut self, checkpoint: &Checkpoint, guest: u32) -> Option<usize> {
        let above = self.guests.row(guest)?.above;
        if self.sort == Sort::Natural && above != NONE {
            self.reveal(checkpoint, above);
            self.open.set(above);
            self.reflow(checkpoint);
        }
        self.set_cursor(self.row_of_guest(guest)?);
        Some(self.cursor)
    }

    /// Returns the first guest of each row, with the node that it belongs to and the one that it stands before.
    pub(super) fn guest_places(&self, checkpoint: &Checkpoint) -> Vec<(u32, NodeId, NodeId)> {
        let names = &checkpoint.files.names;
        let end = |above| if above == NONE { names.len() as u32 } else { names.end(above) };
        let place = |row: &GuestRow| Some((*row.members.first()?, row.above, end(row.above)));
        self.guests.rows.iter().filter_map(place).collect()
    }

    /// Returns what the row of a guest says by itself.
    pub(super) fn describe_guest(&self, checkpoint: &Checkpoint, row: Row, guest: u32, text: &mut RowText) {
        let Some((at, of)) = self.guests.row(guest).zip(self.guests.of.as_ref()) else { return };
        let names = &checkpoint.files.names;
        let mut parts = Vec::new();
        let mut node = at.above;
        for _ in 0..row.joined {
            parts.push(names.label(node));
            node = names.parent(node);
        }
        parts.reverse();
        parts.push(&at.label);
        text.label = parts.join(".");
        if self.sort != Sort::Natural {
            text.label.clone_from(&self.guests.list[guest as usize].name);
        }
        super::text::describe_layer(of, self.guests.list[guest as usize].layer, text);
        text.alike = at.members.len() as u64;
        text.state = State::Guest;
    }
}

impl Filter {
    /// Returns true if it leaves a layer of another checkpoint, which is called so here.
    fn takes(&self, name: &str, of: &Checkpoint, layer: u32) -> bool {
        let spec = of.layers.spec(layer);
        let parts = || name.split('.');
        let any = |text: &Text| parts().any(|part| text.is_in(part));
        self.terms().iter().all(|term| {
            let holds = match &term.kind {
                TermKind::Word(word) => any(word),
                TermKind::Path(pieces) => Text::join(pieces).is_in(name),
                TermKind::Fuzzy(word) => {
                    let mut fuzzy = Fuzzy::new(word);
                    parts().any(|part| fuzzy.matches(part))
                }
                TermKind::Dtype(text) => of.layers.tensors(layer).iter().any(|&tensor| {
                    let dtype = of.files.tensors[tensor as usize].dtype;
                    dtype.name().to_ascii_lowercase().starts_with(text.as_str())
                }),
                TermKind::Shard(_) | TermKind::Is(Is::Tied | Is::Odd) => false,
                TermKind::Is(Is::Broken) => !spec.broken.is_empty(),
                kind => super::matches::of_spec(kind, spec, Mode::Layers),
            };
            holds != term.is_negated
        })
    }
}

/// Returns a name with a sign for each component that is a number.
fn pattern(label: &str) -> String {
    let part = |part| if is_number(part) { "#" } else { part };
    label.split('.').map(part).collect::<Vec<_>>().join(".")
}

/// Returns one name for several that differ by numbers: each number that is not in all is the least and the largest.
fn spanned<'a>(mut labels: impl Iterator<Item = &'a str>) -> String {
    let Some(first) = labels.next() else { return String::new() };
    let mut ends: Vec<Range<&str>> = first.split('.').map(|part| part..part).collect();
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    for label in labels {
        for (ends, part) in ends.iter_mut().zip(label.split('.')).filter(|(ends, part)| ends.start != *part) {
            ends.start = if number(part) < number(ends.start) { part } else { ends.start };
            ends.end = if number(part) > number(ends.end) { part } else { ends.end };
        }
    }
    let part = |ends: Range<&str>| {
        if ends.start == ends.end { ends.start.to_owned() } else { format!("{}-{}", ends.start, ends.end) }
    };
    ends.into_iter().map(part).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests;
