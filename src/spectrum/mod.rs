//! The whole spectrum of an operator from products with random vectors: trace, diagonal, density.
//!
//! | quantity | method | error falls as | cost |
//! |---|---|---|---|
//! | tr A, and tr A² = ‖A‖_F² along with it | [`TraceConfig`], Hutchinson | ‖A‖_F/√m | m products |
//! | | Hutch++ | ‖A‖_*/m | m products, m/3 vectors |
//! | | XTrace | ‖A‖_*/m, or as fast as the spectrum decays | m products, m vectors |
//! | diag A | [`DiagonalConfig`] | row norms without the diagonal, /√m | m products |
//! | density of eigenvalues, tr f(A) | [`SpectralDensityConfig`], Lanczos quadrature | 1/√(probes·n) | steps·probes products |
//!
//! Every number comes with its standard error over the random vectors. Those are drawn on the host, each
//! from a stream of its own: the same seed gives the same numbers on every device, whatever is computed
//! side by side.

mod copies;
mod density;
mod diagonal;
mod probe;
mod trace;

pub use density::{Quadrature, SpectralDensity, SpectralDensityConfig, SpectralDensityMethod};
pub use diagonal::{Diagonal, DiagonalConfig, DiagonalEstimate};
pub use probe::Probe;
pub use trace::{Trace, TraceConfig, TraceEstimate, TraceMethod};
