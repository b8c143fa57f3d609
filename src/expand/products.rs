//! Products of elements, written out as multiplications of tensors.
//!
//! burn-autodiff 0.22.1 assembles the gradients of `prod`, `prod_dim` and `cumprod` from quotients,
//! masks and constant zeros. At elements that are 0 they are right as values, but not their
//! derivatives. The gradient of a multiplication is one of multiplications, right to any order and
//! without a division. Cost: log n operations; the tensors in between are together as large as the
//! input (log n times as large for `cumprod`).

use std::ops::Range;

use burn_backend::tensor::FloatTensor;
use burn_backend::{Backend, Shape, Slice, TensorMetadata};
use burn_ir::NumericOperationIr;

use crate::ir::replay::Replay;

/// Runs a product on `r`, written out.
///
/// # Panics
/// If the operation is no product.
pub(super) fn run<B: Backend>(r: &mut Replay<B>, op: &NumericOperationIr) {
    match op {
        NumericOperationIr::Prod(d) => {
            let flat = Shape::new([d.input.shape.num_elements()]);
            let x = B::float_reshape(r.float(&d.input), flat);
            let y = product::<B>(x, 0, &r.device);
            r.set_float(&d.out, y);
        }
        NumericOperationIr::ProdDim(d) => {
            let x = r.float(&d.input);
            let y = product::<B>(x, d.axis, &r.device);
            r.set_float(&d.out, y);
        }
        NumericOperationIr::CumProd(d) => {
            let x = r.float(&d.input);
            let y = running_product::<B>(x, d.axis, &r.device);
            r.set_float(&d.out, y);
        }
        op => unreachable!("{op:?} is no product"),
    }
}

/// Π x along `axis`, which stays with length 1: one half times the other until one element is left.
fn product<B: Backend>(mut x: FloatTensor<B>, axis: usize, device: &B::Device) -> FloatTensor<B> {
    let mut n = x.shape()[axis];
    if n == 0 {
        return ones::<B>(&x, axis, 1, device);
    }
    // The last elements of odd lengths.
    let mut rest: Option<FloatTensor<B>> = None;
    while n > 1 {
        let half = n / 2;
        if n % 2 == 1 {
            let last = part::<B>(&x, axis, n - 1..n);
            rest = Some(match rest {
                Some(rest) => B::float_mul(rest, last),
                None => last,
            });
        }
        let (first, second) = (part::<B>(&x, axis, 0..half), part::<B>(&x, axis, half..2 * half));
        x = B::float_mul(first, second);
        n = half;
    }
    match rest {
        Some(rest) => B::float_mul(x, rest),
        None => x,
    }
}

/// yᵢ = Π_{k≤i} xₖ along `axis`: before the step of length d, yᵢ is the product of the last d elements
/// up to i, after it of the last 2d.
fn running_product<B: Backend>(
    x: FloatTensor<B>,
    axis: usize,
    device: &B::Device,
) -> FloatTensor<B> {
    let n = x.shape()[axis];
    let (mut y, mut d) = (x, 1);
    while d < n {
        let before = part::<B>(&y, axis, 0..n - d);
        let before = B::float_cat(vec![ones::<B>(&y, axis, d, device), before], axis);
        y = B::float_mul(y, before);
        d *= 2;
    }
    y
}

/// Ones like `x`, with length `n` along `axis`.
fn ones<B: Backend>(
    x: &FloatTensor<B>,
    axis: usize,
    n: usize,
    device: &B::Device,
) -> FloatTensor<B> {
    let mut shape = x.shape();
    shape[axis] = n;
    B::float_ones(shape, device, x.dtype().into())
}

/// `x[.., range, ..]` along `axis`.
fn part<B: Backend>(x: &FloatTensor<B>, axis: usize, range: Range<usize>) -> FloatTensor<B> {
    let mut slices: Vec<Slice> = x.shape().iter().map(|&n| Slice::from(0..n)).collect();
    slices[axis] = Slice::from(range);
    B::float_slice(x.clone(), &slices)
}
