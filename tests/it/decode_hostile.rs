//! Hostile layers: those of the samples with parts lost, dtypes, shapes and bytes changed decode or are
//! refused in words, never with a panic.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ckpt::checkpoint::Checkpoint;
use ckpt::checkpoint::side::FileSide;
use ckpt::quant::{FORMATS, Part, Parts, Side, SideData};
use ckpt::tensor::{Dtype, elements};

use crate::sample;

/// Values of a result that are decoded: shapes may claim any number.
const VALUES_MAX: u64 = 1 << 22;

/// A small generator of numbers (xorshift), seeded so that a failure repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }
}

/// The files' bytes, with some replaced.
struct Changed<'a> {
    files: &'a dyn SideData,
    bytes: BTreeMap<u32, Vec<u8>>,
}

impl SideData for Changed<'_> {
    fn read(&self, tensor: u32, offset: u64, count: u64) -> Side {
        let Some(bytes) = self.bytes.get(&tensor) else { return self.files.read(tensor, offset, count) };
        let begin = (offset as usize).min(bytes.len());
        let end = begin.saturating_add(count as usize).min(bytes.len());
        Side::Bytes(bytes[begin..end].to_vec())
    }
}

/// Decodes all rows of what any format makes of the parts. Returns why not, if so.
fn decode_all(parts: &Parts<'_>) -> Result<(), String> {
    let found = FORMATS.iter().find_map(|format| format.recognize(parts));
    let spec = found.ok_or("not a layer")?.spec;
    let decoding = spec.format.get().decode(parts, &spec)?;
    let count = elements(&decoding.shape).ok_or("too large")?;
    if count > VALUES_MAX {
        return Ok(());
    }
    let codes = parts.list.iter().find(|part| part.tensor == decoding.codes).unwrap();
    for block in [7, u64::MAX] {
        let mut start = 0;
        while start < decoding.row_count() {
            let rows = start..start.saturating_add(block).min(decoding.row_count());
            let range = decoding.rows.codes(rows.clone());
            assert!(range.start <= range.end && range.end <= codes.bytes, "{range:?} of {}", codes.bytes);
            let Side::Bytes(read) = parts.data.read(codes.tensor, range.start, range.end - range.start)
            else {
                return Err("codes not read".into());
            };
            if read.len() as u64 != range.end - range.start {
                return Err("codes cut".into());
            }
            let mut out = vec![0.0; ((rows.end - rows.start) * decoding.row_len()) as usize];
            decoding.rows.decode(rows.clone(), &read, &mut out);
            start = rows.end;
        }
    }
    Ok(())
}

/// Loses a part, or changes its dtype, shape or bytes.
fn change(parts: &mut Vec<Part<'_>>, changed: &mut Changed<'_>, shapes: &[Vec<u64>], dice: &mut Dice) {
    const DTYPES: [Dtype; 10] = [
        Dtype::U8,
        Dtype::I8,
        Dtype::I16,
        Dtype::I32,
        Dtype::F16,
        Dtype::BF16,
        Dtype::F32,
        Dtype::F8E4M3,
        Dtype::F8E8M0,
        Dtype::I64,
    ];
    let at = dice.roll(parts.len());
    match dice.roll(6) {
        0 if parts.len() > 1 => drop(parts.remove(at)),
        1 => parts[at].dtype = dice.pick(&DTYPES),
        2 => parts[at].bytes = dice.pick(&[0, 1, 4, 64, parts[at].bytes / 2]),
        // What another part or chance says; the lengths of `shapes` outlive the parts.
        3 => {
            let other = shapes[dice.roll(shapes.len())].len().min(parts[at].shape.len());
            parts[at].shape = &parts[at].shape[..other];
        }
        _ => {
            let part = parts[at];
            let Side::Bytes(mut bytes) = changed.files.read(part.tensor, 0, part.bytes.min(1 << 16)) else {
                return;
            };
            if part.bytes > bytes.len() as u64 || bytes.is_empty() {
                return;
            }
            for _ in 0..=dice.roll(8) {
                let place = dice.roll(bytes.len());
                bytes[place] = dice.pick(&[0, 1, 2, 0x7f, 0x80, 0xff, place as u8]);
            }
            changed.bytes.insert(part.tensor, bytes);
        }
    }
}

/// The folders of samples whose name begins so, each a checkpoint.
fn checkpoints(prefixes: &[&str]) -> Vec<(String, PathBuf)> {
    let names = fs::read_dir(sample("")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.retain(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)));
    names.sort();
    let folder = |name: String| {
        let model = sample(&name).join("model");
        (name.clone(), if model.is_dir() { model } else { sample(&name) })
    };
    names.into_iter().map(folder).collect()
}

/// Calls `f` with the parts of every layer of a checkpoint.
fn each_layer(path: &Path, mut f: impl FnMut(&str, &Parts<'_>)) {
    let checkpoint = Checkpoint::open_examined(&path.display().to_string()).unwrap();
    let (files, layers) = (&checkpoint.files, &checkpoint.layers);
    let data = FileSide::whole(files);
    for layer in 0..layers.len() as u32 {
        let format = layers.spec(layer).format.get().name();
        layers.with_parts(files, layer, &data, |parts| f(format, parts));
    }
}

#[test]
fn every_layout_decodes_or_is_refused() {
    let mut decoded = BTreeMap::<String, usize>::new();
    for (_, path) in checkpoints(&["layout-"]) {
        each_layer(&path, |format, parts| match decode_all(parts) {
            Ok(()) => *decoded.entry(format.to_owned()).or_default() += 1,
            Err(why) => assert!(!why.is_empty() && !why.contains('\n'), "{format}: {why}"),
        });
    }
    for format in ["aqlm", "bitnet", "eetq", "exl2", "mlx", "quark"] {
        assert!(decoded.get(format).is_some_and(|&count| count >= 3), "{format}: {decoded:?}");
    }
    for format in ["exl3", "vptq", "spqr", "higgs"] {
        assert!(!decoded.contains_key(format), "{format}");
    }
}

#[test]
fn changed_layers_decode_or_are_refused() {
    const CHANGES: usize = 60;
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut decoded, mut refused) = (0, 0);
    for (name, path) in checkpoints(&["layout-", "hqq-", "quanto-", "torchao-"]) {
        each_layer(&path, |_, parts| {
            let shapes: Vec<Vec<u64>> = parts.list.iter().map(|part| part.shape.to_vec()).collect();
            for round in 0..CHANGES {
                let mut list = parts.list.to_vec();
                let mut changed = Changed { files: parts.data, bytes: BTreeMap::new() };
                for _ in 0..=round % 3 {
                    change(&mut list, &mut changed, &shapes, &mut dice);
                }
                let parts = Parts { list: &list, data: &changed, ..*parts };
                match decode_all(&parts) {
                    Ok(()) => decoded += 1,
                    Err(why) => {
                        assert!(why.len() < 400, "{name}: {why}");
                        refused += 1;
                    }
                }
            }
        });
    }
    assert!(decoded > 300 && refused > 300, "{decoded} decoded, {refused} refused");
}
