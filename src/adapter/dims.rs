//! Dims: what the shapes of an adapter's parts say of the delta, method by method.
//!
//! One row a method: which parts it needs, and how they give `[out, in]` and the rank.
//! Source: PEFT 0.21, the tuners' `layer.py`; shapes as its files have them.

/// Shapes of a module's parts, by PEFT's names.
pub struct Shapes<'a>(pub Vec<(&'static str, &'a [u64])>);

/// What shapes say of a delta.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dims {
    /// Outputs, where the parts tell.
    pub out: Option<u64>,
    /// Inputs, where the parts tell.
    pub inputs: Option<u64>,
    /// Rank, where the method has one.
    pub rank: Option<u64>,
}

/// A method whose parts are known.
struct Method {
    kind: &'static str,
    /// Each entry is a list of alternatives: of one of them all parts must be there.
    needs: &'static [&'static [&'static [&'static str]]],
    dims: fn(&Shapes<'_>) -> Result<Dims, String>,
}

const METHODS: &[Method] = &[
    Method { kind: "LORA", needs: &[LORA_PAIRS], dims: lora },
    Method { kind: "ADALORA", needs: &[&[&["lora_A", "lora_B", "lora_E"]]], dims: lora },
    Method { kind: "LOHA", needs: &[&[&["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"]]], dims: loha },
    Method {
        kind: "LOKR",
        needs: &[&[&["lokr_w1"], &["lokr_w1_a", "lokr_w1_b"]], &[&["lokr_w2"], &["lokr_w2_a", "lokr_w2_b"]]],
        dims: lokr,
    },
    Method { kind: "IA3", needs: &[&[&["ia3_l"]]], dims: ia3 },
    Method { kind: "OFT", needs: &[&[&["oft_R"], &["oft_r"], &["oft_blocks"], &["oft_diag"]]], dims: oft },
    Method { kind: "BOFT", needs: &[&[&["boft_R", "boft_s"]]], dims: boft },
    Method { kind: "VERA", needs: &[&[&["vera_lambda_b", "vera_lambda_d"]]], dims: vera },
    Method {
        kind: "HRA",
        needs: &[&[&["hra_u"]]],
        dims: |s| first(s, "hra_u", |u| dims(None, u.first(), u.get(1))),
    },
    Method {
        kind: "MISS",
        needs: &[&[&["miss_block"], &["bone_block"]]],
        dims: |s| first(s, "miss_block", |b| dims(b.get(1), None, b.first())),
    },
    Method { kind: "SHIRA", needs: &[&[&["shira_weight", "shira_indices"]]], dims: unknown },
    Method {
        kind: "DELORA",
        needs: &[&[&["delora_A", "delora_B", "delora_lambda", "delora_w_norm"]]],
        dims: |s| pair(s, "delora_A", "delora_B"),
    },
    Method { kind: "HIRA", needs: &[&[&["hira_A", "hira_B"]]], dims: |s| pair(s, "hira_A", "hira_B") },
    Method { kind: "ROAD", needs: &[&[&["road_alpha", "road_theta"]]], dims: unknown },
    Method { kind: "DIFF", needs: &[], dims: |s| first(s, "diff", |d| dims(d.first(), d.get(1), None)) },
];

const LORA_PAIRS: &[&[&str]] = &[&["lora_A", "lora_B"], &["lora_embedding_A", "lora_embedding_B"]];

/// Returns the parts that a module of this method lacks: of the alternative of which most is there.
#[must_use]
pub fn missing(kind: &str, has: &dyn Fn(&str) -> bool) -> Vec<&'static str> {
    let Some(method) = METHODS.iter().find(|method| method.kind == kind) else { return Vec::new() };
    let mut lacking = Vec::new();
    for alternatives in method.needs {
        let absent = |parts: &&[&'static str]| -> Vec<&'static str> {
            parts.iter().filter(|part| !has(part)).copied().collect()
        };
        let started = alternatives.iter().filter(|parts| parts.iter().any(|part| has(part)));
        let nearest = started.map(absent).min_by_key(Vec::len);
        lacking.extend(nearest.or_else(|| alternatives.first().map(absent)).unwrap_or_default());
    }
    lacking
}

/// Returns what the shapes of a method's parts say.
///
/// # Errors
/// The parts contradict each other, in words.
pub fn of(kind: &str, shapes: &Shapes<'_>) -> Result<Dims, String> {
    METHODS
        .iter()
        .find(|method| method.kind == kind)
        .map_or_else(|| Ok(Dims::default()), |m| (m.dims)(shapes))
}

impl<'a> Shapes<'a> {
    fn get(&self, part: &str) -> Option<&'a [u64]> {
        self.0.iter().find(|(name, _)| *name == part).map(|(_, shape)| *shape)
    }
}

fn dims(out: Option<&u64>, inputs: Option<&u64>, rank: Option<&u64>) -> Dims {
    Dims { out: out.copied(), inputs: inputs.copied(), rank: rank.copied() }
}

