//! The few entry points of `libcuda.so.1` that the probe calls, with their answers as plain integers.
//!
//! The bindings declare answers as an enum, and a code that it does not know would be undefined behavior; and they
//! panic where a function is missing. Here each function is looked up by its name first. Signatures: `cuda.h` of
//! CUDA 12, "Initialization", "Version Management", "Device Management".

#![expect(unsafe_code, reason = "functions of a library that is loaded at run time; see SAFETY")]

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::fmt::Write as _;

use cudarc::driver::sys;

/// What the driver answered instead of a figure.
pub(super) type Code = c_int;

/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR`.
pub(super) const MAJOR: c_int = 75;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR`.
pub(super) const MINOR: c_int = 76;
/// `CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT`.
pub(super) const MULTIPROCESSORS: c_int = 16;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_MODE`.
pub(super) const COMPUTE_MODE: c_int = 20;
/// `CU_DEVICE_ATTRIBUTE_CLOCK_RATE`.
pub(super) const CLOCK_KHZ: c_int = 13;

/// Bytes for a device's name, as the driver's own tools have.
const NAME_BYTES: usize = 256;

/// What the engine calls of the driver, through the bindings: a driver that lacks one of them cannot compute.
const NEEDED: [&str; 35] = [
    "cuInit",
    "cuDriverGetVersion",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetUuid",
    "cuDeviceTotalMem_v2",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxSetFlags_v2",
    "cuCtxSetCurrent",
    "cuMemGetInfo_v2",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuEventQuery",
    "cuEventElapsedTime",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemsetD8Async",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuModuleLoadDataEx",
    "cuModuleUnload",
    "cuModuleGetFunction",
    "cuLaunchKernel",
];

/// A library of the driver that is loaded, and has the functions that say what it is.
#[derive(Clone, Copy)]
pub(super) struct Driver {
    init: unsafe extern "C" fn(c_uint) -> Code,
    version: unsafe extern "C" fn(*mut c_int) -> Code,
    count: unsafe extern "C" fn(*mut c_int) -> Code,
}

/// The functions about one device.
#[derive(Clone, Copy)]
pub(super) struct Devices {
    get: unsafe extern "C" fn(*mut c_int, c_int) -> Code,
    name: unsafe extern "C" fn(*mut c_char, c_int, c_int) -> Code,
    uuid: unsafe extern "C" fn(*mut [u8; 16], c_int) -> Code,
    /// Of driver 470 on: that of a MIG slice where the device is one.
    slice_uuid: Option<unsafe extern "C" fn(*mut [u8; 16], c_int) -> Code>,
    memory: unsafe extern "C" fn(*mut usize, c_int) -> Code,
    attribute: unsafe extern "C" fn(*mut c_int, c_int, c_int) -> Code,
}

/// Why a library is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Useless {
    /// There is none.
    Absent,
    /// It has no function of this name.
    Lacks(&'static str),
}

impl Driver {
    /// Loads the library.
    ///
    /// # Errors
    /// There is none, or it lacks a function.
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "one lookup a function, all alike")]
    pub(super) fn load() -> Result<Self, Useless> {
        // SAFETY: loading runs the library's own initializers, as any use of the driver does.
        if !unsafe { sys::is_culib_present() } {
            return Err(Useless::Absent);
        }
        // SAFETY: `cuda.h` declares these types for these names.
        unsafe {
            Ok(Self {
                init: entry("cuInit")?,
                version: entry("cuDriverGetVersion")?,
                count: entry("cuDeviceGetCount")?,
            })
        }
    }

    /// Makes the driver ready; must come before all but the version.
    pub(super) fn init(self) -> Result<(), Code> {
        // SAFETY: it takes flags, of which there are none yet.
        good(unsafe { (self.init)(0) })
    }

    /// Returns the newest CUDA that the driver serves: 12080 is 12.8.
    pub(super) fn version(self) -> Result<c_int, Code> {
        let mut version = 0;
        // SAFETY: the number is there to be written.
        good(unsafe { (self.version)(&raw mut version) })?;
        Ok(version)
    }

    /// Returns how many devices there are.
    pub(super) fn count(self) -> Result<c_int, Code> {
        let mut count = 0;
        // SAFETY: the number is there to be written.
        good(unsafe { (self.count)(&raw mut count) })?;
        Ok(count)
    }
}

impl Devices {
    /// Returns the functions of a driver that is loaded, once all that the engine calls are known to be there.
    ///
    /// # Errors
    /// The name of the first function that is missing.
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "one lookup a function, all alike")]
    pub(super) fn load(_: Driver) -> Result<Self, Useless> {
        for name in NEEDED {
            // SAFETY: the address is not called.
            unsafe { entry::<unsafe extern "C" fn()>(name)? };
        }
        // SAFETY: `cuda.h` declares these types for these names.
        unsafe {
            Ok(Self {
                get: entry("cuDeviceGet")?,
                name: entry("cuDeviceGetName")?,
                uuid: entry("cuDeviceGetUuid")?,
                slice_uuid: entry("cuDeviceGetUuid_v2").ok(),
                memory: entry("cuDeviceTotalMem_v2")?,
                attribute: entry("cuDeviceGetAttribute")?,
            })
        }
    }

    /// Returns the handle of the device with this number.
    pub(super) fn get(self, ordinal: c_int) -> Result<c_int, Code> {
        let mut device = 0;
        // SAFETY: the handle is there to be written; a number without a device is answered by a code.
        good(unsafe { (self.get)(&raw mut device, ordinal) })?;
        Ok(device)
    }

    /// Returns the name of a device, whatever bytes it has.
    pub(super) fn name(self, device: c_int) -> Result<String, Code> {
        let mut bytes = [0u8; NAME_BYTES];
        // SAFETY: the buffer has the room that is said; its last byte stays 0.
        good(unsafe { (self.name)(bytes.as_mut_ptr().cast(), NAME_BYTES as c_int - 1, device) })?;
        let name = CStr::from_bytes_until_nul(&bytes).map_or(&bytes[..], CStr::to_bytes);
        Ok(String::from_utf8_lossy(name).into_owned())
    }

    /// Returns the identifier of a device as NVML writes it: `GPU-…`, or `MIG-…` for a slice.
    pub(super) fn uuid(self, device: c_int) -> Result<String, Code> {
        let (mut whole, mut slice) = ([0u8; 16], [0u8; 16]);
        // SAFETY: there is room for the 16 bytes of an identifier.
        good(unsafe { (self.uuid)(&raw mut whole, device) })?;
        // SAFETY: as above.
        let told = self.slice_uuid.is_some_and(|ask| good(unsafe { ask(&raw mut slice, device) }).is_ok());
        Ok(if told && slice != whole { written("MIG", slice) } else { written("GPU", whole) })
    }

    /// Returns a device's memory in bytes.
    pub(super) fn memory(self, device: c_int) -> Result<u64, Code> {
        let mut bytes = 0usize;
        // SAFETY: the number is there to be written.
        good(unsafe { (self.memory)(&raw mut bytes, device) })?;
        Ok(bytes as u64)
    }

    /// Returns an attribute of a device.
    pub(super) fn attribute(self, attribute: c_int, device: c_int) -> Result<c_int, Code> {
        let mut value = 0;
        // SAFETY: the number is there to be written.
        good(unsafe { (self.attribute)(&raw mut value, attribute, device) })?;
        Ok(value)
    }
}

/// Returns the driver's own name of a code, if it has one.
pub(super) fn name_of(code: Code) -> Option<String> {
    type Name = unsafe extern "C" fn(Code, *mut *const c_char) -> Code;
    // SAFETY: `cuda.h` declares this type for this name.
    let name: Name = unsafe { entry("cuGetErrorName") }.ok()?;
    let mut text = std::ptr::null();
    // SAFETY: the pointer is there to be written; a code without a name is answered by a code.
    good(unsafe { name(code, &raw mut text) }).ok().filter(|()| !text.is_null())?;
    // SAFETY: the driver's names are constants that end with 0.
    let text = unsafe { CStr::from_ptr(text) };
    Some(text.to_string_lossy().chars().take(NAME_BYTES).collect())
}

/// Returns a function of the library, which is loaded.
///
/// # Safety
/// `T` is the type of that function.
unsafe fn entry<T: Copy>(name: &'static str) -> Result<T, Useless> {
    // SAFETY: the library was found before; the bindings keep it loaded from here on.
    let library = unsafe { sys::culib() };
    // SAFETY: as the caller says.
    let found = unsafe { library.get::<T>(name) };
    found.map(|function| *function).map_err(|_missing| Useless::Lacks(name))
}

fn good(code: Code) -> Result<(), Code> {
    if code == 0 { Ok(()) } else { Err(code) }
}

/// Writes 16 bytes as NVML does: `GPU-5d0b2a91-…`.
fn written(kind: &str, bytes: [u8; 16]) -> String {
    let mut hex = String::with_capacity(32);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    let [a, b, c, d, e] = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    format!("{kind}-{a}-{b}-{c}-{d}-{e}")
}
