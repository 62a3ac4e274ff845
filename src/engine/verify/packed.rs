//! Proof of layers that were packed: encoded once more in other cuts; merged ones computed in f64 too.
//!
//! All is done with the files as they came to lie on the disk and with the source read anew, by other offsets and cuts
//! than when it was packed: a slot that got the rows of another shows. One pass over the source serves both what is made
//! again and the quality.

use std::collections::BTreeMap;

use super::again::Remade;
use super::{Proven, Prover, ROWS_EACH, check_entry, failed, farthest};
use crate::engine::Scratch;
use crate::engine::cpu::Cpu;
use crate::engine::encoded;
use crate::engine::inputs::codes_of;
use crate::error::Result;
use crate::name::escape;
use crate::plan::{Merge, OutShard, OutTensor, Plan, Source, Values};
use crate::quant::decode::Decoding;
use crate::tensor::{Dtype, values};

/// Tensors of one layer, in the order of its encoding.
type Parts<'a> = Vec<(&'a OutShard, &'a OutTensor)>;

/// Returns the tensors of each pack.
pub(super) fn tensors(plan: &Plan) -> BTreeMap<u32, Parts<'_>> {
    let all = plan.shards.iter().flat_map(|shard| shard.tensors.iter().map(move |tensor| (shard, tensor)));
    let mut packed: BTreeMap<(u32, u32), (&OutShard, &OutTensor)> = BTreeMap::new();
    for (shard, tensor) in all {
        if let Source::Encoded { pack, part } = tensor.source {
            packed.insert((pack, part), (shard, tensor));
        }
    }
    let mut of_pack: BTreeMap<u32, Parts<'_>> = BTreeMap::new();
    for ((pack, _), tensor) in packed {
        of_pack.entry(pack).or_default().push(tensor);
    }
    of_pack
}

impl Prover<'_> {
    /// Measures a layer that was packed; of those in the sample all tensors are made again and compared, and of merged
    /// ones some rows are computed in f64.
    pub(super) fn packed_again(
        &self,
        number: u32,
        is_compared: bool,
        proven: &mut Proven,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let parts = self.packed.get(&number).map(Vec::as_slice).unwrap_or_default();
        let Some((shard, first)) = parts.first() else { return Ok(()) };
        let work = encoded::to_pack(&self.inputs, number, (&Cpu, scratch))?;
        proven.packed += usize::from(is_compared);
        let written = check_entry(self.opened, &self.index, shard, first)?;
        let result = self.decoding_of(written);
        let result = result.map_err(|why| failed(&format!("{}: {why}", escape(&first.name))))?;
        if (result.row_count(), result.row_len()) != (work.decoding.row_count(), work.decoding.row_len()) {
            return Err(failed(&format!("{} has another shape", escape(&first.name))));
        }
        let again = is_compared.then(|| Remade::new(self, (number, &work)));
        let quality = self.quality((number, &work), &result, again, scratch)?;
        proven.quality.push((number, quality));
        if let (true, Values::Merged(merge)) = (is_compared, work.values) {
            proven.merged += 1;
            let merge = &self.run.plan.merges[merge as usize];
            // What is turned on its way has the same values in other places.
            self.packed_another_way(merge, &self.inputs.decoding(work.values)?, &first.name, proven)?;
        }
        Ok(())
    }

    /// Returns how the layer of a tensor of the result is decoded.
    fn decoding_of(&self, written: u32) -> std::result::Result<Decoding, String> {
        let (files, layers) = (&self.opened.files, &self.opened.layers);
        let layer = layers.of_tensor(files, written).ok_or("it belongs to no layer")?;
        let spec = layers.spec(layer);
        if !spec.broken.is_empty() {
            return Err(spec.broken.join(", "));
        }
        layers.with_parts(files, layer, &self.data, |parts| spec.format.get().decode(parts, spec))
    }

    /// Computes some rows of a merged weight in f64: the sum that was packed must be near them.
    fn packed_another_way(
        &self,
        merge: &Merge,
        merged: &Decoding,
        name: &str,
        proven: &mut Proven,
    ) -> Result<()> {
        let (base, edits) = self.inputs.to_merge(merge)?;
        let (count, row_len) = (base.row_count(), base.row_len() as usize);
        let held = self.inputs.strewn_codes(crate::plan::Values::of(merge.base), &base)?;
        let is_rounded = merge.edits.last().is_some_and(crate::adapter::delta::EditSpec::is_dora);
        let dtype = if is_rounded { merge.dtype } else { Dtype::F32 };
        let [mut before, mut sum] = std::array::from_fn(|_| vec![0f32; row_len]);
        let mut exact = vec![0f64; row_len];
        let mut bytes = Vec::new();
        for row in (0..count).step_by(count.div_ceil(ROWS_EACH).max(1) as usize) {
            let rows = row..row + 1;
            if held.is_none() {
                let range = base.rows.codes(rows.clone());
                bytes.resize((range.end - range.start) as usize, 0);
                self.inputs.read_into(codes_of(merge.base, &base), range.start, &mut bytes)?;
            }
            let codes = held.as_deref().unwrap_or(&bytes);
            merged.rows.decode(rows.clone(), codes, &mut sum);
            base.rows.decode(rows.clone(), codes, &mut before);
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
            proven.rows += 1;
        }
        Ok(())
    }
}
