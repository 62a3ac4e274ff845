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
    /// Encodes whole rows of f32 to strands at `places` of `out`, each with its bytes.
    pub(in crate::engine::cuda) fn encode(
        &self,
        layer: &Uploaded,
        values: Array<'_>,
        span: Span,
        (out, places): (&Bytes, &[[u64; 2]]),
    ) -> Result<(), Fault> {
        let function = self.function(layer.kernel.name)?;
        check_room(span.count, values)?;
        let end = places.iter().map(|[at, bytes]| at.saturating_add(*bytes)).max().unwrap_or(0);
        if end > out.len() as u64 || places.len() > STRANDS {
            return Err(short([end, places.len() as u64], [out.len() as u64, STRANDS as u64]));
        }
        let columns = span.columns.max(1);
        let (mut first_row, mut rows) = (span.first / columns, span.count / columns);
        let (mut layer, mut values, mut columns) = (layer.layer(), values.bytes.at(), columns);
        let strand = |at: usize| places.get(at).map_or(0, |[place, _]| out.at() + place);
        let mut strands = Strands { strand: std::array::from_fn(strand) };
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
        // SAFETY: the parameters of `ENCODER` in kernels/encode.cuh. The values are there, and the format says how many
        // bytes of each strand the kernel fills of so many rows.
        unsafe { self.queue.launch(function, self.blocks(pieces), &mut arguments) }
    }
}
