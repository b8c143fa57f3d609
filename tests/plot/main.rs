//! Pictures hold what histories hold, whatever that is.

mod edges;
#[path = "../support/folder.rs"]
mod folder;
mod histories;
mod pictures;
mod vectors;
