//! Rows as a table: a group of columns for each quantity, lists joined by semicolons.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use super::row::{PhaseName, RowPhase, Spectrum};
use super::{Measure, Row, Value, file};
use crate::error::{Error, Result};

const COLUMNS: [&str; 13] = [
    "step",
    "epoch",
    "learning_rate",
    "batch_size",
    "loss",
    "threshold",
    "watched",
    "phase",
    "phase_since",
    "n_hvps",
    "seconds",
    "overhead",
    "error",
];

/// Columns of one quantity, each behind the key and a dot.
const OF_VALUE: [&str; 10] = [
    "mean",
    "standard_error",
    "low",
    "high",
    "max",
    "count",
    "n_unconverged",
    "n_hvps",
    "seconds",
    "each",
];

const NODES: &str = "spectrum.nodes";
const WEIGHTS: &str = "spectrum.weights";

/// The columns of a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    measures: Vec<Measure>,
    has_spectrum: bool,
}

impl Table {
    pub(super) fn new(measures: BTreeSet<Measure>, has_spectrum: bool) -> Self {
        Self { measures: measures.into_iter().collect(), has_spectrum }
    }

    /// Columns for everything that the rows have.
    pub(super) fn of(rows: &[Row]) -> Self {
        let measures = rows.iter().flat_map(|row| row.values.keys().cloned()).collect();
        Self::new(measures, rows.iter().any(|row| row.spectrum.is_some()))
    }

    /// The columns of a file with these complete lines, `None` for one without a header.
    pub(super) fn of_text(text: &str, path: &Path) -> Result<Option<Self>> {
        let mut reader = reader(text);
        let headers = reader.headers().map_err(|error| file::failed(path, &error))?;
        let measures: Vec<Measure> = headers
            .iter()
            .filter(|name| !COLUMNS.contains(name) && *name != NODES && *name != WEIGHTS)
            .filter_map(|name| name.strip_suffix(".mean").map(Measure::from))
            .collect();
        let has_spectrum = headers.iter().any(|name| name == NODES);
        Ok((!headers.is_empty()).then_some(Self { measures, has_spectrum }))
    }

    pub(super) fn header(&self) -> String {
        let mut names: Vec<String> = COLUMNS.map(String::from).to_vec();
        for measure in &self.measures {
            names.extend(OF_VALUE.map(|column| format!("{measure}.{column}")));
        }
        if self.has_spectrum {
            names.extend([NODES, WEIGHTS].map(String::from));
        }
        record(&names)
    }

    /// The line of a row, with its line break.
    pub(super) fn line(&self, row: &Row) -> Result<String> {
        row.check()?;
        let missing = row.values.keys().find(|measure| !self.measures.contains(measure));
        let missing = missing.map(ToString::to_string);
        let no_spectrum = row.spectrum.is_some() && !self.has_spectrum;
        if let Some(name) = missing.or_else(|| no_spectrum.then(|| "spectrum".to_string())) {
            return Err(Error::InvalidSetting {
                setting: "columns",
                value: format!("none for `{name}` of step {}", row.step),
                expected: "columns for all quantities from the first row on: name them with \
                           `HistoryFile::with_columns`, or append JSON lines",
            });
        }
        let mut fields = vec![
            row.step.to_string(),
            some(row.epoch),
            some(row.learning_rate),
            some(row.batch_size),
            some(row.loss),
            some(row.threshold),
            some(row.watched.as_ref()),
            row.phase.map_or(String::new(), |phase| phase.name.as_str().into()),
            some(row.phase.and_then(|phase| phase.since)),
            row.cost.n_hvps.to_string(),
            row.cost.seconds.to_string(),
            some(row.cost.overhead),
            row.error.clone().unwrap_or_default(),
        ];
        for measure in &self.measures {
            fields.extend(value_fields(row.value(measure)));
        }
        if self.has_spectrum {
            let (nodes, weights) = row
                .spectrum
                .as_ref()
                .map_or((String::new(), String::new()), |s| (list(&s.nodes), list(&s.weights)));
            fields.extend([nodes, weights]);
        }
        Ok(record(&fields))
    }
}

fn value_fields(value: Option<&Value>) -> [String; 10] {
    let Some(value) = value else { return Default::default() };
    [
        value.mean.to_string(),
        some(value.standard_error),
        some(value.interval.map(|(low, _)| low)),
        some(value.interval.map(|(_, high)| high)),
        some(value.max),
        value.count.to_string(),
        value.n_unconverged.to_string(),
        value.n_hvps.to_string(),
        value.seconds.to_string(),
        list(&value.each),
    ]
}

