//! The driver's objects, each freed when it is dropped: the only calls into it, and nearly all that is unsafe.
//!
//! Everything here belongs to one device. Work goes to a `Queue` (a CUDA stream) and is done in its order; what it
//! reads and writes on this side is `Pinned` and must be left alone until the queue was waited for, which the
//! borrows of `Queue::copy_in` and `copy_out` cannot say: `Slot` (ring.rs), which owns both, waits before it lets go.
//!
//! Source: CUDA Driver API reference; cudarc 0.19 `driver::result`.
#![expect(unsafe_code, reason = "calls into the CUDA driver; each says why it is sound")]

mod kept;
mod timer;

use std::ffi::{CStr, CString, c_void};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use cudarc::driver::{result, sys};

use self::kept::Kept;
pub(super) use self::timer::Marks;
use crate::engine::Held;

/// What the driver answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The driver's number of it.
    pub(super) code: u32,
    /// What was called, and what the driver says, in words.
    pub(super) message: String,
}

/// `CUDA_ERROR_OUT_OF_MEMORY`.
const OUT_OF_MEMORY: u32 = 2;

impl Fault {
    /// Returns a fault of which the driver knows nothing.
    pub(super) fn said(message: &str) -> Self {
        Self { code: 0, message: message.into() }
    }

    fn of(what: &str, error: result::DriverError) -> Self {
        let code = error.0 as u32;
        let said = error.error_string().ok().map(CStr::to_string_lossy);
        let said =
            said.as_deref().map_or_else(|| "no text".into(), |text| crate::name::escape(text).into_owned());
        Self { code, message: format!("{what}: {said} ({code})") }
    }

    /// Returns true if device memory was short.
    pub(super) fn is_memory(&self) -> bool {
        self.code == OUT_OF_MEMORY
    }
}

/// Names the call that failed.
fn named<T>(what: &str, result: Result<T, result::DriverError>) -> Result<T, Fault> {
    result.map_err(|error| Fault::of(what, error))
}

/// A device's primary context.
pub(super) struct Context {
    device: sys::CUdevice,
    raw: sys::CUcontext,
    /// What is held of its memory.
    pub(super) held: Arc<Held>,
    /// Memory of layers.
    kept: Mutex<Kept>,
}

// SAFETY: a context may be current on any number of threads; the driver locks itself.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// Retains the primary context of a device, whose waits put a thread to sleep.
    pub(super) fn new(held: Held) -> Result<Arc<Self>, Fault> {
        named("cuInit", result::init())?;
        let device = named("cuDeviceGet", result::device::get(held.ordinal as i32))?;
        let flags = sys::CUctx_flags_enum::CU_CTX_SCHED_BLOCKING_SYNC as u32;
        // SAFETY: a device of the driver. That another library has set flags already is no fault.
        let _set = unsafe { sys::cuDevicePrimaryCtxSetFlags_v2(device, flags) };
        // SAFETY: a device of the driver.
        let raw = named("cuDevicePrimaryCtxRetain", unsafe { result::primary_ctx::retain(device) })?;
        Ok(Arc::new(Self { device, raw, held: Arc::new(held), kept: Mutex::default() }))
    }

    /// Makes it current on this thread, as every call below needs.
    pub(super) fn enter(&self) -> Result<(), Fault> {
        // SAFETY: retained until `self` is dropped.
        named("cuCtxSetCurrent", unsafe { result::ctx::set_current(self.raw) })
    }

    /// Returns free and all bytes of device memory.
    pub(super) fn memory(&self) -> Result<[u64; 2], Fault> {
        self.enter()?;
        let (free, total) = named("cuMemGetInfo", result::mem_get_info())?;
        Ok([free as u64, total as u64])
    }

    /// Returns the address of new memory. Where memory is short, what is kept of it for later is freed first.
    fn allocate(&self, len: usize) -> Result<u64, Fault> {
        self.enter()?;
        // SAFETY: the context is current.
        let malloc = || named("cuMemAlloc", unsafe { result::malloc_sync(len) });
        let at = match malloc() {
            Err(fault) if fault.is_memory() && self.trim() => malloc()?,
            done => done?,
        };
        let now = self.held.now.fetch_add(len as u64, Ordering::Relaxed) + len as u64;
        self.held.peak.fetch_max(now, Ordering::Relaxed);
        Ok(at)
    }

    /// Frees memory of `allocate`, which is used no more.
    fn release(&self, at: u64, len: usize) {
        let _ignored = self.enter();
        // SAFETY: of `allocate`, freed once; the driver waits for what is under way.
        let _ignored = unsafe { result::free_sync(at) };
        self.held.now.fetch_sub(len as u64, Ordering::Relaxed);
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.trim();
        // SAFETY: retained once by `new`. After a fault the driver may refuse; there is nothing left to do then.
        let _ignored = unsafe { result::primary_ctx::release(self.device) };
    }
}

