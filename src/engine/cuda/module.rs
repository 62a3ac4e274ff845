//! The kernels: PTX that the program carries, compiled by the driver when a job starts.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::driver::{Context, Fault, Function, Module};

/// The PTX of each file of kernels.
const PTX: &[(&str, &str)] = &[
    ("bnb4", include_str!("../../../kernels/ptx/bnb4.ptx")),
    ("codebook", include_str!("../../../kernels/ptx/codebook.ptx")),
    ("exl", include_str!("../../../kernels/ptx/exl.ptx")),
    ("ggml", include_str!("../../../kernels/ptx/ggml.ptx")),
    ("ggml_encode", include_str!("../../../kernels/ptx/ggml_encode.ptx")),
    ("ggml_encode_around", include_str!("../../../kernels/ptx/ggml_encode_around.ptx")),
    ("ggml_encode_iq4", include_str!("../../../kernels/ptx/ggml_encode_iq4.ptx")),
    ("ggml_encode_k", include_str!("../../../kernels/ptx/ggml_encode_k.ptx")),
    ("ggml_iq", include_str!("../../../kernels/ptx/ggml_iq.ptx")),
    ("gptq", include_str!("../../../kernels/ptx/gptq.ptx")),
    ("int8", include_str!("../../../kernels/ptx/int8.ptx")),
    ("kept", include_str!("../../../kernels/ptx/kept.ptx")),
    ("marlin", include_str!("../../../kernels/ptx/marlin.ptx")),
    ("merge", include_str!("../../../kernels/ptx/merge.ptx")),
    ("mxfp4", include_str!("../../../kernels/ptx/mxfp4.ptx")),
    ("own", include_str!("../../../kernels/ptx/own.ptx")),
    ("packed", include_str!("../../../kernels/ptx/packed.ptx")),
    ("plain", include_str!("../../../kernels/ptx/plain.ptx")),
    ("planes", include_str!("../../../kernels/ptx/planes.ptx")),
    ("scaled", include_str!("../../../kernels/ptx/scaled.ptx")),
    ("search", include_str!("../../../kernels/ptx/search.ptx")),
    ("search_hqq", include_str!("../../../kernels/ptx/search_hqq.ptx")),
    ("tiles", include_str!("../../../kernels/ptx/tiles.ptx")),
    ("tinygemm", include_str!("../../../kernels/ptx/tinygemm.ptx")),
    ("words", include_str!("../../../kernels/ptx/words.ptx")),
];

/// All kernels on one device. A file of them is compiled when the first of its kernels is needed: few formats are in one
/// job, and what the driver has compiled once it keeps.
pub(super) struct Kernels {
    context: Arc<Context>,
    loaded: Mutex<Loaded>,
}

impl Kernels {
    /// Returns the kernels for a device, those of plain values compiled: what the driver refuses shows at once.
    pub(super) fn load(context: &Arc<Context>) -> Result<Self, Fault> {
        let kernels = Self { context: Arc::clone(context), loaded: Mutex::default() };
        kernels.get("plain_f32")?;
        Ok(kernels)
    }

    /// Returns a kernel by its name; `None` if there is none of this name.
    pub(super) fn get(&self, name: &str) -> Result<Option<Function>, Fault> {
        let Some((&name, &(file, ptx))) = index().get_key_value(name) else { return Ok(None) };
        let mut loaded = self.loaded();
        let Loaded { modules, functions } = &mut *loaded;
        if let Some(function) = functions.get(name) {
            return Ok(Some(*function));
        }
        let module = match modules.entry(file) {
            Entry::Occupied(module) => module.into_mut(),
            Entry::Vacant(free) => free.insert(self.compiled(file, ptx)?),
        };
        let function = module.function(name)?;
        functions.insert(name, function);
        Ok(Some(function))
    }

    /// Compiles all files, several at a time: what needs all of them would wait for one after the other.
    pub(super) fn load_all(&self) -> Result<(), Fault> {
        let mut files = PTX.to_vec();
        // The longest first, as the last one is waited for.
        files.sort_by_key(|(_, ptx)| std::cmp::Reverse(ptx.len()));
        let next = AtomicUsize::new(0);
        let load = || -> Result<(), Fault> {
            while let Some(&(file, ptx)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                if self.loaded().modules.contains_key(file) {
                    continue;
                }
                let module = self.compiled(file, ptx)?;
                // One that came meanwhile stays: functions of it are known.
                self.loaded().modules.entry(file).or_insert(module);
            }
            Ok(())
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(files.len());
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(load)).collect();
            let own = load();
            let joined = others.into_iter().map(|other| other.join().unwrap_or_else(|_| Err(ended())));
            joined.fold(own, Result::and)
        })
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compiled(&self, file: &str, ptx: &str) -> Result<Module, Fault> {
        let module = Module::new(&self.context, ptx);
        module.map_err(|fault| Fault { message: format!("kernels/{file}.cu: {}", fault.message), ..fault })
    }
}

fn ended() -> Fault {
    Fault { code: 0, message: "a thread that compiled kernels ended badly".into() }
}

/// Files that are compiled, and kernels that were asked for.
#[derive(Default)]
struct Loaded {
    modules: BTreeMap<&'static str, Module>,
    functions: BTreeMap<&'static str, Function>,
}

/// Returns the file of each kernel, and its PTX.
fn index() -> &'static BTreeMap<&'static str, (&'static str, &'static str)> {
    static INDEX: OnceLock<BTreeMap<&'static str, (&'static str, &'static str)>> = OnceLock::new();
    INDEX.get_or_init(|| {
        let of_file =
            |&(file, ptx): &(&'static str, &'static str)| entries(ptx).map(move |name| (name, (file, ptx)));
        PTX.iter().flat_map(of_file).collect()
    })
}

/// Returns the names of the kernels in a file of PTX.
fn entries(ptx: &str) -> impl Iterator<Item = &str> {
    ptx.lines().filter_map(|line| line.split_once(".entry ")?.1.split(['(', ' ']).next())
}

/// Returns true if there is a kernel of this name.
pub(super) fn is_there(name: &str) -> bool {
    index().contains_key(name)
}

#[cfg(test)]
mod tests;
