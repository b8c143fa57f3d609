//! Whether what the paper says was seen: in words for people, in claims.json for programs.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::support::error::Result;

/// How far a claim holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    Yes,
    InPart,
    No,
    /// The run is too short or lacks what the claim speaks of.
    NotSeen,
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Yes => "holds",
            Self::InPart => "holds in part",
            Self::No => "does not hold",
            Self::NotSeen => "not to be seen here",
        })
    }
}

/// A statement with the numbers that decide it.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    pub statement: String,
    pub holds: Holds,
    pub numbers: String,
}

/// All statements of an experiment.
#[derive(Debug, Default)]
pub struct Verdicts(Vec<Verdict>);

impl Verdicts {
    /// A statement that all of `parts` decide: it holds, holds in part, or does not.
    pub fn add(&mut self, statement: &str, parts: &[bool], numbers: String) {
        let n_true = parts.iter().filter(|part| **part).count();
        let holds = match n_true {
            _ if parts.is_empty() => Holds::NotSeen,
            n if n == parts.len() => Holds::Yes,
            0 => Holds::No,
            _ => Holds::InPart,
        };
        self.0.push(Verdict { statement: statement.into(), holds, numbers });
    }

    pub fn all(&self) -> &[Verdict] {
        &self.0
    }

    /// Prints them and writes claims.json in `folder`.
    pub fn finish(&self, folder: &Path) -> Result<()> {
        println!();
        for Verdict { statement, holds, numbers } in &self.0 {
            println!("{holds}: {statement}\n    {numbers}");
        }
        let path = folder.join("claims.json");
        super::folder::write_json(&path, &self.0)?;
        println!("Verdicts: {}", path.display());
        Ok(())
    }
}