#[expect(clippy::unnecessary_wraps, reason = "one signature for all methods")]
fn unknown(_: &Shapes<'_>) -> Result<Dims, String> {
    Ok(Dims::default())
}

#[expect(clippy::unnecessary_wraps, reason = "one signature for all methods")]
fn first(shapes: &Shapes<'_>, part: &str, read: fn(&[u64]) -> Dims) -> Result<Dims, String> {
    Ok(shapes.get(part).map(read).unwrap_or_default())
}

/// `A [r, in]`, `B [out, r]`; for convolutions with more dimensions behind.
fn pair(shapes: &Shapes<'_>, a: &str, b: &str) -> Result<Dims, String> {
    let (sa, sb) = (shapes.get(a), shapes.get(b));
    for (name, shape) in [(a, sa), (b, sb)] {
        if shape.is_some_and(|shape| shape.len() < 2) {
            return Err(format!("{name} has the shape {:?}, not two dimensions", shape.unwrap_or(&[])));
        }
    }
    if let (Some(sa), Some(sb)) = (sa, sb)
        && sa[0] != sb[1]
    {
        return Err(format!("{a} {sa:?} and {b} {sb:?} have ranks {} and {}", sa[0], sb[1]));
    }
    Ok(Dims { out: sb.map(|s| s[0]), inputs: sa.map(|s| s[1]), rank: sa.map(|s| s[0]).or(sb.map(|s| s[1])) })
}

fn lora(shapes: &Shapes<'_>) -> Result<Dims, String> {
    if shapes.get("lora_embedding_A").is_some() || shapes.get("lora_embedding_B").is_some() {
        // `A [r, vocab]`, `B [dim, r]`: the delta is `(B A)ᵀ [vocab, dim]`.
        let turned = pair(shapes, "lora_embedding_A", "lora_embedding_B")?;
        return Ok(Dims { out: turned.inputs, inputs: turned.out, rank: turned.rank });
    }
    let found = pair(shapes, "lora_A", "lora_B")?;
    if let Some(shape @ [1, inputs]) = shapes.get("lora_magnitude_vector")
        && *inputs > 1
    {
        // LyCORIS without `wd_on_output`.
        return Err(format!(
            "magnitudes {shape:?} are of inputs; PEFT, and a merge here, have them of outputs"
        ));
    }
    for (part, which) in [("lora_magnitude_vector", found.out), ("lora_B.bias", found.out)] {
        let count = shapes.get(part).and_then(crate::tensor::elements);
        if let (Some(count), Some(out)) = (count, which)
            && count != out
        {
            return Err(format!("{part} has {count} values for {out} outputs"));
        }
    }
    Ok(found)
}

fn loha(shapes: &Shapes<'_>) -> Result<Dims, String> {
    if shapes.get("hada_t1").is_some() {
        // CP form of convolutions: `w_a [r, out]`, `w_b [r, in]`.
        let (a, b) = (shapes.get("hada_w1_a"), shapes.get("hada_w1_b"));
        return Ok(dims(a.and_then(|s| s.get(1)), b.and_then(|s| s.get(1)), a.and_then(|s| s.first())));
    }
    let (one, two) = (pair(shapes, "hada_w1_b", "hada_w1_a")?, pair(shapes, "hada_w2_b", "hada_w2_a")?);
    if one != two && one.out.is_some() && two.out.is_some() {
        return Err("its two products differ in shape".into());
    }
    Ok(one)
}

fn lokr(shapes: &Shapes<'_>) -> Result<Dims, String> {
    let side = |whole: &str, a: &str, b: &str| -> Result<Dims, String> {
        match shapes.get(whole) {
            Some(whole) => Ok(dims(whole.first(), whole.get(1), None)),
            None => pair(shapes, b, a),
        }
    };
    if let (Some(core), Some(a), Some(b)) =
        (shapes.get("lokr_t2"), shapes.get("lokr_w2_a"), shapes.get("lokr_w2_b"))
    {
        // Tucker's form of convolutions: `w2_a [r, out]`, `w2_b [r, in]`, `t2 [r, r, k, l]`.
        let one = side("lokr_w1", "lokr_w1_a", "lokr_w1_b")?;
        let times = |a: Option<u64>, b: Option<&u64>| a.zip(b).and_then(|(a, b)| a.checked_mul(*b));
        return Ok(Dims {
            out: times(one.out, a.get(1)),
            inputs: times(one.inputs, b.get(1)),
            rank: core.first().copied(),
        });
    }
    let (one, two) = (side("lokr_w1", "lokr_w1_a", "lokr_w1_b")?, side("lokr_w2", "lokr_w2_a", "lokr_w2_b")?);
    let times = |a: Option<u64>, b: Option<u64>| a.zip(b).and_then(|(a, b)| a.checked_mul(b));
    Ok(Dims {
        out: times(one.out, two.out),
        inputs: times(one.inputs, two.inputs),
        rank: two.rank.or(one.rank),
    })
}

