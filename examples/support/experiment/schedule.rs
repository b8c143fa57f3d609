//! What a run does when: stages of steps, and what is measured how often.

use burn_sharpness::observe::{Budget, Cadence, Measure, SharpnessMonitorConfig};
use serde::{Deserialize, Serialize};

/// Steps with the same η and batch size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub steps: usize,
    pub lr: f64,
    pub batch_size: usize,
}

/// Steps between measurements; 0 for never.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// One after the other.
    pub stages: Vec<Stage>,
    /// Mini-batch and batch sharpness.
    pub every: usize,
    /// Full-batch sharpness, which is the costliest.
    pub full_every: usize,
    /// λ_max of the training batch.
    pub live_every: usize,
    /// Mini-batches for mini-batch sharpness; batch sharpness, which is cheaper, takes four times as many.
    pub num_batches: usize,
    /// Memory for mini-batches side by side, in MiB.
    pub memory_mib: usize,
}

impl Schedule {
    /// One stage, measured `rows` times.
    pub fn of(stage: Stage, rows: usize) -> Self {
        let every = (stage.steps / rows).max(1);
        Self {
            stages: vec![stage],
            every,
            full_every: every,
            live_every: 0,
            num_batches: 16,
            memory_mib: 64,
        }
    }

    pub fn steps(&self) -> usize {
        self.stages.iter().map(|stage| stage.steps).sum()
    }

    /// The number of the stage that step `step` belongs to, and the step that it starts at. The end belongs to
    /// the last one.
    pub fn stage_at(&self, step: usize) -> (usize, usize) {
        let mut start = 0;
        for (number, stage) in self.stages.iter().enumerate() {
            if step < start + stage.steps || number + 1 == self.stages.len() {
                return (number, start);
            }
            start += stage.steps;
        }
        (0, 0)
    }

    /// The monitor of a stage. It measures at the first step of the stage, at multiples of the intervals, and
    /// at the end of the run; after a change of η or b also 1, 2, 4, 8, .. steps later, where what it does is
    /// quick. No budget, so that a run can be repeated.
    pub fn monitor(&self, number: usize, seed: u64) -> SharpnessMonitorConfig {
        let stage = self.stages[number];
        let start: usize = self.stages[..number].iter().map(|stage| stage.steps).sum();
        let end = start + stage.steps;
        let is_changed = number.checked_sub(1).is_some_and(|before| {
            let before = self.stages[before];
            (before.lr, before.batch_size) != (stage.lr, stage.batch_size)
        });
        let steps = |every: usize| {
            let regular = (start + 1..end).filter(|step| step.is_multiple_of(every));
            let later = std::iter::successors(is_changed.then_some(1), |later| Some(2 * later));
            let soon = later.take_while(|later| *later < every.min(stage.steps));
            let soon = soon.map(|later| start + later);
            let mut steps: Vec<usize> =
                [start, end].into_iter().chain(regular).chain(soon).collect();
            steps.sort_unstable();
            steps.dedup();
            Cadence::Steps(steps)
        };
        let each = [
            (Measure::MiniBatchSharpness, self.every),
            (Measure::BatchSharpness, self.every),
            (Measure::FullBatchSharpness, self.full_every),
            (Measure::LiveSharpness, self.live_every),
        ];
        let each = each.into_iter().filter(|(_, every)| *every > 0);
        let cadences: Vec<_> = each.map(|(measure, every)| (measure, steps(every))).collect();
        SharpnessMonitorConfig::new(stage.batch_size)
            .with_measures(cadences.iter().map(|(measure, _)| measure.clone()).collect())
            .with_cadences(cadences)
            .with_budget(Budget::Unlimited)
            .with_num_batches(self.num_batches)
            .with_num_gradients(4 * self.num_batches)
            .with_memory_mib(self.memory_mib)
            .with_seed(seed.wrapping_add(number as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_stages() -> Schedule {
        let stage = |steps, lr| Stage { steps, lr, batch_size: 8 };
        Schedule { stages: vec![stage(10, 0.1), stage(5, 0.2)], ..Schedule::of(stage(10, 0.1), 5) }
    }

    #[test]
    fn steps_belong_to_their_stage_and_the_end_to_the_last() {
        let schedule = two_stages();
        let of = |step| schedule.stage_at(step);
        assert_eq!(
            [of(0), of(9), of(10), of(14), of(15)],
            [(0, 0), (0, 0), (1, 10), (1, 10), (1, 10)]
        );
        assert_eq!(schedule.steps(), 15);
    }

    #[test]
    fn a_stage_is_measured_at_its_ends_and_between() {
        let of = |stage| two_stages().monitor(stage, 0).cadences[0].1.clone();
        assert_eq!(of(0), Cadence::Steps(vec![0, 2, 4, 6, 8, 10]));
        assert_eq!(of(1), Cadence::Steps(vec![10, 11, 12, 14, 15]));
    }

    #[test]
    fn stages_without_a_change_are_measured_where_they_meet() {
        let stage = Stage { steps: 1000, lr: 0.1, batch_size: 8 };
        let never = Schedule { every: usize::MAX, ..Schedule::of(stage, 1) };
        let of = |stages| Schedule { stages, ..never.clone() }.monitor(1, 0).cadences[0].1.clone();
        assert_eq!(of(vec![stage; 2]), Cadence::Steps(vec![1000, 2000]));
        let changed = of(vec![Stage { lr: 0.2, ..stage }, stage]);
        let powers = (0..10).map(|k| 1000 + (1 << k));
        let all: Vec<usize> = std::iter::once(1000).chain(powers).chain([2000]).collect();
        assert_eq!(changed, Cadence::Steps(all));
    }
}
