//! Histories go through files unchanged, and what a killed run leaves is read.

use std::fs;
use std::path::Path;

use burn_sharpness::Error;
use burn_sharpness::observe::{
    Cost, History, HistoryFile, Measure, PhaseName, Row, RowPhase, Spectrum, Value,
};

use crate::folder::Folder;

/// Rows with everything in them, with numbers that need all their digits, and rows with nothing.
fn rows() -> Vec<Row> {
    let value = |i: usize| {
        let x = 1.0 / (i as f64 + 0.3);
        let mut value = Value::of(x);
        value.standard_error = (i.is_multiple_of(2)).then_some(x * 1e-3);
        value.interval = (i.is_multiple_of(3)).then_some((x - 1e-17, x + 0.1));
        value.max = Some(x.exp() * 1e300);
        value.count = i + 1;
        value.each = (0..i % 4).map(|j| x * (j as f64).sqrt() + 1e-300).collect();
        (value.n_unconverged, value.n_hvps, value.seconds) = (i, 14 * i, x / 7.0);
        value
    };
    let row = |i: usize| {
        let mut row = Row::at(10 * i);
        row.values.insert(Measure::MiniBatchSharpness, value(i));
        if i.is_multiple_of(2) {
            row.values.insert(Measure::Group("hidden.0".into()), value(i + 5));
            row.values.insert(Measure::Gap(16), value(i + 6));
            row.values.insert(Measure::Custom("of, my \"own\"".into()), value(i + 7));
            row.epoch = Some(i);
            row.learning_rate = Some(0.1 / 3.0);
            row.batch_size = Some(16);
            row.loss = Some(2f64.sqrt());
            row.threshold = Some(60.0);
            row.watched = Some(Measure::Gap(16));
            row.phase = Some(RowPhase { name: PhaseName::Plateau, since: Some(3) });
            row.spectrum =
                Some(Spectrum { nodes: vec![-0.1, 1.0 / 3.0], weights: vec![0.25, 0.75] });
            row.error = Some("broken, by \"accident\"".into());
            row.cost = Cost { n_hvps: 99, seconds: 0.1 + 0.2, overhead: Some(0.05) };
        } else {
            row.phase = Some(RowPhase { name: PhaseName::Undetermined, since: None });
        }
        row
    };
    let mut rows: Vec<Row> = (0..9).map(row).collect();
    rows.push(Row::at(1000));
    rows
}

fn history() -> History {
    let mut history = History::default();
    rows().into_iter().for_each(|row| history.push(row).unwrap());
    history
}

fn append_all(path: &Path, rows: &[Row]) {
    let mut file = HistoryFile::create(path).unwrap().with_columns(history().measures());
    rows.iter().for_each(|row| file.append(row).unwrap());
}

#[test]
fn a_history_written_whole_or_row_by_row_is_read_back_bit_for_bit() {
    let folder = Folder::new("round-trip");
    for name in ["whole.jsonl", "whole.csv"] {
        history().write(&folder.path(name)).unwrap();
        assert_eq!(History::read(&folder.path(name)).unwrap(), history(), "{name}");
    }
    for name in ["rows.jsonl", "rows.csv"] {
        append_all(&folder.path(name), &rows());
        assert_eq!(History::read(&folder.path(name)).unwrap(), history(), "{name}");
    }
    let whole = fs::read_to_string(folder.path("whole.csv")).unwrap();
    assert_eq!(whole, fs::read_to_string(folder.path("rows.csv")).unwrap());
}

