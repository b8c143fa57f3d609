//! Pictures hold what histories hold, whatever that is.

mod edges;
mod histories;
mod pictures;
mod vectors;
