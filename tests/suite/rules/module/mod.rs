//! Operations of `burn::tensor::module`: `src/tangent/rules/module.rs`, and those that are expanded
//! before they are differentiated.

mod attention;
mod conv;
mod conv_transpose;
mod ctc;
mod deform_conv;
mod dense;
mod interpolate;
mod normalization;
mod pool;
mod unfold;

use super::Row;

pub fn rows() -> Vec<Row> {
    let lists = [
        dense::rows(),
        conv::rows(),
        conv_transpose::rows(),
        deform_conv::rows(),
        unfold::rows(),
        pool::rows(),
        interpolate::rows(),
        normalization::rows(),
        attention::rows(),
        ctc::rows(),
    ];
    lists.into_iter().flatten().collect()
}
