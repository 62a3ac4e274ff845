//! What a checkpoint of a million tensors costs: time to open (without reading), time of each operation
//! of the tree, bytes kept a tensor. Headers are made in memory. `cargo bench --bench tree [TENSORS]`.
//!
//! Budgets: open 600 ms, any operation 16 ms, a frame's 60 rows far under 1 ms, 150 bytes a tensor.

#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, reason = "a program that prints a table")]
#![expect(unsafe_code, reason = "a counting allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ckpt::checkpoint::config::Configs;
use ckpt::checkpoint::files::{Files, Place, Shard};
use ckpt::checkpoint::layers::Layers;
use ckpt::checkpoint::tree::{Filter, Mode, Sort, Tree};
use ckpt::checkpoint::{Checkpoint, CheckpointKind};
use ckpt::container::{CONTAINERS, Header};
use ckpt::tensor::Dtype;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; only a counter is kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises about the layout are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from `alloc` above with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size, Ordering::Relaxed);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from `alloc` above with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SHARDS: usize = 100;

/// Spreads named tensors over shards as savers do: in order, in equal parts.
struct Maker {
    headers: Vec<Header>,
    total: usize,
    made: usize,
}

impl Maker {
    fn new(total: usize) -> Self {
        Self { headers: (0..SHARDS).map(|_| Header::default()).collect(), total, made: 0 }
    }

    fn add(&mut self, name: &str, dtype: Dtype, shape: &[u64]) {
        let shard = (self.made * SHARDS / self.total).min(SHARDS - 1);
        let begin = self.headers[shard].entries().last().map_or(0, |entry| entry.end);
        let bytes = dtype.bytes_of(shape.iter().product()).unwrap_or(0);
        self.headers[shard].push(name, dtype, shape, begin, begin + bytes);
        self.made += 1;
    }
}

/// A decoder without experts, as deep as it takes.
fn dense(total: usize) -> Vec<Header> {
    let mut maker = Maker::new(total);
    maker.add("model.embed_tokens.weight", Dtype::BF16, &[151_936, 1536]);
    let mut layer = 0;
    while maker.made + 9 < total {
        let mut add = |part: &str, shape: &[u64]| {
            maker.add(&format!("model.layers.{layer}.{part}.weight"), Dtype::BF16, shape);
        };
        for part in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            add(&format!("self_attn.{part}"), &[1536, 1536]);
        }
        add("mlp.gate_proj", &[8960, 1536]);
        add("mlp.up_proj", &[8960, 1536]);
        add("mlp.down_proj", &[1536, 8960]);
        add("input_layernorm", &[1536]);
        add("post_attention_layernorm", &[1536]);
        layer += 1;
    }
    maker.add("lm_head.weight", Dtype::BF16, &[151_936, 1536]);
    maker.headers
}

/// Experts quantized by bitsandbytes: six tensors a linear.
fn experts(total: usize) -> Vec<Header> {
    const EXPERTS: usize = 256;
    const PARTS: [(&str, Dtype, &[u64]); 6] = [
        ("", Dtype::U8, &[1_179_648, 1]),
        (".absmax", Dtype::U8, &[36_864]),
        (".quant_map", Dtype::F32, &[16]),
        (".nested_absmax", Dtype::F32, &[144]),
        (".nested_quant_map", Dtype::F32, &[256]),
        (".quant_state.bitsandbytes__nf4", Dtype::U8, &[104]),
    ];
    let mut maker = Maker::new(total);
    let mut layer = 0;
    while maker.made + PARTS.len() * (3 * EXPERTS + 4) < total || layer == 0 {
        for expert in 0..EXPERTS {
            for part in ["gate_proj", "up_proj", "down_proj"] {
                for (suffix, dtype, shape) in PARTS {
                    let name = format!("model.layers.{layer}.mlp.experts.{expert}.{part}.weight{suffix}");
                    maker.add(&name, dtype, shape);
                }
            }
        }
        for part in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            for (suffix, dtype, shape) in PARTS {
                let name = format!("model.layers.{layer}.self_attn.{part}.weight{suffix}");
                maker.add(&name, dtype, shape);
            }
        }
        layer += 1;
    }
    maker.headers
}

/// No structure at all: numbered tensors of a few kinds under one parent.
fn flat(total: usize) -> Vec<Header> {
    let mut maker = Maker::new(total);
    for index in 0..total {
        let dtype = if index % 1000 == 7 { Dtype::F32 } else { Dtype::F16 };
        maker.add(&format!("state.{index}"), dtype, &[64]);
    }
    maker.headers
}

