"""JAX on the processor: gradient and Hessian-vector products of the network of benches/support."""

import common

CHOSEN = common.options(__doc__)  # before jax is imported, which reads the number of threads

import jax
import jax.numpy as jnp

from network_jax import loss_function


def case(name, size):
    loss = loss_function(name)
    params = [jnp.asarray(p) for p in common.parameters()]
    v = [jnp.asarray(p) for p in common.direction(common.parameters())]
    x, labels, targets = (jnp.asarray(t) for t in common.batch(size))
    gradient_of = jax.grad(loss)

    gradient = jax.jit(gradient_of)

    @jax.jit
    def jvp_of_gradient(params, v, x, labels, targets):
        at = lambda p: gradient_of(p, x, labels, targets)
        return jax.jvp(at, (params,), (v,))[1]

    @jax.jit
    def linearize(params, x, labels, targets):
        """The primal pass: returns the product as a function that holds its residuals."""
        return jax.linearize(lambda p: gradient_of(p, x, labels, targets), params)[1]

    apply = jax.jit(lambda product, v: product(v))
    data = (x, labels, targets)
    kept = jax.block_until_ready(linearize(params, *data))
    wait = jax.block_until_ready
    parts = {
        "gradient": lambda: wait(gradient(params, *data)),
        "linearize": lambda: wait(linearize(params, *data)),
        "linearized product": lambda: wait(apply(kept, v)),
        "jvp of gradient": lambda: wait(jvp_of_gradient(params, v, *data)),
    }
    products = {k: parts[k]() for k in ("linearized product", "jvp of gradient")}
    numbers = common.check(loss(params, *data), gradient(params, *data), products)
    return numbers, parts


if __name__ == "__main__":
    common.report(CHOSEN, "jax", jax.__version__, case)
