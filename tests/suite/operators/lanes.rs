//! Hessians side by side, where the networks of `models/side_by_side.rs` do not come: indices of few
//! bits, and lanes that are not there.

use burn::tensor::module;
use burn_sharpness::Error;
use burn_sharpness::operator::{HessianLanes, Lanes};
use burn_sharpness::prelude::*;

use super::*;

#[derive(Module, Debug)]
struct Table {
    rows: Param<Tensor<2>>,
}

/// Two samples of three tokens, different for each `lane`; the largest token is among them.
fn tokens(vocabulary: usize, lane: usize, dtype: DType) -> Tensor<2, Int> {
    let token = |i: usize| (vocabulary - 1 - (37 * i + 11 * lane * i * i) % vocabulary) as i64;
    let data = burn::tensor::TensorData::new((0..6).map(token).collect::<Vec<_>>(), [2, 3]);
    Tensor::from_data(data.convert_dtype(dtype), (&device(), dtype))
}

/// The tokens of a sample together, so that their rows are coupled.
fn by_embedding(model: &Table, tokens: Tensor<2, Int>) -> Tensor<1> {
    module::embedding(model.rows.val(), tokens).sum_dim(1).sin().mean()
}

fn by_selection(model: &Table, tokens: Tensor<2, Int>) -> Tensor<1> {
    let rows = model.rows.val().select(0, tokens.reshape([6]));
    rows.reshape([2, 3, 2]).sum_dim(1).sin().mean()
}

/// Tokens that fit their dtype, where those of all lanes, one table behind the other, would not.
#[test]
fn indices_of_few_bits() {
    let cases = [(DType::U8, 256), (DType::I8, 100), (DType::I16, 20_000), (DType::I64, 100)];
    for (dtype, vocabulary) in cases {
        for loss in [by_embedding, by_selection] {
            let rows = float(wave(2 * vocabulary, 0.3), [vocabulary, 2], DType::F64, &device());
            let model = Table { rows: Param::from_tensor(rows.require_grad()) };
            let batches: Vec<_> = (0..3).map(|lane| tokens(vocabulary, lane, dtype)).collect();
            let lanes = HessianLanes::new(&model, &batches, loss).unwrap();
            for (lane, batch) in batches.into_iter().enumerate() {
                let what = format!("{dtype:?}, lane {lane}");
                let alone = HessianOperator::new(&model, batch, loss).unwrap();
                let expand = |rows: &Tensor<2>| lanes.expand(rows, lane).unwrap().to_values();
                let gradient = expand(&lanes.gradients()).unwrap();
                assert_close(&gradient, &alone.gradient().to_values().unwrap(), F64, &what);
                let v = alone.space().from_values(&wave(2 * vocabulary, 1.1)).unwrap();
                let product = lanes.apply(&lanes.images_of(&v).unwrap()).unwrap();
                let expected = alone.apply(&v).unwrap().to_values().unwrap();
                assert_close(&expand(&product).unwrap(), &expected, F64, &what);
            }
        }
    }
}

#[test]
fn lanes_that_are_not_there() {
    let model = Mlp::new(4, 5, 3);
    let loss = |m: &Mlp, (x, _): Labelled<2>| m.forward(x).powi_scalar(2).mean();
    let batches = vec![samples([6, 4], 3); 3];
    let lanes = HessianLanes::new(&model, &batches, loss).unwrap();
    let setting = |error: Error| match error {
        Error::InvalidSetting { setting, .. } => setting,
        other => panic!("{other}"),
    };
    for numbers in [&[][..], &[7], &[0, 3]] {
        assert_eq!(setting(lanes.selected(numbers).unwrap_err()), "lanes");
        assert_eq!(setting(lanes.select(numbers).map(drop).unwrap_err()), "lanes");
    }
    let gradients = lanes.gradients();
    assert_eq!(setting(lanes.expand(&gradients, 7).unwrap_err()), "lanes");
    let of_two = lanes.selected(&[0, 1]).unwrap().gradients();
    assert_eq!(setting(lanes.expand(&of_two, 2).unwrap_err()), "coordinates");
    let [_, expected] = lanes.shape();
    let narrower = gradients.narrow(1, 0, expected - 1);
    let wrong = Error::LengthMismatch { expected, found: expected - 1 };
    assert_eq!(lanes.expand(&narrower, 0).unwrap_err(), wrong);
    assert_eq!(
        [lanes.images(&narrower), lanes.apply(&narrower)].map(Result::unwrap_err),
        [wrong.clone(), wrong]
    );
    let of_four = Tensor::cat(vec![of_two.clone(), of_two.clone()], 0);
    for rows in [of_two, of_four] {
        let errors = [lanes.images(&rows), lanes.apply(&rows)].map(Result::unwrap_err);
        assert_eq!(errors.map(setting), ["coordinates"; 2]);
    }
}
