//! [`LossGraph`] with outputs -> [`JvpGraph`] of Jᵀ M J, and -> [`JacobianGraph`] of J and Jᵀ.
//!
//! The recording is cut at the network's outputs f(θ): before it the network, behind it the loss
//! ℓ(f). Three graphs are put together (Schraudolph 2002, section 3):
//!
//! ```text
//! network, pushed forward along θ   v        -> ḟ = J v
//! gradient of the loss              f, ḟ     -> g = ∂ℓ/∂f, ġ = M ḟ
//! reverse pass of the network       g, ġ     -> ∇L = Jᵀg, product = Jᵀġ
//! ```
//!
//! The reverse pass is linear in its cotangent, so that Jᵀġ is its tangent along the cotangent alone:
//! what the Hessian has besides, the tangent of the reverse pass along θ, is left out.

use std::collections::BTreeSet;

use burn::tensor::DeviceSettings;
use burn_ir::TensorIr;

use crate::capture::{LossGraph, Source, param_inputs};
use crate::error::{Error, Result};
use crate::gradient::GradientGraph;
use crate::ir::TensorGraph;
use crate::ir::emitter::Emitter;
use crate::linearize::JvpGraph;
use crate::tangent::{Tangent, push_forward};

/// The matrix M between Jᵀ and J. D = ∂L/∂f, with the samples along its first dimension; b of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Metric {
    /// ∂²ℓ/∂f².
    Hessian,
    /// b Σᵢ DᵢDᵢᵀ, which is (1/b) Σᵢ δᵢδᵢᵀ for a mean over samples, δᵢ = b·Dᵢ.
    Scores,
    /// The same for gradients less their mean: (1/b) Σᵢ gᵢ(gᵢ − ḡ)ᵀ.
    CenteredScores,
}

/// J v and Jᵀu of a network's outputs.
#[derive(Clone, Debug)]
pub(crate) struct JacobianGraph {
    /// Inputs: those of `sources`, one tangent per parameter in use, then the cotangent u. Outputs: f,
    /// J v, then the Jᵀu that are not zero.
    pub graph: TensorGraph,
    pub sources: Vec<Source>,
    /// Which parameters have a tangent input, and which a part of Jᵀu.
    pub uses_tangent: Vec<bool>,
    pub has_product: Vec<bool>,
}

/// Graphs under construction whose inputs are shared.
struct Assembly {
    emit: Emitter,
    sources: Vec<Source>,
    inputs: Vec<TensorIr>,
    differentiated: BTreeSet<String>,
}

/// The network, its tangents pushed forward, as part of an [`Assembly`].
struct Forward {
    f: TensorIr,
    df: Tangent,
    /// For each parameter its tangent input; `None`: the network does not use it.
    tangents: Vec<Option<TensorIr>>,
}

impl LossGraph {
    fn outputs(&self) -> Result<&TensorIr> {
        let missing = || Error::Capture { message: "the outputs were not kept".into() };
        self.graph.outputs.get(1).ok_or_else(missing)
    }

    fn part(&self, graph: TensorGraph, mut sources: Vec<Source>, n_params: usize) -> Self {
        let graph = graph.without_dead_code().with_dense_ids(&mut sources);
        Self { graph, sources, n_params, reference: None, ..self.clone() }
    }

    /// The network θ -> f.
    pub(crate) fn network(&self) -> Result<Self> {
        let graph = TensorGraph { outputs: vec![self.outputs()?.clone()], ..self.graph.clone() };
        Ok(self.part(graph, self.sources.clone(), self.n_params))
    }

    /// The loss f -> ℓ, whose only parameter is f.
    fn loss_of_outputs(&self) -> Result<Self> {
        let f = self.outputs()?.clone();
        let mut loss = self.graph.clone();
        loss.outputs.truncate(1);
        loss.ops.retain(|op| op.outputs().all(|t| t.id != f.id));
        let mut sources = self.sources.clone();
        loss.inputs.insert(0, f);
        sources.insert(0, Source::Param(0));
        let loss = self.part(loss, sources, 1);
        let n_direct = loss.sources.iter().filter(|s| matches!(s, Source::Param(_))).count();
        if n_direct > 1 {
            let message = "the loss of the outputs reads parameters, not the outputs alone".into();
            return Err(Error::LossPanicked { message });
        }
        Ok(loss)
    }

