"""PyTorch on the processor: gradient and Hessian-vector products of the network of benches/support."""

import common

CHOSEN = common.options(__doc__)  # before torch is imported, which reads the number of threads

import torch
from torch.nn.functional import cross_entropy, relu

torch.set_num_threads(CHOSEN.threads)


def outputs(params, x):
    for i in range(0, len(params) - 2, 2):
        x = relu(torch.addmm(params[i + 1], x, params[i]))
    return torch.addmm(params[-1], x, params[-2])


def loss_function(name):
    def mean_cross_entropy(params, x, labels, targets):
        return cross_entropy(outputs(params, x), labels)

    def mse(params, x, labels, targets):
        return (outputs(params, x) - targets).square().sum(1).mean()

    return {"cross-entropy": mean_cross_entropy, "mse": mse}[name]


def case(name, size):
    loss = loss_function(name)
    params = [torch.from_numpy(p).requires_grad_() for p in common.parameters()]
    plain = tuple(p.detach() for p in params)
    v = [torch.from_numpy(p) for p in common.direction(common.parameters())]
    data = [torch.from_numpy(t) for t in common.batch(size)]
    grad = torch.autograd.grad

    def graph():
        """The primal pass: the gradient with what its own derivative needs."""
        return grad(loss(params, *data), params, create_graph=True)

    kept = graph()
    functional = torch.func.grad(lambda p: loss(p, *data))
    parts = {
        "gradient": lambda: grad(loss(params, *data), params),
        "graph of gradient": graph,
        "double backward, graph kept": lambda: grad(kept, params, v, retain_graph=True),
        "double backward from scratch": lambda: grad(graph(), params, v),
        "func.jvp of gradient": lambda: torch.func.jvp(functional, (plain,), (tuple(v),))[1],
    }
    ways = [k for k in parts if k.startswith("double") or k.startswith("func")]
    products = {way: [p.detach() for p in parts[way]()] for way in ways}
    value = loss(plain, *data)
    numbers = common.check(value, parts["gradient"](), products)
    return numbers, parts


if __name__ == "__main__":
    common.report(CHOSEN, "torch", torch.__version__, case)
