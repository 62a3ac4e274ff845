//! Blocks against those of ggml's C code.

use super::*;

#[test]
fn dump_for_fuzz() {
    let Ok(folder) = std::env::var("GGUF_FUZZ") else { return };
    let bytes = std::fs::read(format!("{folder}/in.f32")).unwrap();
    let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    for row in &TYPES {
        let kind = kind(row.name).unwrap();
        let mut out = vec![0; values.len() / kind.block_elements() as usize * kind.block_bytes() as usize];
        let since = std::time::Instant::now();
        (row.encode)(&values, &mut out);
        println!("{} {:.1} ns a value", row.name, since.elapsed().as_nanos() as f64 / values.len() as f64);
        std::fs::write(format!("{folder}/{}.bin", row.name), out).unwrap();
    }
}
