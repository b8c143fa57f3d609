"""PyTorch on the processor: mini-batch sharpness, the mean of λ_max over mini-batches, to 1%.

One batch after the other, products by double backward on a graph that is made once per batch and
kept. Variants:

- lobpcg: with one vector, from a random start, the method of the code that comes with the paper;
- lanczos: full reorthogonalization, from a random vector or from the gradient.
"""

import common_minibatch as common

CHOSEN = common.options(__doc__.splitlines()[0])  # before torch is imported: number of threads

import torch
from torch.nn.functional import cross_entropy, relu

torch.set_num_threads(CHOSEN.threads)
TOLERANCE = common.TOLERANCE


def loss(params, x, labels):
    for i in range(0, len(params) - 2, 2):
        x = relu(torch.addmm(params[i + 1], x, params[i]))
    return cross_entropy(torch.addmm(params[-1], x, params[-2]), labels)


def flat(parts):
    return torch.cat([part.reshape(-1) for part in parts])


class Hessian:
    """Of one batch: the gradient with its graph, and products that are counted."""

    def __init__(self, params, x, labels):
        self.params, self.products = params, 0
        self.parts = torch.autograd.grad(loss(params, x, labels), params, create_graph=True)
        self.sizes = [p.numel() for p in params]

    def gradient(self):
        return flat([part.detach() for part in self.parts])

    def apply(self, v):
        self.products += 1
        pieces = [piece.view_as(p) for piece, p in zip(v.split(self.sizes), self.params)]
        return flat(torch.autograd.grad(self.parts, self.params, pieces, retain_graph=True))


def lobpcg(hessian, start):
    """Locally optimal conjugate gradients (Knyazev 2001) for one vector; one product a step.

    Keeps the products of the basis, so that no vector is multiplied twice.
    """
    x = start / start.norm()
    ax = hessian.apply(x)
    basis, images = [x], [ax]
    while True:
        value = x @ ax
        residual = ax - value * x
        relative = float(residual.norm() / value.abs())
        if relative <= TOLERANCE or hessian.products >= common.MAX_PRODUCTS:
            return float(value), relative
        for _ in range(2):
            for b in basis:
                residual.sub_(b, alpha=float(b @ residual))
        w = residual / residual.norm()
        basis, images = [*basis, w], [*images, hessian.apply(w)]
        small = torch.tensor([[float(v @ image) for image in images] for v in basis])
        c = torch.linalg.eigh((small + small.T) / 2)[1][:, -1]
        # The direction from the old x to the new one, orthogonal to the new one.
        d = c.clone()
        d[0] = 0
        d = d - (c @ d) * c
        d = d / d.norm()
        basis, images = ([combine(k, vectors) for k in (c, d)] for vectors in (basis, images))
        x, ax = basis[0], images[0]


def combine(coefficients, vectors):
    total = float(coefficients[0]) * vectors[0]
    for c, v in zip(coefficients[1:], vectors[1:]):
        total.add_(v, alpha=float(c))
    return total


def lanczos(hessian, start):
    steps = common.MAX_PRODUCTS - 1
    basis = torch.empty(steps, start.numel())
    t = torch.zeros(steps + 1, steps + 1)
    q = start / start.norm()
    for m in range(1, steps + 1):
        basis[m - 1] = q
        w = hessian.apply(q)
        t[m - 1, m - 1] = q @ w
        known = basis[:m]
        for _ in range(2):
            w = torch.addmv(w, known.T, known @ w, alpha=-1)
        beta = w.norm()
        values, vectors = torch.linalg.eigh(t[:m, :m])
        s = vectors[:, -1]
        if beta * s[-1].abs() <= common.ESTIMATE * values[-1].abs():
            break
        t[m - 1, m] = t[m, m - 1] = beta
        q = w / beta
    v = s @ basis[:m]
    v = v / v.norm()
    hv = hessian.apply(v)
    value = v @ hv
    return float(value), float((hv - value * v).norm() / value.abs())


def case(params, x, labels):
    params = [torch.from_numpy(p.copy()).requires_grad_() for p in params]
    data = list(zip(torch.from_numpy(x), torch.from_numpy(labels)))

    def variant(method, from_gradient=False):
        def run():
            generator = torch.Generator().manual_seed(0)
            found, products = [], 0
            for batch in data:
                hessian = Hessian(params, *batch)
                if from_gradient:
                    start = hessian.gradient()
                else:
                    start = torch.randn(sum(hessian.sizes), generator=generator)
                found.append(method(hessian, start))
                products += hessian.products
            return *zip(*found), products

        return run

    def gradient():
        return torch.autograd.grad(loss(params, *data[0]), params)

    gradient()
    return gradient, {
        "lobpcg": variant(lobpcg),
        "lanczos": variant(lanczos),
        "lanczos from gradient": variant(lanczos, from_gradient=True),
    }


if __name__ == "__main__":
    common.report(CHOSEN, "torch", torch.__version__, case)
