//! Layers of random bits in the formats that `kernels/{scaled,planes,mxfp4,int8,codebook}.cu` decode, in odd sizes and cut
//! into any rows, on the simulated GPU and on the processor: the same bytes, and nothing left to the processor.

use ckpt::quant::in_memory::InMemory;
use ckpt::tensor::{Dtype, values};
use libtest_mimic::Trial;
use serde_json::json;

use super::layers::{self, Random};
use super::trial;

/// Tensors of random bits.
trait Strewn: Sized {
    fn codes(self, suffix: &'static str, dtype: Dtype, shape: &[u64], dice: &mut Random) -> Self;
    fn values(self, suffix: &'static str, dtype: Dtype, shape: &[u64], dice: &mut Random) -> Self;
    fn powers(self, suffix: &'static str, dtype: Dtype, shape: &[u64], dice: &mut Random) -> Self;
    fn numbers(self, suffix: &'static str, numbers: &[i64]) -> Self;
}

impl Strewn for InMemory<'static> {
    /// Adds codes without a pattern; bytes of floats that are no numbers are made others.
    fn codes(self, suffix: &'static str, dtype: Dtype, shape: &[u64], dice: &mut Random) -> Self {
        let count = dtype.bytes_of(shape.iter().product()).unwrap();
        let number = |byte: u8| match dtype {
            Dtype::F8E4M3 if byte & 0x7f == 0x7f => byte ^ 1,
            Dtype::F8E5M2 if byte & 0x7c == 0x7c => byte ^ 4,
            Dtype::F8E4M3Fnuz | Dtype::F8E5M2Fnuz if byte == 0x80 => 0,
            _ => byte,
        };
        let bytes: Vec<u8> = (0..count).map(|_| number(dice.byte())).collect();
        self.part(suffix, dtype, shape, bytes)
    }

    /// Adds values of either sign between a hundredth and one.
    fn values(self, suffix: &'static str, dtype: Dtype, shape: &[u64], dice: &mut Random) -> Self {
        let count: u64 = shape.iter().product();
        let value = |dice: &mut Random| (f32::from(dice.byte()) + 2.7) / 259.0;
        let values: Vec<f32> =
            (0..count).map(|_| if dice.byte() & 1 == 0 { value(dice) } else { -value(dice) }).collect();
        let mut bytes = vec![0; dtype.bytes_of(count).unwrap() as usize];
        assert!(values::from_f32(dtype, &values, &mut bytes));
        self.part(suffix, dtype, shape, bytes)
    }

    /// Adds powers of two: E8M0 around 1.
    fn powers(self, suffix: &'static str, dtype: Dtype, shape: &[u64], dice: &mut Random) -> Self {
        let count: u64 = shape.iter().product();
        let bytes: Vec<u8> = (0..count).map(|_| 112 + dice.byte() % 24).collect();
        self.part(suffix, dtype, shape, bytes)
    }

    fn numbers(self, suffix: &'static str, numbers: &[i64]) -> Self {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.part(suffix, Dtype::I64, &[numbers.len() as u64], bytes)
    }
}

/// Decodes from each dtype, in odd and even ranges of rows.
fn check(what: &str, layer: &InMemory<'_>, format: &str) {
    let _is_written = layers::check(what, layer, format, &[Dtype::F16, Dtype::F32]);
}

/// Odd and even sizes.
const SIZES: [u64; 12] = [1, 2, 3, 5, 7, 8, 16, 24, 33, 64, 129, 260];

fn fp8(dice: &mut Random) {
    let dtype =
        dice.one_of(&[Dtype::F8E4M3, Dtype::F8E4M3, Dtype::F8E5M2, Dtype::F8E4M3Fnuz, Dtype::F8E5M2Fnuz]);
    let [outputs, inputs] = [dice.one_of(&SIZES), dice.one_of(&SIZES) + 1];
    let block = [dice.one_of(&[1, 2, 3, 16, 128]), dice.one_of(&[1, 3, 8, 20, 128])];
    let stack = dice.one_of(&[0, 0, 3]);
    let matrix = [outputs.div_ceil(block[0]), inputs.div_ceil(block[1])];
    let of = |sizes: [u64; 2]| if stack > 0 { vec![stack, sizes[0], sizes[1]] } else { sizes.to_vec() };
    let layer = InMemory::default()
        .block("config.json", "fp8", json!({"quant_method": "fp8", "weight_block_size": block}))
        .codes("weight", dtype, &of([outputs, inputs]), dice)
        .values("weight_scale_inv", Dtype::F32, &of(matrix), dice);
    check(&format!("{dtype} {:?} in blocks {block:?}", of([outputs, inputs])), &layer, "fp8");
    let said =
        json!({"quant_method": "fp8", "weight_block_size": block, "weight_scale_semantics": "inverse"});
    let divided = InMemory::default()
        .block("config.json", "fp8", said)
        .codes("weight", dtype, &of([outputs, inputs]), dice)
        .values("weight_scale_inv", Dtype::F32, &of(matrix), dice);
    check(&format!("{dtype} {:?} divided in blocks {block:?}", of([outputs, inputs])), &divided, "fp8");
    // Two codes a byte; rows end within eight codes, as blocks do.
    let matrix = [outputs.div_ceil(block[0]), (inputs * 2).div_ceil(block[1])];
    let fours = InMemory::default()
        .block("config.json", "fp8", json!({"quant_method": "fp8", "weight_block_size": block}))
        .codes("weight", Dtype::I8, &of([outputs, inputs]), dice)
        .powers("scale", Dtype::F8E8M0, &of(matrix), dice);
    check(&format!("fp4 {:?} in blocks {block:?}", of([outputs, inputs * 2])), &fours, "fp8");
}

fn modelopt(dice: &mut Random) {
    let [outputs, inputs] = [dice.one_of(&SIZES) * 2, dice.one_of(&SIZES) * 16];
    let block = json!({"quant_method": "modelopt", "quant_algo": "W4A16_AWQ"});
    let int4 = InMemory::default()
        .block("config.json", "modelopt", block.clone())
        .codes("weight", Dtype::U8, &[outputs / 2, inputs], dice)
        .values("weight_scale", Dtype::F32, &[outputs, inputs / 16], dice)
        .values("pre_quant_scale", Dtype::BF16, &[inputs], dice);
    check(&format!("int4 {outputs} x {inputs}"), &int4, "modelopt");
    let odd = dice.one_of(&SIZES);
    let by_output = InMemory::default()
        .block("config.json", "modelopt", block.clone())
        .codes("weight", Dtype::U8, &[outputs / 2, odd], dice)
        .values("weight_scale", Dtype::F32, &[outputs, 1], dice)
        .values("pre_quant_scale", Dtype::BF16, &[odd], dice);
    check(&format!("int4 {outputs} x {odd}"), &by_output, "modelopt");
    let nvfp4 = InMemory::default()
        .block("config.json", "modelopt", block)
        .codes("weight", Dtype::U8, &[outputs, inputs / 2], dice)
        .codes("weight_scale", Dtype::F8E4M3, &[outputs, inputs / 16], dice)
        .values("weight_scale_2", Dtype::F32, &[], dice);
    check(&format!("nvfp4 {outputs} x {inputs}"), &nvfp4, "modelopt");
    // Columns have factors of their own.
    let by_column = nvfp4.values("pre_quant_scale", Dtype::BF16, &[inputs], dice);
    check(&format!("nvfp4 {outputs} x {inputs} by columns"), &by_column, "modelopt");
    let block = json!({"quant_method": "modelopt", "quant_algo": "FP8"});
    let fp8 = InMemory::default()
        .block("config.json", "modelopt", block)
        .codes("weight", Dtype::F8E4M3, &[outputs, odd], dice)
        .values("weight_scale", Dtype::F32, &[outputs], dice)
        .values("pre_quant_scale", Dtype::BF16, &[odd], dice);
    check(&format!("fp8 {outputs} x {odd} by columns"), &fp8, "modelopt");
}

/// Each class, in groups and blocks of any size: rows of nibbles are any even number of them.
fn torchao(dice: &mut Random) {
    let [outputs, inputs] = [dice.one_of(&SIZES), dice.one_of(&SIZES)];
    let (dtype, name) =
        dice.one_of(&[(Dtype::F16, "float16"), (Dtype::BF16, "bfloat16"), (Dtype::F32, "float32")]);
    let block = [1, 2, 3, 8, 16].map(|size| if outputs % size == 0 { size } else { 1 });
    let (high, wide) = (dice.one_of(&block), dice.one_of(&[1, 3, 5, 8, 20, 128]));
    let layer = |class: &str, block: [u64; 2]| {
        let of = json!({"_type": "torch.dtype", "_data": name});
        let data = json!({"block_size": block, "dtype": of, "orig_dtype": of,
            "elem_dtype": {"_type": "torch.dtype", "_data": "float4_e2m1fn_x2"}});
        let said = json!({"layer.weight": {"_type": class, "_data": data}});
        InMemory::default().block("model.safetensors __metadata__", "torchao", said)
    };
    let scales = [outputs / high, inputs.div_ceil(wide)];
    let integers = layer("Int8Tensor", [high, wide])
        .codes("_weight_qdata", Dtype::I8, &[outputs, inputs], dice)
        .values("_weight_scale", dtype, &scales, dice);
    let what = format!("{name} {outputs} x {inputs} in {high} x {wide}");
    check(&format!("int8 {what}"), &integers, "torchao");
    let centered = integers.codes("_weight_zero_point", Dtype::I8, &scales, dice);
    check(&format!("int8 with zero points {what}"), &centered, "torchao");
    let floats = layer("Float8Tensor", [high, wide])
        .codes("_weight_qdata", dice.one_of(&[Dtype::F8E4M3, Dtype::F8E5M2]), &[outputs, inputs * wide], dice)
        .values("_weight_scale", Dtype::F32, &[outputs / high, inputs], dice);
    check(&format!("float8 {outputs} x {} in {high} x {wide}", inputs * wide), &floats, "torchao");
    let row = [outputs, inputs];
    let scales = [outputs, (inputs * 2).div_ceil(wide)];
    let what = format!("{name} {outputs} x {} in {wide}", inputs * 2);
    let fours = layer("Int4Tensor", [1, wide])
        .codes("_weight_qdata", Dtype::U8, &row, dice)
        .values("_weight_scale", dtype, &[scales[1], outputs], dice)
        .values("_weight_zero_point", dtype, &[scales[1], outputs], dice);
    check(&format!("int4 {what}"), &fours, "torchao");
    let powers = layer("MXTensor", [1, wide]).codes("_weight_qdata", Dtype::U8, &row, dice).powers(
        "_weight_scale",
        Dtype::F8E8M0,
        &scales,
        dice,
    );
    check(&format!("mxfp4 {what}"), &powers, "torchao");
    let twice = layer("NVFP4Tensor", [1, wide])
        .codes("_weight_qdata", Dtype::U8, &row, dice)
        .codes("_weight_scale", Dtype::F8E4M3, &scales, dice)
        .values("_weight_per_tensor_scale", Dtype::F32, &[], dice);
    check(&format!("nvfp4 {what}"), &twice, "torchao");
}

fn quark(dice: &mut Random) {
    let (outputs, group) = (dice.one_of(&SIZES), dice.one_of(&[2u64, 12, 20, 32]));
    let inputs = 4 * dice.one_of(&SIZES);
    let (groups, format) = (inputs.div_ceil(group), dice.one_of(&["fp6_e2m3", "fp6_e3m2"]));
    let layer = |dtype: &str| {
        let weight =
            json!({"dtype": dtype, "qscheme": "per_group", "group_size": group, "scale_format": "e8m0"});
        InMemory::default().block("config.json", "quark", json!({"global_quant_config": {"weight": weight}}))
    };
    let what = format!("{outputs} x {inputs} in {group}");
    let sixes = layer(format).codes("weight", Dtype::U8, &[outputs, inputs / 4 * 3], dice).powers(
        "weight_scale",
        Dtype::U8,
        &[outputs, groups],
        dice,
    );
    check(&format!("{format} {what}"), &sixes, "quark");
    let fours = layer("fp4").codes("weight", Dtype::U8, &[outputs, inputs / 2], dice).powers(
        "weight_scale",
        Dtype::U8,
        &[outputs, groups],
        dice,
    );
    check(&format!("fp4 {what}"), &fours, "quark");
}

/// Scales that F16 cannot hold, and such that are infinite: what they multiply is, too, and the GPU's, of either sign side by side; and such that are no
/// numbers, as codes may be: what has NaN is made by the processor, and said.
fn infinite(dice: &mut Random) {
    let [outputs, inputs] = [dice.one_of(&[3u64, 8, 33]), dice.one_of(&[24u64, 72, 192, 264])];
    let block = |method: &str| json!({"quant_method": method, "weight_block_size": [2, 128]});
    let data = json!({"block_size": [1, 12], "dtype": {"_type": "torch.dtype", "_data": "float32"}});
    let torchao = json!({"layer.weight": {"_type": "Int4Tensor", "_data": data}});
    for broken in [1e6, f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        let mut scales = |[rows, columns]: [u64; 2]| -> Vec<u8> {
            let at = dice.below(rows * columns);
            let mut scale = |k: u64| if k == at || dice.below(9) == 0 { broken } else { 0.25 };
            (0..rows * columns).flat_map(|k| scale(k).to_le_bytes()).collect()
        };
        // No code is 0, whose product with an infinite scale is NaN.
        let codes = |count: u64, of: &dyn Fn(u64) -> u8| -> Vec<u8> { (0..count).map(of).collect() };
        let floats = |k: u64| (k * 37 % 126 + 1) as u8 | if k.is_multiple_of(3) { 0x80 } else { 0 };
        let grid = [outputs.div_ceil(2), inputs.div_ceil(128)];
        let fp8 = InMemory::default()
            .block("config.json", "fp8", block("fp8"))
            .part("weight", Dtype::F8E4M3, &[outputs, inputs], codes(outputs * inputs, &floats))
            .part("weight_scale_inv", Dtype::F32, &grid, scales(grid));
        let int8 = InMemory::default()
            .block("config.json", "compressed-tensors", json!({"quant_method": "compressed-tensors"}))
            .part("weight", Dtype::I8, &[outputs, inputs], codes(outputs * inputs, &|k| (k * 37) as u8 | 1))
            .part("weight_scale", Dtype::F32, &[outputs, 1], scales([outputs, 1]));
        let groups = [inputs.div_ceil(12), outputs];
        let zeros = vec![0; (groups[0] * groups[1] * 4) as usize];
        let nibbles = InMemory::default()
            .block("model.safetensors __metadata__", "torchao", torchao.clone())
            .part(
                "_weight_qdata",
                Dtype::U8,
                &[outputs, inputs / 2],
                codes(outputs * inputs / 2, &|k| ((k * 2 % 16) | 1 | ((k / 3 * 32 % 256) | 16)) as u8),
            )
            .part("_weight_scale", Dtype::F32, &groups, scales(groups))
            .part("_weight_zero_point", Dtype::F32, &groups, zeros);
        let groups = [outputs, inputs * 4 / 12];
        let zeros = vec![0; (groups[0] * groups[1] * 4) as usize];
        let bits = InMemory::default()
            .block("config.json", "mlx", json!({"bits": 5, "group_size": 12}))
            .part(
                "weight",
                Dtype::U32,
                &[outputs, inputs * 4 * 5 / 32],
                vec![0xff; (outputs * inputs * 4 * 5 / 8) as usize],
            )
            .part("scales", Dtype::F32, &groups, scales(groups))
            .part("biases", Dtype::F32, &groups, zeros);
        let all = [
            ("fp8", "fp8", fp8),
            ("int8", "compressed-tensors", int8),
            ("nibbles", "torchao", nibbles),
            ("bits", "mlx", bits),
        ];
        for (name, format, layer) in all {
            let what = format!("{name} {outputs} x {inputs} with {broken}");
            let notes = layers::compare(&what, &layer, format, &[Dtype::F16, Dtype::F32]);
            assert_eq!(notes.len(), usize::from(broken.is_nan()), "{what}: {notes:?}");
            assert!(notes.iter().all(|note| note.contains("NaN")), "{what}: {notes:?}");
        }
    }
    let mut codes: Vec<u8> = (0..outputs * inputs).map(|k| (k * 37 % 0x7f) as u8).collect();
    codes[dice.below(outputs * inputs) as usize] = dice.one_of(&[0x7f, 0xff]);
    let layer = InMemory::default()
        .block("config.json", "fp8", block("fp8"))
        .part("weight", Dtype::F8E4M3, &[outputs, inputs], codes)
        .values("weight_scale_inv", Dtype::F32, &[outputs.div_ceil(2), inputs.div_ceil(128)], dice);
    let notes = layers::compare("a code that is NaN", &layer, "fp8", &[]);
    assert!(notes.len() == 1 && notes[0].contains("NaN"), "{outputs} x {inputs}: {notes:?}");
}

fn mlx(dice: &mut Random) {
    let (bits, group) = (dice.one_of(&[2u64, 3, 4, 5, 6, 8]), dice.one_of(&[32u64, 64, 3, 12, 20]));
    let [outputs, groups] = [dice.one_of(&SIZES), dice.one_of(&[1, 2, 3, 5])];
    // Rows are whole words; groups of fewer may end within eight codes.
    let groups_of_codes = if group.is_multiple_of(32) { groups } else { groups * 32 };
    let dtype = dice.one_of(&[Dtype::F16, Dtype::BF16, Dtype::F32]);
    let words = groups_of_codes * group * bits / 32;
    let layer = InMemory::default()
        .block("config.json", "mlx", json!({"bits": bits, "group_size": group}))
        .codes("weight", Dtype::U32, &[outputs, words], dice)
        .values("scales", dtype, &[outputs, groups_of_codes], dice)
        .values("biases", dtype, &[outputs, groups_of_codes], dice);
    check(&format!("mlx {bits} bits, {outputs} rows of {groups_of_codes} groups of {group}"), &layer, "mlx");
    // Words whose bytes are E4M3: no NaN among them.
    let codes = (0..outputs * groups * 32).map(|_| dice.byte());
    let codes: Vec<u8> = codes.map(|byte| if byte & 0x7f == 0x7f { byte ^ 1 } else { byte }).collect();
    let floats = InMemory::default()
        .block("config.json", "mlx", json!({"bits": 8, "group_size": 32, "mode": "mxfp8"}))
        .part("weight", Dtype::U32, &[outputs, groups * 8], codes)
        .powers("scales", Dtype::U8, &[outputs, groups], dice);
    check(&format!("mxfp8 {outputs} rows of {groups} groups"), &floats, "mlx");
}

fn compressed(dice: &mut Random) {
    let [outputs, groups] = [dice.one_of(&SIZES), dice.one_of(&[1, 2, 3, 5])];
    let method = json!({"quant_method": "compressed-tensors"});
    let dtype = dice.one_of(&[Dtype::F16, Dtype::BF16, Dtype::F32]);
    let inputs = groups * 32 + dice.one_of(&[0, 1, 4]);
    let floats = InMemory::default()
        .block("config.json", "compressed-tensors", method.clone())
        .codes("weight", Dtype::F8E4M3, &[outputs, inputs], dice)
        .values("weight_scale", dtype, &[outputs, 1], dice);
    check(&format!("float {outputs} x {inputs} {dtype}"), &floats, "compressed-tensors");
    let integers = InMemory::default()
        .block("config.json", "compressed-tensors", method.clone())
        .codes("weight", Dtype::I8, &[outputs, inputs], dice)
        .values("weight_scale", dtype, &[outputs, 1], dice)
        .codes("weight_zero_point", Dtype::I8, &[outputs, 1], dice);
    check(&format!("int {outputs} x {inputs} {dtype}"), &integers, "compressed-tensors");
    let four = InMemory::default()
        .block("config.json", "compressed-tensors", method)
        .codes("weight_packed", Dtype::U8, &[outputs, groups * 16], dice)
        .powers("weight_scale", Dtype::U8, &[outputs, groups], dice);
    check(&format!("mxfp4 {outputs} x {}", groups * 32), &four, "compressed-tensors");
}

fn bnb8(dice: &mut Random) {
    let [outputs, inputs] = [dice.one_of(&SIZES), dice.one_of(&SIZES)];
    let layer = InMemory::default()
        .codes("weight", Dtype::I8, &[outputs, inputs], dice)
        .values("SCB", Dtype::F32, &[outputs], dice)
        .part("weight_format", Dtype::U8, &[], vec![0]);
    check(&format!("{outputs} x {inputs}"), &layer, "bnb-int8");
}

fn hqq(dice: &mut Random) {
    let bits = dice.one_of(&[1u64, 2, 3, 4, 8]);
    let parts = if bits == 3 { 10 } else { 8 / bits };
    let by_columns = dice.one_of(&[false, true]);
    let dtype = dice.one_of(&[Dtype::F16, Dtype::BF16, Dtype::F32]);
    // The matrix of groups, and the weight that it is in its own order.
    let [rows, columns] = [dice.one_of(&SIZES) * dice.one_of(&[1, 3]), dice.one_of(&SIZES)];
    let (outputs, inputs) = match dice.one_of(&[0, 1, 2]) {
        0 if rows % 3 == 0 => (rows / 3, columns * 3),
        1 if columns % 2 == 0 => (rows * 2, columns / 2),
        2 => (1, rows * columns),
        _ => (rows, columns),
    };
    let step = rows.div_ceil(parts);
    let of_codes = if bits == 3 { Dtype::I32 } else { Dtype::U8 };
    let scales = if by_columns { [1, columns] } else { [rows, 1] };
    let layer = InMemory::default()
        .codes("W_q", of_codes, &[step, columns], dice)
        .values("scale", dtype, &scales, dice)
        .values("zero", dtype, &scales, dice)
        .numbers("shape", &[outputs as i64, inputs as i64])
        .numbers("nbits", &[bits as i64])
        .numbers("axis", &[i64::from(!by_columns)]);
    check(&format!("{bits} bits, {rows} x {columns} as {outputs} x {inputs}, {scales:?}"), &layer, "hqq");
}

fn quanto(dice: &mut Random) {
    let [outputs, inputs] = [dice.one_of(&SIZES), dice.one_of(&SIZES)];
    let dtype = dice.one_of(&[Dtype::F16, Dtype::BF16, Dtype::F32]);
    let scales = dice.one_of(&[[outputs, 1], [1, inputs]]);
    let layer = InMemory::default()
        .codes("weight._data", dice.one_of(&[Dtype::I8, Dtype::F8E4M3]), &[outputs, inputs], dice)
        .values("weight._scale", dtype, &scales, dice);
    check(&format!("{outputs} x {inputs} by {scales:?}"), &layer, "quanto");
    let (bits, group) = (dice.one_of(&[2u64, 4]), dice.one_of(&[16, 24, 128]));
    let groups = dice.one_of(&[8u64, 12, 40]);
    let mut planes = InMemory::default()
        .block("config.json", "quanto", json!({"quant_method": "quanto", "weights": format!("int{bits}")}))
        .codes("weight._data._data", Dtype::U8, &[groups * bits / 8, group], dice)
        .values("weight._scale", dtype, &[groups, 1], dice);
    planes = if dice.one_of(&[false, true]) {
        planes.values("weight._shift", dtype, &[groups, 1], dice)
    } else {
        planes.codes("weight._shift", Dtype::U8, &[groups, 1], dice)
    };
    planes.config.shapes.0.push(("layer", vec![groups / 4, group * 4], "config.json"));
    check(&format!("{bits} bits, {groups} groups of {group}"), &planes, "quanto");
}

fn bitnet(dice: &mut Random) {
    let [rows, inputs] = [dice.one_of(&SIZES), dice.one_of(&SIZES)];
    for class in ["bitlinear", "autobitlinear"] {
        let layer = InMemory::default()
            .block("config.json", "bitnet", json!({"quant_method": "bitnet", "linear_class": class}))
            .codes("weight", Dtype::U8, &[rows, inputs], dice)
            .values("weight_scale", Dtype::BF16, &[1], dice);
        check(&format!("{class} {rows} x {inputs}"), &layer, "bitnet");
    }
}

fn mxfp4(dice: &mut Random) {
    let [experts, outputs, blocks] =
        [dice.one_of(&[1, 3, 5]), dice.one_of(&SIZES), dice.one_of(&[1, 2, 3, 4, 5, 9])];
    let layer = InMemory::default()
        .codes("*_blocks", Dtype::U8, &[experts, outputs, blocks, 16], dice)
        .powers("*_scales", Dtype::U8, &[experts, outputs, blocks], dice);
    check(&format!("{experts} x {outputs} x {blocks}"), &layer, "mxfp4");
}

fn eetq(dice: &mut Random) {
    let [outputs, inputs] = [dice.one_of(&SIZES) * 2, dice.one_of(&[64, 128, 192, 320])];
    let layer = InMemory::default().codes("weight", Dtype::I8, &[inputs, outputs], dice).values(
        "weight_scales",
        Dtype::F16,
        &[outputs],
        dice,
    );
    check(&format!("{outputs} x {inputs}"), &layer, "eetq");
}

fn aqlm(dice: &mut Random) {
    let [rows, across, books] = [dice.one_of(&SIZES), dice.one_of(&SIZES), dice.one_of(&[1, 2, 3])];
    let [high, wide] = [dice.one_of(&[1, 2, 4]), dice.one_of(&[1, 3, 4, 8, 16])];
    let (size, codes) = dice.one_of(&[(16u64, Dtype::I8), (256, Dtype::U8), (512, Dtype::I16)]);
    let dtype = dice.one_of(&[Dtype::F16, Dtype::BF16, Dtype::F32]);
    let layer = InMemory::default()
        .codes("codes", codes, &[rows, across, books], dice)
        .values("codebooks", dtype, &[books, size, high, wide], dice)
        .values("scales", dtype, &[rows, 1, 1, 1], dice);
    check(&format!("{rows} x {across} of {high} x {wide}, {books} books of {size}"), &layer, "aqlm");
}

/// Larger than a smallest slot: pieces of a row range, and several blocks of a grid.
fn large(dice: &mut Random) {
    let (outputs, inputs) = (301, 1000);
    let layer = InMemory::default()
        .block("config.json", "fp8", json!({"quant_method": "fp8", "weight_block_size": [128, 128]}))
        .codes("weight", Dtype::F8E4M3, &[outputs, inputs], dice)
        .values("weight_scale_inv", Dtype::F32, &[3, 8], dice);
    check("large", &layer, "fp8");
    let layer = InMemory::default().codes("*_blocks", Dtype::U8, &[2, 264, 9, 16], dice).powers(
        "*_scales",
        Dtype::U8,
        &[2, 264, 9],
        dice,
    );
    check("large", &layer, "mxfp4");
}

pub(crate) fn trials() -> Vec<Trial> {
    type Make = fn(&mut Random);
    /// Layers of each format.
    const LAYERS: u64 = 8;
    let all: [(&str, Make); 14] = [
        ("fp8", fp8),
        ("modelopt", modelopt),
        ("torchao", torchao),
        ("quark", quark),
        ("infinite", infinite),
        ("mlx", mlx),
        ("compressed-tensors", compressed),
        ("bnb-int8", bnb8),
        ("hqq", hqq),
        ("quanto", quanto),
        ("bitnet", bitnet),
        ("mxfp4", mxfp4),
        ("eetq", eetq),
        ("aqlm", aqlm),
    ];
    let random = all.into_iter().flat_map(|(name, make)| {
        (1..=LAYERS).map(move |seed| {
            trial(format!("scaled::{name}::{seed}"), move || {
                make(&mut Random::new(seed));
            })
        })
    });
    random.chain([trial("scaled::large", || large(&mut Random::new(77)))]).collect()
}
