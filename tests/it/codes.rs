//! Codes, scales and zero points: every value of every layer of every sample is what they give by the formula of
//! the format. What a code means, which scale it has and how all become a value is written here a second time.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ckpt::checkpoint::Checkpoint;
use ckpt::checkpoint::side::FileSide;
use ckpt::quant::decode::{Beside, Decoding};
use ckpt::quant::{LayerSpec, Parts, Side};
use ckpt::tensor::values::{round, to_f32};
use ckpt::tensor::{Dtype, elements};

use crate::sample;

mod ggml;

/// What a code of so many bits means.
type Meaning = Box<dyn Fn(u16) -> f32>;

/// The value of a weight of its meaning, its scale, its zero point and its term.
type Value = Box<dyn Fn(f32, f32, f32, f32) -> f32>;

/// Codes and values of a layer, read in one go.
struct Seen {
    codes: Vec<u16>,
    values: Vec<f32>,
}

fn bytes(parts: &Parts<'_>, tensor: u32) -> Vec<u8> {
    let part = parts.list.iter().find(|part| part.tensor == tensor).unwrap();
    let Side::Bytes(bytes) = parts.data.read(tensor, 0, part.bytes) else { panic!("not read") };
    bytes
}

/// The values of a part as they are stored.
fn stored(parts: &Parts<'_>, suffix: &str) -> Option<Vec<f32>> {
    let part = parts.get(suffix)?;
    let mut values = vec![f32::NAN; elements(part.shape)? as usize];
    assert!(to_f32(part.dtype, &bytes(parts, part.tensor), &mut values));
    Some(values)
}

fn seen(parts: &Parts<'_>, decoding: &Decoding) -> Seen {
    let (rows, bytes) = (decoding.row_count(), bytes(parts, decoding.codes));
    let count = (rows * decoding.row_len()) as usize;
    let (mut codes, mut values) = (Vec::new(), vec![f32::NAN; count]);
    // Codes in blocks of five rows, values in one.
    for start in (0..rows).step_by(5) {
        let some = start..rows.min(start + 5);
        let range = decoding.rows.codes(some.clone());
        let mut out = vec![u16::MAX; ((some.end - start) * decoding.row_len()) as usize];
        decoding.rows.stored_codes(some, &bytes[range.start as usize..range.end as usize], &mut out);
        codes.extend(out);
    }
    let range = decoding.rows.codes(0..rows);
    decoding.rows.decode(0..rows, &bytes[range.start as usize..range.end as usize], &mut values);
    Seen { codes, values }
}

/// A float of one sign bit, so many exponent and mantissa bits, and a bias; all numbers are finite.
fn small_float(code: u16, exponent_bits: u32, mantissa_bits: u32, bias: i32) -> f32 {
    let mantissa = f32::from(code & ((1 << mantissa_bits) - 1)) / 2f32.powi(mantissa_bits as i32);
    let exponent = i32::from(code >> mantissa_bits & ((1 << exponent_bits) - 1));
    let size = match exponent {
        0 => mantissa * 2f32.powi(1 - bias),
        _ => (1.0 + mantissa) * 2f32.powi(exponent - bias),
    };
    if code >> (mantissa_bits + exponent_bits) & 1 == 1 { -size } else { size }
}

fn e4m3(code: u16) -> f32 {
    if code & 0x7f == 0x7f { f32::NAN } else { small_float(code, 4, 3, 7) }
}

fn e2m1(code: u16) -> f32 {
    small_float(code, 2, 1, 1)
}

fn signed(bits: u32) -> Meaning {
    Box::new(move |code| f32::from(((code << (16 - bits)) as i16) >> (16 - bits)))
}

fn unsigned() -> Meaning {
    Box::new(f32::from)
}

/// `(code - middle) * scale`.
fn around(middle: f32) -> Value {
    Box::new(move |code, scale, _, _| (code - middle) * scale)
}

/// `code * scale`, rounded.
fn product(dtype: Dtype) -> Value {
    Box::new(move |code, scale, _, _| round(dtype, code * scale))
}

fn centered() -> Value {
    Box::new(|code, scale, zero, _| (code - zero) * scale)
}

