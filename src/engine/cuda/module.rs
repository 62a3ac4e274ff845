//! The kernels: PTX that the program carries, compiled by the driver when a job starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::driver::{Context, Fault, Function, Module};

/// The PTX of each file of kernels.
const PTX: &[(&str, &str)] = &[
    ("bnb4", include_str!("../../../kernels/ptx/bnb4.ptx")),
    ("merge", include_str!("../../../kernels/ptx/merge.ptx")),
    ("plain", include_str!("../../../kernels/ptx/plain.ptx")),
    ("tiles", include_str!("../../../kernels/ptx/tiles.ptx")),
];

/// All kernels on one device, by their names.
pub(super) struct Kernels {
    functions: BTreeMap<String, Function>,
    /// Keeps the functions.
    _modules: Vec<Module>,
}

impl Kernels {
    /// Compiles them.
    pub(super) fn load(context: &Arc<Context>) -> Result<Self, Fault> {
        let (mut functions, mut modules) = (BTreeMap::new(), Vec::new());
        for (file, ptx) in PTX {
            let module = Module::new(context, ptx).map_err(|fault| Fault {
                message: format!("kernels/{file}.cu: {}", fault.message),
                ..fault
            })?;
            for name in entries(ptx) {
                functions.insert(name.to_owned(), module.function(name)?);
            }
            modules.push(module);
        }
        Ok(Self { functions, _modules: modules })
    }

    /// Returns a kernel; `None` if there is none of this name.
    pub(super) fn get(&self, name: &str) -> Option<Function> {
        self.functions.get(name).copied()
    }
}

/// Returns the names of the kernels in a file of PTX.
pub(super) fn entries(ptx: &str) -> impl Iterator<Item = &str> {
    ptx.lines().filter_map(|line| line.split_once(".entry ")?.1.split(['(', ' ']).next())
}

/// Returns true if there is a kernel of this name.
pub(super) fn is_there(name: &str) -> bool {
    PTX.iter().any(|(_, ptx)| entries(ptx).any(|entry| entry == name))
}

#[cfg(test)]
mod tests;