    /// The product Jᵀ M J v, in the form of a Hessian-vector product.
    pub(crate) fn gauss_newton(&self, metric: Metric) -> Result<JvpGraph> {
        let (reverse, loss) = (self.network()?.pull_back()?, self.loss_of_outputs()?);
        let mut assembly = Assembly::new(self.settings);
        let forward = assembly.forward(&reverse, self.n_params)?;
        let (value, g, dg) = assembly.loss(&loss.differentiate()?, &forward, metric)?;
        let (gradients, products) = assembly.reverse(&reverse, &g, &dg)?;

        let mut outputs = vec![value];
        let positions = gradients.iter().map(|gradient| {
            outputs.push(gradient.clone()?);
            Some(outputs.len() - 1)
        });
        let gradients = positions.collect();
        outputs.extend(products.iter().flatten().cloned());
        let Assembly { emit, sources, mut inputs, differentiated } = assembly;
        inputs.extend(forward.tangents.iter().flatten().cloned());
        Ok(JvpGraph {
            graph: TensorGraph { inputs, ops: emit.ops, outputs },
            sources,
            gradients,
            tangent_inputs: forward.tangents,
            tangent_outputs: products,
            settings: self.settings,
            differentiated,
        })
    }

    /// J v and Jᵀu side by side.
    pub(crate) fn jacobian(&self) -> Result<JacobianGraph> {
        let reverse = self.network()?.pull_back()?;
        let mut assembly = Assembly::new(self.settings);
        let forward = assembly.forward(&reverse, self.n_params)?;
        let u = assembly.emit.fresh(&forward.f);
        let (products, _) = assembly.reverse(&reverse, &u, &None)?;
        let df = match forward.df {
            Some(df) => df,
            None => assembly.emit.zeros(forward.f.shape.clone(), forward.f.dtype),
        };
        let Assembly { emit, sources, mut inputs, .. } = assembly;
        inputs.extend(forward.tangents.iter().flatten().cloned());
        inputs.push(u);
        let mut outputs = vec![forward.f, df];
        outputs.extend(products.iter().flatten().cloned());
        Ok(JacobianGraph {
            graph: TensorGraph { inputs, ops: emit.ops, outputs },
            sources,
            uses_tangent: forward.tangents.iter().map(Option::is_some).collect(),
            has_product: products.iter().map(Option::is_some).collect(),
        })
    }
}

impl Assembly {
    fn new(settings: DeviceSettings) -> Self {
        let emit = Emitter::new(0, settings);
        let (sources, inputs) = (Vec::new(), Vec::new());
        Self { emit, sources, inputs, differentiated: BTreeSet::new() }
    }

    /// The input with this source, made at the first call.
    fn input(&mut self, source: &Source, like: &TensorIr) -> TensorIr {
        if let Some(position) = self.sources.iter().position(|s| s == source) {
            return self.inputs[position].clone();
        }
        let input = self.emit.fresh(like);
        self.sources.push(source.clone());
        self.inputs.push(input.clone());
        input
    }

    /// The inputs of `graph`: `given` has those that are no input of the whole.
    fn bind(
        &mut self,
        graph: &GradientGraph,
        given: impl Fn(&Source) -> Option<TensorIr>,
    ) -> Vec<TensorIr> {
        let inputs = graph.sources.iter().zip(&graph.graph.inputs);
        inputs.map(|(s, like)| given(s).unwrap_or_else(|| self.input(s, like))).collect()
    }

    /// Appends `graph`, some of whose inputs (`wrt`) have `tangents`; returns its outputs and theirs.
    fn push_forward(
        &mut self,
        graph: &TensorGraph,
        inputs: Vec<TensorIr>,
        wrt: &[usize],
        tangents: &[TensorIr],
    ) -> Result<(Vec<TensorIr>, Vec<Tangent>)> {
        let pushed = push_forward(graph, wrt, *self.emit.settings())?;
        let (n_outputs, present) = (graph.outputs.len(), pushed.tangent_outputs);
        let mut all = TensorGraph { ops: pushed.ops, ..graph.clone() };
        let mut bound = inputs;
        for (tensor, data) in pushed.constants {
            bound.push(self.input(&Source::Fixed(data), &tensor));
            all.inputs.push(tensor);
        }
        all.inputs.extend(pushed.tangent_inputs);
        bound.extend(tangents.iter().cloned());
        all.outputs.extend(present.iter().flatten().cloned());
        self.differentiated.extend(pushed.differentiated);
        let mut outputs = self.emit.append(&all.without_dead_code(), &bound);
        let mut made = outputs.split_off(n_outputs).into_iter();
        let tangents = present.iter().map(|t| t.as_ref().and_then(|_| made.next())).collect();
        Ok((outputs, tangents))
    }

