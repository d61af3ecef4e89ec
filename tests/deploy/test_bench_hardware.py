"""What a Jetson's kernel files tell of power mode, clocks and heat; and what a machine without them says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deploy.bench import BundleTimes
from deploy.bench_hardware import Clock, Hardware, read_hardware
from deploy.bench_report import Machine, Run, as_markdown, as_tree

# As JetPack 6 has them, in the 30 W mode with pinned clocks.
ORIN = {
    "var/lib/nvpmodel/status": "pmode:0002",
    "etc/nvpmodel.conf": "< PARAM TYPE=CLOCK NAME=GPU >\nMAX_FREQ /sys/devices/platform/17000000.gpu/max_freq\n"
    "< POWER_MODEL ID=0 NAME=MAXN >\nGPU MAX_FREQ -1\n< POWER_MODEL ID=2 NAME=MODE_30W >\nGPU MAX_FREQ 612000000\n",
    "sys/class/devfreq/17000000.gpu/cur_freq": "612000000\n",
    "sys/class/devfreq/17000000.gpu/min_freq": "612000000\n",
    "sys/class/devfreq/17000000.gpu/max_freq": "612000000\n",
    "sys/kernel/debug/bpmp/debug/clk/emc/rate": "3199000000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1728000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": "729600\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1728000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48593\n",
    "sys/class/thermal/thermal_zone2/type": "cv0-thermal\n",  # switched off: it has no temperature
}


def orin(root: Path, **without: str) -> Path:
    for name, content in ORIN.items():
        if name not in without.values():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
    return root


def test_an_orin_tells_its_mode_its_clocks_and_its_heat(tmp_path: Path) -> None:
    found = read_hardware("ort", orin(tmp_path))
    assert found.mode == "MODE_30W" and found.governor == "schedutil" and found.emc_mhz == 3199.0
    assert found.gpu == Clock(612.0, 612.0, 612.0) and found.cpu == Clock(1728.0, 729.6, 1728.0)
    assert found.celsius == {"cpu-thermal": 48.6} and found.peak_ram_mb > 10
    run = Run(Machine("ARM", 8, "an OS", 0.1), "geniedrive bench", "2026-01-01", "s", 4, 2, None, 60.0, hardware=found)
    times = [BundleTimes("tiny", "0", {"total": [4.0, 3.0, 1.0, 2.0]}, [64, 64, 64, 128], [0])]
    markdown = as_markdown(run, times)
    for row in ("power mode | MODE_30W", "GPU clock | 612 MHz, between 612 and 612", "memory clock | 3199 MHz"):
        assert f"| {row} |" in markdown
    assert as_tree(run, times)["hardware"]["mode"] == "MODE_30W"


def test_a_mode_without_a_name_and_a_clock_for_root_alone(tmp_path: Path) -> None:
    root = orin(tmp_path, a="etc/nvpmodel.conf", b="sys/kernel/debug/bpmp/debug/clk/emc/rate")
    found = read_hardware("ort", root)
    assert found.mode == "mode 2" and found.emc_mhz is None


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    found = read_hardware("ort", tmp_path)
    nothing = Clock(None, None, None)
    assert found == Hardware(None, nothing, None, nothing, None, {}, found.peak_ram_mb)


def test_the_baseline_is_what_the_others_are_compared_with() -> None:
    def times(name: str, ms: float, rows: int) -> BundleTimes:
        return BundleTimes(name, name, {"total": [9.0, 9.0, ms, ms, ms]}, [2500, 2500, rows, rows, 128], [0])

    run = Run(Machine("ARM", 8, "an OS", 0.1), "geniedrive bench", "2026-01-01", "s", 5, 2, None, 60.0)
    gated, dense = times("gated", 2.0, 64), times("dense", 8.0, 0)
    markdown, tree = as_markdown(run, [gated, dense], dense), as_tree(run, [gated, dense], dense)
    assert [b["speed_up_to_baseline"] for b in tree["bundles"]] == [4.0, 1.0]
    assert "| 4.00x |" in markdown and "| dense (baseline) | dense |" in markdown
    assert "| gated | gated | 64: 2, 128: 1 |" in markdown
    assert "speed_up_to_baseline" not in as_tree(run, [gated])["bundles"][0]


def test_what_was_not_measured_depends_on_where_it_ran() -> None:
    run = Run(Machine("ARM", 8, "an OS", 0.1), "c", "d", "s", 4, 2, None, 1.0)
    assert run.not_measured == ("GPU", "TensorRT", "Jetson Orin")
    nothing = Clock(None, None, None)
    for name, missing in (("NVIDIA RTX A4000 (SM 8.6)", ("Jetson Orin",)), ("Orin (SM 8.7)", ())):
        hardware = Hardware(None, nothing, None, nothing, None, {}, 1.0, accelerator=name)
        assert replace(run, backend="trt", hardware=hardware).not_measured == missing
