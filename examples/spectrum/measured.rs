//! What is measured of one matrix, and how.

use burn_sharpness::operator::LinearOperator;
use burn_sharpness::solver::{EigenPair, EigenSolver, LanczosConfig, Which};
use burn_sharpness::spectrum::{
    SpectralDensity, SpectralDensityConfig, TraceConfig, TraceEstimate, TraceMethod,
};

use crate::Options;
use crate::support::error::Result;

/// Lanczos steps per random vector: the nodes of its quadrature.
pub const NODES: usize = 96;

/// What is measured of one matrix.
pub struct Measured {
    pub name: &'static str,
    pub top: Vec<EigenPair>,
    pub least: EigenPair,
    pub trace: TraceEstimate,
    pub density: SpectralDensity,
}

/// The largest eigenvalues, the smallest one, trace and density of a matrix.
pub fn measure(name: &'static str, matrix: &dyn LinearOperator, o: &Options) -> Result<Measured> {
    let solver = LanczosConfig::new().with_max_applies(400).with_max_basis(96).with_seed(o.seed);
    let top = solver.clone().with_num_eigenvalues(o.top).with_probe_steps(8);
    let least =
        solver.with_which(Which::SmallestAlgebraic).with_rel_tol(1e-2).with_max_applies(200);
    let trace = TraceConfig::new().with_method(TraceMethod::HutchPlusPlus);
    let density = SpectralDensityConfig::new().with_num_probes(o.probes).with_num_steps(NODES);
    Ok(Measured {
        name,
        top: top.init().solve(matrix, None)?.pairs,
        least: least.init().solve(matrix, None)?.first().clone(),
        trace: trace.with_num_products(90).with_seed(o.seed).init().estimate(matrix)?,
        density: density.with_at_once(4).with_seed(o.seed).init().estimate(matrix)?,
    })
}

/// Prints all but the density.
pub fn print(Measured { name, top, least, trace, density }: &Measured) {
    let pair = |p: &EigenPair| {
        let doubt = if p.converged { "" } else { " (not converged)" };
        format!("{:.4} ± {:.0e}{doubt}", p.value, p.residual_norm)
    };
    println!("\n{name}");
    for (i, p) in top.iter().enumerate() {
        println!("  λ{:<3} {}", i + 1, pair(p));
    }
    println!("  λmin {}", pair(least));
    let (sum, squares) = (&trace.trace, &trace.trace_of_square);
    let interval = |(low, high): (f64, f64)| format!("95%: {low:.2} to {high:.2}");
    println!("  tr A   {:.2}  ({})", sum.mean, interval(sum.interval));
    println!("  tr A²  {:.1}  ({})", squares.mean, interval(squares.interval));
    let found: f64 = top.iter().map(|p| p.value).sum();
    println!("  the {} above hold {:.0}% of the trace", top.len(), 100.0 * found / sum.mean);
    println!("  products of trace and density: {} + {}", trace.n_applies, density.n_applies);
}