/// The formula of a layer: what its format's documentation says. `None` where this test has none.
fn formula(parts: &Parts<'_>, spec: &LayerSpec, decoding: &Decoding) -> Option<(Meaning, Value)> {
    let codes = parts.list.iter().find(|part| part.tensor == decoding.codes).unwrap();
    let has_zeros = decoding.rows.beside(Beside::ZeroPoints).is_some();
    let bits = decoding.rows.code_bits().unwrap();
    let byte: Meaning = match codes.dtype {
        Dtype::F8E4M3 => Box::new(e4m3),
        Dtype::I8 => signed(8),
        _ => unsigned(),
    };
    let scale_dtype = |suffix| parts.get(suffix).map(|part| part.dtype);
    Some(match (spec.format.get().name(), spec.variant.as_str()) {
        ("bnb-nf4" | "bnb-fp4", _) => {
            // The table lies beside the weight. bitsandbytes' -0 is 0 here.
            let table = parts.list.iter().find(|part| part.suffix.ends_with(".quant_map"))?;
            let table = stored(parts, table.suffix)?;
            (Box::new(move |code| table[usize::from(code)] + 0.0), product(Dtype::F32))
        }
        ("bnb-int8", _) => (byte, Box::new(|code, scale, _, _| code * scale * (1.0 / 127.0))),
        ("gptq" | "awq", "marlin") => (unsigned(), around(8.0)),
        ("awq", "gemv_fast") => (unsigned(), Box::new(|code, scale, _, term| code * scale + term)),
        // The sample of quark is of uint4.
        ("gptq" | "awq" | "quark", _) => (unsigned(), centered()),
        ("compressed-tensors", _) => match codes.suffix {
            "weight_packed" if codes.dtype == Dtype::I32 && has_zeros => (unsigned(), centered()),
            "weight_packed" if codes.dtype == Dtype::I32 => (unsigned(), around((1 << (bits - 1)) as f32)),
            "weight_packed" => (Box::new(e2m1), product(Dtype::BF16)),
            _ if codes.dtype == Dtype::I8 && has_zeros => (byte, centered()),
            _ if codes.dtype == Dtype::I8 => (byte, around(0.0)),
            _ if scale_dtype("weight_scale") == Some(Dtype::U8) => (byte, product(Dtype::BF16)),
            _ => (byte, product(scale_dtype("weight_scale")?)),
        },
        ("modelopt", "int4") => (signed(4), product(Dtype::F32)),
        ("modelopt", "nvfp4") | ("mxfp4", _) => (Box::new(e2m1), product(Dtype::F32)),
        ("eetq", _) => (unsigned(), around(128.0)),
        ("bitnet", "autobitlinear") => (unsigned(), around(1.0)),
        ("mlx", "affine") => {
            let dtype = scale_dtype("scales")?;
            let value = move |code, scale, _, term: f32| round(dtype, round(dtype, code * scale) + term);
            (unsigned(), Box::new(value))
        }
        ("mlx", _) => (Box::new(e2m1), product(Dtype::BF16)),
        ("hqq", _) => {
            let dtype = decoding.dtype?;
            (unsigned(), Box::new(move |code, scale, zero, _| round(dtype, code - zero) * scale))
        }
        ("quanto", _) if bits < 8 => {
            let dtype = decoding.dtype?;
            (unsigned(), Box::new(move |code, scale, _, term| round(dtype, code * scale) + term))
        }
        ("fp8" | "modelopt" | "quanto", _) => (byte, product(Dtype::F32)),
        ("torchao", _) => {
            let dtype = decoding.dtype?;
            (byte, Box::new(move |code, scale, zero, _| round(dtype, code - zero) * scale))
        }
        _ => return None,
    })
}