/// Bytes on the device, aligned to 256.
pub(super) struct Bytes {
    context: Arc<Context>,
    at: u64,
    len: usize,
    /// Bytes that are there, of which `len` were asked for.
    room: usize,
    /// True if later layers may use them.
    is_kept: bool,
}

impl Bytes {
    /// Returns memory with nothing in it; at least one byte.
    pub(super) fn new(context: &Arc<Context>, len: usize) -> Result<Self, Fault> {
        let room = len.max(1);
        let at = context.allocate(room)?;
        Ok(Self { context: Arc::clone(context), at, len, room, is_kept: false })
    }

    /// Returns memory for what the rows of a layer share, with anything in it. It is dropped when the queues that used it
    /// were waited for: another layer may have it at once.
    pub(super) fn of_layer(context: &Arc<Context>, len: usize) -> Result<Self, Fault> {
        let mut bytes = context.again(len)?;
        bytes.len = len;
        Ok(bytes)
    }

    /// Returns its address on the device.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        if self.is_kept {
            self.context.keep(self.at, self.room);
        } else {
            self.context.release(self.at, self.room);
        }
    }
}

/// Bytes on this side that the device copies from and to by itself.
pub(super) struct Pinned {
    context: Arc<Context>,
    at: *mut u8,
    len: usize,
}

// SAFETY: plain memory, owned.
unsafe impl Send for Pinned {}

impl Pinned {
    /// Returns zeroed memory.
    pub(super) fn new(context: &Arc<Context>, len: usize) -> Result<Self, Fault> {
        context.enter()?;
        // SAFETY: the context is current. No flags: memory that is read here must not be write-combined.
        let at = named("cuMemHostAlloc", unsafe { result::malloc_host(len.max(1), 0) })?.cast::<u8>();
        // SAFETY: just allocated, so many bytes.
        unsafe { std::ptr::write_bytes(at, 0, len.max(1)) };
        Ok(Self { context: Arc::clone(context), at, len })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: allocated and zeroed by `new`, so many bytes.
        unsafe { std::slice::from_raw_parts(self.at, self.len) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.len) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ignored = self.context.enter();
        // SAFETY: allocated by `new`, freed once.
        let _ignored = unsafe { result::free_host(self.at.cast()) };
    }
}

/// A queue of work: a stream, and the event that is waited for.
pub(super) struct Queue {
    context: Arc<Context>,
    stream: sys::CUstream,
    done: sys::CUevent,
}

// SAFETY: the driver's handles may be used from any thread on which the context is current.
unsafe impl Send for Queue {}

impl Queue {
    pub(super) fn new(context: &Arc<Context>) -> Result<Self, Fault> {
        context.enter()?;
        let stream =
            named("cuStreamCreate", result::stream::create(result::stream::StreamKind::NonBlocking))?;
        let sleeps = sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC;
        let done = named("cuEventCreate", result::event::create(sleeps)).inspect_err(|_| {
            // SAFETY: just made.
            let _ignored = unsafe { result::stream::destroy(stream) };
        })?;
        Ok(Self { context: Arc::clone(context), stream, done })
    }

    /// Copies bytes to the device; `from` is left alone until `wait`.
    pub(super) fn copy_in(&self, from: &[u8], to: &Bytes) -> Result<(), Fault> {
        assert!(from.len() <= to.len, "{} bytes do not fit into {}", from.len(), to.len);
        self.context.enter()?;
        // SAFETY: it fits; see the module's text for how long `from` lives.
        named("cuMemcpyHtoDAsync", unsafe { result::memcpy_htod_async(to.at, from, self.stream) })
    }

    /// Copies bytes from the device; `to` is left alone until `wait`.
    pub(super) fn copy_out(&self, from: &Bytes, to: &mut [u8]) -> Result<(), Fault> {
        assert!(to.len() <= from.len, "{} bytes are not in {}", to.len(), from.len);
        self.context.enter()?;
        // SAFETY: it fits; see the module's text for how long `to` lives.
        named("cuMemcpyDtoHAsync", unsafe { result::memcpy_dtoh_async(to, from.at, self.stream) })
    }

