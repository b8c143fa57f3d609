//! Deformable convolution as bilinear sampling and a matrix product.
//!
//! For output place p, kernel point k and offset group g the input is sampled at
//! `p·stride − padding + k·dilation + offset[g, k, p]` (zero outside), times `mask[g, k, p]`; the
//! samples `[n, channels·kernel, places]` then meet the weight in one product per weight group.
//! Derivatives with respect to offsets are those of the bilinear weights; at whole positions the
//! one-sided ones of the floor.

use burn::tensor::DeviceSettings;
use burn_backend::tensor::FloatTensor;
use burn_backend::{Backend, Scalar, Shape, Slice, TensorData, TensorMetadata};
use burn_ir::DeformConv2dOpIr;

use crate::ir::replay::Replay;

/// Runs the operation on `r`, written out.
pub(super) fn run<B: Backend>(r: &mut Replay<B>, d: &DeformConv2dOpIr, settings: DeviceSettings) {
    let (x, offset, weight) = (r.float(&d.x), r.float(&d.offset), r.float(&d.weight));
    let mask = d.mask.as_ref().map(|t| r.float(t));
    let bias = d.bias.as_ref().map(|t| r.float(t));
    let layout = Layout::of(d);
    let samples = sample::<B>(&layout, x, offset, &r.device, settings);
    let samples = match mask {
        Some(mask) => {
            let Layout { n, offset_groups, n_points, n_places, .. } = layout;
            let shape = Shape::new([n, offset_groups, 1, n_points * n_places]);
            B::float_mul(samples, B::float_reshape(mask, shape))
        }
        None => samples,
    };
    let y = layout.product::<B>(samples, weight);
    let y = match bias {
        Some(bias) => {
            let shape = Shape::new([1, layout.channels_out, 1, 1]);
            B::float_add(y, B::float_reshape(bias, shape))
        }
        None => y,
    };
    r.set_float(&d.out, y);
}

/// The sizes that everything is reshaped by.
struct Layout<'a> {
    op: &'a DeformConv2dOpIr,
    n: usize,
    channels: usize,
    channels_out: usize,
    offset_groups: usize,
    weight_groups: usize,
    kernel: [usize; 2],
    /// Kernel points.
    n_points: usize,
    input: [usize; 2],
    output: [usize; 2],
    /// Output places.
    n_places: usize,
}

impl<'a> Layout<'a> {
    fn of(op: &'a DeformConv2dOpIr) -> Self {
        let [n, channels, height, width] = op.x.shape.dims();
        let [channels_out, _, kernel_height, kernel_width] = op.weight.shape.dims();
        let [_, _, out_height, out_width] = op.out.shape.dims();
        Self {
            op,
            n,
            channels,
            channels_out,
            offset_groups: op.options.offset_groups,
            weight_groups: op.options.weight_groups,
            kernel: [kernel_height, kernel_width],
            n_points: kernel_height * kernel_width,
            input: [height, width],
            output: [out_height, out_width],
            n_places: out_height * out_width,
        }
    }

    /// Sampling positions without offsets along one axis (0: rows, 1: columns),
    /// `[1, 1, points, places]`.
    fn grid(&self, axis: usize) -> TensorData {
        let options = &self.op.options;
        let mut positions = Vec::with_capacity(self.n_points * self.n_places);
        for point in 0..self.n_points {
            let k = [point / self.kernel[1], point % self.kernel[1]][axis];
            for place in 0..self.n_places {
                let p = [place / self.output[1], place % self.output[1]][axis];
                let corner = p * options.stride[axis] + k * options.dilation[axis];
                positions.push(corner as f64 - options.padding[axis] as f64);
            }
        }
        TensorData::new(positions, [1, 1, self.n_points, self.n_places])
            .convert_dtype(self.op.x.dtype)
    }

