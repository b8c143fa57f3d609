"""What the scripts for mini-batch sharpness share: options, weights, batches, the report.

Like `common`, import this before numpy, jax or torch.
"""

import json
import statistics
import time
from pathlib import Path

import common

# As in benches/support/learnable.rs.
SAMPLES = 4096
SIGNAL = 0.1
NOISY = 5

TOLERANCE = 1e-2  # of the residual, relative to the eigenvalue
ESTIMATE = 0.99 * TOLERANCE  # where |βs| stops: what is measured then is rounded differently
MAX_PRODUCTS = 48  # per batch; the memory of a basis

# A first run that took so long, and so many times the fastest trial, is the trial.
LONG = 30e3  # ms
FAR = 10


def options(description):
    parser = common.parser(description)
    parser.set_defaults(rounds=3, batches=[8, 32, 128])
    parser.add_argument("--weights-dir", type=Path, required=True,
                        help="what `cargo bench --bench minibatch -- --weights-dir` wrote")
    parser.add_argument("--variants", help="names to measure, separated by commas")
    return common.started(parser)


def samples():
    """Inputs and labels, bit for bit those of benches/support/learnable.rs."""
    import numpy as np

    noise, classes, _ = common.batch(SAMPLES)
    means = np.float32(SIGNAL) * common.floats(4, (common.CLASSES, common.WIDTHS[0]))
    drawn_anew = common.hashed(5, SAMPLES) % np.uint64(NOISY) == 0
    other = (common.hashed(6, SAMPLES) % np.uint64(common.CLASSES)).astype(np.int64)
    return noise + means[classes], np.where(drawn_anew, other, classes)


def weights(folder):
    """The parameters at initialization and after training."""
    import numpy as np

    initial = common.parameters()
    flat = np.fromfile(folder / "trained.f32", "<f4")
    ends = np.cumsum([p.size for p in initial])
    assert flat.size == ends[-1], "trained.f32 does not hold the weights of this network"
    parts = np.split(flat, ends[:-1])
    return {"init": initial,
            "trained": [part.reshape(p.shape) for part, p in zip(parts, initial)]}


def report(chosen, framework, version, case):
    """Measures by `case(params, inputs, labels) -> (gradient, variants)` for stacked batches.

    `gradient()` is one gradient of the first batch; each variant returns for all batches the
    eigenvalues, the residuals relative to them, and the number of products.
    """
    import numpy as np

    inputs, labels = samples()
    batches = json.loads((chosen.weights_dir / "batches.json").read_text(encoding="utf-8"))
    cases = []
    for name, params in weights(chosen.weights_dir).items():
        for size in chosen.batches:
            indices = np.array(batches[str(size)])
            gradient, variants = case(params, inputs[indices], labels[indices])
            found, trials = {}, {}
            variants = wanted(chosen, variants)
            for variant, run in variants.items():
                found[variant], trials[variant] = tried(run, trials)
            # A way that takes three times as long as the fastest is not worth more than its trial.
            fastest = min(trial for trial, in trials.values())
            good = {v: run for v, run in variants.items() if trials[v][0] <= 3 * fastest
                    and not found[v]["compiles"]}
            times = trials | common.interleaved({"gradient": gradient, **good}, chosen.rounds, 0)
            cases.append({"weights": name, "batch": size, "found": found, "times_ms": times})
            for part, measured in times.items():
                line = f"{framework} {name} batch {size:4d} {part:32s} "
                line += f"{statistics.median(measured):9.1f} ({min(measured):.1f})"
                if part in found:
                    line += "  mean {:.4f}, {} products, residual {:.1e}{}".format(
                        statistics.mean(found[part]["values"]), found[part]["hvps"],
                        found[part]["residual"],
                        ", one run with compilation" if found[part]["compiles"] else "")
                print(line, flush=True)
    common.save(chosen, framework, version, cases)


def wanted(chosen, variants):
    """Those of --variants, or all."""
    names = chosen.variants.split(",") if chosen.variants else list(variants)
    unknown = [name for name in names if name not in variants]
    if unknown:
        raise SystemExit(f"{unknown} are none of the ways {list(variants)}")
    return {name: variants[name] for name in names}


def tried(run, trials):
    """What a way finds, and the time of one run as a list of one; `trials` are those of others.

    The first run compiles and is not counted, unless it shows already that the way is far too slow.
    """
    import numpy as np

    start = time.perf_counter()
    values, residuals, products = run()
    first = 1e3 * (time.perf_counter() - start)
    fastest = min((trial for trial, in trials.values()), default=first)
    compiles = first > LONG and first > FAR * fastest
    found = {"values": [float(x) for x in values], "hvps": int(products),
             "residual": float(np.max(residuals)), "compiles": compiles}  # NaN stays NaN
    return found, [first] if compiles else common.interleaved({"way": run}, 1, 0)["way"]
