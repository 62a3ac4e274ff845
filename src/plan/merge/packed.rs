//! Merging into packed layers that are packed again.

use rustc_hash::FxHashMap;

use super::Landing;
use super::combine::combined;
use crate::adapter::delta::Combine;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::side::FileSide;
use crate::plan::packing::Making;
use crate::plan::{Action, Base, How, Merge, OutTensor, Pack, Source, Step, Values, conv1d};
use crate::quant::change::Change;
use crate::quant::encode::Place;
use crate::quant::ggml;
use crate::tensor::Dtype;

/// Makes a tensor in blocks of ggml one that is packed again, of whatever values; returns its pack, the `number`th.
pub(super) fn blocks(
    (layer, name): (u32, &str),
    out: &mut OutTensor,
    number: u32,
) -> std::result::Result<Pack, String> {
    let Dtype::Ggml(kind) = out.dtype else { return Err("it is in no blocks of ggml".into()) };
    let making = Making::of(&ggml::encode::encoding(kind, &out.shape)?);
    out.source = Source::Encoded { pack: number, part: 0 };
    Ok(Pack::in_blocks((layer, name), Values::Layer(layer, Change::None), (kind, making)))
}

/// Puts the landings on a packed layer, which is packed again: its tensors get the merge's number.
pub(super) fn pack(
    (checkpoint, layer): (&Checkpoint, u32),
    (landings, combine): (&[&Landing], Combine),
    step: &mut Step,
    (tensors, of_tensor): (&mut [OutTensor], &FxHashMap<u32, usize>),
    (number, pack): (u32, u32),
) -> std::result::Result<(Merge, Pack), String> {
    let (files, layers) = (&checkpoint.files, &checkpoint.layers);
    let spec = layers.spec(layer);
    let edit = |landing: &&Landing| match landing {
        Landing::Edit(edit) if edit.is_flat => {
            Err("it is a convolution that is packed: --to dense".to_owned())
        }
        Landing::Edit(edit) => Ok((**edit).clone()),
        Landing::Saved(_) => {
            Err("the adapter brings it whole and plain, it is packed: --to dense".to_owned())
        }
    };
    let edits = landings.iter().map(edit).collect::<std::result::Result<_, _>>()?;
    let edits = combined(edits, combine)?;
    if !spec.broken.is_empty() {
        return Err(spec.broken.join(", "));
    }
    let data = FileSide::whole(files);
    let (decoding, encoding) = layers.with_parts(files, layer, &data, |parts| {
        let format = spec.format.get();
        Ok::<_, String>((format.decode(parts, spec)?, format.encode(parts, spec)?))
    })?;
    let is_turned = || conv1d::change(&step.layer, &step.from, &decoding.shape) != Change::None;
    if conv1d::is_model(checkpoint) && is_turned() {
        return Err("it was turned when it was packed, and a delta would have to be: --to dense".into());
    }
    let making = Making::of(&encoding);
    for (part, encoded) in (0u32..).zip(encoding.tensors) {
        let Place::Of(tensor) = encoded.place else { return Err("a tensor of it is new".into()) };
        let out = of_tensor.get(&tensor).and_then(|&index| tensors.get_mut(index));
        let out = out.ok_or("a tensor of it is not written")?;
        step.bytes_out = step.bytes_out - out.bytes + encoded.bytes;
        (out.dtype, out.shape, out.bytes) = (encoded.dtype, encoded.shape, encoded.bytes);
        out.source = Source::Encoded { pack, part };
    }
    step.action = Action::Merge;
    // What its dtype is not known of is added to in f32.
    let native = decoding.dtype.unwrap_or(Dtype::F32);
    let merge = Merge {
        base: Base::Layer(layer),
        change: Change::None,
        native,
        dtype: native,
        is_packed: true,
        edits,
        is_flat: false,
    };
    let pack = Pack {
        layer,
        name: step.layer.clone(),
        values: Values::Merged(number),
        // What is packed again is packed before its last rounding.
        native: Dtype::F32,
        dtype: Dtype::F32,
        change: Change::None,
        how: How::AsStored,
        shares: Vec::new(),
        making,
    };
    Ok((merge, pack))
}
