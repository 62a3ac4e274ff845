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
use ckpt::quant::decode::Decoding;
use ckpt::quant::{FormatId, LayerSpec, Module, Part, Parts, QuantConfig, Side, SideData};
use ckpt::tensor::Dtype;

/// Runs of each row; the least is shown.
const RUNS: usize = 7;
/// Inputs of the layers.
const INPUTS: u64 = 4096;

/// Types of ggml that are measured, and their blocks: values and bytes.
const GGML: [(&str, (u64, u64)); 6] = [
    ("Q4_0", (32, 18)),
    ("Q5_0", (32, 22)),
    ("Q8_0", (32, 34)),
    ("Q4_K", (256, 144)),
    ("Q5_K", (256, 176)),
    ("Q6_K", (256, 210)),
];

/// A tensor in memory.
struct Tensor {
    suffix: &'static str,
    dtype: Dtype,
    shape: Vec<u64>,
    bytes: Vec<u8>,
}

/// The tensors of one layer.
struct Layer(Vec<Tensor>);

impl SideData for Layer {
    fn read(&self, tensor: u32, offset: u64, count: u64) -> Side {
        let bytes = &self.0[tensor as usize].bytes;
        let start = bytes.len().min(offset as usize);
        Side::Bytes(bytes[start..bytes.len().min(start + count as usize)].to_vec())
    }
}

/// Bytes without a pattern.
fn noise(count: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..count.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(count as usize).collect()
}

/// Values of scales: all finite, none zero.
fn scales(dtype: Dtype, count: u64) -> Vec<u8> {
    let values: Vec<f32> = (0..count).map(|i| 0.01 + (i % 97) as f32 * 1e-4).collect();
    let mut bytes = vec![0; dtype.bytes_of(count).unwrap() as usize];
    assert!(ckpt::tensor::values::from_f32(dtype, &values, &mut bytes));
    bytes
}

fn nf4(outputs: u64) -> Layer {
    let count = outputs * INPUTS;
    let state = format!(
        r#"{{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [{outputs}, {INPUTS}]}}"#
    );
    let tensor = |suffix, dtype, shape: &[u64], bytes| Tensor { suffix, dtype, shape: shape.to_vec(), bytes };
    Layer(vec![
        tensor("weight", Dtype::U8, &[count / 2, 1], noise(count / 2)),
        tensor("weight.absmax", Dtype::F32, &[count / 64], scales(Dtype::F32, count / 64)),
        tensor("weight.quant_map", Dtype::F32, &[16], vec![0; 64]),
        tensor("weight.quant_state.bitsandbytes__nf4", Dtype::U8, &[state.len() as u64], state.into_bytes()),
    ])
}

fn fp8(outputs: u64) -> Layer {
    let tensor = |suffix, dtype, shape: &[u64], bytes| Tensor { suffix, dtype, shape: shape.to_vec(), bytes };
    let codes =
        noise(outputs * INPUTS).into_iter().map(|b| if b & 0x7f == 0x7f { b ^ 1 } else { b }).collect();
    let (rows, columns) = (outputs / 128, INPUTS / 128);
    Layer(vec![
        tensor("weight", Dtype::F8E4M3, &[outputs, INPUTS], codes),
        tensor("weight_scale_inv", Dtype::F32, &[rows, columns], scales(Dtype::F32, rows * columns)),
    ])
}

fn gptq(outputs: u64) -> Layer {
    let groups = INPUTS / 128;
    let tensor = |suffix, dtype, shape: &[u64], bytes| Tensor { suffix, dtype, shape: shape.to_vec(), bytes };
    let index = (0..INPUTS as u32).flat_map(|i| (i / 128).to_le_bytes()).collect();
    Layer(vec![
        tensor("qweight", Dtype::I32, &[INPUTS / 8, outputs], noise(INPUTS * outputs / 2)),
        tensor("qzeros", Dtype::I32, &[groups, outputs / 8], vec![0x77; (groups * outputs / 2) as usize]),
        tensor("scales", Dtype::F16, &[groups, outputs], scales(Dtype::F16, groups * outputs)),
        tensor("g_idx", Dtype::I32, &[INPUTS], index),
    ])
}

