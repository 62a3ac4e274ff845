//! Encoding on a device: a slot decodes rows, rounds and encodes them in one pass, and the strands come back.

use std::ops::Range;

use super::driver::Fault;
use super::launch::Array;
use super::layer::{OnCard, Recipe};
use super::module::is_there;
use super::ring::Slot;
use super::{Cuda, Found, Why, codes_of, copy_back, copy_codes, fitting, passed, seen, span};
use crate::engine::ToEncode;
use crate::error::Result;
use crate::quant::decode::DecodeRows;
use crate::quant::kernel::{Kernel, Program, STRANDS, dtype_number};
use crate::tensor::Dtype;

/// Strands begin at multiples of so many bytes, as kernels store vectors.
const ALIGNED: u64 = 256;

/// Values that are encoded at a time at most: kernels count them in 32 bits.
const VALUES_MAX: usize = 1 << 30;

/// What each strand gets.
type Strands = Vec<Vec<u8>>;

impl Cuda {
    /// Encodes rows by kernels; `None` if the processor has to, and then that is counted.
    pub(super) fn encoded(&self, work: &ToEncode<'_>) -> Result<Option<Strands>> {
        let layer = self.layer(work.work.resident, || recipe(work));
        let Some((layer, recipe)) = layer.and_then(|layer| Some((layer, layer.recipe.as_ref()?))) else {
            return Ok(self.instead(Why::NoKernel));
        };
        let mut strands = Strands::new();
        let mut make = |slot: &mut Slot, on: &OnCard, rows: Range<u64>| {
            let refused = self.encode_piece(slot, work, (on, recipe), rows, &mut strands)?;
            Ok(if refused > 0 { Some(Why::Refused) } else { None })
        };
        let fits = |start, room| fitting_strands(work, start, room);
        let is_done = self.by_slot((layer, recipe), &work.work, &fits, &mut make)?;
        Ok(is_done.then_some(strands))
    }

    /// Encodes rows that a slot holds, and puts what the strands get behind what they have; returns how many values have
    /// no code.
    fn encode_piece(
        &self,
        slot: &mut Slot,
        work: &ToEncode<'_>,
        (on, recipe): (&OnCard, &Recipe),
        rows: Range<u64>,
        strands: &mut Strands,
    ) -> std::result::Result<u32, Fault> {
        let Some(encoder) = &on.encoder else { return Ok(1) };
        let places = places(&work.encoder.strand_bytes(rows.end - rows.start));
        let bytes = end_of(&places) as usize;
        // Blocks that may stay as they are stored are made behind those, and take their place where they do not. Codes
        // that have a say are held in place of the result, which then takes that of the bytes that they came of.
        let is_kept = on.keeper.is_some();
        let is_in_codes = is_kept || on.held.is_some();
        let found = if is_in_codes { Found::Codes } else { Found::Out };
        let behind = if is_kept { behind(bytes as u64) } else { 0 };
        let made: Vec<[u64; 2]> = places.iter().map(|[at, bytes]| [behind + at, *bytes]).collect();
        let timed = &self.cards[slot.card].timed;
        let (is_there, copied) = copy_codes(slot, timed, &work.work, on, rows.clone())?;
        let codes = codes_of(slot, &work.work, (on, is_there));
        let (launcher, span) = (self.launcher(slot), span(&work.work, &rows));
        let [values, before] = [&slot.values, &slot.out].map(|bytes| Array { bytes, dtype: Dtype::F32 });
        let to = if is_in_codes { &slot.codes } else { &slot.out };
        let done = on
            .run(recipe, launcher, codes, span, (&slot.values, values))
            .and_then(|()| on.round(recipe, launcher, span, values))
            .and_then(|()| on.hold(launcher, codes, span, before))
            .and_then(|held| launcher.encode(encoder, (values, held), span, (to, &made)))
            .and_then(|()| on.keep(launcher, span, (values, before), (&slot.codes, [behind, bytes as u64])))
            .and_then(|()| copy_back(slot, found, bytes));
        // As in `piece`: what was started is waited for in any case.
        let waited = slot.queue.wait();
        done.and(waited)?;
        timed.piece(slot, passed(&work.work, &rows, copied, bytes));
        strands.resize_with(places.len().max(strands.len()), Vec::new);
        timed.copy(bytes, || {
            for (strand, [at, bytes]) in strands.iter_mut().zip(places) {
                strand.extend_from_slice(&slot.output.bytes()[at as usize..][..bytes as usize]);
            }
        });
        let [_, refused] = seen(slot);
        Ok(refused)
    }
}

