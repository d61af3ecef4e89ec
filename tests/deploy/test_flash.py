"""Flashing over the system's ssh to a real sshd on this machine, with ONNX Runtime. What serves is a process of its
own; after every failure and every kill the release that served before serves on."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.orin.archive import verify_archive
from deploy.orin.health import read_health
from deploy.orin.settings import STEPS

HERE = Path(__file__).parent
Repack = Callable[[Path, Path, Mapping[str, bytes]], None]


@dataclass
class Car:
    """The loopback target: how to reach it, and what runs there."""

    login: list[str]
    prefix: Path
    run: Callable[..., int]

    def arguments(self, archive: Path | None, *more: object, **options: object) -> list[str]:
        command = f"sh {HERE / 'restart.sh'} {HERE / 'serve_ticks.py'}"
        given = {
            "prefix": self.prefix,
            "backend": "ort",
            "ros-setup": "none",
            "restart-command": command,
            "python": sys.executable,
            "latency-ms": 60_000,
            "rounds": 1,
            "threads": 2,
            "health-timeout": 60,
            **options,
        }
        told = [str(x) for name, value in given.items() for x in (f"--{name.replace('_', '-')}", value)]
        bundle = [] if archive is None else ["--bundle", str(archive)]
        return ["flash", *self.login, *bundle, *told, *map(str, more)]

    def flash(self, archive: Path | None, *more: object, **options: object) -> int:
        return self.run(*self.arguments(archive, *more, **options))

    def start(self, archive: Path) -> subprocess.Popen[str]:
        """As a process of its own, that can be killed."""
        command = [sys.executable, "-u", "-m", "genie.cli.main", *self.arguments(archive)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    @property
    def current(self) -> str:
        return os.readlink(self.prefix / "current").rpartition("/")[2]

    def assert_serves(self, archive: Path, timeout_s: float = 30.0) -> int:
        """The process of that release is alive, and its ticks go on. Returns its process id."""
        release, deadline, first = verify_archive(archive).release("ort"), time.monotonic() + timeout_s, None
        while time.monotonic() < deadline:
            health = read_health(self.prefix / "run/health.json")
            if health and health.alive() and health.release == release == self.current:
                if first and first.pid == health.pid and health.ticks > first.ticks:
                    return health.pid
                first = first if first and first.pid == health.pid else health
            time.sleep(0.05)
        pytest.fail(f"{release} does not serve; current is {self.current}, told {health}")

    def listing(self) -> list[str]:
        """All that is there but what the running process tells."""
        return sorted(str(p) for p in self.prefix.rglob("*") if p.name != "health.json" and "run/." not in str(p))


@dataclass(frozen=True)
class Flashed:
    """What the first flash of a car came to."""

    prefix: Path
    code: int
    said: str


def key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """An sshd of our own on a free port, with keys of its own, run as this user."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if sshd is None or shutil.which("ssh") is None:
        pytest.skip("no OpenSSH server and client (apt-get install openssh-server)")
    folder = tmp_path_factory.mktemp("sshd")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its package's unit makes it; sshd as root insists
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    host_key, client_key = key(folder / "host"), key(folder / "client")
    shutil.copy(client_key.with_suffix(".pub"), folder / "authorized_keys")
    known = host_key.with_suffix(".pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {known}")
    (folder / "ssh_config").write_text(f"UserKnownHostsFile {folder}/known_hosts\nStrictHostKeyChecking yes\n")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {host_key}\nPidFile {folder}/pid\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sshd, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    deadline = time.monotonic() + 20
    while b"listening" not in (folder / "log").read_bytes():
        assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.02)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    yield [f"{user}@127.0.0.1", "--port", str(port), "--identity", str(client_key), "--ssh-config",
           str(folder / "ssh_config")]  # fmt: skip
    process.terminate()
    process.wait()


def stop(prefix: Path) -> None:
    pid = prefix / "pid"
    if pid.is_file():
        os.kill(int(pid.read_text()), signal.SIGKILL)
        pid.unlink()


@pytest.fixture(scope="module")
def flashed(
    login: list[str], archives: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flashed]:
    """A car on which the first release was flashed, for all tests: each leaves it serving that one."""
    prefix = tmp_path_factory.mktemp("flashed") / "car"
    process = Car(login, prefix, lambda *_: 0).start(archives[0])
    said, _ = process.communicate(timeout=200)
    yield Flashed(prefix, process.returncode, said)
    pid = prefix / "pid"
    if pid.is_file():
        os.kill(int(pid.read_text()), signal.SIGKILL)