/// The scale of each weight, by its place in the weight; `count` scales in all.
fn scale_of(
    parts: &Parts<'_>,
    spec: &LayerSpec,
    decoding: &Decoding,
    count: usize,
) -> Option<Box<dyn Fn(usize) -> usize>> {
    let (rows, columns) = (decoding.row_count() as usize, decoding.row_len() as usize);
    let name = spec.format.get().name();
    if matches!(name, "bnb-nf4" | "bnb-fp4" | "quanto") {
        // Along the flattened weight.
        let block = match name {
            "quanto" => rows * columns / count,
            _ => spec.group_size? as usize,
        };
        assert_eq!(count, (rows * columns).div_ceil(block));
        return Some(Box::new(move |at| at / block));
    }
    if name == "hqq" {
        return match *parts.get("scale")?.shape {
            [1, groups] => Some(Box::new(move |at| at % groups as usize)),
            _ => Some(Box::new(move |at| at / (rows * columns / count))),
        };
    }
    if name == "mxfp4" {
        // A row is an input of an expert; scales are those of outputs.
        let inputs = decoding.shape[1] as usize;
        return Some(Box::new(move |at| {
            let (expert, input, output) = (at / columns / inputs, at / columns % inputs, at % columns);
            (expert * columns + output) * (inputs / 32) + input / 32
        }));
    }
    let order = stored(parts, "g_idx").filter(|order| order.len() == columns);
    if let Some(order) = order.filter(|_| count > rows) {
        return Some(Box::new(move |at| at / columns * (count / rows) + order[at % columns] as usize));
    }
    let run = spec.group_size.unwrap_or(columns as u64) as usize;
    let wide = columns.div_ceil(run);
    match count {
        1 => Some(Box::new(|_| 0)),
        count if count == rows => Some(Box::new(move |at| at / columns)),
        count if count == rows * wide => Some(Box::new(move |at| at / columns * wide + at % columns / run)),
        // Blocks are as high as wide.
        count if count == rows.div_ceil(run) * wide => {
            Some(Box::new(move |at| at / columns / run * wide + at % columns / run))
        }
        _ => None,
    }
}

/// Holds a layer's values against the formula; false where this test has none.
fn holds(what: &str, parts: &Parts<'_>, spec: &LayerSpec, decoding: &Decoding) -> bool {
    match spec.format.get().name() {
        "ggml" => return holds_in_blocks(what, parts, decoding),
        "exl2" => return holds_in_groups(what, parts, decoding),
        _ => {}
    }
    let Some(scales) = decoding.rows.beside(Beside::Scales) else { return false };
    let Some((meaning, value)) = formula(parts, spec, decoding) else { return false };
    let Some(place) = scale_of(parts, spec, decoding, scales.len()) else {
        panic!("{what}: {} scales of {:?}", scales.len(), decoding.shape);
    };
    let [zeros, terms] = [Beside::ZeroPoints, Beside::Terms].map(|which| {
        let list = decoding.rows.beside(which).unwrap_or_default();
        assert!(list.is_empty() || list.len() == scales.len(), "{what}: {} {which:?}", list.len());
        list
    });
    let Seen { codes, values } = seen(parts, decoding);
    for (at, (&code, &have)) in codes.iter().zip(&values).enumerate() {
        let group = place(at);
        let [zero, term] = [&zeros, &terms].map(|list| list.get(group).copied().unwrap_or(0.0));
        let want = value(meaning(code), scales[group], zero, term);
        assert!(
            have.to_bits() == want.to_bits() || have.is_nan() && want.is_nan(),
            "{what}: weight {at} of {:?} is {have}, code {code} in group {group} gives {want}",
            decoding.shape
        );
    }
    true
}

/// Holds the values of a tensor in blocks against what is in them.
fn holds_in_blocks(what: &str, parts: &Parts<'_>, decoding: &Decoding) -> bool {
    let part = parts.list.iter().find(|part| part.tensor == decoding.codes).unwrap();
    let Dtype::Ggml(kind) = part.dtype else { panic!("{what} is {}", part.dtype) };
    let [elements, size] = [kind.block_elements(), kind.block_bytes()].map(|n| n as usize);
    let bytes = bytes(parts, decoding.codes);
    let Seen { codes, values } = seen(parts, decoding);
    for (at, (&code, &have)) in codes.iter().zip(&values).enumerate() {
        let block = &bytes[at / elements * size..][..size];
        let want = ggml::value(kind.name(), block, at % elements, code);
        assert_eq!(have, want, "{what}: weight {at} of code {code}");
    }
    true
}

/// Holds the values of EXL2, of which each group of inputs has codes of its own width.
fn holds_in_groups(what: &str, parts: &Parts<'_>, decoding: &Decoding) -> bool {
    let numbers = |suffix: &str| -> Vec<usize> {
        stored(parts, suffix).unwrap().into_iter().map(|number| number as usize).collect()
    };
    let (groups, place) = (numbers("q_groups"), numbers("q_invperm"));
    let word_rows = parts.get("q_weight").unwrap().shape[0] as usize;
    // The bits and the group of each code.
    let mut of_code = Vec::new();
    for (group, pair) in groups.chunks(2).enumerate() {
        let next = groups.get(2 * group + 3).copied().unwrap_or(word_rows);
        of_code.extend(vec![(pair[0], group); (next - pair[1]) * 32 / pair[0]]);
    }
    let (outputs, inputs) = (decoding.row_count() as usize, decoding.row_len() as usize);
    let scales = decoding.rows.beside(Beside::Scales).unwrap();
    assert_eq!(scales.len(), outputs * groups.len() / 2);
    let Seen { codes, values } = seen(parts, decoding);
    for (at, (&code, &have)) in codes.iter().zip(&values).enumerate() {
        let (bits, group) = of_code[place[at % inputs]];
        let middle = (1 << (bits - 1)) as f32;
        let want = (f32::from(code) - middle) * scales[group * outputs + at / inputs];
        assert!(code >> bits == 0 && have == want, "{what}: weight {at} of code {code}: {have}, not {want}");
    }
    true
}

