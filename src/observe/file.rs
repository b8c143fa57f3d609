//! Histories in files: written as a whole, appended row by row, recovered after a crash.
//!
//! A row is one line and is written with one call, its line break last. So a run that is killed leaves
//! every completed row, and a line without a line break is the one that was not.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{History, Measure, Row, csv, json_lines};
use crate::error::{Error, Result};

/// A history that was read from a file.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recovered {
    /// The complete rows.
    pub history: History,
    /// The last line, if a run was killed while it was written.
    pub half_line: Option<String>,
}

/// The two forms of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    JsonLines,
    Csv,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("jsonl") => Ok(Self::JsonLines),
            Some("csv") => Ok(Self::Csv),
            _ => Err(Error::File {
                path: path.to_path_buf(),
                message: "the name of a history ends in .jsonl or .csv".into(),
            }),
        }
    }
}

pub(super) fn failed(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::File { path: path.to_path_buf(), message: error.to_string() }
}

/// The whole history as text.
fn text(format: Format, rows: &[Row]) -> Result<String> {
    match format {
        Format::JsonLines => rows.iter().map(json_lines::line).collect(),
        Format::Csv => {
            let table = csv::Table::of(rows);
            let mut text = table.header();
            for row in rows {
                text += &table.line(row)?;
            }
            Ok(text)
        }
    }
}

/// Replaces `path` in one piece.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    let part = path.with_file_name(name);
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&part, bytes)?;
        fs::rename(&part, path)
    };
    write().map_err(|error| failed(path, &error))
}

pub(super) fn write(path: &Path, rows: &[Row]) -> Result<()> {
    replace(path, text(Format::of(path)?, rows)?.as_bytes())
}

/// The complete lines of a file, and what follows them.
fn lines(path: &Path) -> Result<(String, Vec<u8>)> {
    let mut bytes = fs::read(path).map_err(|error| failed(path, &error))?;
    // Half of a line may end within a character.
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let rest = bytes.split_off(end);
    Ok((String::from_utf8(bytes).map_err(|error| failed(path, &error))?, rest))
}

pub(super) fn read(path: &Path) -> Result<Recovered> {
    let format = Format::of(path)?;
    let (complete, rest) = lines(path)?;
    let rows = match format {
        Format::JsonLines => json_lines::rows(&complete),
        Format::Csv => csv::rows(&complete),
    };
    let malformed =
        |(line, message)| Error::MalformedHistory { path: path.to_path_buf(), line, message };
    let mut history = History::default();
    for (line, row) in rows.map_err(malformed)? {
        history.push(row).map_err(|error| malformed((line, error.to_string())))?;
    }
    let half_line = (!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).into_owned());
    Ok(Recovered { history, half_line })
}

/// A file that grows by a row at a time, `.jsonl` or `.csv` by its ending.
///
/// Each row is handed to the operating system before [`append`](Self::append) returns, so that a run that
/// is killed loses none (a machine that loses power may).
///
/// Columns of a CSV are settled at the first row or by the file that is continued: a later row with another
/// quantity is an error and writes nothing. JSON lines have no columns.
#[derive(Debug)]
pub struct HistoryFile {
    path: PathBuf,
    file: File,
    format: Format,
    table: Option<csv::Table>,
}

impl HistoryFile {
    /// A new file.
    ///
    /// # Errors
    /// [`Error::File`] when there is one already (it may be the only copy of a long run), for another
    /// ending, and when it cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let format = Format::of(path)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| failed(path, &error))?;
        }
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let file = file.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => failed(
                path,
                &"there is a history already; continue it with `HistoryFile::resume`, or take \
                  another name",
            ),
            _ => failed(path, &error),
        })?;
        Ok(Self { path: path.to_path_buf(), file, format, table: None })
    }

    /// The file of a run that is continued at `step`: rows from there on, and a half-written line, are
    /// taken out, since the run will write them again. A new file where there is none.
    ///
    /// # Errors
    /// As [`create`](Self::create) and [`History::read`]; the file is then as it was.
    pub fn resume(path: &Path, step: usize) -> Result<Self> {
        if !path.exists() {
            return Self::create(path);
        }
        let format = Format::of(path)?;
        let kept = History::read(path)?.before(step);
        // Columns are those of the file, whatever rows are left.
        let table = match format {
            Format::JsonLines => None,
            Format::Csv => csv::Table::of_text(&lines(path)?.0, path)?,
        };
        let text = match (format, &table) {
            (Format::JsonLines, _) => text(format, kept.rows())?,
            // Killed before its header was complete: columns are still open.
            (Format::Csv, None) => String::new(),
            (Format::Csv, Some(table)) => {
                let lines = kept.rows().iter().map(|row| table.line(row));
                table.header() + &lines.collect::<Result<String>>()?
            }
        };
        replace(path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(path);
        let file = file.map_err(|error| failed(path, &error))?;
        Ok(Self { path: path.to_path_buf(), file, format, table })
    }

    /// Settles the columns of a CSV before its first row; without effect on JSON lines.
    pub fn with_columns(mut self, measures: impl IntoIterator<Item = Measure>) -> Self {
        if self.format == Format::Csv && self.table.is_none() {
            self.table = Some(csv::Table::new(measures.into_iter().collect(), true));
        }
        self
    }

    /// Writes a row.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn append(&mut self, row: &Row) -> Result<()> {
        let line = match self.format {
            Format::JsonLines => json_lines::line(row)?,
            Format::Csv => {
                let table =
                    self.table.get_or_insert_with(|| csv::Table::of(std::slice::from_ref(row)));
                let line = table.line(row).map_err(|error| failed(&self.path, &error))?;
                let is_empty = self.file.metadata().is_ok_and(|file| file.len() == 0);
                if is_empty { table.header() + &line } else { line }
            }
        };
        self.file.write_all(line.as_bytes()).map_err(|error| failed(&self.path, &error))
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
