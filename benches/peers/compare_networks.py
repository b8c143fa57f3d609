"""Convolutional networks in burn-sharpness and JAX: one table per number of threads, in Markdown.

    python benches/peers/compare_networks.py --python VENV/bin/python --threads 1,2

Runs the networks of `benches/figures` and `networks_jax.py` in turn like compare.py, and checks that
both computed the same loss, gradient and Hessian-vector product.
"""

import compare

COLUMNS = ["network", "batch", "burn: gradient", "burn-sharpness: product", "product/gradient",
           "JAX: gradient", "JAX: product", "product/gradient", "gradient, ours/JAX",
           "product, ours/JAX"]
LAYOUTS = ("NCHW", "NHWC")


def main():
    chosen = compare.parser(__doc__, rounds=5, passes=3, batches="64").parse_args()
    program, everything = chosen.program or compare.build("figures"), []
    for threads in (int(n) for n in chosen.threads.split(",")):
        reports = compare.run_passes(chosen, commands(chosen, program, threads), threads)
        compare.agree(reports, ("network", "batch"))
        everything += reports
        compare.headline(chosen, reports, threads)
        table(reports)
        compare.save(chosen, everything)


def commands(chosen, program, threads):
    # `figures` has its own measure of rounds: networks take a tenth of them.
    figures = [program, "--bench", "--only", "networks", "--rounds", str(10 * chosen.rounds),
               "--batches", chosen.batches]
    common = ["--rounds", str(chosen.rounds), "--batches", chosen.batches]
    return {"figures": figures,
            "networks_jax.py": compare.script(chosen, "networks_jax.py", threads, common)}


def table(reports):
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for key in {(c["network"], c["batch"]): None for r in reports for c in r["cases"]}:
        network, batch = key
        ours, jax = (compare.cases(reports, framework, network=network, batch=batch)
                     for framework in ("burn-sharpness", "jax"))
        (jax_gradient, gradient_way), (jax_product, product_way) = (
            min((compare.median(jax, [f"{part} {layout}"]), f"{part} {layout}")
                for layout in LAYOUTS) for part in ("gradient", "product"))
        gradient, product = (compare.median(ours, [part]) for part in ("gradient", "product"))
        cells = [network, str(batch), f"{gradient:.3g}", f"{product:.3g}",
                 f"{compare.ratio(ours, ['product'], 'gradient'):.2f}",
                 f"{jax_gradient:.3g} ({gradient_way.split()[1]})",
                 f"{jax_product:.3g} ({product_way.split()[1]})",
                 f"{compare.ratio(jax, [product_way], gradient_way):.2f}",
                 f"{gradient / jax_gradient:.2f}", f"{product / jax_product:.2f}"]
        print(f"| {' | '.join(cells)} |")
    print("\nMilliseconds, medians; of JAX the faster layout of images.\n")


if __name__ == "__main__":
    main()