@pytest.fixture
def car(
    flashed: Flashed, login: list[str], archives: tuple[Path, Path], geniedrive: Callable[..., int]
) -> Iterator[Car]:
    car = Car(login, flashed.prefix, geniedrive)
    car.assert_serves(archives[0])
    yield car
    (flashed.prefix / "bad").unlink(missing_ok=True)
    car.assert_serves(archives[0])


def test_every_step_is_told(flashed: Flashed) -> None:
    assert flashed.code == 0, flashed.said
    told = [line.split()[0] for line in flashed.said.splitlines() if " ok  " in line and line[0] != " "]
    assert told == list(STEPS)
    assert "differing voxels: 0 " in flashed.said and "power mode" in flashed.said


def test_a_dry_run_looks_and_leaves_everything(car: Car, archives: tuple[Path, Path], tmp_path: Path) -> None:
    before, process = car.listing(), car.assert_serves(archives[0])
    assert car.flash(archives[1], "--dry-run") == 0
    assert car.flash(None, "--rollback", "--dry-run") == 0
    assert car.listing() == before and car.assert_serves(archives[0]) == process
    assert car.flash(archives[1], "--dry-run", prefix=tmp_path / "new") == 0
    assert not (tmp_path / "new").exists()


def test_refused_before_anything_is_touched(
    car: Car, archives: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, process = car.listing(), car.assert_serves(archives[0])
    bad = bytearray(archives[1].read_bytes())
    bad[len(bad) // 2] ^= 1
    (tmp_path / "bad.tar").write_bytes(bad)
    cases: list[tuple[Path | None, list[str], dict[str, object], str]] = [
        (tmp_path / "bad.tar", [], {}, "sha256"),
        (tmp_path / "none.tar", [], {}, "no such file"),
        (archives[1], [], {"sha256": "0" * 64}, "0000"),
        (None, [], {}, "no --bundle"),
        (archives[1], ["--rollback"], {}, "both"),
        (None, ["--rollback"], {}, "no release before"),
        (archives[1], [], {"python": "/nowhere/python3"}, "/nowhere/python3"),
        (archives[1], [], {"backend": "trt"}, "TensorRT unknown"),
        (archives[1], [], {"prefix": "/dev/null/car"}, "cannot be written"),
        (archives[1], [], {"identity": tmp_path / "none.tar"}, "Permission denied"),
    ]
    for archive, more, options, says in cases:
        assert car.flash(archive, *more, **options) == 2, says
        said = capsys.readouterr().err
        assert says in said and "to do:" in said and "Traceback" not in said, said
    assert car.listing() == before and car.assert_serves(archives[0]) == process


def test_what_does_not_compute_the_same_never_serves(
    car: Car, archives: tuple[Path, Path], repacked: Repack, other_export: dict[str, bytes], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    process = car.assert_serves(archives[0])
    repacked(archives[0], tmp_path / "other.tar", other_export)
    assert car.flash(tmp_path / "other.tar") == 1
    said = capsys.readouterr().err
    assert "golden on" in said and "was not touched" in said and "trajectory: largest difference" in said
    assert car.assert_serves(archives[0]) == process


def test_a_release_that_is_not_well_gives_way_to_the_one_before(
    car: Car, archives: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (car.prefix / "bad").write_text(f"{verify_archive(archives[1]).release('ort')}:stuck")
    assert car.flash(archives[1], health_timeout=4) == 1
    said = capsys.readouterr().err
    assert "health on" in said and "inference_late" in said and "which is well" in said


def test_killed_after_a_step_the_old_release_serves_and_a_further_flash_works(
    car: Car, archives: tuple[Path, Path]
) -> None:
    """One kill -9 of the host's end after another, each flash going on from what the one before left. The new release
    tells that it is not well until the kills are over: else one that comes late finds it confirmed. Each step by
    itself, and kills of the target's end: test_flash_agent.py."""
    first, second = archives
    (car.prefix / "bad").write_text(f"{verify_archive(second).release('ort')}:stuck")
    for step in ("copy", "engines", "switch", "restart"):
        process = car.start(second)
        assert process.stdout is not None
        assert any(line.startswith(step) for line in process.stdout), f"never came to {step}"
        process.kill()
        process.wait()
        process.stdout.close()
        car.assert_serves(first)
    (car.prefix / "bad").unlink()
    assert car.flash(second) == 0
    car.assert_serves(second)
    assert car.flash(None, "--rollback") == 0
