"""The target's end of a flash alone, as a process that is asked for one step after the other and killed in between."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest

from calib.errors import CheckFailed, InputError
from deploy.flash import Session, Target, agent_program
from deploy.orin.archive import sha256_file, unpack, verify_archive
from deploy.orin.health import read_health
from deploy.orin.releases import Releases
from deploy.orin.settings import Settings

HERE = Path(__file__).parent
# Without the golden check: test_flash.py has that.
STEPS = ("preflight", "copy", "unpack", "workspace", "engines", "switch", "restart", "health", "confirm")


@dataclass
class Agent:
    process: subprocess.Popen[bytes]
    session: Session

    def do(self, archive: Path, *steps: str) -> None:
        for step in steps:
            _ = self.session.copy(archive) if step == "copy" else self.session.do(step)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class Car:
    prefix: Path
    health_timeout_s: float = 20.0

    def settings(self, archive: Path) -> Settings:
        index = verify_archive(archive)
        return Settings(
            prefix=str(self.prefix), backend="ort", release=index.release("ort"), sha256=sha256_file(archive),
            size=archive.stat().st_size, ros_setup="none", latency_ms=1e5, rounds=1, threads=1,
            command=f"sh {HERE / 'restart.sh'} {HERE / 'serve_ticks.py'}",
            health_timeout_s=self.health_timeout_s, keep=2,
        )  # fmt: skip

    @contextmanager
    def agent(self, settings: Settings, limit: str = "") -> Iterator[Agent]:
        """limit: shell words before the start, such as `ulimit`."""
        program = agent_program()
        start = f"import sys; exec(sys.stdin.buffer.read({len(program)}))"
        command = ["/bin/sh", "-c", f'{limit} exec "$@"', "sh", sys.executable, "-c", start]
        with (
            tempfile.TemporaryFile() as said,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said) as process,
        ):
            assert process.stdin is not None and process.stdout is not None
            session = Session(Target("here"), process.stdin, process.stdout, said)
            session.greet(program + json.dumps(asdict(settings)).encode() + b"\n")
            yield Agent(process, session)

    def flash(self, archive: Path) -> None:
        with self.agent(self.settings(archive)) as agent:
            agent.do(archive, *STEPS)

    def forget(self, archive: Path) -> None:
        """As if that release had never been unpacked there."""
        releases = Releases(self.prefix)
        releases.discard(releases.path(verify_archive(archive).release("ort")))

    def assert_serves(self, archive: Path) -> int:
        release, deadline = verify_archive(archive).release("ort"), time.monotonic() + 30
        while time.monotonic() < deadline:
            health = read_health(self.prefix / "run/health.json")
            if health and health.alive() and health.release == release == Releases(self.prefix).current():
                return health.pid
            time.sleep(0.02)
        pytest.fail(f"{release} does not serve, told: {health}")


@pytest.fixture(scope="module")
def flashed(archives: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    prefix = tmp_path_factory.mktemp("agent") / "car"
    Car(prefix).flash(archives[0])
    yield prefix
    os.kill(int((prefix / "pid").read_text()), signal.SIGKILL)


@pytest.fixture
def car(flashed: Path, archives: tuple[Path, Path]) -> Iterator[Car]:
    """Serves the first release, before the test and after it."""
    car = Car(flashed)
    car.assert_serves(archives[0])
    yield car
    (flashed / "bad").unlink(missing_ok=True)
    car.assert_serves(archives[0])
    assert not Releases(flashed).on_trial()


@pytest.mark.parametrize("step", [s for s in STEPS[:-1] if s not in ("workspace", "engines")])  # empty here
def test_killed_after_a_step_the_old_release_serves(step: str, car: Car, archives: tuple[Path, Path]) -> None:
    before = car.assert_serves(archives[0])
    with car.agent(car.settings(archives[1])) as agent:
        agent.do(archives[1], *STEPS[: STEPS.index(step) + 1])
        agent.kill()
    if step in STEPS[: STEPS.index("switch")]:
        assert car.assert_serves(archives[0]) == before, "it was not even restarted"
    else:
        deadline = time.monotonic() + 30
        while car.assert_serves(archives[0]) == before:
            assert time.monotonic() < deadline, "nobody went back"
            time.sleep(0.02)


def test_killed_in_the_middle_of_a_copy_the_next_one_sends_the_rest(car: Car, archives: tuple[Path, Path]) -> None:
    settings = car.settings(archives[1])
    car.forget(archives[1])
    partial = Releases(car.prefix).partial(settings.release)
    partial.mkdir(exist_ok=True)
    half = archives[1].read_bytes()[: settings.size // 2]
    for content, sent in ((half, settings.size - len(half)), (half[:-1] + bytes([half[-1] ^ 1]), settings.size)):
        (partial / "archive.tar").write_bytes(content)
        with car.agent(settings) as agent:
            agent.session.do("preflight")
            assert f"{sent} of {settings.size} bytes" in agent.session.copy(archives[1])


def test_both_ends_killed_on_trial_the_next_start_goes_back(car: Car, archives: tuple[Path, Path]) -> None:
    """As after a power cut: nobody is left who remembers. What the unit runs before each start does."""
    releases = Releases(car.prefix)
    with car.agent(car.settings(archives[1])) as agent:
        agent.do(archives[1], "copy", "unpack")
        new = verify_archive(archives[1]).release("ort")
        releases.switch_on_trial(new, forward=True)
        agent.kill()
    assert releases.before_start() == new, "it may start once"
    command = [sys.executable, "-m", "deploy.orin.releases", str(car.prefix)]
    environment = {**os.environ, "PYTHONPATH": str(releases.current_link / "app")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=True)
    old = verify_archive(archives[0]).release("ort")
    assert releases.current() == old and old in done.stdout
    assert releases.before_start() == old and not releases.on_trial()
    # And so does the next flash, where nothing started it since.
    releases.switch_on_trial(new, forward=True)
    with car.agent(car.settings(archives[1])) as agent:
        agent.do(archives[1], "copy")
        assert releases.current() == old


def test_a_first_release_that_dies_leaves_none(archives: tuple[Path, Path], tmp_path: Path) -> None:
    car = Car(tmp_path / "car", health_timeout_s=1.5)
    car.prefix.mkdir()
    (car.prefix / "bad").write_text(f"{verify_archive(archives[0]).release('ort')}:dies")
    with pytest.raises(CheckFailed, match="it tells nothing; there is no release to go back to"):
        car.flash(archives[0])
    assert Releases(car.prefix).current() is None and not (car.prefix / "pid").exists()


def test_a_restart_that_fails_goes_back(car: Car, archives: tuple[Path, Path]) -> None:
    new = verify_archive(archives[1]).release("ort")
    failing = f'[ "$(basename "$(readlink {car.prefix}/current)")" != {new} ] || {{ echo no GPU; exit 3; }}; '
    settings = car.settings(archives[1])
    with (
        car.agent(replace(settings, command=failing + settings.command)) as agent,
        pytest.raises(CheckFailed, match=r"(?s)ended with 3:\nno GPU; went back to release [\w-]+, which is well"),
    ):
        agent.do(archives[1], *STEPS)


def test_the_target_refuses_what_the_host_let_through(
    car: Car, archives: tuple[Path, Path], tmp_path: Path,
    repacked: Callable[[Path, Path, Mapping[str, bytes]], None],
) -> None:  # fmt: skip
    """A copy that came over damaged, and an archive that is another release than was said."""
    settings = car.settings(archives[1])
    bad = bytearray(archives[1].read_bytes())
    bad[-4000] ^= 1
    (tmp_path / "bad.tar").write_bytes(bad)
    repacked(archives[0], tmp_path / "other.tar", {"app/NEW": b"other"})
    other = replace(car.settings(tmp_path / "other.tar"), release=settings.release)
    for archive, said, why in (
        ("bad.tar", settings, "the copy has sha256"),
        ("other.tar", other, "the archive is release"),
    ):
        car.forget(archives[1])
        with car.agent(said) as agent, pytest.raises(CheckFailed, match=f"{why}.*was not touched"):
            agent.do(tmp_path / archive, "copy", "unpack")
        assert not Releases(car.prefix).path(settings.release).exists()


def test_no_space_left(car: Car, archives: tuple[Path, Path]) -> None:
    """Injected: more than any disk has, and a limit of the kernel on the size of files."""
    settings = car.settings(archives[1])
    with car.agent(replace(settings, size=10**15)) as agent, pytest.raises(InputError, match=r"MB free.*not touched"):
        agent.do(archives[1], "preflight")
    car.forget(archives[1])
    with (
        car.agent(settings, limit="ulimit -f 2000;") as agent,
        pytest.raises(CheckFailed, match=r"File too large.*was not touched"),
    ):
        agent.do(archives[1], "copy", "unpack")
    assert not Releases(car.prefix).path(settings.release).exists()


def test_old_ones_go_and_a_damaged_one_is_unpacked_anew_and_never_gone_back_to(
    car: Car, archives: tuple[Path, Path], tmp_path: Path,
    repacked: Callable[[Path, Path, Mapping[str, bytes]], None],
) -> None:  # fmt: skip
    repacked(archives[0], tmp_path / "other.tar", {"app/NEW": b"other"})
    car.flash(tmp_path / "other.tar")
    releases, settings = Releases(car.prefix), car.settings(archives[1])
    assert len(list((car.prefix / "releases").iterdir())) == 2
    car.flash(archives[1])
    assert {p.name for p in (car.prefix / "releases").iterdir()} == {
        verify_archive(a).release("ort") for a in (tmp_path / "other.tar", archives[1])
    }
    old = releases.path(verify_archive(tmp_path / "other.tar").release("ort"))
    manifest = old / "bundle/manifest.json"
    whole = manifest.read_bytes()
    manifest.write_bytes(whole + b" ")
    with car.agent(replace(settings, release="")) as agent, pytest.raises(InputError, match=r"manifest\.json"):
        agent.do(archives[1], "previous")
    assert releases.current() == settings.release
    car.flash(tmp_path / "other.tar")
    assert manifest.read_bytes() == whole
    car.flash(archives[0])


def test_one_flash_at_a_time(car: Car, archives: tuple[Path, Path]) -> None:
    settings = car.settings(archives[1])
    with car.agent(settings) as first, car.agent(settings) as second:
        first.do(archives[1], "copy", "unpack")
        stdin, stdout = second.process.stdin, second.process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(b'{"step": "copy"}\n')
        stdin.flush()
        assert select.select([stdout], [], [], 0.5)[0] == []
        first.kill()
        assert b"is there already" in stdout.readline()


def test_only_plain_ids_are_releases(tmp_path: Path, archives: tuple[Path, Path]) -> None:
    releases = Releases(tmp_path)
    unpack(archives[0], releases.path("0" * 16 + "-ort"))
    (tmp_path / "current").symlink_to("releases/../../etc")
    assert releases.current() is None
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to("releases/" + "0" * 16 + "-ort")
    assert releases.current() == "0" * 16 + "-ort"
    (releases.path("0" * 16 + "-ort") / "previous").write_text("../../etc")
    assert releases.previous("0" * 16 + "-ort") is None
