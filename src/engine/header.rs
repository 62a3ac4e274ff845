//! The header of a file of tensors that is written.

use std::fmt::Write as _;

use serde_json::json;

use super::copied::padding;
use crate::plan::OutShard;

/// Bytes of the length in front of a header.
const LENGTH_BYTES: usize = 8;

/// Returns the header of a file of tensors with its length field, filled up with spaces to eight bytes, and to `room`
/// bytes where it is longer. Of tensors that became smaller it is no longer than of those that were planned.
pub(super) fn header(shard: &OutShard, room: usize) -> Vec<u8> {
    let metadata = shard.metadata.as_deref().map_or_else(
        || json!({"format": "pt"}),
        |pairs| pairs.iter().map(|(key, value)| (key.clone(), json!(value))).collect(),
    );
    let mut text = format!("{{\"__metadata__\":{metadata}");
    let mut at = 0u64;
    for tensor in &shard.tensors {
        let end = at + tensor.bytes;
        let entry = json!({"dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [at, end]});
        let name = serde_json::Value::from(tensor.name.as_str());
        // A text takes whatever is written to it.
        let _ = write!(text, ",{name}:{entry}");
        at = end;
    }
    text.push('}');
    let padding =
        padding(LENGTH_BYTES + text.len(), shard).max(room.saturating_sub(LENGTH_BYTES + text.len()));
    text.extend(std::iter::repeat_n(' ', padding));
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}
