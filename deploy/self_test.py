"""Before a node serves: does its runtime compute here what was recorded when the bundle was packed?"""

from __future__ import annotations

from pathlib import Path

from calib.errors import InputError
from deploy.golden import read_golden
from deploy.graph_runtime import Runtime
from deploy.orin.check import compare_golden
from deploy.spec import Manifest


def self_test(runtime: Runtime, manifest: Manifest, golden: Path) -> None:
    """
    Args:
        golden: the recording that is packed beside a bundle (deploy/golden.py).

    Raises:
        InputError: no such recording, or one of another bundle; or what is computed is something else.
    """
    report, _ = compare_golden(runtime, read_golden(golden, manifest), manifest)
    runtime.reset()
    failed = [f"{c.what} {c.found:.3g} > {c.limit:g}" for c in report.checks(manifest.limits) if not c.passed]
    if failed:
        raise InputError(
            f"the golden self-test failed: {'; '.join(failed)}",
            expected="what the bundle's recording holds, within the manifest's limits",
            fix="build the engines again on this machine, or flash the bundle again",
            path=golden,
        )
