"""JAX on the processor: gradient and Hessian-vector product of two convolutional networks.

The networks of examples/support/networks: the CNN of "Edge of Stochastic Stability", and ResNet-8
with the statistics of the batch; cross-entropy. Both in two layouts of images, channels first and
channels last: XLA's convolutions on processors differ in speed. Weights are brought into the
layout beforehand, so that nothing is transposed in what is timed.
"""

import common

PARSER = common.parser(__doc__.splitlines()[0])
PARSER.set_defaults(batches=[64])
CHOSEN = common.started(PARSER)  # before jax is imported, which reads the number of threads

import jax
import jax.numpy as jnp
import numpy as np

CHANNELS, SIDE = 3, 32
EPSILON = 1e-5  # of a variance, as burn's BatchNorm and PyTorch's have it


def convolution(inputs, outputs):
    return [("weight", (outputs, inputs, 3, 3)), ("bias", (outputs,))]


def normalized(inputs, outputs):
    return [("weight", (outputs, inputs, 3, 3)), ("gamma", (outputs,)), ("beta", (outputs,))]


def linear(inputs, outputs):
    return [("weight", (inputs, outputs)), ("bias", (outputs,))]


def residual_block(inputs, outputs):
    return normalized(inputs, outputs) + normalized(outputs, outputs)


POOLED = (128, 6, 6)  # what the CNN's convolutions leave of an image

# Kind and shape of each parameter in burn's layout, in the order in which a module visits them.
CNN = [*convolution(CHANNELS, 64), *convolution(64, 64), *convolution(64, POOLED[0]),
       *linear(int(np.prod(POOLED)), 512), *linear(512, common.CLASSES)]
RESNET = [*normalized(CHANNELS, 16), *residual_block(16, 16), *residual_block(16, 32),
          *residual_block(32, 64), *linear(64, common.CLASSES)]


def parameters(network):
    """Weights and biases from streams that are counted in visit order; ones and zeros else."""
    values, stream, bound = [], 10, None
    for kind, shape in network:
        if kind == "weight":  # [in, out], or [out, in, height, width]
            fan_in = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))
            bound = np.float32(1) / np.sqrt(np.float32(fan_in))
        if kind in ("weight", "bias"):
            values.append(common.floats(stream, shape, bound))
            stream += 1
        else:
            values.append(np.full(shape, 1 if kind == "gamma" else 0, np.float32))
    return values


