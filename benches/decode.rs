//! How fast layers are decoded in memory on one thread, as ratios to a copy of the result's bytes, measured in
//! one run.
//!
//! `cargo bench --bench decode -- [MILLIONS OF WEIGHTS] [LIBRARY]`; four million make a result of the size of a
//! slot, in which the engine works. With ggml's own shared library (`libggml-base.so`) ggml's types are decoded
//! by its C too, to f32 as it does, and held against our decoding to f32; the values have to be the same.
#![expect(clippy::print_stdout, reason = "its output is a table")]
#![expect(unsafe_code, reason = "a call of ggml's C; see SAFETY")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

use std::hint::black_box;
use std::time::Instant;

use ckpt::engine::cpu::Cpu;
use ckpt::engine::{Device as _, Resident, Scratch, Work};
use ckpt::quant::noise::{Layer, layer, noise};
use ckpt::tensor::Dtype;

/// Runs of each row; the least is shown.
const RUNS: usize = 7;
/// Inputs of the layers.
const INPUTS: u64 = 4096;

/// Types of ggml that are measured.
const GGML: [&str; 6] = ["Q4_0", "Q5_0", "Q8_0", "Q4_K", "Q5_K", "Q6_K"];

fn least(mut f: impl FnMut()) -> f64 {
    let once = |f: &mut dyn FnMut()| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    (0..RUNS).map(|_| once(&mut f)).fold(f64::INFINITY, f64::min)
}

fn measure(layer: &Layer) {
    let (name, decoding) = (&layer.name, layer.decoding().unwrap());
    let dtype = decoding.dtype.unwrap_or(Dtype::BF16);
    let count = decoding.row_count() * decoding.row_len();
    let mut out = vec![0u8; dtype.bytes_of(count).unwrap() as usize];
    let source = noise(out.len() as u64);
    let copy = least(|| {
        out.copy_from_slice(black_box(&source));
        black_box(&out);
    });
    let codes = layer.codes(&decoding);
    let mut scratch = Scratch::default();
    let decode = least(|| {
        let work = Work {
            decoding: &decoding,
            rows: 0..decoding.row_count(),
            codes: black_box(codes),
            is_whole: false,
            codes_start: 0,
            native: dtype,
            dtype,
            resident: &Resident::default(),
        };
        Cpu.decode(&work, &mut scratch, &mut out).unwrap();
        black_box(&out);
    });
    let rate = |seconds: f64| out.len() as f64 / seconds / 1e9;
    println!(
        "{name:<12} {:>8.2} ms  {:>6.2} GB/s  copy {:>6.2} GB/s  x copy {:>5.2}",
        decode * 1e3,
        rate(decode),
        rate(copy),
        copy / decode
    );
}

/// ggml's `dequantize_row_…`: blocks, values, number of values.
type CDecode = unsafe extern "C" fn(*const u8, *mut f32, i64);

/// Decodes to f32 with ggml's C and with ours, some rows at a time into the same memory, and compares.
fn against_c(library: &libloading::Library, layer: &Layer) {
    /// Values at a time, as the engine decodes them.
    const AT_ONCE: u64 = 32 << 10;
    let name = &layer.name;
    let symbol = format!("dequantize_row_{}", name.replace('Q', "q"));
    // SAFETY: ggml-quants.h declares it with this type.
    let Ok(c) = (unsafe { library.get::<CDecode>(symbol.as_bytes()) }) else {
        return println!("{name:<12} {symbol} is not in the library");
    };
    let decoding = layer.decoding().unwrap();
    let (rows, codes) = (AT_ONCE / INPUTS, layer.codes(&decoding));
    let pieces = || {
        (0..decoding.row_count()).step_by(rows as usize).map(|row| {
            let range = decoding.rows.codes(row..row + rows);
            (row, &codes[range.start as usize..range.end as usize])
        })
    };
    let c = |codes: &[u8], out: &mut [f32]| {
        assert!(out.len() == AT_ONCE as usize);
        // SAFETY: the blocks are whole ones of `AT_ONCE` values, for which there is room.
        unsafe { c(codes.as_ptr(), out.as_mut_ptr(), AT_ONCE as i64) }
    };
    let ours = |row: u64, codes: &[u8], out: &mut [f32]| decoding.rows.decode(row..row + rows, codes, out);
    let [mut a, mut b] = [vec![0f32; AT_ONCE as usize], vec![0f32; AT_ONCE as usize]];
    for (row, codes) in pieces() {
        c(codes, &mut a);
        ours(row, codes, &mut b);
        let is_same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        assert!(a.iter().zip(&b).all(is_same), "{name}: other values than ggml's from row {row} on");
    }
    let by_c = least(|| pieces().for_each(|(_, codes)| c(black_box(codes), &mut a)));
    let by_ours = least(|| pieces().for_each(|(row, codes)| ours(row, black_box(codes), &mut b)));
    println!(
        "{name:<12} {:>8.2} ms  to f32; ggml's C {:>6.2} ms  x ggml {:>5.2}",
        by_ours * 1e3,
        by_c * 1e3,
        by_c / by_ours
    );
}

fn main() {
    let millions: u64 = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(4);
    let outputs = (millions * 1_000_000 / INPUTS / 256).max(1) * 256;
    println!(
        "{outputs} x {INPUTS} weights, one thread, least of {RUNS}; x copy: speed over that of a copy of the result"
    );
    let layers: Vec<Layer> = ["bnb-nf4", "fp8", "gptq", "awq"]
        .into_iter()
        .chain(GGML)
        .map(|name| layer(name, outputs, INPUTS).unwrap())
        .collect();
    layers.iter().for_each(measure);
    let library = std::env::args().skip(1).find(|arg| arg.contains(".so")).map(|path| {
        // SAFETY: a library that the person who runs this chose.
        unsafe { libloading::Library::new(&path) }.unwrap()
    });
    if let Some(library) = &library {
        layers
            .iter()
            .filter(|layer| GGML.contains(&&*layer.name))
            .for_each(|layer| against_c(library, layer));
    }
}
