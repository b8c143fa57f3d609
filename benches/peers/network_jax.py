"""The network of benches/support and its losses in JAX."""

import jax
import jax.numpy as jnp


def outputs(params, x):
    for i in range(0, len(params) - 2, 2):
        x = jax.nn.relu(x @ params[i] + params[i + 1])
    return x @ params[-2] + params[-1]


def loss_function(name):
    def cross_entropy(params, x, labels, targets):
        log_p = jax.nn.log_softmax(outputs(params, x))
        return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], axis=1))

    def mse(params, x, labels, targets):
        return jnp.mean(jnp.sum(jnp.square(outputs(params, x) - targets), axis=1))

    return {"cross-entropy": cross_entropy, "mse": mse}[name]
