"""What a service tells about itself, the unit that listens, and what is read of a target."""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calib.errors import InputError
from deploy.golden import GOLDEN_FILE, read_golden
from deploy.live import LiveForecaster
from deploy.live_status import Level, LiveLimits, stuck
from deploy.orin import check
from deploy.orin.device import l4t_of, read_device, sm_of
from deploy.orin.health import HEALTH_FILE, RELEASE, Heartbeat, read_health
from deploy.orin.preflight import problems
from deploy.orin.releases import Releases
from deploy.orin.service import TEMPLATE, Service
from deploy.orin.settings import Settings
from deploy.runtime import OnnxRuntime
from deploy.spec import read_manifest
from deploy.stamps import ExternalClock
from perception.types import FREE, GRID, Occupancy

REPOSITORY = Path(__file__).resolve().parents[2]


def heard(listener: socket.socket) -> list[str]:
    listener.setblocking(False)
    said = []
    while True:
        try:
            said.append(listener.recv(4096).decode())
        except BlockingIOError:
            return said


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_ready_once_and_beats_only_while_well(tmp_path: Path, abstract: bool) -> None:
    name = f"@geniedrive-test-{tmp_path.name}-{id(tmp_path)}" if abstract else str(tmp_path / "notify")
    now = [0.0]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name[1:] if abstract else name)
        beats = Heartbeat({"NOTIFY_SOCKET": name}, lambda: now[0])
        beats.tick(False, "FAULT inference_late")
        now[0] = 1.0
        beats.tick(True)
        beats.tick(True)
        now[0] = 2.0
        beats.tick(True, "OK")
        now[0] = 3.0
        beats.tick(False)
        beats.stopping()
        assert heard(listener) == [
            "STATUS=FAULT inference_late", "READY=1\nWATCHDOG=1", "WATCHDOG=1\nSTATUS=OK", "STOPPING=1",
        ]  # fmt: skip


