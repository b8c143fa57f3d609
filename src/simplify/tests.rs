//! Each rule on a graph where it applies and on one where it must not; then the law: whatever the
//! rules do, the program computes the same.

use burn::tensor::{DType, Device, Tensor, TensorData};
use burn_dispatch::DispatchTensor;
use burn_ir::{
    ActivationOperationIr as Activation, BaseOperationIr as Base, FloatOperationIr as Float,
    MatmulOpIr, NumericOperationIr as Numeric, OperationIr, RandomOpIr, ReduceDimsOpIr, ReduceOpIr,
    SwapDimsOpIr, TensorId, TensorIr, UnaryOpIr,
};

use super::{fuse_products, simplify};
use crate::ir::TensorGraph;
use crate::ir::emitter::Emitter;
use crate::program::Program;
use crate::tangent::op_name;

/// A graph under construction: float inputs, then operations.
struct Build {
    inputs: Vec<TensorIr>,
    emit: Emitter,
}

impl Build {
    fn new(shapes: &[&[usize]]) -> Self {
        let input = |(id, shape): (u64, &&[usize])| {
            TensorIr::uninit(TensorId::new(id), shape.to_vec().into(), DType::F64)
        };
        let inputs: Vec<_> = (0..).zip(shapes).map(input).collect();
        let emit = Emitter::new(inputs.len() as u64, Device::flex().settings());
        Self { inputs, emit }
    }

    fn x(&self, i: usize) -> TensorIr {
        self.inputs[i].clone()
    }

    fn matmul(&mut self, x: &TensorIr, y: &TensorIr) -> TensorIr {
        let (x, y, id) = (x.clone(), y.clone(), self.emit.fresh_id());
        let op = MatmulOpIr::create(x, y, || id);
        self.emit.push(OperationIr::Float(DType::F64, Float::Matmul(op)))
    }

    fn swap(&mut self, x: &TensorIr, a: usize, b: usize) -> TensorIr {
        let id = self.emit.fresh_id();
        let op = SwapDimsOpIr::create(x.clone(), a, b, || id);
        self.emit.push(OperationIr::BaseFloat(Base::SwapDims(op)))
    }

    fn sum(&mut self, x: &TensorIr) -> TensorIr {
        let id = self.emit.fresh_id();
        let op = ReduceOpIr::create(x.clone(), || id);
        self.emit.push(OperationIr::NumericFloat(DType::F64, Numeric::Sum(op)))
    }

    fn reshape(&mut self, x: &TensorIr, shape: &[usize]) -> TensorIr {
        self.emit.reshape(x, shape.to_vec().into())
    }

    fn ones(&mut self, shape: &[usize]) -> TensorIr {
        self.emit.ones(shape.to_vec().into(), DType::F64)
    }

    fn zeros(&mut self, shape: &[usize]) -> TensorIr {
        self.emit.zeros(shape.to_vec().into(), DType::F64)
    }

    fn graph(self, outputs: &[&TensorIr]) -> TensorGraph {
        let outputs = outputs.iter().map(|&t| t.clone()).collect();
        TensorGraph { inputs: self.inputs, ops: self.emit.ops, outputs }
    }

    /// The names of the operations that are left, after checking the law.
    fn left(self, outputs: &[&TensorIr]) -> Vec<String> {
        let graph = self.graph(outputs);
        let short = simplify(graph.clone());
        same_values(&graph, &short);
        names(&short)
    }
}

fn names(graph: &TensorGraph) -> Vec<String> {
    graph.ops.iter().map(op_name).collect()
}

fn value(tensor: &TensorIr, phase: usize) -> DispatchTensor {
    let n = tensor.shape.num_elements();
    let wave = |i: usize| (0.7 * i as f64 + 1.3 * phase as f64).sin() + 0.2;
    let data = TensorData::new((0..n).map(wave).collect::<Vec<_>>(), [n]);
    let flat = Tensor::<1>::from_data(data, (&Device::flex(), DType::F64));
    match tensor.shape[..] {
        [a] => flat.reshape([a]).into_dispatch(),
        [a, b] => flat.reshape([a, b]).into_dispatch(),
        [a, b, c] => flat.reshape([a, b, c]).into_dispatch(),
        [a, b, c, d] => flat.reshape([a, b, c, d]).into_dispatch(),
        _ => panic!("rank of a test tensor"),
    }
}

