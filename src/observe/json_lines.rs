//! A row as one line of JSON.

use super::Row;
use crate::error::{Error, Result};

/// The line, with its line break.
pub(super) fn line(row: &Row) -> Result<String> {
    row.check()?; // JSON would say null
    let text = serde_json::to_string(row).map_err(|error| Error::InvalidSetting {
        setting: "row",
        value: format!("step {}: {error}", row.step),
        expected: "finite numbers",
    })?;
    Ok(text + "\n")
}

/// The rows of complete lines with their numbers from 1, or the line that is none and why.
pub(super) fn rows(text: &str) -> Result<Vec<(usize, Row)>, (usize, String)> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parse = |(index, line)| match serde_json::from_str(line) {
        Ok(row) => Ok((index + 1, row)),
        Err(error) => Err((index + 1, error.to_string())),
    };
    lines.map(parse).collect()
}