fn awq(outputs: u64) -> Layer {
    let groups = INPUTS / 128;
    let tensor = |suffix, dtype, shape: &[u64], bytes| Tensor { suffix, dtype, shape: shape.to_vec(), bytes };
    Layer(vec![
        tensor("qweight", Dtype::I32, &[INPUTS, outputs / 8], noise(INPUTS * outputs / 2)),
        tensor("qzeros", Dtype::I32, &[groups, outputs / 8], noise(groups * outputs / 2)),
        tensor("scales", Dtype::F16, &[groups, outputs], scales(Dtype::F16, groups * outputs)),
    ])
}

fn ggml(name: &'static str, block: (u64, u64), outputs: u64) -> Layer {
    let dtype =
        (0..64).filter_map(ckpt::tensor::GgmlType::from_id).find(|t| t.name() == name).map(Dtype::Ggml);
    let bytes = outputs * INPUTS / block.0 * block.1;
    // Scales that are small: halves made of noise may be NaN, which costs as much.
    Layer(vec![Tensor {
        suffix: "weight",
        dtype: dtype.unwrap(),
        shape: vec![outputs, INPUTS],
        bytes: noise(bytes),
    }])
}

/// Recognizes a layer and makes its decoding, or says why there is none.
fn decoding(layer: &Layer, format: &str) -> Result<(Decoding, LayerSpec), String> {
    let list: Vec<Part<'_>> = layer
        .0
        .iter()
        .enumerate()
        .map(|(index, tensor)| Part {
            suffix: tensor.suffix,
            dtype: tensor.dtype,
            shape: &tensor.shape,
            bytes: tensor.bytes.len() as u64,
            tensor: index as u32,
        })
        .collect();
    let config = QuantConfig::default();
    let spell = || "layer".to_owned();
    let module = Module::new(&spell);
    let parts = Parts { module: &module, list: &list, config: &config, data: layer };
    let format = FormatId::find(format).ok_or("no such format")?.get();
    let spec = format.recognize(&parts).ok_or("not recognized")?.spec;
    format.decode(&parts, &spec).map(|decoding| (decoding, spec))
}

fn least(mut f: impl FnMut()) -> f64 {
    let once = |f: &mut dyn FnMut()| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    (0..RUNS).map(|_| once(&mut f)).fold(f64::INFINITY, f64::min)
}

fn measure(name: &str, layer: &Layer, format: &str) {
    let (decoding, _) = match decoding(layer, format) {
        Ok(made) => made,
        Err(why) => return println!("{name:<12} {why}"),
    };
    let dtype = decoding.dtype.unwrap_or(Dtype::BF16);
    let count = decoding.row_count() * decoding.row_len();
    let mut out = vec![0u8; dtype.bytes_of(count).unwrap() as usize];
    let source = noise(out.len() as u64);
    let copy = least(|| {
        out.copy_from_slice(black_box(&source));
        black_box(&out);
    });
    let codes = &layer.0[decoding.codes as usize].bytes;
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
fn against_c(name: &str, library: &libloading::Library, layer: &Layer) {
    /// Values at a time, as the engine decodes them.
    const AT_ONCE: u64 = 32 << 10;
    let symbol = format!("dequantize_row_{}", name.replace('Q', "q"));
    // SAFETY: ggml-quants.h declares it with this type.
    let Ok(c) = (unsafe { library.get::<CDecode>(symbol.as_bytes()) }) else {
        return println!("{name:<12} {symbol} is not in the library");
    };
    let (decoding, _) = decoding(layer, "ggml").unwrap();
    let (rows, codes) = (AT_ONCE / INPUTS, &layer.0[0].bytes);
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
    measure("nf4", &nf4(outputs), "bnb-nf4");
    measure("fp8 block", &fp8(outputs), "fp8");
    measure("gptq 4", &gptq(outputs), "gptq");
    measure("awq gemm", &awq(outputs), "awq");
    let library = std::env::args().skip(1).find(|arg| arg.contains(".so")).map(|path| {
        // SAFETY: a library that the person who runs this chose.
        unsafe { libloading::Library::new(&path) }.unwrap()
    });
    for (name, block) in GGML {
        measure(name, &ggml(name, block, outputs), "ggml");
    }
    for (name, block) in GGML.iter().filter(|_| library.is_some()) {
        against_c(name, library.as_ref().unwrap(), &ggml(name, *block, outputs));
    }
}