#[test]
fn a_run_killed_at_any_byte_keeps_every_completed_row() {
    let folder = Folder::new("killed");
    for name in ["rows.jsonl", "rows.csv"] {
        append_all(&folder.path(name), &rows());
        let bytes = fs::read(folder.path(name)).unwrap();
        // One line of the CSV is its header.
        let header = usize::from(name.ends_with("csv"));
        let cut = folder.path(&format!("cut-{name}"));
        for length in (0..bytes.len()).step_by(7).chain([bytes.len()]) {
            fs::write(&cut, &bytes[..length]).unwrap();
            let lines = bytes[..length].iter().filter(|byte| **byte == b'\n').count();
            let recovered = History::recover(&cut).unwrap();
            assert_eq!(recovered.history.rows(), &rows()[..lines.saturating_sub(header)]);
            let is_whole = length == 0 || bytes[length - 1] == b'\n';
            assert_eq!(recovered.half_line.is_none(), is_whole);
            // Wherever it was killed, the run that starts again writes the same file.
            let file = HistoryFile::resume(&cut, 0).unwrap();
            let mut file = file.with_columns(history().measures());
            rows().iter().for_each(|row| file.append(row).unwrap());
            assert!(fs::read(&cut).unwrap() == bytes, "{name} cut at {length}");
        }
    }
}

#[test]
fn a_file_is_continued_as_if_its_run_had_not_stopped() {
    let folder = Folder::new("continued");
    for name in ["rows.jsonl", "rows.csv"] {
        append_all(&folder.path(name), &rows());
        let whole = fs::read(folder.path(name)).unwrap();
        let cut = folder.path(&format!("cut-{name}"));
        fs::write(&cut, &whole[..whole.len() - 3]).unwrap();
        // The checkpoint is from before step 40; later rows come again.
        let mut file = HistoryFile::resume(&cut, 40).unwrap();
        assert_eq!(History::read(&cut).unwrap(), history().before(40));
        rows().iter().filter(|row| row.step >= 40).for_each(|row| file.append(row).unwrap());
        assert_eq!(fs::read(&cut).unwrap(), whole);
    }
    let new = folder.path("new.jsonl");
    HistoryFile::resume(&new, 5).unwrap().append(&Row::at(5)).unwrap();
    assert_eq!(History::read(&new).unwrap().rows(), [Row::at(5)]);
}

#[test]
fn what_would_lose_or_garble_rows_is_an_error() {
    let folder = Folder::new("errors");
    let path = folder.path("rows.jsonl");
    append_all(&path, &rows());
    let error = HistoryFile::create(&path).unwrap_err();
    assert!(error.to_string().contains("HistoryFile::resume"), "{error}");
    assert!(matches!(HistoryFile::create(&folder.path("rows.txt")), Err(Error::File { .. })));
    assert!(matches!(History::read(&folder.path("none.csv")), Err(Error::File { .. })));

    let text = fs::read_to_string(&path).unwrap();
    let broken: Vec<&str> = text.lines().collect();
    fs::write(&path, format!("{}\n{{\n{}\n", broken[0], broken[1])).unwrap();
    let error = History::read(&path).unwrap_err();
    assert!(matches!(error, Error::MalformedHistory { line: 2, .. }), "{error}");
    fs::write(&path, format!("{}\n{}\n", broken[1], broken[0])).unwrap();
    let error = History::read(&path).unwrap_err();
    assert!(matches!(error, Error::MalformedHistory { line: 2, .. }), "{error}");

    let table = folder.path("rows.csv");
    let mut file = HistoryFile::create(&table).unwrap();
    file.append(&rows()[1]).unwrap();
    let before = fs::read(&table).unwrap();
    let error = file.append(&rows()[2]).unwrap_err(); // has more columns
    assert!(error.to_string().contains("with_columns"), "{error}");
    assert_eq!(fs::read(&table).unwrap(), before);
    fs::write(&table, "step,epoch\n3,four\n").unwrap();
    let error = History::read(&table).unwrap_err();
    assert!(matches!(error, Error::MalformedHistory { line: 2, .. }), "{error}");
    fs::write(&table, "step,colour\n3,red\n").unwrap();
    assert!(matches!(History::read(&table), Err(Error::MalformedHistory { .. })));

    let mut nan = Row::at(2000);
    nan.values.insert(Measure::Gap(1), Value::of(f64::NAN));
    assert!(matches!(history().push(nan.clone()), Err(Error::NonFinite { .. })));
    let mut file = HistoryFile::resume(&folder.path("fresh.jsonl"), 0).unwrap();
    assert!(matches!(file.append(&nan), Err(Error::NonFinite { .. })));
    assert!(matches!(history().push(Row::at(1000)), Err(Error::InvalidSetting { .. })));
}
