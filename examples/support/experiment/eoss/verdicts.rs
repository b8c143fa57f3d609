//! Claims 1, 2 and 3 of docs/reproduction.md, that of the paper's later versions on batch sharpness, and whether the
//! batches of the training see what batches at frozen weights do.

use burn_sharpness::estimator::Estimate;
use burn_sharpness::observe::Measure;

use super::{Panel, words};
use crate::experiment::schedule::Stage;
use crate::experiment::verdict::Verdicts;

const MINI: Measure = Measure::MiniBatchSharpness;
const FULL: Measure = Measure::FullBatchSharpness;
const BATCH: Measure = Measure::BatchSharpness;
const LIVE: Measure = Measure::LiveSharpness;

/// "Nearly independent of b": levels at one η are within this factor. "Just above 2/η": they are within this factor
/// of it. The paper has no numbers for either.
const NEARLY: f64 = 1.25;

/// A training in which mini-batch sharpness never was above this share of 2/η has not come to its edge, and says
/// nothing on where it settles there.
const NEAR_EDGE: f64 = 0.9;

/// What the runs say; those in `diverged` are no support of anything. The data have `n` samples.
pub fn of(panels: &[Panel], diverged: &[Stage], n: usize) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let seen = Seen { panels, diverged, n };
    seen.levels(&mut verdicts);
    seen.batch_sharpness(&mut verdicts);
    seen.full_batch(&mut verdicts);
    seen.plateaus(&mut verdicts);
    seen.live(&mut verdicts);
    verdicts
}

struct Seen<'a> {
    panels: &'a [Panel],
    diverged: &'a [Stage],
    n: usize,
}