fn read(tensor: DispatchTensor) -> Vec<f64> {
    use burn_backend::TensorMetadata;
    let data = match tensor.shape().num_dims() {
        1 => Tensor::<1>::from_dispatch(tensor).into_data(),
        2 => Tensor::<2>::from_dispatch(tensor).into_data(),
        3 => Tensor::<3>::from_dispatch(tensor).into_data(),
        _ => Tensor::<4>::from_dispatch(tensor).into_data(),
    };
    data.iter::<f64>().collect()
}

fn run(graph: &TensorGraph) -> Vec<Vec<f64>> {
    let inputs: Vec<_> = graph.inputs.iter().zip(0..).map(|(t, i)| value(t, i)).collect();
    let outputs = Program::compile(graph.clone()).run(inputs, &Device::flex()).unwrap();
    outputs.into_iter().map(read).collect()
}

fn same_values(a: &TensorGraph, b: &TensorGraph) {
    assert_eq!(a.inputs, b.inputs);
    let form = |g: &TensorGraph| -> Vec<_> {
        g.outputs.iter().map(|t| (t.shape.clone(), t.dtype)).collect()
    };
    assert_eq!(form(a), form(b));
    for (a, b) in run(a).into_iter().zip(run(b)) {
        let scale = a.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        for (a, b) in a.into_iter().zip(b) {
            // ε = 2.2e-16 in sums of at most a hundred terms of the size of the largest value.
            assert!((a - b).abs() <= 1e-13 * scale, "{a} is not {b}");
        }
    }
}

#[test]
fn equal_operations_become_one() {
    let mut g = Build::new(&[&[2, 3], &[2, 3]]);
    let (x, y) = (g.x(0), g.x(1));
    let (a, b) = (g.emit.mul(&x, &y), g.emit.mul(&y, &x));
    let (c, d) = (g.emit.exp(&a), g.emit.exp(&b));
    assert_eq!(g.left(&[&c, &d]), ["numeric.Mul", "float.Exp"]);

    let mut g = Build::new(&[&[2, 3], &[2, 3]]);
    let (x, y) = (g.x(0), g.x(1));
    let (a, b) = (g.emit.sub(&x, &y), g.emit.sub(&y, &x));
    let (c, d) = (g.emit.mul_scalar(&a, 2.0), g.emit.mul_scalar(&a, 3.0));
    assert_eq!(g.left(&[&a, &b, &c, &d]).len(), 4);
}

#[test]
fn random_draws_stay_apart() {
    let mut g = Build::new(&[&[2]]);
    let x = g.x(0);
    let mut draw = || {
        let (id, shape) = (g.emit.fresh_id(), x.shape.clone());
        let distribution = burn::tensor::Distribution::Default;
        let op = RandomOpIr { out: TensorIr::uninit(id, shape, DType::F64), distribution };
        g.emit.push(OperationIr::Float(DType::F64, Float::Random(op)))
    };
    let (a, b) = (draw(), draw());
    assert_eq!(simplify(g.graph(&[&a, &b])).ops.len(), 2);
}

#[test]
fn chains_of_views_collapse() {
    let mut g = Build::new(&[&[2, 3]]);
    let x = g.x(0);
    let a = g.reshape(&x, &[6]);
    let a = g.reshape(&a, &[3, 2]);
    let b = g.reshape(&a, &[2, 3]);
    let c = g.swap(&b, 0, 1);
    let c = g.swap(&c, 1, 0);
    assert_eq!(g.left(&[&a, &b, &c]), ["base.Reshape"]);

    let mut g = Build::new(&[&[2, 3, 4]]);
    let x = g.x(0);
    let a = g.swap(&x, 0, 1);
    let b = g.swap(&a, 1, 2);
    let c = g.reshape(&b, &[24]);
    assert_eq!(g.left(&[&c]).len(), 3);
}

#[test]
fn the_transpose_of_a_matrix_in_a_batch_is_that_of_the_matrix() {
    let mut g = Build::new(&[&[2, 3], &[1, 2, 3]]);
    let x = g.x(0);
    let a = g.reshape(&x, &[1, 2, 3]);
    let a = g.swap(&a, 1, 2);
    let a = g.reshape(&a, &[3, 2]);
    assert_eq!(g.left(&[&a]), ["base.SwapDims"]);

    // Another shape of the matrix: the reshape moves elements.
    let mut g = Build::new(&[&[2, 3]]);
    let x = g.x(0);
    let a = g.reshape(&x, &[1, 3, 2]);
    let a = g.swap(&a, 1, 2);
    assert_eq!(g.left(&[&a]), ["base.Reshape", "base.SwapDims"]);
}

