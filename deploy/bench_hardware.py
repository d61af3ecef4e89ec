"""What a machine runs at: power mode, clocks, temperatures, memory; read from the kernel's files, never set.

On a Jetson the power mode decides more than the model does, and a hot one slows down: a time without these says little.
Files that need root, or that a machine does not have, read None.
"""

from __future__ import annotations

import re
import resource
from dataclasses import dataclass
from pathlib import Path

# Of JetPack 5 and 6.
_GPU_CLOCKS = ("sys/class/devfreq/17000000.gpu", "sys/class/devfreq/17000000.ga10b")
_EMC_RATE = "sys/kernel/debug/bpmp/debug/clk/emc/rate"
_CPU_CLOCKS = "sys/devices/system/cpu/cpu0/cpufreq"


@dataclass(frozen=True)
class Clock:
    """MHz. now, and the bounds between which it may move: equal ones are pinned (jetson_clocks)."""

    now: float | None
    least: float | None
    most: float | None


@dataclass(frozen=True)
class Hardware:
    """mode: of nvpmodel, such as "MODE_30W". governor: of the first core. celsius: by thermal zone.
    peak_ram_mb: the most that this process has held. accelerator: GPU, TensorRT and CUDA, or None on the CPU.
    gpu_used_mb: of the GPU's memory, by everybody; a Jetson shares it with the CPU."""

    mode: str | None
    cpu: Clock
    governor: str | None
    gpu: Clock
    emc_mhz: float | None
    celsius: dict[str, float]
    peak_ram_mb: float
    accelerator: str | None = None
    gpu_used_mb: float | None = None


def read_hardware(backend: str, root: Path = Path("/")) -> Hardware:
    """Now. root: where the kernel's files hang."""
    gpu = next((root / folder for folder in _GPU_CLOCKS if (root / folder).is_dir()), None)
    cpu = root / _CPU_CLOCKS
    accelerator, used_mb = _accelerator() if backend == "trt" else (None, None)
    return Hardware(
        mode=_power_mode(root),
        cpu=_clock(cpu, "scaling_{}_freq", 1e3),
        governor=_text(cpu / "scaling_governor"),
        gpu=_clock(gpu, "{}_freq", 1e6) if gpu else Clock(None, None, None),
        emc_mhz=_number(root / _EMC_RATE, 1e6),
        celsius=_temperatures(root),
        peak_ram_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        accelerator=accelerator,
        gpu_used_mb=used_mb,
    )


def _power_mode(root: Path) -> str | None:
    """nvpmodel writes the number of the mode, its configuration has the name."""
    found = re.search(r"pmode:(\d+)", _text(root / "var/lib/nvpmodel/status") or "")
    if found is None:
        return None
    number = int(found.group(1))
    named = re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", _text(root / "etc/nvpmodel.conf") or "")
    modes: dict[int, str] = {int(i): name for i, name in named}
    return modes.get(number, f"mode {number}")


def _temperatures(root: Path) -> dict[str, float]:
    """A zone whose part is switched off cannot be read."""
    found = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        name, degrees = _text(zone / "type"), _number(zone / "temp", 1e3)
        if name is not None and degrees is not None:
            found[name] = degrees
    return found


def _clock(folder: Path, files: str, of_a_mhz: float) -> Clock:
    return Clock(*(_number(folder / files.format(what), of_a_mhz) for what in ("cur", "min", "max")))


def _number(path: Path, unit: float) -> float | None:
    text = _text(path)
    return None if text is None else round(float(text) / unit, 1)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _accelerator() -> tuple[str, float]:
    from deploy.engine import load_tensorrt, target_of
    from deploy.runtime_cuda import open_gpu

    api = load_tensorrt()
    gpu = open_gpu()
    target = target_of(api, gpu)
    told = f"{target.gpu} (SM {target.sm}), TensorRT {target.tensorrt}, CUDA {target.cuda}"
    return told, gpu.used_bytes() / 2**20
