//! What is read from a run, in units of its edge, and how it is shown.

use std::path::Path;

use burn_sharpness::estimator::Estimate;
use burn_sharpness::observe::{History, Measure, Value};
use burn_sharpness::plot::{Chart, Look, Series, rounded};

use crate::experiment::plateau::plateau;
use crate::support::error::Result;

/// How far a level may be from the one that is expected of it.
pub const NEAR: (f64, f64) = (0.85, 1.15);

/// The quantities of plain SGD, for tables and figures.
pub const SHARPNESS: [(Measure, &str); 3] = [
    (Measure::MiniBatchSharpness, "mini-batch λmax"),
    (Measure::BatchSharpness, "batch sharpness"),
    (Measure::FullBatchSharpness, "full-batch λmax"),
];

/// A quantity and its name.
pub type Named<'a> = (Measure, &'a str);

/// Where a quantity settled.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    pub mean: f64,
    /// NaN where there are too few measurements.
    pub standard_error: f64,
}

/// A run that came to its end.
pub struct Panel {
    pub name: String,
    pub batch_size: usize,
    /// What sharpness is compared with.
    pub edge: f64,
    pub history: History,
    pub seconds: f64,
}

impl Panel {
    /// Steps and values in units of the edge.
    pub fn curve(&self, measure: &Measure) -> Vec<(f64, f64)> {
        let point = |(step, value): (usize, &Value)| (step as f64, value.mean / self.edge);
        self.history.series(measure).map(point).collect()
    }

    /// The plateau in units of the edge.
    pub fn level(&self, measure: &Measure) -> Option<Level> {
        self.level_over(measure, self.edge)
    }

    /// The plateau in units of another edge.
    pub fn level_over(&self, measure: &Measure, edge: f64) -> Option<Level> {
        let Estimate { mean, standard_error, .. } = plateau(&self.history, measure)?;
        Some(Level { mean: mean / edge, standard_error: standard_error / edge })
    }

    /// The highest value, with its step.
    pub fn peak(&self, measure: &Measure) -> Option<(f64, f64)> {
        self.curve(measure).into_iter().max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The first value.
    pub fn first(&self, measure: &Measure) -> Option<f64> {
        self.curve(measure).first().map(|point| point.1)
    }

    /// The last value.
    pub fn last(&self, measure: &Measure) -> Option<f64> {
        self.curve(measure).last().map(|point| point.1)
    }

    /// Steps and losses of all data.
    pub fn losses(&self) -> Vec<(usize, f64)> {
        let rows = self.history.rows().iter();
        rows.filter_map(|row| Some((row.step, row.loss?))).collect()
    }
}

/// Whether a level is in a range, with two standard errors granted at each end, but no more than 0.1: a level that is
/// hardly known is no proof.
pub fn inside(level: &Level, (low, high): (f64, f64)) -> bool {
    let slack =
        if level.standard_error.is_finite() { (2.0 * level.standard_error).min(0.1) } else { 0.0 };
    (low - slack..=high + slack).contains(&level.mean)
}

/// `0.98 ± 0.02`, or a dash.
pub fn text(level: Option<&Level>) -> String {
    level.map_or("-".into(), |level| format!("{:.3} ± {:.3}", level.mean, level.standard_error))
}

/// For each panel, its name and what `words` says of it.
pub fn each<'a>(
    panels: impl IntoIterator<Item = &'a Panel>,
    words: impl Fn(&Panel) -> String,
) -> String {
    let all: Vec<String> =
        panels.into_iter().map(|panel| format!("{} ({})", words(panel), panel.name)).collect();
    all.join(", ")
}

/// The plateaus of every panel.
pub fn print_table(panels: &[Panel], columns: &[Named<'_>], edge: &str) {
    println!("\nMeans over the last fifth of the steps, and highest values, in units of {edge}:");
    print!("{:<26}{:>9}", "run", edge);
    columns.iter().for_each(|(_, name)| print!("{name:>32}"));
    println!("{:>10}{:>7}", "loss", "time");
    for panel in panels {
        print!("{:<26}{:>9}", panel.name, rounded(panel.edge));
        for (measure, _) in columns {
            let peak = panel.peak(measure).map_or(String::new(), |p| format!(" (max {:.2})", p.1));
            print!("{:>32}", text(panel.level(measure).as_ref()) + &peak);
        }
        let loss = panel.losses().last().map_or("-".into(), |(_, loss)| format!("{loss:.1e}"));
        println!("{loss:>10}{:>6.0}s", panel.seconds);
    }
    println!("±: standard error over blocks of measurements.");
}

/// The curves of every panel over steps, and the edge at 1.
pub fn chart(title: String, y_name: &str, panels: &[Panel], columns: &[Named<'_>]) -> Chart {
    // What is first is on top and has the heavier line.
    let look = |column: usize| if column == 0 { Look::Line } else { Look::Thin };
    let mut series = Vec::new();
    let mut last: f64 = 0.0;
    for (i, panel) in panels.iter().enumerate() {
        for (k, (measure, name)) in columns.iter().enumerate() {
            let points = panel.curve(measure);
            last = points.iter().fold(last, |last, point| last.max(point.0));
            // A colour for each quantity of a single run, or else for each run.
            let style = if panels.len() == 1 { k } else { i };
            let look = if panels.len() == 1 { Look::Line } else { look(k) };
            let label = format!("{}: {name}", panel.name);
            series.push(Series::curve(label, style, look, &points));
        }
    }
    series.push(Series::curve("edge", 0, Look::Reference, &[(0.0, 1.0), (last, 1.0)]));
    Chart {
        title,
        x_name: "training step".into(),
        y_name: y_name.into(),
        is_logarithmic: false,
        series,
    }
}

/// On logarithmic axes, which have no step 0: it stands at 1/2.
pub fn logarithmic(mut chart: Chart) -> Chart {
    for point in chart.series.iter_mut().flat_map(|series| &mut series.points) {
        point.x = point.x.max(0.5);
    }
    Chart { x_name: "training step (the start at 0.5)".into(), is_logarithmic: true, ..chart }
}

/// Draws a chart into the folder of its part.
pub fn save(chart: &Chart, folder: &Path, stem: &str) -> Result<()> {
    chart.picture()?.save(folder, stem)?;
    println!("Picture: {}", folder.join(format!("{stem}.svg")).display());
    Ok(())
}