#[test]
fn ones_zeros_and_units_vanish() {
    let mut g = Build::new(&[&[2, 3], &[2, 1]]);
    let (x, column) = (g.x(0), g.x(1));
    let (ones, zeros) = (g.ones(&[2, 3]), g.zeros(&[2, 3]));
    let a = g.emit.mul(&x, &ones);
    let a = g.emit.add(&zeros, &a);
    let a = g.emit.mul_scalar(&a, 1.0);
    let a = g.emit.add_scalar(&a, 0.0);
    let b = g.emit.mul(&ones, &column);
    let c = g.emit.sub(&zeros, &x);
    let d = g.emit.neg(&c);
    let e = g.emit.add(&column, &zeros);
    assert_eq!(g.left(&[&a, &b, &c, &d, &e]), ["base.Expand", "numeric.Neg"]);
}

#[test]
fn zero_times_x_stays() {
    let mut g = Build::new(&[&[1]]);
    let x = g.x(0);
    let zeros = g.zeros(&[1]);
    let (infinite, tenth) = (g.emit.div(&x, &zeros), g.emit.mul_scalar(&x, 0.0));
    let nan = g.emit.mul(&zeros, &infinite);
    let short = simplify(g.graph(&[&nan, &tenth]));
    assert!(run(&short)[0][0].is_nan());
    assert!(names(&short).iter().filter(|name| *name == "numeric.MulScalar").count() == 2);
}

#[test]
fn a_constant_factor_is_a_scalar() {
    let mut g = Build::new(&[&[2, 1], &[2, 3]]);
    let (column, y) = (g.x(0), g.x(1));
    let ones = g.ones(&[2, 3]);
    let thirds = g.emit.mul_scalar(&ones, 1.0 / 3.0);
    let mean = g.emit.mul(&thirds, &column);
    // Read by an operation that broadcasts, the expansion is not needed.
    let z = g.emit.mul(&mean, &y);
    assert_eq!(g.left(&[&z]), ["numeric.MulScalar", "numeric.Mul"]);

    // Two roundings: 0.1 · 0.7 is not folded.
    let mut g = Build::new(&[&[2, 3]]);
    let x = g.x(0);
    let a = g.emit.mul_scalar(&x, 0.1);
    let a = g.emit.mul_scalar(&a, 0.7);
    assert_eq!(g.left(&[&a]).len(), 2);
}

#[test]
fn a_row_of_a_broadcast_needs_its_expansion() {
    // Nothing else has the full shape.
    let mut g = Build::new(&[&[2, 1], &[1, 1]]);
    let (x, y) = (g.x(0), g.x(1));
    let x = g.emit.expand(&x, [2, 3].into());
    let z = g.emit.mul(&x, &y);
    assert_eq!(g.left(&[&z]).len(), 2);
}

#[test]
fn signs_join_sums() {
    let mut g = Build::new(&[&[2], &[2]]);
    let (x, y) = (g.x(0), g.x(1));
    let minus = g.emit.neg(&y);
    let (a, b) = (g.emit.add(&x, &minus), g.emit.sub(&x, &minus));
    assert_eq!(g.left(&[&a, &b]), ["numeric.Sub", "numeric.Add"]);
}

#[test]
fn the_reverse_of_relu_reads_its_output() {
    let mut build = Build::new(&[&[2, 3], &[2, 3]]);
    let (x, g, id) = (build.x(0), build.x(1), build.emit.fresh_id());
    let relu = UnaryOpIr::create(x.clone(), || id);
    let y = build.emit.push(OperationIr::Activation(Activation::Relu(relu)));
    let dx = build.emit.relu_backward(&x, &g);
    let graph = build.graph(&[&y, &dx]);
    let short = simplify(graph.clone());
    same_values(&graph, &short);
    let last: Vec<TensorId> = short.ops[1].inputs().map(|t| t.id).collect();
    assert_eq!(last, [short.outputs[0].id, g.id]);
}

#[test]
fn sums_over_one_element_vanish() {
    let mut g = Build::new(&[&[1, 3]]);
    let x = g.x(0);
    let a = g.emit.sum_dim(&x, 0);
    let b = g.emit.sum_dim(&x, 1);
    let c = g.sum(&b);
    assert_eq!(g.left(&[&a, &c]), ["numeric.SumDim", "base.Reshape"]);
}