/// Returns how values are decoded, rounded and encoded; `None` if no kernels do that.
fn recipe(work: &ToEncode<'_>) -> Option<Recipe> {
    let encoder = work.encoder.kernel(work.largest).filter(|kernel| is_there(kernel.name))?;
    let mut recipe = Recipe::new(work.work.decoding.rows.program()?, Dtype::F32, Dtype::F32)?;
    // What no kernel rounds to.
    if work.rounded.iter().any(|&dtype| dtype_number(dtype).is_none()) {
        return None;
    }
    work.rounded.iter().for_each(|&dtype| recipe.round(dtype));
    recipe.encoder = Some(encoder);
    if let Some(stored) = work.stored {
        let begins = stored.program().is_some_and(|program| recipe.begins_with(&program));
        recipe.keeper = Some(keeper(work, stored).filter(|_| begins)?);
    }
    if let Some(stored) = work.encoder.held_codes() {
        recipe.held = Some(held(work, stored).filter(|_| recipe.program.turned.is_none())?);
    }
    Some(recipe)
}

/// Returns what decodes the codes that a layer is stored with; `None` if the rows are made of other bytes.
fn held(work: &ToEncode<'_>, stored: &dyn DecodeRows) -> Option<Kernel> {
    let (rows, decoding) = (work.work.rows.clone(), &work.work.decoding.rows);
    let Program { decode, turned: None, steps } = stored.program()? else { return None };
    (steps.is_empty() && decoding.runs(rows.clone()) == stored.runs(rows)).then_some(decode)
}

/// Returns what leaves blocks as they are stored whose values do not change; `None` if a slot does not hold them.
fn keeper(work: &ToEncode<'_>, stored: &dyn DecodeRows) -> Option<Kernel> {
    let [values, bytes] = work.encoder.kept_block()?.map(|of_block| of_block as u64);
    let rows = work.work.rows.clone();
    let codes = stored.codes(rows.clone());
    let blocks = (rows.end - rows.start).checked_mul(work.work.decoding.row_len())?.checked_div(values)?;
    let is_alone = !work.work.is_whole && codes.end - codes.start == blocks.checked_mul(bytes)?;
    is_alone.then(|| Kernel::new("changed_blocks").numbers([values, bytes]))
}

/// Returns where blocks are made behind so many bytes of stored ones.
fn behind(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNED)
}

/// Returns where strands of so many bytes begin, each with its bytes.
fn places(bytes: &[u64]) -> Vec<[u64; 2]> {
    let mut at = 0u64;
    let place = |&bytes: &u64| {
        let place = [at, bytes];
        at = at.saturating_add(bytes).next_multiple_of(ALIGNED);
        place
    };
    bytes.iter().map(place).collect()
}

fn end_of(places: &[[u64; 2]]) -> u64 {
    places.last().map_or(0, |[at, bytes]| at.saturating_add(*bytes))
}

/// Returns the rows from `start` on that a slot of so many values holds, with their codes and strands; they end where a
/// layer may be cut.
fn fitting_strands(work: &ToEncode<'_>, start: u64, capacity: usize) -> Range<u64> {
    let apart = work.encoder.rows_apart().max(1);
    let mut room = capacity.min(VALUES_MAX);
    loop {
        let rows = fitting(&work.work, start, room);
        let count = rows.end - start;
        let count = if rows.end < work.work.rows.end { count / apart * apart } else { count };
        let strands = work.encoder.strand_bytes(count);
        let bytes = end_of(&places(&strands));
        let needed = if work.stored.is_some() { behind(bytes).saturating_add(bytes) } else { bytes };
        let fits = strands.len() <= STRANDS && needed <= capacity as u64 * 4;
        if count == 0 || fits {
            return start..start + count;
        }
        room /= 2;
    }
}
