"""What both scripts share: arguments, threads, inputs, the interleaved clock, the report.

Import this before numpy, jax or torch: it sets the number of threads, which they read once.
"""

import argparse
import json
import os
import time

WIDTHS = (3072, 512, 512, 10)
CLASSES = WIDTHS[-1]
LOSSES = ("cross-entropy", "mse")


def options(description):
    return started(parser(description))


def parser(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30, help="rounds per batch size and loss")
    parser.add_argument("--batches", type=lambda s: [int(b) for b in s.split(",")],
                        default=[8, 64, 256, 1024], help="batch sizes, separated by commas")
    parser.add_argument("--json", help="file for every measured time")
    return parser


def started(parser):
    """Parses the arguments and pins this process to as many processors as it may use threads."""
    chosen = parser.parse_args()
    pin(chosen.threads)
    return chosen


def pin(threads):
    """Both frameworks size their pools by these variables or by the affinity mask."""
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < threads:
            raise SystemExit(f"{threads} threads asked for, {len(allowed)} processors available")
        os.sched_setaffinity(0, allowed[-threads:])
    for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR"):
        os.environ[f"{name}_NUM_THREADS"] = str(threads)


def hashed(stream, n):
    """SplitMix64 at positions 0..n of a stream, as in benches/support."""
    import numpy as np

    positions = np.arange(n, dtype=np.uint64) | np.uint64(stream << 40)
    z = (positions + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def floats(stream, shape, bound=1.0):
    """Uniform float32 numbers in [-bound, bound), the same as in benches/support."""
    import numpy as np

    bits = hashed(stream, int(np.prod(shape))) >> np.uint64(40)
    unit = bits.astype(np.float32) / np.float32(2**23) - np.float32(1)
    return (np.float32(bound) * unit).reshape(shape)


def parameters():
    """Weights [in, out] and biases of each layer, in order."""
    import numpy as np

    values = []
    for layer, (fan_in, fan_out) in enumerate(zip(WIDTHS, WIDTHS[1:])):
        bound = np.float32(1) / np.sqrt(np.float32(fan_in))
        values.append(floats(10 + 2 * layer, (fan_in, fan_out), bound))
        values.append(floats(11 + 2 * layer, (fan_out,), bound))
    return values


def direction(parameters):
    """The vector v of Hv, in the shapes of the parameters."""
    import numpy as np

    shapes = [p.shape for p in parameters]
    sizes = [int(np.prod(shape)) for shape in shapes]
    parts = np.split(floats(3, (sum(sizes),)), np.cumsum(sizes)[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes)]


def batch(size, shape=WIDTHS[:1]):
    """Inputs of this shape, labels, one-hot labels."""
    import numpy as np

    inputs = floats(1, (size, *shape), np.sqrt(np.float32(3)))
    labels = (hashed(2, size) % np.uint64(CLASSES)).astype(np.int64)
    return inputs, labels, np.eye(CLASSES, dtype=np.float32)[labels]


def norm(parts):
    """Euclidean norm of a list of arrays, summed in float64."""
    import numpy as np

    return float(np.sqrt(sum(np.sum(np.square(np.asarray(p, np.float64))) for p in parts)))


def check(loss, gradient, products):
    """Fails unless all ways to compute Hv agree; returns loss, |gradient|, |Hv|."""
    import numpy as np

    first = next(iter(products.values()))
    size = norm(first)
    for name, product in products.items():
        error = norm([np.asarray(a) - np.asarray(b) for a, b in zip(first, product)])
        if not error <= 1e-4 * size:
            raise SystemExit(f"{name} differs from the other products by {error / size:.1e}")
    return [float(loss), norm(gradient), size]


def interleaved(parts, rounds, warm_up=None):
    """Runs each part once per round, so that all see the same load; milliseconds per part."""
    times = {name: [] for name in parts}
    warm_up = 2 + rounds // 10 if warm_up is None else warm_up
    for turn in range(warm_up + rounds):
        for name, part in parts.items():
            start = time.perf_counter()
            result = part()
            elapsed = time.perf_counter() - start
            del result
            if turn >= warm_up:
                times[name].append(1e3 * elapsed)
    return times


def timed(chosen, name, parts):
    """The times of `interleaved`, printed too."""
    import statistics

    times = interleaved(parts, chosen.rounds)
    for part, measured in times.items():
        median, least = statistics.median(measured), min(measured)
        print(f"{name} {part:32s} {median:9.2f} ({least:.2f})", flush=True)
    return times


def report(chosen, framework, version, case):
    """Measures every loss and batch size by `case(loss, batch size) -> (check, parts)`."""
    cases = []
    for loss in LOSSES:
        for size in chosen.batches:
            numbers, parts = case(loss, size)
            times = timed(chosen, f"{framework} {loss} batch {size:5d}", parts)
            cases.append({"loss": loss, "batch": size, "check": numbers, "times_ms": times})
    save(chosen, framework, version, cases)


def save(chosen, framework, version, cases):
    """Writes every measured time to the file of --json."""
    if chosen.json:
        whole = {"framework": framework, "version": version, "threads": chosen.threads,
                 "cases": cases}
        with open(chosen.json, "w", encoding="utf-8") as file:
            json.dump(whole, file)
