//! The table at the end: where each quantity settled, in units of 2/η.

use burn_sharpness::estimator::Estimate;

use crate::history::{History, Measurement};
use crate::options::Settings;
use crate::training::Cost;

/// The plateau is the mean over this last share of the run.
const LAST: f64 = 0.2;

/// Prints the plateau levels and what they cost.
pub fn print(settings: &Settings, history: &History, cost: Cost) {
    let rows = &history.measurements;
    let last = rows.len() - (rows.len() as f64 * LAST).ceil() as usize;
    let plateau = &rows[last..];
    let of = |quantity: fn(&Measurement) -> f64| plateau.iter().map(quantity).collect::<Vec<_>>();
    let from = plateau.first().map_or(0, |m| m.step);
    let live: Vec<f64> =
        history.live.iter().filter(|l| l.step >= from).map(|l| l.lambda_max).collect();

    println!(
        "\nLevels over the last 20% of the measurements (from step {from}), 2/η = {}",
        number(settings.threshold())
    );
    println!("{:<46} {:>20} {:>19}", "", "sharpness", "in units of 2/η");
    let table = [
        ("mini-batch sharpness  E[λmax(H_B)]", of(|m| m.minibatch_sharpness)),
        ("live batches          λmax along the training", live),
        ("batch sharpness       E[gᵀH_Bg/‖g‖²]", of(|m| m.batch_sharpness)),
        ("full-batch sharpness  λmax(H)", of(|m| m.fullbatch_sharpness)),
    ];
    for (name, values) in table {
        let Some(estimate) = Estimate::of(&values) else { continue };
        let (mean, error) = (estimate.mean, estimate.standard_error);
        let unit = settings.threshold();
        println!(
            "{name:<46} {:>20} {:>19}",
            format!("{} ± {}", number(mean), number(error)),
            format!("{:.3} ± {:.3}", mean / unit, error / unit)
        );
    }
    println!(
        "±: standard error of the mean over {} measurements ({} live batches), taken as independent.",
        plateau.len(),
        history.live.iter().filter(|l| l.step >= from).count()
    );
    let unconverged: usize = rows.iter().map(|m| m.minibatch_unconverged).sum();
    let full = rows.iter().filter(|m| !m.fullbatch_converged).count();
    println!(
        "{} Hessian-vector products; {:.0} s in all, {:.0}% of it measuring; not converged: {unconverged} of {} \
         mini-batch eigenvalues, {full} of {} full-batch ones.",
        cost.n_hvps,
        cost.total.as_secs_f64(),
        100.0 * cost.measuring.as_secs_f64() / cost.total.as_secs_f64(),
        history.batches.len(),
        rows.len()
    );
}

fn number(value: f64) -> String {
    if value.abs() >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