/// All that can be opened of the samples: a `model`, or files that stand for themselves.
fn all() -> Vec<PathBuf> {
    let entries = fs::read_dir(sample("")).unwrap().map(|entry| entry.unwrap().path());
    let folders = entries.filter(|path| path.is_dir() && !path.ends_with("bad-folders"));
    let mut paths: Vec<PathBuf> = folders
        .flat_map(|folder| {
            let model = folder.join("model");
            if model.is_dir() {
                return vec![model];
            }
            let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            files.filter(|path| path.extension().is_some_and(|e| e == "safetensors" || e == "gguf")).collect()
        })
        .collect();
    paths.sort();
    paths
}

/// Calls `f` with every quantized layer of a checkpoint that can be decoded.
fn each_decoding(path: &Path, mut f: impl FnMut(&str, &Parts<'_>, &LayerSpec, &Decoding)) {
    let Ok(checkpoint) = Checkpoint::open_examined(&path.display().to_string()) else { return };
    let (files, layers) = (&checkpoint.files, &checkpoint.layers);
    let data = FileSide::whole(files);
    for layer in (0..layers.len() as u32).filter(|&layer| layers.spec(layer).is_quantized()) {
        let (spec, name) = (layers.spec(layer), layers.name(&files.names, layer));
        layers.with_parts(files, layer, &data, |parts| {
            if let Ok(decoding) = spec.format.get().decode(parts, spec) {
                f(&format!("{} {name}", path.display()), parts, spec, &decoding);
            }
        });
    }
}

#[test]
fn values_are_what_codes_scales_and_zero_points_give() {
    let (mut held, mut without) = (BTreeMap::new(), BTreeMap::new());
    for path in all() {
        each_decoding(&path, |what, parts, spec, decoding| {
            let name = spec.format.get().name();
            let kind = if name == "ggml" { spec.label() } else { name.to_owned() };
            let count = if decoding.rows.code_bits().is_none() {
                without.entry(kind)
            } else {
                assert!(holds(what, parts, spec, decoding), "{what}: no formula");
                held.entry(kind)
            };
            *count.or_insert(0usize) += 1;
        });
    }
    println!("held {held:?}\nwithout codes {without:?}");
    let counts = [
        ("awq", 51),
        ("bitnet", 3),
        ("bnb-fp4", 42),
        ("bnb-int8", 28),
        ("bnb-nf4", 112),
        ("compressed-tensors", 98),
        ("eetq", 3),
        ("exl2", 3),
        ("fp8", 36),
        ("gptq", 104),
        ("hqq", 7),
        ("mlx", 6),
        ("modelopt", 9),
        ("mxfp4", 4),
        ("quanto", 7),
        ("quark", 3),
        ("torchao", 7),
        ("Q4_K", 6),
        ("Q6_K", 4),
    ];
    for (name, count) in counts {
        let found = held.get(name).copied().unwrap_or(0);
        assert!(found >= count, "{name}: {found} layers, not {count}");
    }
    assert_eq!(without.into_iter().collect::<Vec<_>>(), [("aqlm".to_owned(), 3)]);
}

/// Damaged layers and files: what says that it has codes gives them, and nothing panics.
#[test]
fn damaged_layers_have_codes_of_their_bits() {
    let entries = ["bad-quantized", "bad-gguf"].map(|folder| fs::read_dir(sample(folder)).unwrap());
    let mut count = 0;
    for path in entries.into_iter().flatten().map(|entry| entry.unwrap().path()) {
        each_decoding(&path, |what, parts, _, decoding| {
            let Some(bits) = decoding.rows.code_bits() else { return };
            let codes = seen(parts, decoding).codes;
            assert!(codes.iter().all(|&code| code >> bits == 0), "{what}");
            count += 1;
        });
    }
    assert!(count >= 8, "{count} layers");
}
