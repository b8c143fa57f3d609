//! Steps and updates of a monitored model.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer, MultiGradientsParams};
use burn::tensor::Tensor;
use burn_train::{InferenceStep, TrainOutput, TrainStep};

use super::{Monitored, MonitoredOutput};

impl<M: TrainStep + Module> TrainStep for Monitored<M> {
    type Input = M::Input;
    type Output = MonitoredOutput<M::Output>;

    fn step(&self, item: M::Input) -> TrainOutput<Self::Output> {
        let claimed = self.shared.claim(self.n_updates, &self.inner);
        let batch = self.keep.filter(|_| claimed).map(|keep| keep(&item));
        let TrainOutput { grads, item } = TrainStep::step(&self.inner, item);
        let slot = self.shared.begin_step();
        if claimed {
            self.shared.measure(self.n_updates, &self.inner, batch.as_ref());
        }
        TrainOutput { grads, item: MonitoredOutput::new(item, slot) }
    }

    fn optimize(
        self,
        optim: &mut ModuleOptimizer,
        lr_module: ModuleLearningRate,
        grads: GradientsParams,
    ) -> Self {
        self.updated(&lr_module.clone(), |model| model.optimize(optim, lr_module, grads))
    }

    fn optimize_multi(
        self,
        optim: &mut ModuleOptimizer,
        lr_module: ModuleLearningRate,
        grads: MultiGradientsParams,
    ) -> Self {
        self.updated(&lr_module.clone(), |model| model.optimize_multi(optim, lr_module, grads))
    }
}

impl<M: TrainStep + Module> Monitored<M> {
    fn updated(self, rates: &ModuleLearningRate, update: impl FnOnce(M) -> M) -> Self {
        self.shared.complete(self.n_updates, || single_rate(&self.inner, rates));
        let n_updates = self.n_updates + 1;
        Self { n_updates, ..self.with_inner(update) }
    }
}

impl<M: TrainStep + InferenceStep> InferenceStep for Monitored<M> {
    type Input = <M as InferenceStep>::Input;
    type Output = <M as InferenceStep>::Output;

    fn step(&self, item: Self::Input) -> Self::Output {
        InferenceStep::step(&self.inner, item)
    }
}

/// The learning rate of all trainable parameters, if they have the same.
fn single_rate<M: Module>(model: &M, rates: &ModuleLearningRate) -> Option<f64> {
    struct Rates<'a> {
        rates: &'a ModuleLearningRate,
        path: Vec<String>,
        found: Vec<f64>,
    }
    impl ModuleVisitor for Rates<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.into());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.is_require_grad() {
                let rate = self.rates.lr_from_param(param.id, Some(&self.path.join(".")));
                if !self.found.contains(&rate) {
                    self.found.push(rate);
                }
            }
        }
    }
    let mut visitor = Rates { rates, path: Vec::new(), found: Vec::new() };
    model.visit(&mut visitor);
    match visitor.found[..] {
        [rate] => Some(rate),
        _ => None,
    }
}
