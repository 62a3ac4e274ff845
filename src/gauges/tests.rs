//! Tests of the sampler over sources made here.

use super::GpuStateKind as Kind;
use super::*;

struct NoGpus;

impl GpuSource for NoGpus {
    fn read(&mut self) -> (GpuState, Vec<GpuSample>) {
        (GpuState::new(GpuStateKind::Absent, "libnvidia-ml.so not found"), Vec::new())
    }
}

#[test]
fn a_machine_without_gpus_still_has_ram_and_says_why_it_has_no_gpu() {
    let mut sampler = Sampler::with_gpus(Box::new(NoGpus));
    let sample = sampler.sample();
    let ram = sample.ram.expect("this machine has memory");
    assert!(ram.used <= ram.total && ram.total > 0);
    assert_eq!(sample.gpu_state.kind.name(), "absent");
    assert_eq!(sample.gpu_state.why, "libnvidia-ml.so not found");
}

#[test]
fn labels_name_the_slice() {
    let mut gpu = GpuSample::missing(3, &Missing::because("gone"));
    assert_eq!(gpu.label(), "GPU3");
    gpu.slice = Some(1);
    assert_eq!(gpu.label(), "GPU3/1");
}

/// A source that says what it was given.
struct Given(GpuState, u32);

impl GpuSource for Given {
    fn read(&mut self) -> (GpuState, Vec<GpuSample>) {
        let why = Missing::because("not asked");
        (self.0.clone(), (0..self.1).map(|index| GpuSample::missing(index, &why)).collect())
    }
}

#[test]
fn gpus_of_several_makers_are_numbered_on_and_a_fault_beside_them_is_said() {
    let state = |kind, why: &'static str| GpuState::new(kind, why);
    let read = |given: Vec<Given>| {
        let boxed = given.into_iter().map(|one| -> Box<dyn GpuSource + Send> { Box::new(one) }).collect();
        let (state, gpus) = several::Several::new(boxed).read();
        (state, gpus.iter().map(GpuSample::label).collect::<Vec<_>>())
    };
    let (nvidia, amd) = (Given(state(Kind::Ready, ""), 2), Given(state(Kind::Ready, ""), 1));
    let (both, labels) = read(vec![nvidia, amd]);
    assert_eq!((both, labels.join(" ").as_str()), (state(Kind::Ready, ""), "GPU0 GPU1 GPU2"));
    let (nvidia, amd) =
        (Given(state(Kind::Mismatch, "versions differ"), 0), Given(state(Kind::Ready, ""), 1));
    let (both, labels) = read(vec![nvidia, amd]);
    assert_eq!((both, labels.join(" ").as_str()), (state(Kind::Ready, "versions differ"), "GPU0"));
    let (nvidia, amd) =
        (Given(state(Kind::Absent, "no library"), 0), Given(state(Kind::Absent, "no AMD"), 0));
    assert_eq!(read(vec![nvidia, amd]), (state(Kind::Absent, "no library"), Vec::new()));
}
