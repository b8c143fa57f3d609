//! What the examples share: data sets, networks, devices, and errors that say what to do.

#![allow(dead_code)] // not every example uses everything

pub mod cifar10;
pub mod dataset;
pub mod device;
pub mod digits;
pub mod error;
pub mod mlp;
pub mod networks;
pub mod order;
pub mod text;

#[allow(unused_imports)] // nor this
pub use dataset::Dataset;
