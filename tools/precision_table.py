"""`python tools/precision_table.py BUNDLE...`: bytes of each bundle's matrix products and state, as Markdown."""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.bench_bytes import product_bytes
from deploy.bench_macs import state_bytes
from deploy.spec import read_manifest


def main(bundles: list[Path]) -> None:
    print("| bundle | graph | weights, MB | activations, MB | state, MB |\n|---|---|---|---|---|")
    for bundle in bundles:
        manifest = read_manifest(bundle)
        for name, graph in manifest.graphs.items():
            found = product_bytes(bundle / graph.file)
            megabytes = (found.weights, found.activations, state_bytes(manifest))
            print(f"| {manifest.precision} | {name} | " + " | ".join(f"{b / 1e6:.2f}" for b in megabytes) + " |")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