/// x `[4, 5, 3]` · W `[3, 2]`, its gradient for g `[4, 5, 2]` and that for x, as burn records them.
fn dense_layer(n_reads: usize) -> (Build, Vec<TensorIr>) {
    let mut g = Build::new(&[&[4, 5, 3], &[3, 2], &[4, 5, 2], &[3, 2]]);
    let (x, w, delta) = (g.x(0), g.x(1), g.x(2));
    let w = g.reshape(&w, &[1, 3, 2]);
    let y = g.matmul(&x, &w);
    let back = g.swap(&w, 1, 2);
    let dx = g.matmul(&delta, &back);
    let xt = g.swap(&x, 1, 2);
    let dw = g.matmul(&xt, &delta);
    let sum = g.emit.sum_dim(&dw, 0);
    let sum = g.reshape(&sum, &[3, 2]);
    let mut outputs = vec![y, dx, sum];
    outputs.extend(vec![dw; n_reads - 1]);
    (g, outputs)
}

/// Shapes of the matrix products of a graph.
fn products(graph: &TensorGraph) -> Vec<Vec<usize>> {
    let product = |op: &OperationIr| match op {
        OperationIr::Float(_, Float::Matmul(d)) => Some(d.out.shape.to_vec()),
        _ => None,
    };
    graph.ops.iter().filter_map(product).collect()
}

#[test]
fn dense_layers_are_products_of_matrices() {
    let (g, outputs) = dense_layer(1);
    let graph = g.graph(&outputs.iter().collect::<Vec<_>>());
    let short = simplify(graph.clone());
    same_values(&graph, &short);
    assert_eq!(products(&short), [vec![20, 2], vec![20, 3], vec![3, 2]]);
    // Rows of x and δ, transposes of W and x, results in the shapes of y and the gradient for x.
    assert_eq!(short.ops.len(), 9, "{:?}", names(&short));

    let (g, outputs) = dense_layer(2);
    let graph = g.graph(&outputs.iter().collect::<Vec<_>>());
    let short = simplify(graph.clone());
    same_values(&graph, &short);
    assert_eq!(products(&short), [vec![20, 2], vec![20, 3], vec![4, 3, 2]]);
}

#[test]
fn sums_of_batched_products_over_all_batches_only() {
    let gradient = |axes: &[usize]| {
        let mut g = Build::new(&[&[2, 3, 4, 5], &[2, 3, 4, 6], &[2, 3, 4, 5], &[2, 3, 4, 6]]);
        let mut product = |x: usize, y: usize| {
            let (x, y) = (g.x(x), g.x(y));
            let xt = g.swap(&x, 3, 2);
            g.matmul(&xt, &y)
        };
        let (a, b) = (product(0, 1), product(2, 3));
        let sum = g.emit.add(&a, &b);
        let id = g.emit.fresh_id();
        let mut out = TensorIr::uninit(id, sum.shape.clone(), DType::F64);
        axes.iter().for_each(|&axis| out.shape[axis] = 1);
        let op = ReduceDimsOpIr { input: sum, out: out.clone(), axes: axes.to_vec() };
        g.emit
            .ops
            .push(OperationIr::NumericFloat(DType::F64, burn_ir::NumericOperationIr::SumDims(op)));
        let graph = g.graph(&[&out]);
        let short = simplify(graph.clone());
        same_values(&graph, &short);
        products(&short)
    };
    assert_eq!(gradient(&[0, 1]), [vec![5, 6], vec![5, 6]]);
    assert_eq!(gradient(&[1]), [vec![2, 3, 5, 6], vec![2, 3, 5, 6]]);
    assert_eq!(gradient(&[0, 1, 2]), [vec![2, 3, 5, 6], vec![2, 3, 5, 6]]);
}

#[test]
fn batches_of_matrices_stay() {
    let mut g = Build::new(&[&[2, 3, 4], &[2, 4, 5], &[1, 3, 4]]);
    let (x, y, one) = (g.x(0), g.x(1), g.x(2));
    let (a, b) = (g.matmul(&x, &y), g.matmul(&one, &y));
    assert_eq!(g.left(&[&a, &b]).len(), 2);
}