impl Seen<'_> {
    /// Each level, and what became of the runs without one.
    fn words(&self, measure: &Measure) -> String {
        let level = |panel: &Panel| {
            let r = panel.ratio(measure.clone())?;
            let Stage { lr, batch_size, .. } = panel.stage;
            let note = if panel.came_to_edge() { "" } else { ", not at its edge" };
            Some(format!("{} (η {lr}, b {batch_size}{note})", words(&r)))
        };
        let lost = |Stage { lr, batch_size, .. }: &Stage| {
            format!("none, it diverged (η {lr}, b {batch_size})")
        };
        let levels = self.panels.iter().filter_map(level);
        levels.chain(self.diverged.iter().map(lost)).collect::<Vec<_>>().join(", ")
    }

    /// Whether the level of each run is inside, of those that came to their edge; no run that diverged has one.
    fn each(&self, measure: &Measure, inside: impl Fn(&Estimate) -> bool) -> Vec<Option<bool>> {
        let level = |panel: &Panel| panel.ratio(measure.clone()).filter(|_| panel.came_to_edge());
        let inside = self.panels.iter().map(|panel| level(panel).map(|r| inside(&r)));
        inside.chain(self.diverged.iter().map(|_| Some(false))).collect()
    }

    fn levels(&self, verdicts: &mut Verdicts) {
        verdicts.add(
            "claim 1: mini-batch sharpness settles between 2/η and 2·2/η",
            self.each(&MINI, between(1.0, 2.0)),
            self.words(&MINI),
        );
        verdicts.add(
            "claim 1, \"just above\": at most a quarter above 2/η",
            self.each(&MINI, between(1.0, NEARLY)),
            self.words(&MINI),
        );
        let spreads: Vec<(f64, f64)> =
            self.rates().into_iter().filter_map(|lr| Some((lr, self.spread(lr)?))).collect();
        let text = spreads.iter().map(|(lr, spread)| format!("{spread:.2} (η {lr})"));
        let text = match text.collect::<Vec<_>>() {
            none if none.is_empty() => "no two runs at their edges with the same η".into(),
            all => format!("largest over smallest level: {}", all.join(", ")),
        };
        verdicts.add(
            "claim 1, nearly whatever the batch size: levels of one η within a factor of 1.25",
            spreads.iter().map(|(_, spread)| *spread <= NEARLY),
            text,
        );
    }

    fn rates(&self) -> Vec<f64> {
        let mut rates: Vec<f64> = self.panels.iter().map(|panel| panel.stage.lr).collect();
        rates.dedup();
        rates
    }

    /// The largest over the smallest level of the runs with `lr` at their edges, if there are several.
    fn spread(&self, lr: f64) -> Option<f64> {
        let inside = |panel: &&Panel| panel.stage.lr == lr && panel.came_to_edge();
        let levels: Vec<f64> = self
            .panels
            .iter()
            .filter(inside)
            .filter_map(|panel| panel.ratio(MINI).map(|r| r.mean))
            .collect();
        let (low, high) = (levels.iter().copied().reduce(f64::min)?, levels.iter().copied());
        (levels.len() > 1).then(|| high.fold(0.0, f64::max) / low)
    }

    fn batch_sharpness(&self, verdicts: &mut Verdicts) {
        verdicts.add(
            "later versions: batch sharpness settles at 2/η (within 15%)",
            self.each(&BATCH, between(0.85, 1.15)),
            self.words(&BATCH),
        );
    }

    fn full_batch(&self, verdicts: &mut Verdicts) {
        let mut parts = self.each(&FULL, between(0.1, 1.0));
        parts.extend(self.panels.iter().map(is_below));
        // "Higher for larger batches" takes two sizes.
        let rises = self.panels.windows(2).filter(|w| w[0].stage.lr == w[1].stage.lr);
        let rises = rises.filter_map(|w| {
            let [before, after] = [&w[0], &w[1]].map(|panel| Some(panel.ratio(FULL)?.mean));
            Some((after? > before?) == (w[1].stage.batch_size > w[0].stage.batch_size))
        });
        let rises: Vec<bool> = rises.collect();
        parts.push((!rises.is_empty()).then(|| rises.iter().all(|rises| *rises)));
        verdicts.add(
            "claim 2: full-batch sharpness settles between 0.1 and 1 times 2/η, higher for larger batches, and is \
             below mini-batch sharpness at every measurement (to three standard errors of the latter)",
            parts,
            self.words(&FULL),
        );
    }

    fn plateaus(&self, verdicts: &mut Verdicts) {
        // Batches of all samples are the whole: there is nothing to tell apart.
        let at_edge = |panel: &&Panel| panel.stage.batch_size < self.n && panel.came_to_edge();
        let drifts = |panel: &Panel| Some((panel.drift(MINI)?, panel.drift(FULL)?));
        let drifts: Vec<_> = self.panels.iter().filter(at_edge).filter_map(drifts).collect();
        let is_settled = |drift: f64| (drift - 1.0).abs() < 0.1;
        let mut settled: Vec<Option<bool>> =
            drifts.iter().map(|(mini, _)| Some(is_settled(*mini))).collect();
        let mut elsewhere = drifts.iter().filter(|(_, full)| !is_settled(*full)).peekable();
        let is_seen = elsewhere.peek().is_some();
        settled.push(is_seen.then(|| elsewhere.all(|(mini, _)| is_settled(*mini))));
        settled.extend(self.diverged.iter().map(|_| Some(false)));
        let text = drifts.iter().map(|(mini, full)| format!("{mini:.3} and {full:.3}"));
        verdicts.add(
            "claim 3: mini-batch sharpness has settled (its last fifth is within 10% of the one before), also where \
             full-batch sharpness has not",
            settled,
            format!(
                "last fifth over the one before, mini-batch and full-batch: {}",
                text.collect::<Vec<_>>().join(", ")
            ),
        );
    }

    /// Each batch of the training is measured once, at the weights that it is about to change; they are drawn
    /// without regard to the weights, so where those have settled the means agree.
    fn live(&self, verdicts: &mut Verdicts) {
        let both = |panel: &Panel| Some((panel.ratio(LIVE)?, panel.ratio(MINI)?));
        let both: Vec<(Estimate, Estimate)> = self.panels.iter().filter_map(both).collect();
        let agree = |(live, frozen): &(Estimate, Estimate)| {
            let error = live.standard_error.hypot(frozen.standard_error);
            error.is_finite().then(|| (live.mean - frozen.mean).abs() <= 3.0 * error)
        };
        let text =
            both.iter().map(|(live, frozen)| format!("{} and {}", words(live), words(frozen)));
        verdicts.add(
            "λmax of the batches that training uses is, over the last fifth, that of batches at frozen weights (to \
             three standard errors)",
            both.iter().map(agree),
            text.collect::<Vec<_>>().join(", "),
        );
    }
}