    /// f and J v.
    fn forward(&mut self, reverse: &GradientGraph, n_params: usize) -> Result<Forward> {
        // Of the reverse pass no tangent along the parameters is wanted, so that its operations need no
        // rule for one.
        let network = reverse.graph.clone().first_output_alone();
        let positions = param_inputs(&reverse.sources, n_params);
        let wrt: Vec<usize> = positions.iter().flatten().copied().collect();
        let unread = network.inputs.first().cloned();
        // The cotangent is an input of the whole graph that this part does not read.
        let is_cotangent = |s: &Source| matches!(s, Source::Cotangent).then(|| unread.clone())?;
        let inputs = self.bind(reverse, is_cotangent);
        let mut tangent = |p: usize| self.emit.fresh(&network.inputs[p]);
        let tangents: Vec<_> = positions.iter().map(|p| p.map(&mut tangent)).collect();
        let of_params: Vec<_> = tangents.iter().flatten().cloned().collect();
        let (f, df) = self.push_forward(&network, inputs, &wrt, &of_params)?;
        Ok(Forward { f: f[0].clone(), df: df[0].clone(), tangents })
    }

    /// ℓ, g = ∂ℓ/∂f and ġ = M ḟ.
    fn loss(
        &mut self,
        gradient: &GradientGraph,
        Forward { f, df, .. }: &Forward,
        metric: Metric,
    ) -> Result<(TensorIr, TensorIr, Tangent)> {
        let inputs = self.bind(gradient, |s| matches!(s, Source::Param(_)).then(|| f.clone()));
        let position = gradient.gradients[0].ok_or(Error::LossIndependentOfParameters)?;
        let Some(df) = df else {
            let outputs = self.emit.append(&gradient.graph, &inputs);
            return Ok((outputs[0].clone(), outputs[position].clone(), None));
        };
        if metric == Metric::Hessian {
            let wrt: Vec<usize> =
                param_inputs(&gradient.sources, 1).into_iter().flatten().collect();
            let df = std::slice::from_ref(df);
            let (outputs, tangents) = self.push_forward(&gradient.graph, inputs, &wrt, df)?;
            return Ok((outputs[0].clone(), outputs[position].clone(), tangents[position].clone()));
        }
        let outputs = self.emit.append(&gradient.graph, &inputs);
        let g = outputs[position].clone();
        let dg = self.scores(&g, df, metric == Metric::CenteredScores);
        Ok((outputs[0].clone(), g, Some(dg)))
    }

    /// b Σᵢ DᵢDᵢᵀ ḟ.
    fn scores(&mut self, g: &TensorIr, df: &TensorIr, is_centered: bool) -> TensorIr {
        let (shape, emit) = (g.shape.clone(), &mut self.emit);
        let n_samples = shape[0];
        let rows = vec![n_samples, shape.num_elements() / n_samples];
        let (g, df) = (emit.reshape(g, rows.clone().into()), emit.reshape(df, rows.into()));
        let products = emit.mul(&g, &df);
        let mut along = emit.sum_dim(&products, 1);
        if is_centered {
            let sum = emit.sum_dim(&along, 0);
            let mean = emit.mul_scalar(&sum, 1.0 / n_samples as f64);
            along = emit.sub(&along, &mean);
        }
        let along = emit.mul_scalar(&along, n_samples as f64);
        let scaled = emit.mul(&g, &along);
        emit.reshape(&scaled, shape)
    }

    /// Jᵀg and Jᵀġ of each parameter.
    fn reverse(
        &mut self,
        reverse: &GradientGraph,
        g: &TensorIr,
        dg: &Tangent,
    ) -> Result<(Vec<Tangent>, Vec<Tangent>)> {
        let is_cotangent = |s: &Source| matches!(s, Source::Cotangent);
        let inputs = self.bind(reverse, |s| is_cotangent(s).then(|| g.clone()));
        let cotangent = reverse.sources.iter().position(is_cotangent);
        let wrt: Vec<usize> = cotangent.filter(|_| dg.is_some()).into_iter().collect();
        let tangents: Vec<TensorIr> = dg.iter().take(wrt.len()).cloned().collect();
        let (outputs, products) = self.push_forward(&reverse.graph, inputs, &wrt, &tangents)?;
        let gradients = reverse.gradients.iter();
        Ok(gradients
            .map(|g| g.map_or((None, None), |g| (Some(outputs[g].clone()), products[g].clone())))
            .unzip())
    }
}
