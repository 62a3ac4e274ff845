//! What is timed is what a run does with a weight.

use std::path::Path;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::engine::{Options, Progress, Tally, ToEncode};
use crate::plan::{Order, Plan, To};
use crate::quant::target::Aim;

/// A processor that counts what it is asked for; `slow`: how long that takes at least.
#[derive(Default)]
struct Counting {
    decoded: AtomicUsize,
    encoded: AtomicUsize,
    slow: Duration,
}

impl Device for Counting {
    fn name(&self) -> String {
        "counting".into()
    }

    fn decode(&self, work: &Work<'_>, scratch: &mut Scratch, out: &mut [u8]) -> Result<Tally> {
        self.decoded.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(self.slow);
        Cpu.decode(work, scratch, out)
    }

    fn encode(&self, _work: &ToEncode<'_>) -> Result<Option<Vec<Vec<u8>>>> {
        self.encoded.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(self.slow);
        Ok(None)
    }
}

impl Counting {
    fn counts(&self) -> [usize; 2] {
        [&self.decoded, &self.encoded].map(|count| count.load(Ordering::Relaxed))
    }
}

/// Has a run of a sample, with slots of so many bytes.
fn with(sample: &str, to: To, slot_bytes: usize, then: impl FnOnce(&Run<'_>, &Inputs<'_>)) {
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(sample);
    let input = input.join(if sample.starts_with("gguf") { "model.gguf" } else { "model" });
    let input = input.to_str().expect("a path of UTF-8");
    let checkpoint = Checkpoint::open_examined(input).expect("a sample");
    let order = Order { to, ..Order::new(input, Path::new("unwritten")) };
    let plan = Plan::convert(&checkpoint, order).expect("a plan");
    let options = Options { slot_bytes, ..Options::default() };
    let progress = Progress::default();
    let run = Run {
        checkpoint: &checkpoint,
        adapters: &[],
        plan: &plan,
        options: &options,
        device: &Cpu,
        progress: &progress,
    };
    then(&run, &Inputs::open(&run).expect("inputs"));
}

fn packed(name: &str) -> To {
    To::Packed(Aim::of(name))
}

#[test]
fn what_is_packed_is_encoded_and_what_is_not_is_decoded() {
    for (sample, to, is_packed) in [
        ("base-A-bf16", packed("bnb-nf4"), true),
        ("base-A-bf16", packed("nvfp4"), true),
        ("bnb-nf4-A", packed("gptq"), true),
        ("gptq-w4-g128-sym-v1-A", packed("fp8"), true),
        ("bnb-nf4-A", To::Dense, false),
        ("gptq-w4-g128-sym-v1-A", To::Dense, false),
    ] {
        with(sample, to, 60_000, |run, inputs| {
            let kinds = kinds(run, inputs);
            let largest = kinds.iter().find(|kind| kind.alike.how.is_some() == is_packed).expect("a kind");
            let timed = Sample::new(run, inputs, largest.largest).expect("a sample").expect("computed");
            let device = Counting::default();
            let rate = rate(&device, 2, TIME, (&timed, inputs)).expect("a rate");
            let [decoded, encoded] = device.counts();
            let least = SLOTS.min(4);
            assert!(rate > 0.0 && (decoded == 0) == is_packed && (encoded == 0) != is_packed, "{sample}");
            assert!(decoded + encoded > least, "{sample}: {decoded} {encoded}");
        });
    }
}

/// The pieces of a slot that holds the weight make all its tensors: with their bytes, and nothing of them twice.
#[test]
fn bytes_are_those_of_the_result() {
    for (name, slot_bytes) in [("bnb-nf4", 1 << 30), ("fp8", 1 << 30), ("q4_k", 1 << 30)] {
        let sample = if name == "q4_k" { "gguf-mixed-K" } else { "base-A-bf16" };
        with(sample, packed(name), slot_bytes, |run, inputs| {
            let kinds = kinds(run, inputs);
            let kind = kinds.iter().find(|kind| kind.alike.how.is_some()).expect("it packs");
            let Source::Encoded { pack, .. } = kind.largest.source else { unreachable!("it is packed") };
            let is_of_pack = |tensor: &&OutTensor| match tensor.source {
                Source::Encoded { pack: of, .. } => of == pack,
                _ => false,
            };
            let planned: Vec<u64> =
                computed(run.plan).filter(is_of_pack).map(|tensor| tensor.bytes).collect();
            let timed = Sample::new(run, inputs, kind.largest).expect("a sample").expect("computed");
            let mut scratch = Scratch::default();
            let made = timed.pieces(&Cpu).into_iter().map(|piece| {
                timed.make(&piece, &Cpu, (inputs, &mut scratch, &mut Vec::new())).expect("a piece")
            });
            let made: u64 = made.sum();
            // What a quant state says of the layer is made when all strands are there.
            let strands: u64 =
                planned.iter().sum::<u64>() - if name == "bnb-nf4" { planned[2..].iter().sum() } else { 0 };
            assert_eq!(made, strands, "{name}: {planned:?}");
        });
    }
}

#[test]
fn a_mixture_is_of_several_kinds_by_their_bytes() {
    with("gguf-q4_k_m-K", To::Dense, 60_000, |run, inputs| {
        let kinds = kinds(run, inputs);
        let stored: Vec<&str> = kinds
            .iter()
            .map(|kind| match kind.alike.stored {
                Stored::Layer(_, variant) => variant,
                Stored::Plain(dtype) => dtype.name(),
            })
            .collect();
        assert!(stored.len() > 1 && stored.len() <= KINDS, "{stored:?}");
        assert!(kinds.is_sorted_by_key(|kind| std::cmp::Reverse(kind.bytes)), "{stored:?}");
        let all: u64 = computed(run.plan).map(|tensor| tensor.bytes).sum();
        assert_eq!(kinds.iter().map(|kind| kind.bytes).sum::<u64>(), all, "{stored:?}");
        for kind in &kinds {
            let of_kind =
                computed(run.plan).filter(|tensor| alike(run, inputs, tensor).as_ref() == Some(&kind.alike));
            assert_eq!(of_kind.map(|tensor| tensor.bytes).max(), Some(kind.largest.bytes));
        }
    });
}

#[test]
fn what_is_slow_is_done_once_by_each_thread_beside_the_first() {
    with("base-A-bf16", packed("bnb-nf4"), 60_000, |run, inputs| {
        let kinds = kinds(run, inputs);
        let timed = Sample::new(run, inputs, kinds[0].largest).expect("a sample").expect("computed");
        let device = Counting { slow: Duration::from_millis(2), ..Counting::default() };
        let rate = rate(&device, 3, Duration::from_nanos(1), (&timed, inputs)).expect("a rate");
        assert!(rate > 0.0);
        assert_eq!(device.counts(), [0, 6]);
    });
}