fn timed<R>(what: &str, f: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = f();
    println!("  {what:<44} {:>9.3} ms", start.elapsed().as_secs_f64() * 1e3);
    result
}

/// As `timed`, the least of three: the machine has other work.
fn timed_thrice(what: &str, mut f: impl FnMut()) {
    let run = |f: &mut dyn FnMut()| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64() * 1e3
    };
    let least = (0..3).map(|_| run(&mut f)).fold(f64::INFINITY, f64::min);
    println!("  {what:<44} {least:>9.3} ms");
}

fn assemble(headers: Vec<Header>) -> Files {
    let shard = |index: usize| Shard {
        name: format!("model-{index:05}-of-{SHARDS:05}.safetensors"),
        path: PathBuf::new(),
        bytes: 0,
        tensors: 0,
        metadata: Vec::new(),
        unreadable: false,
    };
    let place = Place {
        path: PathBuf::new(),
        folder: PathBuf::new(),
        title: "made".into(),
        container: CONTAINERS[CONTAINERS.len() - 1],
        index: None,
        others: Vec::new(),
    };
    Files::assemble(place, (1..=headers.len()).map(shard).collect(), headers, Configs::default())
}

fn bench(name: &str, make: fn(usize) -> Vec<Header>, total: usize) {
    let before = LIVE.load(Ordering::Relaxed);
    let headers = make(total);
    let start = Instant::now();
    println!("{name}");
    let files = timed("assemble", || assemble(headers));
    let (layers, problems) = timed("Layers::find", || Layers::find(&files));
    let checkpoint = Checkpoint {
        files: Arc::new(files),
        layers,
        problems,
        kind: CheckpointKind::Model,
        examined: false,
        index_unchecked: false,
    };
    let mut tree = timed("Tree::new", || Tree::new(&checkpoint));
    println!("  {:<44} {:>9.3} ms", "open in all", start.elapsed().as_secs_f64() * 1e3);
    // The headers are gone by now.
    let kept = LIVE.load(Ordering::Relaxed) - before;
    let tensors = checkpoint.files.tensors.len();
    println!(
        "  {tensors} tensors, {} nodes, {} layers, {} rows: {:.1} bytes a tensor",
        checkpoint.files.names.len(),
        checkpoint.layers.len(),
        tree.rows().len(),
        kept as f64 / tensors as f64
    );
    operations(&checkpoint, &mut tree);
}

fn operations(checkpoint: &Checkpoint, tree: &mut Tree) {
    timed("describe 60 rows", || {
        for row in 0..60 {
            std::hint::black_box(tree.describe(checkpoint, row));
        }
    });
    timed("unfold all", || tree.toggle_unfold_all(checkpoint));
    timed("open all", || tree.open_all(checkpoint));
    println!("  {} rows", tree.rows().len());
    let middle = tree.rows().len() / 2;
    timed("describe 60 rows in the middle", || {
        for row in middle..middle + 60 {
            std::hint::black_box(tree.describe(checkpoint, row));
        }
    });
    timed("close the first row", || tree.close(checkpoint, 0) || tree.close(checkpoint, 1));
    timed("open it again", || tree.open(checkpoint, 0) || tree.open(checkpoint, 1));
    timed("close a row in the middle", || {
        tree.parent_row(middle).is_some_and(|row| tree.close(checkpoint, row))
    });
    timed("next that stands out", || tree.next_marked(checkpoint, 0, true));
    timed("tensors", || tree.set_mode(checkpoint, Mode::Tensors));
    println!("  {} rows", tree.rows().len());
    timed("fold all", || tree.toggle_unfold_all(checkpoint));
    for mode in [Mode::Tensors, Mode::Layers] {
        tree.set_mode(checkpoint, mode);
        for text in ["d", "down", "17 down", "layers.17.mlp", "~dwn", "dtype:u8 -up", "shape:[1536,*]", "zzz"]
        {
            let filter = Filter::parse(text).unwrap();
            timed_thrice(&format!("{mode:?} /{text}"), || tree.set_filter(checkpoint, Some(filter.clone())));
        }
        timed("clear", || tree.set_filter(checkpoint, None));
    }
    for sort in Sort::ALL.into_iter().rev() {
        timed_thrice(&format!("sort by {}", sort.name()), || tree.set_sort(checkpoint, sort));
    }
    timed("refresh", || tree.refresh(checkpoint));
}

fn main() {
    // As in the program: large blocks are mapped anew each time.
    ckpt::memory::map_large_blocks();
    let total = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    bench("dense", dense, total);
    bench("experts of bitsandbytes", experts, total);
    bench("one flat list", flat, total);
}