/// Aᵀ B + Cᵀ D, as in a weight's tangent, with `rows` rows each.
fn two_products(rows: usize, transposed: bool) -> (TensorGraph, TensorGraph) {
    let (m, n) = (32, 40);
    let left: &[usize] = if transposed { &[rows, m] } else { &[m, rows] };
    let mut g = Build::new(&[left, &[rows, n], left, &[rows, n]]);
    let (mut a, b, mut c, d) = (g.x(0), g.x(1), g.x(2), g.x(3));
    if transposed {
        (a, c) = (g.swap(&a, 0, 1), g.swap(&c, 0, 1));
    }
    let (x, y) = (g.matmul(&a, &b), g.matmul(&c, &d));
    let sum = g.emit.add(&x, &y);
    let graph = g.graph(&[&sum]);
    let fused = fuse_products(graph.clone());
    same_values(&graph, &fused);
    (graph, fused)
}

#[test]
fn thin_products_are_added_inside_one_product() {
    let (_, fused) = two_products(2, true);
    assert_eq!(names(&fused), ["base.Cat", "base.SwapDims", "base.Cat", "float.Matmul"]);
    let (_, fused) = two_products(2, false);
    assert_eq!(names(&fused), ["base.Cat", "base.Cat", "float.Matmul"]);
    // 6 rows for 32 × 40: the concatenations would move more than they save.
    let (graph, fused) = two_products(3, true);
    assert_eq!(names(&graph), names(&fused));
    // `simplify` leaves the structure to those who read it.
    let (graph, _) = two_products(2, true);
    assert_eq!(names(&simplify(graph.clone())), names(&graph));
}

/// A graph of `n` random operations on matrices and batches of matrices; all results are outputs.
fn random_graph(seed: u64, n: usize) -> TensorGraph {
    let mut state = seed;
    let mut below = |n: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut g = Build::new(&[&[4, 2, 3], &[1, 3, 2], &[4, 3, 2], &[2, 3], &[1, 2, 1]]);
    let mut pool = g.inputs.clone();
    pool.extend([g.ones(&[4, 2, 3]), g.zeros(&[4, 2, 3]), g.ones(&[2, 3]), g.zeros(&[1, 3, 2])]);
    let mut results: Vec<TensorIr> = Vec::new();
    while results.len() < n {
        let (x, y) = (pool[below(pool.len())].clone(), pool[below(pool.len())].clone());
        let (rank, same_rank) = (x.shape.num_dims(), x.shape.num_dims() == y.shape.num_dims());
        let broadcasts = same_rank
            && (0..rank).all(|i| x.shape[i] == y.shape[i] || x.shape[i] == 1 || y.shape[i] == 1);
        let multiplies = same_rank
            && x.shape[rank - 1] == y.shape[rank - 2]
            && (0..rank - 2).all(|i| x.shape[i] == y.shape[i] || y.shape[i] == 1);
        let axis = below(rank);
        let scalar = [1.0, -1.0, 0.0, 0.5][below(4)];
        results.push(match below(11) {
            0 if broadcasts => g.emit.add(&x, &y),
            1 if broadcasts => g.emit.sub(&x, &y),
            2 if broadcasts => g.emit.mul(&x, &y),
            3 => g.emit.neg(&x),
            4 => g.emit.mul_scalar(&x, scalar),
            5 => g.emit.add_scalar(&x, scalar),
            6 | 7 if multiplies => g.matmul(&x, &y),
            8 => g.swap(&x, rank - 2, rank - 1),
            9 => g.emit.sum_dim(&x, axis),
            10 if x.shape.num_elements() == y.shape.num_elements() => g.reshape(&x, &y.shape),
            _ => continue,
        });
        pool.extend(results.last().cloned());
    }
    let outputs: Vec<&TensorIr> = results.iter().step_by(5).chain(results.last()).collect();
    g.graph(&outputs)
}

#[test]
fn random_graphs_compute_the_same() {
    let mut removed = 0;
    for seed in 0..300 {
        let graph = random_graph(seed, 40).without_dead_code();
        let short = simplify(graph.clone());
        assert!(fuse_products(short.clone()).ops.len() <= short.ops.len());
        removed += graph.ops.len() as i64 - short.ops.len() as i64;
        let (a, b) = (run(&graph).concat(), run(&short).concat());
        // Sums of results that nearly cancel round like their terms: relative to the largest.
        let scale = a.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
        for (a, b) in a.into_iter().zip(b) {
            assert!((a - b).abs() <= 1e-13 * scale, "seed {seed}: {a} is not {b}");
        }
    }
    // The rules apply: some two operations of each graph are gone.
    assert!(removed > 500, "{removed}");
}
