//! Fused attention, which is expanded before it is differentiated: inputs query q, key k, value v,
//! additive bias b.

use burn::tensor::ops::AttentionModuleOptions as Options;
use burn::tensor::{Bool, Device, Tensor, module};

use crate::rules::inputs::{Inputs, row_of};
use crate::rules::{Row, check, f, ints};

pub fn rows() -> Vec<Row> {
    let plain = Options::default;
    let scaled = || Options { scale: Some(0.6), ..plain() };
    let capped = || Options { softcap: Some(0.8), ..plain() };
    let causal = || Options { is_causal: true, ..plain() };
    let mut rows: Vec<_> = ["qkv", "qkV", "qKv", "Qkv", "Qkvb", "QKVb", "qkvB", "QKv"]
        .map(|roles| attention(roles, SIZES, false, plain()))
        .into();
    rows.extend([
        attention("qkvb", SIZES, false, plain()),
        attention("qkv", SIZES, true, plain()),
        attention("qkvb", SIZES, true, plain()),
        attention("qkv", SIZES, false, scaled()),
        attention("qkv", SIZES, false, capped()),
        attention("qkvb", SIZES, true, Options { scale: Some(0.6), ..capped() }),
        attention("qkv", SIZES, false, causal()),
        attention("qkv", Sizes { queries: 3, ..SIZES }, false, causal()),
        attention(
            "qkvb",
            SIZES,
            true,
            Options { softcap: Some(0.8), scale: Some(0.6), ..causal() },
        ),
        attention("qkv", Sizes { batch: 2, heads: 2, ..SIZES }, false, plain()),
        attention("qkvb", Sizes { batch: 2, keys: 2, ..SIZES }, true, plain()),
        attention("qkv", Sizes { queries: 1, keys: 1, ..SIZES }, false, plain()),
        attention("qkv", Sizes { queries: 1, width: 1, value_width: 1, ..SIZES }, false, plain()),
    ]);
    rows
}

#[test]
fn attention_rules() {
    check(&rows());
}

#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    width: usize,
    value_width: usize,
}

const SIZES: Sizes = Sizes { batch: 1, heads: 1, queries: 2, keys: 3, width: 2, value_width: 3 };

fn attention(roles: &'static str, sizes: Sizes, masked: bool, options: Options) -> Row {
    let name = format!("attention {roles} of {sizes:?}, masked {masked}, {options:?}");
    let Sizes { batch, heads, queries, keys, width, value_width } = sizes;
    let shapes = vec![
        ('q', vec![batch, heads, queries, width]),
        ('k', vec![batch, heads, keys, width]),
        ('v', vec![batch, heads, keys, value_width]),
        ('b', vec![batch, heads, queries, keys]),
    ];
    row_of(name, roles, shapes, move |i: &Inputs| {
        let mask = masked.then(|| mask([batch, heads, queries, keys], &i.device()));
        f(module::attention(i.get('q'), i.get('k'), i.get('v'), mask, i.maybe('b'), options))
    })
}

/// Hides every third score from the second on, and so none of all keys from a query.
fn mask(shape: [usize; 4], device: &Device) -> Tensor<4, Bool> {
    let n = shape.iter().product::<usize>();
    let hidden: Vec<_> = (0..n).map(|i| i64::from(i % 3 == 1)).collect();
    ints(&hidden, shape, device).equal_scalar(1)
}