impl Panel {
    fn came_to_edge(&self) -> bool {
        let edge = 2.0 / self.stage.lr;
        self.history.series(&MINI).any(|(_, value)| value.mean >= NEAR_EDGE * edge)
    }
}

/// Two standard errors are granted at each end, but no more than a tenth: a level that is hardly known is no proof.
fn between(low: f64, high: f64) -> impl Fn(&Estimate) -> bool {
    move |r| {
        let slack = if r.standard_error.is_finite() { 2.0 * r.standard_error } else { 0.0 };
        let slack = slack.min(0.1);
        (low - slack..=high + slack).contains(&r.mean)
    }
}

/// Whether full-batch sharpness is below mini-batch sharpness wherever both were measured, to three standard errors
/// of the mean over batches.
fn is_below(panel: &Panel) -> Option<bool> {
    let both = panel.history.rows().iter().filter_map(|row| {
        let mini = row.value(&MINI)?;
        Some(row.mean(&FULL)? <= mini.mean + 3.0 * mini.standard_error?)
    });
    both.reduce(|all, is_below| all && is_below)
}

#[cfg(test)]
mod tests {
    use burn_sharpness::observe::{History, Row, Value};

    use super::*;
    use crate::experiment::verdict::Holds;

    /// A run with η = 0.1 at a constant mini-batch sharpness, in units of 2/η.
    fn panel(batch_size: usize, level: f64) -> Panel {
        let mut history = History::default();
        for step in 0..=100 {
            let mut row = Row::at(step);
            row.values.insert(MINI, Value::of(20.0 * level));
            row.values.insert(FULL, Value::of(20.0 * 0.5 * level));
            history.push(row).unwrap();
        }
        Panel { stage: Stage { steps: 100, lr: 0.1, batch_size }, history, seconds: 1.0 }
    }

    fn holds(panels: &[Panel], diverged: &[Stage], statement: &str) -> Holds {
        let verdicts = of(panels, diverged, 1000);
        let found = verdicts.all().iter().find(|v| v.statement.starts_with(statement));
        found.map(|verdict| verdict.holds).unwrap()
    }

    #[test]
    fn each_part_of_claim_1_can_fail_by_itself() {
        let ways = [
            ([1.1, 1.2], [Holds::Yes, Holds::Yes, Holds::Yes]),
            ([1.5, 1.6], [Holds::Yes, Holds::No, Holds::Yes]),
            ([1.1, 1.9], [Holds::Yes, Holds::InPart, Holds::No]),
            ([2.5, 2.6], [Holds::No, Holds::No, Holds::Yes]),
            ([0.4, 0.5], [Holds::NotSeen; 3]),
        ];
        let statements = ["claim 1: ", "claim 1, \"just", "claim 1, nearly"];
        for (levels, expected) in ways {
            let panels = [panel(8, levels[0]), panel(32, levels[1])];
            assert_eq!(statements.map(|s| holds(&panels, &[], s)), expected, "{levels:?}");
        }
    }

    #[test]
    fn a_run_that_diverged_supports_nothing() {
        let (panels, diverged) = ([panel(8, 1.1)], [Stage { steps: 100, lr: 0.1, batch_size: 64 }]);
        for statement in ["claim 1: ", "claim 2", "claim 3"] {
            assert_eq!(holds(&panels, &diverged, statement), Holds::InPart, "{statement}");
        }
        assert_eq!(holds(&[], &diverged, "later versions"), Holds::No);
    }
}
