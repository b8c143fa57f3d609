//! The table at the end: where each quantity settled, in units of 2/η, and what it cost.

use burn_sharpness::estimator::Estimate;
use burn_sharpness::plot::rounded;

use crate::history::{History, Measurement};
use crate::options::Settings;
use crate::training::Cost;

/// The plateau is the mean over this last share of the measurements.
const LAST: f64 = 0.2;

/// Prints the plateau levels and the cost of a run with at least one measurement.
pub fn print(settings: &Settings, history: &History, cost: Cost) {
    let rows = &history.measurements;
    let n_last = (rows.len() as f64 * LAST).ceil() as usize;
    let last = &rows[rows.len() - n_last..];
    let from = last.first().map_or(0, |m| m.step);
    let of = |quantity: fn(&Measurement) -> f64| last.iter().map(quantity).collect::<Vec<_>>();
    let live: Vec<f64> =
        history.live.iter().filter(|l| l.step >= from).map(|l| l.lambda_max).collect();

    let unit = settings.threshold();
    println!(
        "\nMeans over the last 20% of the measurements, from step {from} on; 2/η = {}",
        rounded(unit)
    );
    println!("{:<46} {:>18} {:>18}", "", "sharpness", "in units of 2/η");
    print_row("mini-batch sharpness  E[λmax(H_B)]", &of(|m| m.minibatch_sharpness), unit);
    print_row("live batches          λmax before their step", &live, unit);
    print_row("batch sharpness       E[gᵀH_Bg/‖g‖²]", &of(|m| m.batch_sharpness), unit);
    print_row("full-batch sharpness  λmax(H)", &of(|m| m.fullbatch_sharpness), unit);
    println!(
        "±: standard error over these {n_last} measurements ({} live batches), as if independent.",
        live.len()
    );
    print_cost(history, cost);
}

fn print_row(name: &str, values: &[f64], unit: f64) {
    let Some(estimate) = Estimate::of(values) else { return };
    let (mean, error) = (estimate.mean, estimate.standard_error);
    let [absolute, in_units] =
        [1.0, unit].map(|unit| format!("{} ± {}", decimals(mean / unit), decimals(error / unit)));
    println!("{name:<46} {absolute:>18} {in_units:>18}");
}

fn decimals(value: f64) -> String {
    match value.abs() {
        size if size.is_nan() => "?".to_string(), // the standard error of a single value
        size if size >= 1e5 => format!("{value:.2e}"),
        _ => format!("{value:.3}"),
    }
}

fn print_cost(history: &History, cost: Cost) {
    let rows = &history.measurements;
    let seconds = cost.total.as_secs_f64();
    println!(
        "{} Hessian-vector products; {seconds:.0} s in all, {:.0}% of it measuring.",
        cost.n_hvps,
        100.0 * cost.measuring.as_secs_f64() / seconds
    );
    let mini: usize = rows.iter().map(|m| m.minibatch_unconverged).sum();
    let full = rows.iter().filter(|m| !m.fullbatch_converged).count();
    if mini + full > 0 {
        println!(
            "Not converged, so lower bounds: {mini} of {} mini-batch eigenvalues, {full} of {} \
             full-batch ones.",
            history.batches.len(),
            rows.len()
        );
    }
}
