//! Thresholds against the optimizers themselves, phases against series that are known.

mod burn_steps;
#[cfg(feature = "optim")]
mod from_burn;
mod matrices;
mod orthogonal;
mod phases;
mod rules;
mod what_if;
