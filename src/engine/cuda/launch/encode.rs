//! Starting an encoder's kernel.

use super::{Array, Launcher, Span, Uploaded, check_room, pointer, short};
use crate::engine::cuda::driver::{Bytes, Fault};
use crate::quant::kernel::STRANDS;

/// Values that a block of an encoder makes at a time, about.
const VALUES_OF_BLOCK: u64 = 2048;

/// `Strands` of kernels/encode.cuh.
#[repr(C)]
struct Strands {
    strand: [u64; STRANDS],
}

impl Launcher<'_> {
    /// Encodes whole rows of f32 to strands at `places` of `out`, each with its bytes. `held`: the stored codes of these
    /// rows, where they have a say.
    pub(in crate::engine::cuda) fn encode(
        &self,
        layer: &Uploaded,
        (values, held): (Array<'_>, Option<Array<'_>>),
        span: Span,
        (out, places): (&Bytes, &[[u64; 2]]),
    ) -> Result<(), Fault> {
        held.map_or(Ok(()), |held| check_room(span.count, held))?;
        let end = places.iter().map(|[at, bytes]| at.saturating_add(*bytes)).max().unwrap_or(0);
        if end > out.len() as u64 || places.len() > STRANDS {
            return Err(short([end, places.len() as u64], [out.len() as u64, STRANDS as u64]));
        }
        let strand = |at: usize| places.get(at).map_or(0, |[place, _]| out.at() + place);
        let held = held.map(|held| held.bytes.at());
        self.start((layer, held), values, span, Strands { strand: std::array::from_fn(strand) })
    }

    /// Replaces blocks, with which `codes` begins, by those that were made of their values, behind them at a place with
    /// their bytes, where `before` has others.
    pub(in crate::engine::cuda) fn replace(
        &self,
        layer: &Uploaded,
        (values, before): (Array<'_>, Array<'_>),
        span: Span,
        (codes, [made, bytes]): (&Bytes, [u64; 2]),
    ) -> Result<(), Fault> {
        check_room(span.count, before)?;
        let end = made.saturating_add(bytes);
        let [size, of_block] = [0, 1].map(|at| layer.kernel.numbers.get(at).copied().unwrap_or(0));
        if end > codes.len() as u64 || made < bytes || size == 0 || span.count / size * of_block != bytes {
            return Err(short([end, made], [codes.len() as u64, bytes]));
        }
        let mut strands = Strands { strand: [0; STRANDS] };
        strands.strand[..3].copy_from_slice(&[codes.at(), codes.at() + made, before.bytes.at()]);
        self.start((layer, None), values, span, strands)
    }

    fn start(
        &self,
        (layer, held): (&Uploaded, Option<u64>),
        values: Array<'_>,
        span: Span,
        mut strands: Strands,
    ) -> Result<(), Fault> {
        let function = self.function(layer.kernel.name)?;
        check_room(span.count, values)?;
        let columns = span.columns.max(1);
        let (mut first_row, mut rows) = (span.first / columns, span.count / columns);
        let (mut layer, mut values, mut columns) = (layer.layer(), values.bytes.at(), columns);
        layer.table[0] = held.unwrap_or(layer.table[0]);
        let mut seen = self.seen.at();
        let mut arguments = [
            pointer(&mut layer),
            pointer(&mut values),
            pointer(&mut first_row),
            pointer(&mut rows),
            pointer(&mut columns),
            pointer(&mut strands),
            pointer(&mut seen),
        ];
        let pieces = span.count.div_ceil(VALUES_OF_BLOCK);
        // SAFETY: the parameters of `ENCODER` in kernels/encode.cuh. The values are there; the strands are too, of as many
        // bytes as the format says that the kernel fills of so many rows, or as `replace` has counted.
        unsafe { self.queue.launch(function, self.blocks(pieces), &mut arguments) }
    }
}
