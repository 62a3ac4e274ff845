//! The largest magnitude of a layer, which some encoders want to know first: the device finds it.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use ckpt::checkpoint::Checkpoint;
use ckpt::engine::cpu::Cpu;
use ckpt::engine::cuda::Cuda;
use ckpt::engine::{Device, Options, Proof, Scratch as Space, Tally, ToEncode, Work};
use ckpt::plan::{Order, Plan, To};
use ckpt::quant::encode::{Around, Encode};
use ckpt::quant::largest::Largest;
use ckpt::quant::target::{Aim, Wishes};
use ckpt::tensor::Dtype;
use libtest_mimic::Trial;

use super::encode::{FLOATS, SHAPES, largest, on_device, weight};
use super::samples::{Scratch, cards, carry_out, files};
use super::trial;

/// Of layers of many shapes.
fn largest_of_layers() {
    let cuda = Cuda::open(&cards(2), 1).unwrap();
    for (number, shape) in SHAPES.into_iter().enumerate() {
        for dtype in FLOATS {
            let values = weight(shape, dtype, number);
            let encoder = Largest { row_len: shape[1] };
            let should = encoder.rows(&values, Around::default()).unwrap();
            assert_eq!(Largest::of(&should), largest(&values));
            for ranges in [1, 3] {
                let is = on_device(&cuda, &encoder, (shape, dtype, &values), (0.0, ranges));
                assert!(is.as_ref() == Some(&should), "{shape:?} {dtype} in {ranges}: {:?}", cuda.notes());
            }
        }
    }
    let mut values = vec![0.5; 999];
    values[700] = f32::NAN;
    assert_eq!(on_device(&cuda, &Largest { row_len: 333 }, ([3, 333], Dtype::F32, &values), (0.0, 1)), None);
}

/// A device that counts what it is asked to encode for the largest magnitude alone, in many cuts.
struct Counted(Cuda, AtomicUsize);

impl Device for Counted {
    fn name(&self) -> String {
        self.0.name()
    }

    fn decode(&self, work: &Work<'_>, scratch: &mut Space, out: &mut [u8]) -> ckpt::error::Result<Tally> {
        self.0.decode(work, scratch, out)
    }

    fn encode(&self, work: &ToEncode<'_>) -> ckpt::error::Result<Option<Vec<Vec<u8>>>> {
        let is_largest = work.encoder.kernel(work.largest).is_some_and(|kernel| kernel.name == "largest");
        self.1.fetch_add(usize::from(is_largest), Ordering::Relaxed);
        self.0.encode(work)
    }

    fn values_at_once(&self, _encoder: &dyn Encode, _largest: f32) -> u64 {
        1000
    }

    fn notes(&self) -> Vec<String> {
        self.0.notes()
    }
}

/// Formats whose scales want the largest magnitude of a layer: the device finds it.
fn largest_is_found(sample: &str, aim: &Aim) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(sample);
    let input = if folder.join("model").is_dir() { folder.join("model") } else { folder };
    let checkpoint = Checkpoint::open_examined(input.to_str().unwrap()).unwrap();
    let scratch = Scratch::new("largest");
    let plan = |output: &str| {
        let to = To::Packed(aim.clone());
        let order = Order { to, ..Order::new(input.to_str().unwrap(), &scratch.join(output)) };
        Plan::convert(&checkpoint, order).unwrap()
    };
    let (on_cpu, on_gpu) = (plan("cpu"), plan("gpu"));
    let options = Options { threads: 2, slot_bytes: 60_000, proof: Proof::None, ..Options::default() };
    carry_out(&on_cpu, (&checkpoint, &[]), &Cpu, &options).unwrap();
    let counted = Counted(Cuda::open(&cards(1), 1).unwrap(), AtomicUsize::new(0));
    let outcome = carry_out(&on_gpu, (&checkpoint, &[]), &counted, &options).unwrap();
    assert!(files(&scratch.join("gpu")) == files(&scratch.join("cpu")), "{}", aim.flags());
    assert_eq!(outcome.notes, Vec::<String>::new(), "{}", aim.flags());
    let asked = counted.1.into_inner();
    assert!(asked > 4 * on_gpu.packs.len(), "{}: asked {asked} times", aim.flags());
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![trial("largest::layers", largest_of_layers)];
    let scheme = |scheme: &str| Wishes { scheme: Some(scheme.to_owned()), ..Wishes::default() };
    let by_tensor = Aim { name: "compressed-tensors".into(), wishes: scheme("fp8-tensor") };
    for (sample, aim) in
        [("base-A-bf16", Aim::of("nvfp4")), ("base-A-bf16", by_tensor.clone()), ("bnb-nf4-A", by_tensor)]
    {
        let name = format!("largest::{sample}::{}", aim.flags().replace("--to ", ""));
        trials.push(trial(name, move || largest_is_found(sample, &aim)));
    }
    trials
}