/// The rows of complete lines with their numbers from 1, or the line that is none and why.
pub(super) fn rows(text: &str) -> Result<Vec<(usize, Row)>, (usize, String)> {
    let mut reader = reader(text);
    let headers = reader.headers().map_err(|error| (1, error.to_string()))?.clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let line_of =
            |position: Option<&::csv::Position>| position.map_or(0, |p| p.line() as usize);
        let record = record.map_err(|error| (line_of(error.position()), error.to_string()))?;
        let line = line_of(record.position());
        let mut row = Row::default();
        for (name, field) in headers.iter().zip(&record).filter(|(_, field)| !field.is_empty()) {
            set(&mut row, name, field).map_err(|message| (line, message))?;
        }
        rows.push((line, row));
    }
    Ok(rows)
}

/// Puts a field that is not empty in its place.
fn set(row: &mut Row, name: &str, field: &str) -> Result<(), String> {
    match name {
        "step" => row.step = number(name, field)?,
        "epoch" => row.epoch = Some(number(name, field)?),
        "learning_rate" => row.learning_rate = Some(number(name, field)?),
        "batch_size" => row.batch_size = Some(number(name, field)?),
        "loss" => row.loss = Some(number(name, field)?),
        "threshold" => row.threshold = Some(number(name, field)?),
        "watched" => row.watched = Some(Measure::from(field)),
        "phase" => {
            let known = PhaseName::ALL.into_iter().find(|phase| phase.as_str() == field);
            let name = known.ok_or_else(|| format!("`{field}` is no phase"))?;
            row.phase = Some(RowPhase { name, since: None });
        }
        "phase_since" => {
            let since = Some(number(name, field)?);
            row.phase = row.phase.map(|phase| RowPhase { since, ..phase });
        }
        "n_hvps" => row.cost.n_hvps = number(name, field)?,
        "seconds" => row.cost.seconds = number(name, field)?,
        "overhead" => row.cost.overhead = Some(number(name, field)?),
        "error" => row.error = Some(field.into()),
        NODES => row.spectrum.get_or_insert_with(Spectrum::default).nodes = numbers(name, field)?,
        WEIGHTS => {
            row.spectrum.get_or_insert_with(Spectrum::default).weights = numbers(name, field)?;
        }
        _ => match name.rsplit_once('.') {
            Some((key, column)) if OF_VALUE.contains(&column) => {
                let value = row.values.entry(Measure::from(key)).or_default();
                set_value(value, column, name, field)?;
            }
            _ => return Err(format!("`{name}` is no column of a history")),
        },
    }
    Ok(())
}

fn set_value(value: &mut Value, column: &str, name: &str, field: &str) -> Result<(), String> {
    match column {
        "mean" => value.mean = number(name, field)?,
        "standard_error" => value.standard_error = Some(number(name, field)?),
        "low" => value.interval = Some((number(name, field)?, f64::NAN)),
        "high" => {
            let low = value.interval.map_or(f64::NAN, |(low, _)| low);
            value.interval = Some((low, number(name, field)?));
        }
        "max" => value.max = Some(number(name, field)?),
        "count" => value.count = number(name, field)?,
        "n_unconverged" => value.n_unconverged = number(name, field)?,
        "n_hvps" => value.n_hvps = number(name, field)?,
        "seconds" => value.seconds = number(name, field)?,
        _ => value.each = numbers(name, field)?,
    }
    Ok(())
}

fn reader(text: &str) -> ::csv::Reader<&[u8]> {
    ::csv::Reader::from_reader(text.as_bytes())
}

/// One line, quoted where needed. Line breaks within a field would break the rule of a row per line.
fn record(fields: &[String]) -> String {
    let fields = fields.iter().map(|field| field.replace(['\n', '\r'], " "));
    let mut line = Vec::new();
    let mut writer = ::csv::Writer::from_writer(&mut line);
    // Writing to memory does not fail.
    let _ = writer.write_record(fields).and_then(|()| Ok(writer.flush()?));
    drop(writer);
    String::from_utf8_lossy(&line).into_owned()
}

fn some(value: Option<impl Display>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

fn list(values: &[f64]) -> String {
    values.iter().map(f64::to_string).collect::<Vec<_>>().join(";")
}

fn number<T: FromStr<Err: Display>>(name: &str, field: &str) -> Result<T, String> {
    field.parse().map_err(|error| format!("{name} is `{field}`: {error}"))
}

fn numbers(name: &str, field: &str) -> Result<Vec<f64>, String> {
    field.split(';').map(|part| number(name, part)).collect()
}
