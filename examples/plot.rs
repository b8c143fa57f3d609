//! Every picture that a history has data for: `cargo run --example plot -- run.jsonl`.

use std::path::PathBuf;

use burn_sharpness::plot;
use clap::Parser;

/// Draws the history of a run.
#[derive(Parser)]
struct Options {
    /// A history, .jsonl or .csv.
    history: PathBuf,
    /// Folder of the pictures [default: that of the history, with the name of its file].
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> Result<(), burn_sharpness::Error> {
    let Options { history, out } = Options::parse();
    for file in plot::save_all_of_file(&history, out.unwrap_or_else(|| history.with_extension("")))?
    {
        println!("{}", file.display());
    }
    Ok(())
}
