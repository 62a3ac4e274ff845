//! Proof of layers that were packed again: encoded once more in other cuts, and computed in f64.

use std::collections::BTreeMap;

use super::{Proven, Prover, ROWS_EACH, check_entry, differs, failed, farthest};
use crate::engine::inputs::codes_of;
use crate::engine::{Decoded, Scratch, encoded};
use crate::error::Result;
use crate::name::escape;
use crate::plan::{Merge, OutShard, OutTensor, Plan, Source};
use crate::quant::decode::Decoding;
use crate::tensor::{Dtype, values};

/// Values that are encoded at a time: another cut than when they were written.
const VALUES_AT_ONCE: u64 = 200_000;

/// Tensors of one layer, in the order of its encoding.
type Parts<'a> = Vec<(&'a OutShard, &'a OutTensor)>;

/// Returns the tensors of each merge that is packed again.
pub(super) fn tensors(plan: &Plan) -> BTreeMap<u32, Parts<'_>> {
    let all = plan.shards.iter().flat_map(|shard| shard.tensors.iter().map(move |tensor| (shard, tensor)));
    let mut packed: BTreeMap<(u32, u32), (&OutShard, &OutTensor)> = BTreeMap::new();
    for (shard, tensor) in all {
        if let Source::Encoded { merge, part } = tensor.source {
            packed.insert((merge, part), (shard, tensor));
        }
    }
    let mut of_merge: BTreeMap<u32, Parts<'_>> = BTreeMap::new();
    for ((merge, _), tensor) in packed {
        of_merge.entry(merge).or_default().push(tensor);
    }
    of_merge
}

impl Prover<'_> {
    /// Encodes a layer again and compares all its tensors; computes some rows in f64.
    pub(super) fn packed_again(&self, number: u32, proven: &mut Proven, scratch: &mut Scratch) -> Result<()> {
        proven.merged += 1;
        proven.packed += 1;
        let parts = self.packed.get(&number).map(Vec::as_slice).unwrap_or_default();
        let (decoding, encoding) = self.inputs.encoding(number)?;
        let decoding = (Decoded::Merged(number), &decoding);
        let should = encoded::whole(decoding, &encoding, &self.inputs, (VALUES_AT_ONCE, scratch))?;
        if parts.len() != should.len() {
            let message = format!("{} tensors are written of a layer that has {}", parts.len(), should.len());
            return Err(failed(&message));
        }
        let mut is = Vec::new();
        for ((shard, tensor), should) in parts.iter().zip(&should) {
            let written = check_entry(self.opened, &self.index, shard, tensor)?;
            is.resize(should.len(), 0);
            self.data.fill(written, 0, &mut is).map_err(|why| failed(&why))?;
            differs(tensor, 0, &is, should)?;
        }
        let Some((shard, tensor)) = parts.first() else { return Ok(()) };
        let written = check_entry(self.opened, &self.index, shard, tensor)?;
        let result = self.decoding_of(written);
        let result = result.map_err(|why| failed(&format!("{}: {why}", escape(&tensor.name))))?;
        let merge = &self.run.plan.merges[number as usize];
        self.packed_another_way(merge, decoding.1, (&tensor.name, &result), proven)
    }

    /// Returns how the layer of a tensor of the result is decoded.
    fn decoding_of(&self, written: u32) -> std::result::Result<Decoding, String> {
        let (files, layers) = (&self.opened.files, &self.opened.layers);
        let layer = layers.of_tensor(files, written).ok_or("it belongs to no layer")?;
        let spec = layers.spec(layer);
        layers.with_parts(files, layer, &self.data, |parts| spec.format.get().decode(parts, spec))
    }

    /// Computes some rows in f64: the sum that was packed must be near them. What packing lost is counted.
    fn packed_another_way(
        &self,
        merge: &Merge,
        merged: &Decoding,
        (name, result): (&str, &Decoding),
        proven: &mut Proven,
    ) -> Result<()> {
        let (base, edits) = self.inputs.to_merge(merge)?;
        let (count, row_len) = (base.row_count(), base.row_len() as usize);
        if (result.row_count(), result.row_len()) != (count, row_len as u64) {
            return Err(failed(&format!("{} has another shape", escape(name))));
        }
        let is_rounded = merge.edits.last().is_some_and(crate::adapter::delta::EditSpec::is_dora);
        let dtype = if is_rounded { merge.dtype } else { Dtype::F32 };
        let [mut before, mut sum, mut is] = std::array::from_fn(|_| vec![0f32; row_len]);
        let mut exact = vec![0f64; row_len];
        let mut bytes = Vec::new();
        for row in (0..count).step_by(count.div_ceil(ROWS_EACH).max(1) as usize) {
            let rows = row..row + 1;
            let range = base.rows.codes(rows.clone());
            bytes.resize((range.end - range.start) as usize, 0);
            self.inputs.read_into(codes_of(merge.base, &base), range.start, &mut bytes)?;
            merged.rows.decode(rows.clone(), &bytes, &mut sum);
            base.rows.decode(rows.clone(), &bytes, &mut before);
            values::round_all(merge.native, &mut before);
            exact.iter_mut().zip(&before).for_each(|(exact, &value)| *exact = f64::from(value));
            for (edit, spec) in edits.iter().zip(&merge.edits) {
                edit.exact(rows.clone(), &mut exact);
                if spec.is_dora() {
                    let round =
                        |exact: &mut f64| *exact = f64::from(values::round(merge.dtype, *exact as f32));
                    exact.iter_mut().for_each(round);
                }
            }
            let far = farthest(dtype, (&sum, &exact, &before), edits.len());
            let ulps = far.map_err(|column| {
                let (name, sum, exact) = (escape(name), sum[column], exact[column]);
                failed(&format!("{name}[{row}, {column}] is packed of {sum}, {exact} in f64"))
            })?;
            proven.ulps = proven.ulps.max(ulps);
            let range = result.rows.codes(rows.clone());
            bytes.resize((range.end - range.start) as usize, 0);
            self.data.fill(result.codes, range.start, &mut bytes).map_err(|why| failed(&why))?;
            result.rows.decode(rows, &bytes, &mut is);
            let lost: f64 = is.iter().zip(&exact).map(|(&is, &exact)| (f64::from(is) - exact).powi(2)).sum();
            let all: f64 = exact.iter().map(|exact| exact.powi(2)).sum();
            proven.lost = [proven.lost[0] + lost, proven.lost[1] + all];
            proven.rows += 1;
        }
        Ok(())
    }
}
