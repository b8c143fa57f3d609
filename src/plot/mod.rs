//! Pictures of histories and measurements, as SVG and PNG, with the feature `plot`.
//!
//! Training curve, sharpness of layers over time, gap law, density of eigenvalues. Readable with any colour
//! vision and in grey: series differ in dashes, markers and lightness. Axes have names and units, legends
//! are outside of the data, and what is not on the axes is said in words. No fonts of the system are used.
//!
//! ```
//! use burn_sharpness::observe::{History, Measure, Row, Value};
//! use burn_sharpness::plot;
//!
//! # let folder = std::env::temp_dir().join(format!("pictures-of-a-doc-test-{}", std::process::id()));
//! let mut history = History::default(); // that of a `SharpnessMonitor`, or `History::read("run.jsonl")?`
//! for step in [0, 100, 200] {
//!     let mut row = Row::at(step);
//!     row.values.insert(Measure::FullBatchSharpness, Value::of(2.0 + 0.1 * step as f64));
//!     history.push(row)?;
//! }
//! plot::training(&history)?.with_title("my run").save(&folder, "run")?; // run.svg, run.png
//! plot::save_all(&history, &folder)?; // every picture that the history has data for
//! # std::fs::remove_dir_all(folder).unwrap();
//! # Ok::<(), burn_sharpness::Error>(())
//! ```
//!
//! | Picture | from a history | from a measurement |
//! |---|---|---|
//! | quantities, thresholds, phases, loss | [`training`] | |
//! | sharpness of layers over time | [`groups`] | |
//! | gap against 1/batch size | [`gap_law`] | [`gap_law_of`] |
//! | density of eigenvalues | [`spectrum`] | [`densities`] |
//! | all of these | [`save_all`]; [`save_all_of_file`] | |
//! | curves and bars of your own | | [`Chart`], [`Bars`] |
//!
//! `gap_law` and `spectrum` draw the last row that has the data;
//! [`History::before`](crate::observe::History::before) goes back to earlier ones.

mod all;
mod axis;
mod bars;
mod chart;
mod density;
mod gap;
mod groups;
mod header;
mod number;
mod palette;
mod panel;
mod picture;
mod raster;
mod scene;
mod svg;
mod thin;
mod training;

pub use all::{save_all, save_all_of_file};
pub use bars::Bars;
pub use chart::{Chart, Look, Point, Series};
pub use density::{Density, densities, spectrum};
pub use gap::{gap_law, gap_law_of};
pub use groups::groups;
pub use number::rounded;
pub use picture::Picture;
pub use training::training;
