//! Open: which folder or file of a path is the adapter.
//!
//! PEFT puts every adapter whose name is not `default` in a folder of that name, ms-swift `default` too; mlx-lm keeps
//! the adapters of earlier steps beside the last one.

use std::path::Path;

use crate::checkpoint::folder::{folders_below, has_weights, list};
use crate::checkpoint::{Checkpoint, locate};
use crate::error::{Error, Result};
use crate::name::escape;

/// Opens an adapter: headers, and the side data that layers want.
///
/// # Errors
/// There is nothing there, no weight file, or several adapters: they are named.
pub fn open(path: &str) -> Result<Checkpoint> {
    let (folder, _) = locate(path)?;
    if !folder.is_dir() {
        return Checkpoint::open_examined(path);
    }
    let files = list(&folder)?;
    let has = |name: &str| files.iter().any(|(file, _)| file == name);
    if has("adapters.safetensors") && !has("adapter_model.safetensors") {
        return Checkpoint::open_examined(&folder.join("adapters.safetensors").to_string_lossy());
    }
    if has_weights(&files) {
        return Checkpoint::open_examined(path);
    }
    let below = adapters_below(&folder);
    match below.as_slice() {
        [] if has("adapter_config.json") => Err(Error::input(format!(
            "{}: adapter_config.json and no weights (adapter_model.safetensors or adapter_model.bin)",
            escape(path)
        ))
        .at(&folder)),
        [] => Checkpoint::open_examined(path),
        [one] => Checkpoint::open_examined(&folder.join(one).to_string_lossy()),
        several => Err(Error::input(format!(
            "{}: {} adapters, name one of {}",
            escape(path),
            several.len(),
            escape(&super::list(several))
        ))
        .at(&folder)),
    }
}

/// Returns the folders below that hold an adapter, in natural order.
fn adapters_below(folder: &Path) -> Vec<String> {
    let has_config = |files: &[(String, u64)]| files.iter().any(|(name, _)| name == "adapter_config.json");
    folders_below(folder, |files| has_config(files) && has_weights(files))
}