class Layout:
    """Channels first or last, of images and of what belongs to them."""

    def __init__(self, name):
        self.name, self.last = name, name == "NHWC"
        self.dimensions = (name, "HWIO" if self.last else "OIHW", name)
        self.pixels = (1, 2) if self.last else (2, 3)

    def images(self, x):
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if self.last else x

    def of(self, parts):
        """Parameters in burn's layout in this one; the CNN's first linear layer reads an image."""
        return [self.moved(p, (2, 3, 1, 0), POOLED, (1, 2, 0, 3)) for p in parts]

    def back(self, parts):
        pooled = (*POOLED[1:], POOLED[0])
        return [self.moved(np.asarray(p), (3, 2, 0, 1), pooled, (2, 0, 1, 3)) for p in parts]

    def moved(self, p, kernel, pooled, rows):
        if self.last and p.ndim == 4:
            return np.ascontiguousarray(p.transpose(kernel))
        if self.last and p.ndim == 2 and len(p) == np.prod(pooled):
            return p.reshape(*pooled, -1).transpose(rows).reshape(p.shape)
        return p

    def spread(self, pixels, channels, images):
        """One entry per dimension."""
        return (images, pixels, pixels, channels) if self.last else (
            images, channels, pixels, pixels)

    def convolve(self, x, weight, stride=1, padding=0):
        return jax.lax.conv_general_dilated(x, weight, (stride, stride), [(padding, padding)] * 2,
                                            dimension_numbers=self.dimensions)

    def per_channel(self, p):
        return p if self.last else p[:, None, None]

    def pool(self, x):
        """The largest of 2×2 pixels. Faster than reduce_window, whose derivative scatters.

        Behind ReLU only zeros are equal, and these have no derivative: who wins does not matter.
        """
        parts = [(n // 2, 2) if axis in self.pixels else (n,) for axis, n in enumerate(x.shape)]
        return jnp.max(x.reshape(sum(parts, ())), (self.pixels[0] + 1, self.pixels[1] + 2))

    def normalize(self, x, gamma, beta):
        axes = (0, *self.pixels)
        mean = jnp.mean(x, axes, keepdims=True)
        variance = jnp.mean(jnp.square(x - mean), axes, keepdims=True)
        unit = (x - mean) * jax.lax.rsqrt(variance + EPSILON)
        return unit * self.per_channel(gamma) + self.per_channel(beta)


def cnn(layout, params, x):
    convolutions, linears = params[:6], params[6:]
    for i in range(0, 6, 2):
        x = layout.convolve(x, convolutions[i]) + layout.per_channel(convolutions[i + 1])
        x = jax.nn.relu(x)
        if i > 0:
            x = layout.pool(x)
    x = jax.nn.relu(x.reshape(len(x), -1) @ linears[0] + linears[1])
    return x @ linears[2] + linears[3]


def resnet(layout, params, x):
    def layer(x, p, stride=1):
        weight, gamma, beta = p
        return layout.normalize(layout.convolve(x, weight, stride, 1), gamma, beta)

    def shortcut(x, stride, channels):
        """He et al.'s option A: every second pixel, and channels of zeros on both sides."""
        x = x[layout.spread(*(slice(None, None, s) for s in (stride, 1, 1)))]
        missing = channels - x.shape[layout.name.index("C")]
        return jnp.pad(x, layout.spread((0, 0), (missing // 2, missing - missing // 2), (0, 0)))

    x = jax.nn.relu(layer(x, params[:3]))
    for stage in range(3):
        first, second = (params[3 + 6 * stage + i:][:3] for i in (0, 3))
        stride = 1 if stage == 0 else 2
        y = layer(jax.nn.relu(layer(x, first, stride)), second)
        x = jax.nn.relu(y + shortcut(x, stride, second[1].size))
    return jnp.mean(x, layout.pixels) @ params[-2] + params[-1]


NETWORKS = {"cnn": (cnn, CNN), "resnet": (resnet, RESNET)}


def ways(network, layout, data):
    """Loss, gradient and product in one layout; the last two as parts that are timed."""
    forward, shapes = network
    params = [jnp.asarray(p) for p in layout.of(parameters(shapes))]
    v = [jnp.asarray(p) for p in layout.of(common.direction(parameters(shapes)))]
    x, labels = jnp.asarray(layout.images(data[0])), jnp.asarray(data[1])

    def loss(params, x, labels):
        log_p = jax.nn.log_softmax(forward(layout, params, x))
        return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], axis=1))

    gradient = jax.jit(jax.grad(loss))

    @jax.jit
    def linearize(params, x, labels):
        """Returns the product as a function that holds the residuals of the gradient."""
        return jax.linearize(lambda p: jax.grad(loss)(p, x, labels), params)[1]

    apply = jax.jit(lambda product, v: product(v))
    wait = jax.block_until_ready
    kept = wait(linearize(params, x, labels))
    return (jax.jit(loss)(params, x, labels), lambda: wait(gradient(params, x, labels)),
            lambda: wait(apply(kept, v)))


def case(name, size):
    images, labels, _ = common.batch(size, (CHANNELS, SIDE, SIDE))
    parts, gradients, products = {}, {}, {}
    for layout in (Layout("NCHW"), Layout("NHWC")):
        loss, gradient, product = ways(NETWORKS[name], layout, (images, labels))
        parts |= {f"gradient {layout.name}": gradient, f"product {layout.name}": product}
        gradients[layout.name] = layout.back(gradient())
        products[layout.name] = layout.back(product())
    common.check(loss, gradients["NCHW"], gradients)
    return common.check(loss, gradients["NCHW"], products), parts


def main():
    cases = []
    for network in NETWORKS:
        for size in CHOSEN.batches:
            numbers, parts = case(network, size)
            times = common.timed(CHOSEN, f"jax {network} batch {size:5d}", parts)
            cases.append({"network": network, "batch": size, "check": numbers, "times_ms": times})
    common.save(CHOSEN, "jax", jax.__version__, cases)


if __name__ == "__main__":
    main()
