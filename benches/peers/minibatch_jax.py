"""JAX on the processor: mini-batch sharpness, the mean of λ_max over mini-batches, to 1%.

Everything is one jitted call for all batches: per batch the gradient is linearized once, and a
while loop of the products stops by the residual. Variants:

- lanczos: full reorthogonalization, the eigenvector formed, its residual measured by one product;
- three-term: the plain recurrence, which keeps two vectors and finds no eigenvector; the residual
  is the estimate |β s|, and orthogonality is not yet lost when 1% is reached;
- lobpcg: jax.experimental.sparse.linalg.lobpcg_standard, with its tolerance undone;

one batch after the other (map) or all at once (vmap), from a random vector or from the gradient,
which linearize computes anyway.
"""

import functools

import common_minibatch as common

CHOSEN = common.options(__doc__.splitlines()[0])  # before jax is imported: number of threads

import jax
import jax.numpy as jnp
from jax.experimental.sparse.linalg import lobpcg_standard
from jax.flatten_util import ravel_pytree

from network_jax import loss_function

STEPS = common.MAX_PRODUCTS - 1  # one product measures the residual
TOLERANCE = common.TOLERANCE
ESTIMATE = common.ESTIMATE
gradient_of = jax.grad(loss_function("cross-entropy"))


def dot(a, b):
    return sum(jnp.vdot(x, y) for x, y in zip(a, b))


def unit(v):
    scale = 1 / jnp.sqrt(dot(v, v))
    return [scale * x for x in v]


def random_like(params, key):
    keys = jax.random.split(key, len(params))
    return [jax.random.normal(k, p.shape) for k, p in zip(keys, params)]


def product_of(params, x, labels):
    """The gradient, and the function v -> Hv with everything else computed once."""
    return jax.linearize(lambda p: gradient_of(p, x, labels, None), params)


def top(alphas, betas, m):
    """The top eigenpair of the tridiagonal matrix of m steps, and the residual that it means.

    Rows beyond m hold eigenvalues below all others.
    """
    below = -1 - jnp.sum(jnp.abs(alphas)) - 2 * jnp.sum(jnp.abs(betas))
    between = jnp.where(jnp.arange(STEPS - 1) < m - 1, betas[:-1], 0)
    diagonal = jnp.where(jnp.arange(STEPS) < m, alphas, below)
    matrix = jnp.diag(diagonal) + jnp.diag(between, 1) + jnp.diag(between, -1)
    values, vectors = jnp.linalg.eigh(matrix)
    s = vectors[:, -1]
    return values[-1], s, betas[m - 1] * jnp.abs(s[m - 1])


def unconverged(state):
    m, residual = state[0], state[1]
    return (m < STEPS) & (residual > ESTIMATE)


def lanczos(product, start):
    """λ, measured residual, products. The basis is one array [steps, ...] per parameter."""

    def step(state):
        m, _, _, q, basis, alphas, betas = state
        basis = [b.at[m].set(x) for b, x in zip(basis, q)]
        w = product(q)
        alpha = dot(q, w)
        for _ in range(2):
            parts = [b.reshape(STEPS, -1) @ x.ravel() for b, x in zip(basis, w)]
            c = sum(parts)
            w = [x - (c @ b.reshape(STEPS, -1)).reshape(x.shape) for b, x in zip(basis, w)]
        beta = jnp.sqrt(dot(w, w))
        alphas, betas = alphas.at[m].set(alpha), betas.at[m].set(beta)
        value, s, residual = top(alphas, betas, m + 1)
        return m + 1, residual / jnp.abs(value), s, [x / beta for x in w], basis, alphas, betas

    q = unit(start)
    basis = [jnp.zeros((STEPS, *x.shape)) for x in q]
    zeros = jnp.zeros(STEPS)
    state = (0, jnp.inf, zeros, q, basis, zeros, zeros)
    m, _, s, _, basis, _, _ = jax.lax.while_loop(unconverged, step, state)
    v = unit([jnp.tensordot(s, b, 1) for b in basis])
    hv = product(v)
    value = dot(v, hv)
    rest = [a - value * b for a, b in zip(hv, v)]
    return value, jnp.sqrt(dot(rest, rest)) / jnp.abs(value), m + 1