def test_the_file_tells_progress_and_a_torn_one_is_no_health(tmp_path: Path) -> None:
    path, now = tmp_path / "health.json", [0.0]
    beats = Heartbeat({HEALTH_FILE: str(path), RELEASE: "abc"}, lambda: now[0])
    told = []
    for _ in range(3):
        beats.tick(True, "OK")
        now[0] += 1.0
        told.append(read_health(path))
    assert [t.ticks for t in told if t] == [1, 2, 3]
    assert told[0] and (told[0].release, told[0].healthy, told[0].alive()) == ("abc", True, True)
    tree = json.loads(path.read_text())
    for torn in ('{"pid": 1', "[]", json.dumps({**tree, "pid": None})):
        path.write_text(torn)
        assert read_health(path) is None
    assert read_health(tmp_path / "none") is None
    Heartbeat({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).tick(True)


class SilentEngine:
    """STAND-IN: never asked here."""

    bundle_id = "stand-in"


def test_missing_input_is_no_fault_of_the_process_but_an_unanswered_one_is() -> None:
    now = [100.0]
    clock = ExternalClock(lambda: round(now[0] * 1e6))
    live = LiveForecaster(SilentEngine(), clock, LiveLimits(), monotonic_s=lambda: now[0])  # type: ignore[arg-type]
    now[0] += 5.0
    tick = live.tick()
    assert tick.status.level is Level.FAULT and not stuck(tick), "a parked car has no input"
    stamp = round(now[0] * 1e6)
    live.offer_odometry(stamp - 1000, np.eye(4))  # never beyond the observation: no inference is begun
    live.offer_occupancy(stamp, Occupancy(np.full(GRID.shape, FREE, np.uint8)))
    assert stuck(live.tick())
    live.close()


@pytest.mark.parametrize("ros_setup", ["", "/opt/ros/humble/setup.bash"])
def test_the_unit_is_one_that_systemd_takes(tmp_path: Path, ros_setup: str) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("no systemd-analyze (apt-get install systemd)")
    releases = Releases(tmp_path)
    template = releases.path("0" * 16) / TEMPLATE
    template.parent.mkdir(parents=True)
    shutil.copy(REPOSITORY / "deploy/orin/geniedrive.service", template)
    text = Service(releases, "", ros_setup).unit_text("0" * 16)
    assert "@" not in text and "WatchdogSec=" in text and f"{tmp_path}/current" in text
    unit = tmp_path / "geniedrive.service"
    unit.write_text(text)
    done = subprocess.run([tool, "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "geniedrive" not in done.stderr, done.stderr
    unit.write_text(text.replace("Type=notify", "Type=notifiy"))
    done = subprocess.run([tool, "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False)
    assert "notifiy" in done.stderr, "the check does not see a wrong unit"


def test_a_jetson_is_told_by_its_own_files(tmp_path: Path) -> None:
    """Contents as NVIDIA's images have them."""
    tree = tmp_path / "proc/device-tree"
    tree.mkdir(parents=True)
    (tree / "model").write_bytes(b"NVIDIA Jetson AGX Orin Developer Kit\0")
    (tree / "compatible").write_bytes(b"nvidia,p3737-0000+p3701-0005\0nvidia,p3701-0005\0nvidia,tegra234\0")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text(
        "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC\n"
    )
    setup = tmp_path / "opt/ros/humble/setup.bash"
    setup.parent.mkdir(parents=True)
    setup.touch()
    device = read_device(tmp_path / "not/there", root=tmp_path)
    assert (device.model, device.l4t, device.sm) == ("NVIDIA Jetson AGX Orin Developer Kit", "36.4.3", "8.7")
    assert device.ros == ("humble",) and device.free_bytes > 0 and device.missing_packages == ()
    assert (l4t_of("# R32 (release), REVISION: 7.2"), l4t_of("")) == ("32.7.2", "unknown")
    assert (sm_of("nvidia,tegra194"), sm_of("")) == ("unknown", "unknown")


def test_a_target_that_cannot_take_it_is_told_all_that_is_wrong(tmp_path: Path) -> None:
    settings = Settings("/dev/null/car", "trt", "0" * 16 + "-trt", "", 10**15, "auto", "", 100.0, 5, 2, 60.0, 3)
    releases = Releases(Path(settings.prefix))
    device = read_device(releases.prefix, root=tmp_path)
    bare = type(device)(**{**vars(device), "missing_packages": ("cv2",), "rclpy": False, "ros": ("humble", "jazzy")})
    found = [f for f, _, _ in problems(settings, releases, bare)]
    wanted = ["cv2", "cannot be written", "MB free", "TensorRT unknown", "ROS 2 humble, jazzy"]
    assert all(any(w in f for f in found) for w in wanted), found


@pytest.fixture(scope="module")
def release(dense_bundle: Path, golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    (folder / "bundle").symlink_to(dense_bundle)
    shutil.copy(golden, folder / GOLDEN_FILE)
    return folder


def test_the_golden_check_passes_and_fails(
    release: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rewritten_golden: Callable[[str, float | None], bytes],
) -> None:
    manifest = read_manifest(release / "bundle")
    report = check.check(release, OnnxRuntime(release / "bundle", threads=1), rounds=1)
    assert [c.what for c in report.checks(manifest, 60_000.0) if not c.passed] == []
    assert [c.what for c in report.checks(manifest, 1e-3) if not c.passed] == ["tick: p99 after the first (ms)"]
    assert report.ran == ("tick",) and report.parity.ticks == 2 and 0 < report.latency.p50 <= report.latency.largest
    other = tmp_path / "release"
    shutil.copytree(release, other, symlinks=True)
    for name, amount, code, says in (
        ("out/forecast.trajectory", 0.01, 1, "check failed: trajectory: largest difference"),
        ("out/forecast.rows", None, 2, "out/forecast.rows is missing"),
    ):
        (other / GOLDEN_FILE).write_bytes(rewritten_golden(f"01/{name}", amount))
        assert check.main([str(other), "--rounds", "1", "--latency-ms", "60000"]) == code
        assert says in capsys.readouterr().err
    for content in (b"PK\3\4 cut off", b"", pickled()):
        (other / GOLDEN_FILE).write_bytes(content)
        with pytest.raises(InputError, match="golden"):
            read_golden(other / GOLDEN_FILE, manifest)


def pickled() -> bytes:
    """A file that runs code where somebody unpickles it."""
    file = io.BytesIO()
    np.savez(file, **{"00/in/rows": np.array([print], dtype=object)})
    return file.getvalue()


def test_the_check_runs_as_a_module_without_torch(release: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from deploy.orin.check import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, str(release), "--backend", "none"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "backend 'none'" in done.stderr
