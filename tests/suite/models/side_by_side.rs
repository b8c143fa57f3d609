//! Many vectors and many mini-batches at once, dense and in row space, against one at a time.

use burn::module::Module;
use burn::tensor::kind::Autodiff;
use burn::tensor::{DType, Device, Tensor};
use burn_sharpness::Batch;
use burn_sharpness::operator::{HessianLanes, LaneVectors, Lanes};
use burn_sharpness::prelude::*;
use burn_sharpness::{Error, ParamBlock, ParamVector, TensorMapper};

use super::{Case, unit};

impl<M: Module, B: Batch> Case<M, B> {
    /// A block of three vectors against three products.
    pub fn check_block(&self) -> Result<(), String> {
        let fails = |e: Error| format!("{}: {e}", self.name);
        let hessian = self.hessian(DType::F64, &Device::flex(), self.loss_f64).map_err(fails)?;
        let direction = |i: usize| unit(hessian.dim(), i as f64 + 0.4);
        let vectors: Result<Vec<_>, _> =
            (0..3).map(|i| hessian.space().from_values(&direction(i))).collect();
        let vectors = vectors.map_err(fails)?;
        let block = ParamBlock::from_vectors(&vectors).map_err(fails)?;
        let products = hessian.apply_block(&block).map_err(fails)?;
        for (i, v) in vectors.iter().enumerate() {
            let one = hessian.apply(v).and_then(|hv| hv.to_values()).map_err(fails)?;
            let of_block = products.vector(i).to_values().map_err(fails)?;
            self.near("product of a block", &of_block, &one, self.rounding)?;
        }
        Ok(())
    }

    /// Two mini-batches side by side, by row-space vectors wherever they are exact, against each
    /// Hessian alone. Returns the parameters in row space.
    pub fn check_lanes(&self) -> Result<Vec<String>, String> {
        let fails = |e: Error| format!("{}: {e}", self.name);
        let (dtype, device) = (DType::F64, Device::flex());
        let model = self.model(dtype, &device, None);
        let batch = (self.batch)(dtype, &device);
        let batches = [batch.clone(), batch.map_tensors(&mut FirstTwice)];
        for (batches, k) in [(&batches[..], 2), (&batches[1..], 1)] {
            let lanes = HessianLanes::everywhere(&model, batches, self.loss_f64, self.mode);
            let lanes = lanes.map_err(fails)?;
            assert_eq!(lanes.shape()[0], k);
            for (lane, batch) in batches.iter().enumerate() {
                let alone =
                    HessianOperator::in_mode(&model, batch.clone(), self.loss_f64, self.mode);
                self.check_lane(&lanes, lane, &alone.map_err(fails)?).map_err(|e| {
                    format!("{e}, lane {lane} of {k}, {:?} in row space", lanes.row_space_params())
                })?;
            }
        }
        let lanes = HessianLanes::everywhere(&model, &batches, self.loss_f64, self.mode);
        let lanes = lanes.map_err(fails)?;
        for selection in [&[1, 0][..], &[1]] {
            self.check_selection(&lanes, selection)?;
        }
        Ok(lanes.row_space_params().iter().map(ToString::to_string).collect())
    }

    /// Some of the lanes in another order, as when others have converged.
    fn check_selection(&self, lanes: &HessianLanes, selection: &[usize]) -> Result<(), String> {
        let fails = |e: Error| format!("{}: {e}", self.name);
        let v = lanes.space().from_values(&unit(lanes.space().n_params(), 2.3)).map_err(fails)?;
        let product = |lanes: &dyn Lanes, lane: usize| {
            let images = lanes.images_of(&v)?;
            // Through coordinates and images, so that all stages run on what was selected.
            let images = lanes.images(&lanes.apply(&images)?)?;
            lanes.expand(&lanes.apply(&images)?, lane)?.to_values()
        };
        let selected = lanes.select(selection).map_err(fails)?;
        for (place, &lane) in selection.iter().enumerate() {
            let found = product(&*selected, place).map_err(fails)?;
            let expected = product(lanes, lane).map_err(fails)?;
            self.near("product of a selected lane", &found, &expected, self.rounding)?;
        }
        Ok(())
    }

    fn check_lane(
        &self,
        lanes: &HessianLanes,
        lane: usize,
        alone: &HessianOperator,
    ) -> Result<(), String> {
        let fails = |e: Error| format!("{}: {e}", self.name);
        let near = |what: &str, coordinates: &Tensor<2>, expected: &ParamVector| {
            let found = lanes.expand(coordinates, lane).and_then(|v| v.to_values());
            let (found, expected) = (found.map_err(fails)?, expected.to_values().map_err(fails)?);
            self.near(what, &found, &expected, self.rounding)
        };
        near("gradient in row space", &lanes.gradients(), alone.gradient())?;
        let v = alone.space().from_values(&unit(alone.dim(), 2.3)).map_err(fails)?;
        let images = lanes.images_of(&v).map_err(fails)?;
        let hv = LaneVectors::new(lanes, lanes.apply(&images).map_err(fails)?).map_err(fails)?;
        let alone_hv = alone.apply(&v).map_err(fails)?;
        near("product in row space", &hv.coordinates, &alone_hv)?;
        // Once more, from row space to row space.
        let hhv = lanes.apply(&hv.images).map_err(fails)?;
        near("second product in row space", &hhv, &alone.apply(&alone_hv).map_err(fails)?)?;
        let squares = hv.squared_norms().into_data().iter::<f64>().collect::<Vec<_>>();
        let expected = alone_hv.dot(&alone_hv).map_err(fails)?;
        self.near("norm in row space", &[squares[lane]], &[expected], self.rounding)
    }
}

/// The first sample twice, and the last one not at all: another batch of the same shapes.
struct FirstTwice;

impl TensorMapper for FirstTwice {
    fn map<const D: usize, K: Autodiff>(&mut self, tensor: Tensor<D, K>) -> Tensor<D, K> {
        let n = tensor.dims()[0];
        if n < 2 {
            return tensor;
        }
        let (first, rest) = (tensor.clone().narrow(0, 0, 1), tensor.narrow(0, 0, n - 1));
        Tensor::cat(vec![first, rest], 0)
    }
}
