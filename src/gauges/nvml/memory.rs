//! Device memory: by the function of driver 510 and newer, or by the one before it.
//!
//! The wrapper has only the newer one. What the driver keeps for itself counts as used in the older one.

use nvml_wrapper::Nvml;
use nvml_wrapper::device::Device;
use nvml_wrapper::error::NvmlError;

use super::why_missing;
use crate::gauges::{Missing, Reading, Vram};

/// Returns the memory of a device now.
pub(super) fn read(nvml: &Nvml, device: &Device<'_>) -> Reading<Vram> {
    match device.memory_info() {
        Ok(memory) => Ok(Vram { used: memory.used, free: memory.free, total: memory.total }),
        Err(NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound) => read_before_510(nvml, device),
        Err(error) => Err(why_missing(&error)),
    }
}

/// `nvmlDeviceGetMemoryInfo`: `{ total, free, used }`, all `unsigned long long`.
#[expect(unsafe_code, reason = "a function that the wrapper loads and does not wrap; see SAFETY")]
fn read_before_510(nvml: &Nvml, device: &Device<'_>) -> Reading<Vram> {
    let Ok(ask) = nvml.lib().nvmlDeviceGetMemoryInfo.as_ref() else {
        return Err(Missing::because("driver too old to report memory"));
    };
    let mut memory = std::mem::MaybeUninit::zeroed();
    // SAFETY: the handle is used while the device it is of is borrowed.
    let handle = unsafe { device.handle() };
    // SAFETY: the bindings declare the function's own types; the structure is there to be written.
    let code = unsafe { ask(handle, memory.as_mut_ptr()) };
    if code != 0 {
        return Err(match code {
            // NVML_ERROR_NOT_SUPPORTED
            3 => super::NOT_REPORTED,
            // NVML_ERROR_NO_PERMISSION
            4 => super::CLOSED,
            code => Missing(format!("NVML answers {code}").into()),
        });
    }
    // SAFETY: three numbers, of which all zeros are valid; the driver has filled them.
    let memory = unsafe { memory.assume_init() };
    Ok(Vram { used: memory.used, free: memory.free, total: memory.total })
}