def three_term(product, start):
    """λ, estimated residual, products."""

    def step(state):
        m, _, _, q, before, alphas, betas = state
        w = product(q)
        alpha = dot(q, w)
        beta = jnp.where(m > 0, betas[m - 1], 0)
        w = [x - alpha * y - beta * z for x, y, z in zip(w, q, before)]
        beta = jnp.sqrt(dot(w, w))
        alphas, betas = alphas.at[m].set(alpha), betas.at[m].set(beta)
        value, _, residual = top(alphas, betas, m + 1)
        return m + 1, residual / jnp.abs(value), value, [x / beta for x in w], q, alphas, betas

    q, zeros = unit(start), jnp.zeros(STEPS)
    state = (0, jnp.inf, 0.0, q, [jnp.zeros_like(x) for x in q], zeros, zeros)
    m, residual, value, *_ = jax.lax.while_loop(unconverged, step, state)
    return value, residual, m


def lobpcg(product, start):
    """λ, measured residual, products: four per iteration, as this routine keeps none."""
    flat, unravel = ravel_pytree(start)
    n = flat.size

    def columns(v):
        return jnp.stack([ravel_pytree(product(unravel(c)))[0] for c in v.T], axis=1)

    # Its own test is ‖r‖ < tol · 10 n (λ + ‖Av‖), and ‖Av‖ is about λ.
    tol = TOLERANCE / (20 * n)
    theta, v, iterations = lobpcg_standard(columns, flat[:, None], STEPS, tol)
    # By one more product, as the routine does not return the residual.
    rest = columns(v) - theta * v
    return theta[0], jnp.linalg.norm(rest) / jnp.abs(theta[0]), 4 * iterations + 2


def of_batch(method, start, params, x, labels, key):
    gradient, product = product_of(params, x, labels)
    return method(product, gradient if start == "gradient" else random_like(params, key))


@functools.partial(jax.jit, static_argnames=("method", "start", "at_once"))
def measure(params, x, labels, keys, *, method, start, at_once):
    one = functools.partial(of_batch, method, start, params)
    if at_once:
        return jax.vmap(one)(x, labels, keys)
    return jax.lax.map(lambda batch: one(*batch), (x, labels, keys))


# method, start, all batches at once; the slow ones last. A basis for each of 16 batches would take 6 GB: not at once.
VARIANTS = {
    "three-term (map)": (three_term, "random", False),
    "three-term from gradient (map)": (three_term, "gradient", False),
    "three-term (vmap)": (three_term, "random", True),
    "three-term from gradient (vmap)": (three_term, "gradient", True),
    "lanczos from gradient (map)": (lanczos, "gradient", False),
    "lobpcg (map)": (lobpcg, "random", False),
}


def case(params, x, labels):
    params = [jnp.asarray(p) for p in params]
    x, labels = jnp.asarray(x), jnp.asarray(labels)
    keys = jax.random.split(jax.random.key(0), len(x))
    gradient = jax.jit(gradient_of)
    first = (x[0], labels[0])
    jax.block_until_ready(gradient(params, *first, None))

    def variant(method, start, at_once):
        settings = {"method": method, "start": start, "at_once": at_once}

        def run():
            values, residuals, products = jax.device_get(
                measure(params, x, labels, keys, **settings))
            return values, residuals, products.sum()

        return run

    variants = {name: variant(*settings) for name, settings in VARIANTS.items()}
    return lambda: jax.block_until_ready(gradient(params, *first, None)), variants


if __name__ == "__main__":
    common.report(CHOSEN, "jax", jax.__version__, case)
