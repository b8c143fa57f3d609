//! A run that was stopped and goes on is the run that was not stopped, to the bit.

use std::fs;
use std::path::PathBuf;

use burn::tensor::{Device, TensorData};
use burn_sharpness::observe::{Measure, Row};

use super::*;
use crate::experiment::update::{Optimized, Optimizer};
use crate::support::mlp::{self, Mlp};

type MlpBatch = mlp::Batch;
type MlpLoss = fn(&Mlp, MlpBatch) -> Tensor<1>;

const SEED: u64 = 7;
const LOSS: MlpLoss = mlp::loss;

/// Samples, and the network at its start.
fn subject() -> (MlpBatch, Mlp) {
    let device = Device::flex().autodiff();
    let numbers = |n: usize, of: fn(usize) -> f32| (0..n).map(of).collect::<Vec<_>>();
    let features = numbers(40 * 3, |i| ((i * 37 % 101) as f32 / 50.0) - 1.0);
    let targets = numbers(40 * 2, |i| (i % 3) as f32 - 1.0);
    let tensor = |values, width| Tensor::from_data(TensorData::new(values, [40, width]), &device);
    ((tensor(features, 3), tensor(targets, 2)), Mlp::new(&[3, 8, 2], 1.0, SEED, &device))
}

fn schedule() -> Schedule {
    let stage = |steps, lr| Stage { steps, lr, batch_size: 8 };
    let whole = Schedule::of(stage(30, 0.01), 10);
    Schedule { stages: vec![stage(18, 0.01), stage(12, 0.005)], num_batches: 4, ..whole }
}

/// A new folder for a run.
fn folder(name: &str) -> PathBuf {
    let path =
        std::env::temp_dir().join(format!("burn-sharpness-run-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&path); // of an earlier process with this number
    path
}

/// The weights' bits and the measured values after the whole run; with `stop`, a run that was saved before that
/// step and that another process, which is `resumed_by`, goes on with.
fn outcome(
    name: &str,
    stop: Option<usize>,
    mut first: impl Update<Mlp, MlpBatch>,
    mut resumed_by: impl Update<Mlp, MlpBatch>,
) -> (Vec<u8>, Vec<(usize, Measure, u64)>) {
    let (path, schedule, (data, model)) = (folder(name), schedule(), subject());
    let job = Job {
        folder: &path,
        title: name,
        setting: &name,
        schedule: &schedule,
        seed: SEED,
        device: "flex",
        data: &data,
        loss: LOSS,
    };
    if let Some(stop) = stop {
        let folder = RunFolder::open(&path, &name).unwrap();
        let mut state = job.begin(&folder, model.clone(), &mut first).unwrap();
        let mut progress = Progress::new(name, 0, stop);
        job.enter_stage(&folder, &mut state, &first).unwrap();
        while state.step < stop {
            job.step(&mut state, &mut first, &mut progress).unwrap();
            state.step += 1;
            job.enter_stage(&folder, &mut state, &first).unwrap();
        }
        job.save(&folder, &mut state, &first).unwrap();
        // Steps after the checkpoint, which are lost.
        job.step(&mut state, &mut first, &mut progress).unwrap();
    }
    let done = job.run(model, &mut resumed_by).unwrap();
    let rows = done.history.rows().iter();
    let values = rows.flat_map(|row| {
        row.values.iter().map(|(measure, value)| (row.step, measure.clone(), value.mean.to_bits()))
    });
    let (values, bits) = (values.collect(), bits(&done.model));
    fs::remove_dir_all(&path).unwrap();
    (bits, values)
}

fn bits(model: &Mlp) -> Vec<u8> {
    struct Bits(Vec<u8>);
    impl burn::module::ModuleVisitor for Bits {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            let values = param.val().into_data();
            self.0.extend(values.iter::<f32>().flat_map(f32::to_le_bytes));
        }
    }
    let mut bits = Bits(Vec::new());
    model.visit(&mut bits);
    bits.0
}

#[test]
fn a_stopped_run_goes_on_with_the_same_bits() {
    for kind in [Optimizer::Sgd, Optimizer::Momentum(0.9), Optimizer::Adam] {
        let update = || Optimized::new(kind, LOSS);
        let name = format!("{kind:?}").to_lowercase();
        let whole = outcome(&format!("{name}-whole"), None, update(), update());
        assert!(whole.1.len() > 20, "{}", whole.1.len());
        for stop in [1, 11, 18, 25] {
            let name = format!("{name}-{stop}");
            assert_eq!(outcome(&name, Some(stop), update(), update()), whole, "{name}");
        }
    }
}

/// A run of 26 steps that is given 4 more is the run of 30: its last row, which no interval asks for, is gone.
#[test]
fn a_run_that_is_given_more_steps_is_the_longer_run() {
    #[derive(serde::Serialize)]
    struct Setting<'a> {
        schedule: &'a Schedule,
        seed: u64,
    }
    let (data, model) = subject();
    let path = folder("extended");
    let run = |steps, seed| {
        let mut schedule = schedule();
        schedule.stages[1].steps = steps;
        let setting = Setting { schedule: &schedule, seed };
        let job = Job {
            folder: &path,
            title: "extended",
            setting: &setting,
            schedule: &schedule,
            seed: SEED,
            device: "flex",
            data: &data,
            loss: LOSS,
        };
        let update = &mut Optimized::new(Optimizer::Momentum(0.9), LOSS);
        job.run(model.clone(), update).map(|done| (bits(&done.model), done.history))
    };
    let (short, rows) = run(8, SEED).unwrap();
    assert_eq!(rows.rows().last().unwrap().step, 26);
    // Finished: it is read, and the same.
    assert_eq!(run(8, SEED).unwrap(), (short, rows));
    let (long, rows) = run(12, SEED).unwrap();
    assert!(rows.rows().iter().all(|row| row.step != 26));
    let update = || Optimized::new(Optimizer::Momentum(0.9), LOSS);
    let whole = outcome("as-long", None, update(), update());
    let of = |row: &Row| {
        let values = row.values.iter();
        values.map(|(m, v)| (row.step, m.clone(), v.mean.to_bits())).collect::<Vec<_>>()
    };
    assert_eq!((long, rows.rows().iter().flat_map(of).collect()), whole);
    // Fewer steps than it has had, or another seed, is another run.
    for other in [run(8, SEED), run(12, SEED + 1)] {
        assert!(matches!(other, Err(ExampleError::OtherRun { .. })));
    }
    fs::remove_dir_all(&path).unwrap();
}

/// An optimizer that forgets its state when a run goes on.
struct Forgetful(Optimized<MlpLoss>);

impl Update<Mlp, MlpBatch> for Forgetful {
    fn step(
        &mut self,
        step: usize,
        stage: &Stage,
        model: Mlp,
        batch: MlpBatch,
    ) -> Result<(Mlp, f64)> {
        self.0.step(step, stage, model, batch)
    }
}

/// That the test above sees the state.
#[test]
fn without_the_optimizers_state_it_would_be_another_run() {
    for kind in [Optimizer::Momentum(0.9), Optimizer::Adam] {
        let update = || Forgetful(Optimized::new(kind, LOSS));
        let name = format!("forgetful-{kind:?}").to_lowercase();
        let whole = outcome(&format!("{name}-whole"), None, update(), update());
        let stopped = outcome(&format!("{name}-11"), Some(11), update(), update());
        assert_ne!(stopped.0, whole.0, "{name}");
    }
}
