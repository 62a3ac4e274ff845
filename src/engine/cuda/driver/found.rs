//! The devices that the driver has.

use cudarc::driver::{result, sys};

use super::{Fault, named};
use crate::engine::cuda::probe::Card;

/// Returns the devices of the driver; why there is none, in words.
pub(in super::super) fn found() -> Result<Vec<Card>, String> {
    // SAFETY: it loads the driver's library, and looks for nothing in it.
    if !unsafe { sys::is_culib_present() } {
        return Err("no NVIDIA driver found".into());
    }
    let cards = || -> Result<Vec<Card>, Fault> {
        named("cuInit", result::init())?;
        let count = named("cuDeviceGetCount", result::device::get_count())?;
        (0..count).map(card).collect()
    };
    cards().map_err(|fault| fault.message)
}

fn card(ordinal: i32) -> Result<Card, Fault> {
    use sys::CUdevice_attribute_enum as Attribute;
    let device = named("cuDeviceGet", result::device::get(ordinal))?;
    let attribute = |which| {
        // SAFETY: a device of the driver.
        named("cuDeviceGetAttribute", unsafe { result::device::get_attribute(device, which) })
            .map(|value| value as u32)
    };
    let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    let name = named("cuDeviceGetName", result::device::get_name(device))?;
    // SAFETY: a device of the driver.
    let memory = named("cuDeviceTotalMem", unsafe { result::device::total_mem(device) })?;
    Ok(Card {
        ordinal: ordinal as u32,
        name: crate::name::escape(&name).into_owned(),
        uuid: String::new(),
        capability: [major, minor],
        memory: memory as u64,
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        refused: (major < 7).then(|| "older than Volta, which the kernels are for".to_owned()),
    })
}