    /// Samples `[n, offset groups, channels / group, points·places]` times weight, per weight group:
    /// `[n, out, height, width]`.
    fn product<B: Backend>(
        &self,
        samples: FloatTensor<B>,
        weight: FloatTensor<B>,
    ) -> FloatTensor<B> {
        let (groups, rows) = (self.weight_groups, self.channels_out / self.weight_groups);
        let inner = self.channels / groups * self.n_points;
        let samples = B::float_reshape(samples, Shape::new([self.n, groups, inner, self.n_places]));
        let weight = B::float_reshape(weight, Shape::new([1, groups, rows, inner]));
        let weight = B::float_expand(weight, Shape::new([self.n, groups, rows, inner]));
        let y = B::float_matmul(weight, samples);
        let [height, width] = self.output;
        B::float_reshape(y, Shape::new([self.n, self.channels_out, height, width]))
    }
}

/// The bilinear samples, `[n, offset groups, channels / group, points·places]`.
fn sample<B: Backend>(
    layout: &Layout<'_>,
    x: FloatTensor<B>,
    offset: FloatTensor<B>,
    device: &B::Device,
    settings: DeviceSettings,
) -> FloatTensor<B> {
    let Layout { n, channels, offset_groups, n_points, n_places, .. } = *layout;
    let [height, width] = layout.input;
    let per_group = channels / offset_groups;
    let plane = B::float_reshape(x, Shape::new([n, offset_groups, per_group, height * width]));
    let offset = B::float_reshape(offset, Shape::new([n, offset_groups, n_points, 2, n_places]));
    let along = |axis: usize| {
        let full = |len: usize| Slice::from(0..len);
        let part = Slice::from(axis..axis + 1);
        let slices = [full(n), full(offset_groups), full(n_points), part, full(n_places)];
        let shift = B::float_slice(offset.clone(), &slices);
        let shift = B::float_reshape(shift, Shape::new([n, offset_groups, n_points, n_places]));
        let position = B::float_add(B::float_from_data(layout.grid(axis), device), shift);
        Axis::<B>::of(position, layout.input[axis], settings)
    };
    let (rows, columns) = (along(0), along(1));
    let shape = Shape::new([n, offset_groups, 1, n_points * n_places]);
    let mut sum: Option<FloatTensor<B>> = None;
    for row in &rows.neighbours {
        for column in &columns.neighbours {
            let places = B::float_add(
                B::float_mul_scalar(row.index.clone(), Scalar::Float(width as f64)),
                column.index.clone(),
            );
            let places = B::float_into_int(places, settings.int_dtype);
            let places = B::int_reshape(places, shape.clone());
            let wide = Shape::new([n, offset_groups, per_group, n_points * n_places]);
            let values = B::float_gather(3, plane.clone(), B::int_expand(places, wide));
            let weight = B::float_mul(row.weight.clone(), column.weight.clone());
            let term = B::float_mul(values, B::float_reshape(weight, shape.clone()));
            sum = Some(match sum {
                Some(sum) => B::float_add(sum, term),
                None => term,
            });
        }
    }
    sum.expect("four neighbours")
}

/// The two whole positions around each sampling position along one axis.
struct Axis<B: Backend> {
    neighbours: [Neighbour<B>; 2],
}

struct Neighbour<B: Backend> {
    /// Whole position, moved inside.
    index: FloatTensor<B>,
    /// Bilinear weight, zero outside.
    weight: FloatTensor<B>,
}

impl<B: Backend> Axis<B> {
    fn of(position: FloatTensor<B>, length: usize, settings: DeviceSettings) -> Self {
        let low = B::float_floor(position.clone());
        let above = B::float_sub(position, low.clone());
        let below = B::float_add_scalar(B::float_neg(above.clone()), Scalar::Float(1.0));
        let high = B::float_add_scalar(low.clone(), Scalar::Float(1.0));
        let neighbour = |index: FloatTensor<B>, weight: FloatTensor<B>| {
            let (first, last) = (Scalar::Float(0.0), Scalar::Float(length as f64 - 1.0));
            let dtype = weight.dtype().into();
            let inside = B::float_clamp(index.clone(), first, last);
            let is_inside = B::float_equal(index, inside.clone(), settings.bool_dtype);
            let is_inside = B::bool_into_float(is_inside, dtype);
            Neighbour { index: inside, weight: B::float_mul(weight, is_inside) }
        };
        Self { neighbours: [neighbour(low, below), neighbour(high, above)] }
    }
}
