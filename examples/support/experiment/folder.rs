//! The folder of a run: which run it is, and where it came from.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use crate::support::error::{ExampleError, Result};

/// Writes `value` as JSON for people, in one piece.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| ExampleError::write(path, e))?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| ExampleError::write(path, e))?;
    }
    let part = path.with_extension("json.part");
    fs::write(&part, text + "\n").map_err(|e| ExampleError::write(path, e))?;
    fs::rename(&part, path).map_err(|e| ExampleError::write(path, e))
}

/// A JSON file, `None` where there is none.
pub fn read_json(path: &Path) -> Result<Option<Value>> {
    if !path.exists() {
        return Ok(None);
    }
    let unreadable = |source| ExampleError::Read { path: path.to_path_buf(), source };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    serde_json::from_str(&text).map(Some).map_err(|e| unreadable(e.into()))
}

/// The number of steps of the last stage.
fn last_stage(setting: &mut Value) -> Option<&mut Value> {
    setting.pointer_mut("/schedule/stages")?.as_array_mut()?.last_mut()?.get_mut("steps")
}

fn last_steps(setting: &Value) -> Option<u64> {
    last_stage(&mut setting.clone())?.as_u64()
}

/// A folder that holds one run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    pub path: PathBuf,
}

impl RunFolder {
    /// The folder for the run with this setting: a new one, or one where it was begun. Its last stage may have
    /// got more steps since.
    pub fn open(path: &Path, setting: &impl Serialize) -> Result<Self> {
        let file = path.join("setting.json");
        let ours = serde_json::to_value(setting).map_err(|e| ExampleError::write(&file, e))?;
        if let Some(theirs) = read_json(&file)? {
            let (mut extended, steps) = (theirs.clone(), last_steps(&ours));
            if steps >= last_steps(&theirs)
                && let Some(slot) = last_stage(&mut extended)
            {
                *slot = steps.into();
            }
            if extended != ours {
                return Err(ExampleError::OtherRun { path: path.to_path_buf() });
            }
        }
        write_json(&file, &ours)?;
        Ok(Self { path: path.to_path_buf() })
    }

    /// Whether the run has come to its end at this step.
    pub fn is_finished(&self, steps: usize) -> Result<bool> {
        Ok(read_json(&self.finished())?.is_some_and(|end| end["steps"] == steps))
    }

    /// Notes that the run has come to its end at this step.
    pub fn finish(&self, steps: usize) -> Result<()> {
        write_json(&self.finished(), &json!({ "steps": steps }))
    }

    fn finished(&self) -> PathBuf {
        self.path.join("finished.json")
    }

    pub fn history(&self) -> PathBuf {
        self.path.join("history.jsonl")
    }

    /// Notes a part of the run that begins at step `from`: how it is done, and where.
    pub fn begin_part(&self, from: usize, device: &str) -> Result<()> {
        let mut part = circumstances();
        part["steps"] = json!([from, from]);
        part["seconds"] = 0.0.into();
        part["device"] = device.into();
        add_part(&self.provenance(), part)
    }

    /// Notes how far that part has come. It is called at every checkpoint, as a run may be killed.
    pub fn continue_part(&self, to: usize, seconds: f64) -> Result<()> {
        let mut parts = parts_in(&self.provenance())?;
        if let Some(part) = parts.last_mut() {
            part["steps"][1] = to.into();
            part["seconds"] = seconds.into();
        }
        write_json(&self.provenance(), &parts)
    }

    fn provenance(&self) -> PathBuf {
        self.path.join(PROVENANCE)
    }

    /// Wall time of all parts so far.
    pub fn seconds(&self) -> Result<f64> {
        Ok(parts_in(&self.provenance())?.iter().filter_map(|part| part["seconds"].as_f64()).sum())
    }
}

const PROVENANCE: &str = "provenance.json";

/// Notes beside the results of a program by which command, versions and machine they were made.
pub fn note_command(folder: &Path) -> Result<()> {
    add_part(&folder.join(PROVENANCE), circumstances())
}

fn circumstances() -> Value {
    json!({
        "command_line": std::env::args().collect::<Vec<_>>().join(" "),
        "threads": std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok())
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        "burn_sharpness": env!("CARGO_PKG_VERSION"),
        "burn": "0.22.1",
        "system": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
    })
}

fn parts_in(path: &Path) -> Result<Vec<Value>> {
    let parts = read_json(path)?;
    Ok(parts.as_ref().and_then(Value::as_array).cloned().unwrap_or_default())
}

fn add_part(path: &Path, part: Value) -> Result<()> {
    let mut parts = parts_in(path)?;
    parts.push(part);
    write_json(path, &parts)
}
