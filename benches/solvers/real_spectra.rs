//! Products that each solver needs on the Hessians of trained networks, and how far off its values are.

use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Int, Tensor};
use burn_sharpness::solver::{EigenSolver, LanczosConfig, LobpcgConfig, PowerIterationConfig};
use burn_sharpness::{HessianOperator, Result};

use crate::TOLERANCES;
use crate::example::digits;
use crate::example::networks::Labelled;
use crate::example::networks::cnn::{PaperCnn, PaperCnnConfig};

/// Numbers of eigenvalues that are asked for.
pub const WANTED: [usize; 2] = [1, 5];
/// The tight solve, with looks long enough that a missed eigenvalue would have to be a close one.
const TIGHT: f64 = 2e-5;
const TIGHT_LOOK: usize = 24;

/// Side of the images of the CNN: digits of 8×8 pixels, each pixel four times.
const SIDE: usize = 16;
const CNN_BATCH: usize = 64;
const CNN_LEARNING_RATE: f64 = 0.1;

/// The methods, one row each.
#[derive(Clone, Copy)]
enum Method {
    Lanczos,
    LanczosWithLook,
    LanczosRestarted,
    Lobpcg,
    LobpcgWithGuards,
    Power,
}

impl Method {
    const ALL: [Self; 6] = [
        Self::Lanczos,
        Self::LanczosWithLook,
        Self::LanczosRestarted,
        Self::Lobpcg,
        Self::LobpcgWithGuards,
        Self::Power,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Lanczos => "Lanczos",
            Self::LanczosWithLook => "Lanczos, `probe_steps` 8",
            Self::LanczosRestarted => "Lanczos, `max_basis` 12",
            Self::Lobpcg => "LOBPCG",
            Self::LobpcgWithGuards => "LOBPCG, `guard_vectors` 2",
            Self::Power => "power iteration",
        }
    }

    fn solver(self, k: usize, tol: f64, most: usize, seed: u64) -> Box<dyn EigenSolver> {
        let lanczos = LanczosConfig::new()
            .with_num_eigenvalues(k)
            .with_rel_tol(tol)
            .with_max_applies(most)
            .with_seed(seed);
        let lobpcg = LobpcgConfig::new()
            .with_num_eigenvalues(k)
            .with_rel_tol(tol)
            .with_max_applies(most)
            .with_seed(seed);
        match self {
            Self::Lanczos => Box::new(lanczos.init()),
            Self::LanczosWithLook => Box::new(lanczos.with_probe_steps(8).init()),
            Self::LanczosRestarted => Box::new(lanczos.with_max_basis(12).init()),
            Self::Lobpcg => Box::new(lobpcg.init()),
            Self::LobpcgWithGuards => Box::new(lobpcg.with_guard_vectors(2).init()),
            Self::Power => {
                let config = PowerIterationConfig::new().with_num_eigenvalues(k);
                let config = config.with_rel_tol(tol).with_max_applies(most).with_seed(seed);
                Box::new(config.init())
            }
        }
    }
}

/// One Hessian, and its largest eigenvalues by a tight solve.
pub struct Spectrum {
    name: &'static str,
    hessian: HessianOperator,
    exact: Vec<f64>,
}

impl Spectrum {
    /// Finds one eigenvalue more than is asked for later: its distance tells how hard the others are.
    pub fn new(name: &'static str, hessian: HessianOperator, most: usize) -> Result<Self> {
        let k = WANTED.into_iter().max().unwrap_or(1) + 1;
        let solver = LanczosConfig::new()
            .with_num_eigenvalues(k)
            .with_rel_tol(TIGHT)
            .with_max_applies(most)
            .with_max_basis(96)
            .with_probe_steps(TIGHT_LOOK)
            .with_seed(1000);
        let found = solver.init().solve(&hessian, None)?;
        let exact: Vec<f64> = found.pairs.iter().map(|p| p.value).collect();
        let digits: Vec<String> = exact.iter().map(|v| format!("{v:.3}")).collect();
        let state = if found.converged() { "" } else { ", not converged" };
        println!("- {name}: {}{state}", digits.join(", "));
        Ok(Self { name, hessian, exact })
    }
}

/// One table per number of eigenvalues: a row per method, and per spectrum and tolerance the mean
/// number of products over the seeds with the largest relative error of an eigenvalue.
pub fn tables(spectra: &[Spectrum], wanted: &[usize], most: usize, seeds: u64) -> Result<()> {
    for &k in wanted {
        let mut names = vec![format!("k = {k}")];
        for spectrum in spectra {
            names.extend(TOLERANCES.map(|tol| format!("{} {}%", spectrum.name, 100.0 * tol)));
        }
        println!("\n| {} |\n|{}", names.join(" | "), "---|".repeat(names.len()));
        for method in Method::ALL {
            let mut cells = vec![method.name().to_owned()];
            for spectrum in spectra {
                for tol in TOLERANCES {
                    cells.push(cell(spectrum, method, k, tol, most, seeds)?);
                }
            }
            println!("| {} |", cells.join(" | "));
        }
    }
    println!(
        "\nProducts (largest relative error of an eigenvalue); random starts: {seeds}. `>`: not \
         converged after {most} products; `!`: an error above the tolerance."
    );
    Ok(())
}

fn cell(
    Spectrum { hessian, exact, .. }: &Spectrum,
    method: Method,
    k: usize,
    tol: f64,
    most: usize,
    seeds: u64,
) -> Result<String> {
    let (mut products, mut error, mut unconverged) = (0, 0.0_f64, false);
    for seed in 0..seeds {
        let found = method.solver(k, tol, most, seed).solve(hessian, None)?;
        products += found.n_applies;
        unconverged |= !found.converged();
        let errors = found.pairs.iter().zip(exact).map(|(p, exact)| (p.value / exact - 1.0).abs());
        error = errors.fold(error, f64::max);
    }
    let mean = products as f64 / seeds as f64;
    let marks = [(unconverged, ">"), (error > tol, "!")].map(|(is, m)| if is { m } else { "" });
    Ok(format!("{}{mean:.0} ({error:.0e}){}", marks[0], marks[1]))
}

/// The paper's CNN, small, after `steps` steps of SGD on digits: its Hessian on one batch.
pub fn cnn(steps: usize, device: &Device) -> Result<HessianOperator> {
    device.seed(0);
    let config = PaperCnnConfig::new().with_image([1, SIDE, SIDE]);
    let mut model = config.with_channels([8, 16]).with_hidden(64).init(device);
    let mut optimizer = SgdConfig::new().init();
    for step in 0..steps {
        let loss = model.loss(images(step, device));
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(CNN_LEARNING_RATE, model, gradients);
    }
    HessianOperator::new(&model, images(0, device), PaperCnn::loss)
}

/// Batch number `step` of the digits, round and round.
fn images(step: usize, device: &Device) -> Labelled<4> {
    let data = digits::load(None).expect("the digits are embedded");
    let first = step * CNN_BATCH % (data.len() - CNN_BATCH);
    let (x, _) = data.tensors(device);
    let pixels = x.narrow(0, first, CNN_BATCH).reshape([CNN_BATCH, SIDE / 2, 1, SIDE / 2, 1]);
    let pixels = pixels.expand([CNN_BATCH, SIDE / 2, 2, SIDE / 2, 2]);
    let labels = &data.labels[first..first + CNN_BATCH];
    let labels: Vec<i64> = labels.iter().map(|label| i64::from(*label)).collect();
    let labels = Tensor::<1, Int>::from_data(labels.as_slice(), device);
    (pixels.reshape([CNN_BATCH, 1, SIDE, SIDE]), labels)
}
