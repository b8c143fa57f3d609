//! Rows of operations with several inputs, some of which are parameters and the others data.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};

use super::{ANY, Row, data, row};

/// The inputs of an operation, by letter.
pub struct Inputs(BTreeMap<char, (Tensor<1>, Vec<usize>)>);

impl Inputs {
    /// # Panics
    /// If the row's roles do not name this input.
    pub fn get<const D: usize>(&self, letter: char) -> Tensor<D> {
        self.maybe(letter).unwrap_or_else(|| panic!("the roles do not name {letter}"))
    }

    /// `None`: the operation is used without this input.
    pub fn maybe<const D: usize>(&self, letter: char) -> Option<Tensor<D>> {
        let (tensor, shape) = self.0.get(&letter)?;
        let shape: [usize; D] = shape.as_slice().try_into().expect("the rank of this input");
        Some(tensor.clone().reshape(shape))
    }

    pub fn device(&self) -> Device {
        self.0.values().next().expect("an input").0.device()
    }
}

/// A row whose `roles` have a letter for each input of `shapes` that is used: a small one for
/// parameters, a capital one for data. It has as many parameters as these inputs have elements.
pub fn row_of(
    name: impl Into<String>,
    roles: &'static str,
    shapes: Vec<(char, Vec<usize>)>,
    y: impl Fn(&Inputs) -> Tensor<1> + 'static,
) -> Row {
    let size = |shape: &[usize]| shape.iter().product::<usize>();
    let trained = shapes.iter().filter(|(letter, _)| roles.contains(*letter));
    let n = trained.map(|(_, shape)| size(shape)).sum();
    let inputs = move |x: Tensor<1>| {
        let (mut tensors, mut used) = (BTreeMap::new(), 0);
        for (letter, shape) in &shapes {
            let n = size(shape);
            if roles.contains(*letter) {
                tensors.insert(*letter, (x.clone().narrow(0, used, n), shape.clone()));
                used += n;
            } else if roles.contains(letter.to_ascii_uppercase()) {
                // A phase for each letter, so that no two inputs are equal.
                let phase = f64::from(u32::from(*letter));
                tensors.insert(*letter, (data([n], phase, &x.device()), shape.clone()));
            }
        }
        Inputs(tensors)
    };
    row(name, ANY, move |x| y(&inputs(x))).params(n)
}
