//! What the examples share: data sets, networks, devices, pictures, and errors that say what to do.

#![allow(dead_code)] // not every example uses everything

pub mod chart;
pub mod cifar10;
pub mod dataset;
pub mod device;
pub mod digits;
pub mod error;
pub mod figure;
pub mod mlp;
pub mod networks;
pub mod number;
pub mod pen;
pub mod raster;

#[allow(unused_imports)] // nor this
pub use dataset::Dataset;