    /// Sets all bytes to 0.
    pub(super) fn clear(&self, bytes: &Bytes) -> Result<(), Fault> {
        self.context.enter()?;
        // SAFETY: so many bytes are there.
        named("cuMemsetD8Async", unsafe { result::memset_d8_async(bytes.at, 0, bytes.len, self.stream) })
    }

    /// Starts a kernel of so many blocks of `THREADS` threads.
    ///
    /// # Safety
    /// `arguments` are pointers to the parameters that the kernel has, in their order and of their types, and what
    /// these name on the device holds what the kernel reads and writes of it.
    pub(super) unsafe fn launch(
        &self,
        function: Function,
        blocks: u32,
        arguments: &mut [*mut c_void],
    ) -> Result<(), Fault> {
        self.context.enter()?;
        let (grid, block) = ((blocks.max(1), 1, 1), (super::launch::THREADS, 1, 1));
        // SAFETY: the caller's word.
        let launched = unsafe { result::launch_kernel(function.0, grid, block, 0, self.stream, arguments) };
        named("cuLaunchKernel", launched)
    }

    /// Waits, asleep, until all is done.
    pub(super) fn wait(&self) -> Result<(), Fault> {
        self.context.enter()?;
        // SAFETY: both are of this context and alive.
        named("cuEventRecord", unsafe { result::event::record(self.done, self.stream) })?;
        // SAFETY: as above.
        named("cuEventSynchronize", unsafe { result::event::synchronize(self.done) })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let _ignored = self.context.enter();
        // SAFETY: made by `new`, ended once.
        let _ignored = unsafe { result::stream::synchronize(self.stream) };
        // SAFETY: as above.
        let _ignored = unsafe { result::event::destroy(self.done) };
        // SAFETY: as above.
        let _ignored = unsafe { result::stream::destroy(self.stream) };
    }
}

/// A kernel that can be started.
#[derive(Clone, Copy)]
pub(super) struct Function(sys::CUfunction);

// SAFETY: a handle that lives as long as its module, which lives as long as the context that all users hold.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

/// Kernels, compiled by the driver from PTX.
pub(super) struct Module {
    context: Arc<Context>,
    raw: sys::CUmodule,
}

// SAFETY: as for `Function`.
unsafe impl Send for Module {}
// SAFETY: as for `Function`.
unsafe impl Sync for Module {}

/// Bytes of the driver's words on PTX that it refuses.
const LOG_BYTES: usize = 4 << 10;

impl Module {
    /// Compiles PTX for the device.
    pub(super) fn new(context: &Arc<Context>, ptx: &str) -> Result<Self, Fault> {
        use sys::CUjit_option_enum::{CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
        context.enter()?;
        let text =
            CString::new(ptx).map_err(|_nul| Fault { code: 0, message: "PTX with a zero byte".into() })?;
        let mut log = [0u8; LOG_BYTES];
        let mut options = [CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        let mut values = [log.as_mut_ptr().cast(), LOG_BYTES as *mut c_void];
        let mut raw = std::ptr::null_mut();
        let image = text.as_ptr().cast();
        // SAFETY: two options with two values; the text ends with a zero; the log is as long as is said.
        let loaded = unsafe {
            sys::cuModuleLoadDataEx(&raw mut raw, image, 2, options.as_mut_ptr(), values.as_mut_ptr())
        };
        named("cuModuleLoadDataEx", loaded.result()).map_err(|fault| {
            let said = CStr::from_bytes_until_nul(&log).ok().map(CStr::to_string_lossy).unwrap_or_default();
            let said = crate::name::escape(said.trim()).into_owned();
            let message = if said.is_empty() { fault.message } else { format!("{}: {said}", fault.message) };
            Fault { message, ..fault }
        })?;
        Ok(Self { context: Arc::clone(context), raw })
    }

    /// Returns a kernel by its name.
    pub(super) fn function(&self, name: &str) -> Result<Function, Fault> {
        self.context.enter()?;
        let text = CString::new(name).map_err(|_nul| Fault { code: 0, message: "a kernel's name".into() })?;
        // SAFETY: the module is loaded.
        let found = unsafe { result::module::get_function(self.raw, text) };
        named("cuModuleGetFunction", found)
            .map(Function)
            .map_err(|fault| Fault { message: format!("{}: {name}", fault.message), ..fault })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        let _ignored = self.context.enter();
        // SAFETY: loaded by `new`, unloaded once.
        let _ignored = unsafe { result::module::unload(self.raw) };
    }
}
