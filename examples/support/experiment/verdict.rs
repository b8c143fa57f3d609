//! Whether what the paper says was seen: in words for people, in claims.json for programs.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::folder::{note_command, write_json};
use crate::support::error::Result;

/// How far a claim holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    Yes,
    /// Some parts of it do, or all that could be seen but not all could.
    InPart,
    No,
    /// The runs are too short or too few, or lack what the claim speaks of.
    NotSeen,
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Yes => "holds",
            Self::InPart => "holds in part",
            Self::No => "does not hold",
            Self::NotSeen => "not decided here",
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
    /// A statement that all of `parts` decide: it holds, holds in part, or does not. A part is `None` where it was
    /// not seen: a statement holds only if all of it was.
    pub fn add(
        &mut self,
        statement: &str,
        parts: impl IntoIterator<Item = impl Into<Option<bool>>>,
        numbers: String,
    ) {
        let parts: Vec<Option<bool>> = parts.into_iter().map(Into::into).collect();
        let all = |part| parts.iter().all(|p| *p == part);
        let holds = match () {
            () if all(None) => Holds::NotSeen,
            () if all(Some(true)) => Holds::Yes,
            () if !parts.contains(&Some(true)) => Holds::No,
            () => Holds::InPart,
        };
        self.0.push(Verdict { statement: statement.into(), holds, numbers });
    }

    pub fn all(&self) -> &[Verdict] {
        &self.0
    }

    /// Prints them and writes claims.json in `folder`, and beside it the command that made them.
    pub fn finish(&self, folder: &Path) -> Result<()> {
        println!();
        for Verdict { statement, holds, numbers } in &self.0 {
            println!("{holds}: {statement}\n    {numbers}");
        }
        let path = folder.join("claims.json");
        write_json(&path, &self.0)?;
        note_command(folder)?;
        println!("Verdicts: {}", path.display());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_holds_only_where_all_of_it_was_seen() {
        let of = |parts: &[Option<bool>]| {
            let mut verdicts = Verdicts::default();
            verdicts.add("", parts.to_vec(), String::new());
            verdicts.all()[0].holds
        };
        let (yes, no) = (Some(true), Some(false));
        assert_eq!([of(&[]), of(&[None])], [Holds::NotSeen; 2]);
        assert_eq!(of(&[yes, yes]), Holds::Yes);
        assert_eq!([of(&[yes, None]), of(&[yes, no])], [Holds::InPart; 2]);
        assert_eq!([of(&[no]), of(&[no, None])], [Holds::No; 2]);
    }
}