/// `[out, 1]`, or `[1, in]` for feed-forward modules.
fn ia3(shapes: &Shapes<'_>) -> Result<Dims, String> {
    match shapes.get("ia3_l") {
        Some([1, inputs]) => Ok(Dims { inputs: Some(*inputs), ..Dims::default() }),
        Some([out, 1]) => Ok(Dims { out: Some(*out), ..Dims::default() }),
        Some(other) => Err(format!("ia3_l has the shape {other:?}, neither [out, 1] nor [1, in]")),
        None => Ok(Dims::default()),
    }
}

/// `oft_R [blocks, b (b - 1) / 2]`: inputs are `blocks * b`, unless one block is shared by all.
fn oft(shapes: &Shapes<'_>) -> Result<Dims, String> {
    if let Some(shape) = shapes.get("oft_R") {
        let [blocks, values] = shape else {
            return Err(format!("oft_R has the shape {shape:?}, not two dimensions"));
        };
        let block = f64::midpoint(1.0, (1.0 + 8.0 * *values as f64).sqrt()).round() as u64;
        let pairs = block.checked_mul(block.saturating_sub(1)).map(|n| n / 2);
        if pairs != Some(*values) {
            return Err(format!("oft_R has {values} values a block, which is no b (b - 1) / 2"));
        }
        let inputs = (*blocks > 1).then(|| blocks.checked_mul(block)).flatten();
        return Ok(Dims { inputs, ..Dims::default() });
    }
    Ok(Dims::default())
}

fn boft(shapes: &Shapes<'_>) -> Result<Dims, String> {
    let inputs = match shapes.get("boft_R") {
        Some([_, blocks, a, b]) if a == b => blocks.checked_mul(*b),
        Some(other) => return Err(format!("boft_R has the shape {other:?}, not [factors, blocks, b, b]")),
        None => None,
    };
    Ok(Dims { out: shapes.get("boft_s").and_then(|s| s.first()).copied(), inputs, rank: None })
}

#[expect(clippy::unnecessary_wraps, reason = "one signature for all methods")]
fn vera(shapes: &Shapes<'_>) -> Result<Dims, String> {
    let size = |part: &str| shapes.get(part).and_then(|s| s.first()).copied();
    Ok(Dims { out: size("vera_lambda_b"), inputs: None, rank: size("vera_lambda_d") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_give_the_delta() {
        let check = |kind: &str, parts: &[(&'static str, &[u64])], out, inputs, rank| {
            let shapes = Shapes(parts.to_vec());
            assert_eq!(of(kind, &shapes), Ok(Dims { out, inputs, rank }), "{kind} {parts:?}");
        };
        check("LORA", &[("lora_A", &[4, 128]), ("lora_B", &[64, 4])], Some(64), Some(128), Some(4));
        check("LORA", &[("lora_B", &[64, 4])], Some(64), None, Some(4));
        let embedding: [(&str, &[u64]); 2] =
            [("lora_embedding_A", &[4, 160]), ("lora_embedding_B", &[128, 4])];
        check("LORA", &embedding, Some(160), Some(128), Some(4));
        let kron: [(&str, &[u64]); 3] =
            [("lokr_w1", &[8, 16]), ("lokr_w2_a", &[16, 4]), ("lokr_w2_b", &[4, 16])];
        check("LOKR", &kron, Some(128), Some(256), Some(4));
        check("IA3", &[("ia3_l", &[64, 1])], Some(64), None, None);
        check("OFT", &[("oft_R", &[6, 28])], None, Some(48), None);
        check("MISS", &[("miss_block", &[8, 32])], Some(32), None, Some(8));
        assert!(of("LORA", &Shapes(vec![("lora_A", &[4, 128]), ("lora_B", &[64, 3])])).is_err());
        assert!(of("LORA", &Shapes(vec![("lora_A", &[0]), ("lora_B", &[0])])).is_err());
        assert!(of("LOKR", &Shapes(vec![("lokr_w1", &[u64::MAX, 2]), ("lokr_w2", &[9, 9])])).is_ok());
        for odd in [&[][..], &[1], &[u64::MAX, u64::MAX], &[0, 0]] {
            for method in METHODS {
                let parts = method.needs.iter().flat_map(|n| n.iter()).flat_map(|n| n.iter());
                let _ = of(method.kind, &Shapes(parts.map(|part| (*part, odd)).collect()));
            }
        }
    }

    #[test]
    fn what_is_missing_is_of_the_nearest_alternative() {
        let lacks = |kind: &str, here: &[&str]| missing(kind, &|part| here.contains(&part));
        assert_eq!(lacks("LORA", &["lora_A"]), ["lora_B"]);
        assert_eq!(lacks("LORA", &["lora_embedding_B"]), ["lora_embedding_A"]);
        assert_eq!(lacks("LOKR", &["lokr_w1", "lokr_w2_b"]), ["lokr_w2_a"]);
        assert!(lacks("LOKR", &["lokr_w1", "lokr_w2"]).is_empty());
        assert!(lacks("FOURIERFT", &["fourierft_spectrum"]).is_empty());
    }
}
