"""Bad input through the real command line: names the file, what was expected and what to do; exit 2, no traceback."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from genie.cli.main import main
from genie.data.synth.config import SynthConfig
from genie.data.synth.generate import generate
from perception.types import GRID

SCENE = "scene-0001"


@pytest.fixture(scope="module")
def whole_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "data"
    generate(out, SynthConfig(scenes=1, seconds=7.0, seed=5))
    return out


@pytest.fixture
def root(whole_root: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(whole_root, tmp_path / "data"))


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def geniedrive(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., Outcome]:
    """The command, in this process."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["geniedrive", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Outcome(code, *capsys.readouterr())

    return run


def some_label(root: Path) -> Path:
    return sorted((root / "gts" / SCENE).glob("*/labels.npz"))[3]


def save_label(root: Path, semantics: np.ndarray) -> Path:
    path = some_label(root)
    np.savez_compressed(path, semantics=semantics)
    return path


def truncate(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def cut_after_a_bracket(path: Path) -> Path:
    """Half-written, but it ends as a whole table would."""
    text = path.read_text()
    path.write_text(text[: text.rindex("]", 0, len(text) // 2) + 1])
    return path


def swap_tables(root: Path) -> Path:
    """Two tables of different releases: their tokens do not meet."""
    shutil.copy(root / "v1.0-synth" / "sensor.json", root / "v1.0-synth" / "instance.json")
    return root / "v1.0-synth"


def remove(path: Path) -> Path:
    path.unlink()
    return path


def blank(dtype: type = np.uint8, shape: tuple[int, ...] = GRID.shape, value: int = 17) -> np.ndarray:
    return np.full(shape, value, dtype)


# What is done to the data root (it returns the file that the message must name), and what the message must say of it.
DAMAGE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing table": (lambda root: remove(root / "v1.0-synth" / "sample_annotation.json"), "sample_annotation"),
    "half-written table": (lambda root: truncate(root / "v1.0-synth" / "ego_pose.json"), "JSON"),
    "table cut after a bracket": (
        lambda root: cut_after_a_bracket(root / "v1.0-synth" / "sample_annotation.json"),
        "JSON",
    ),
    "tables of two releases": (swap_tables, "do not fit together"),
    "missing map mask": (lambda root: remove(next((root / "maps").glob("*.png"))), "map mask"),
    "truncated label": (lambda root: truncate(some_label(root)), "truncated"),
    "wrong shape": (lambda root: save_label(root, blank(shape=(16, 200, 200))), "uint8 [200, 200, 16]"),
    "wrong dtype": (lambda root: save_label(root, blank(np.float32)), "float32"),
    "class id above 17": (lambda root: save_label(root, blank(value=255)), "255"),
    "pickled objects": (lambda root: save_label(root, np.array([{"a": 1}], object)), "labels.npz"),
}
COMMANDS: dict[str, Callable[[Path], tuple[object, ...]]] = {
    "eval": lambda root: ("eval", "--dataroot", root, "--source", "occ3d", "--protocol", "dome", "--model", "copy"),
    "info": lambda root: ("data", "info", root),
}


def assert_refused(outcome: Outcome, *said: object) -> None:
    assert outcome.code == 2, outcome
    assert "Traceback" not in outcome.out + outcome.err
    for part in (*said, "expected:", "to do:"):
        assert str(part) in outcome.err, outcome.err
    assert "mIoU" not in outcome.out  # no score beside an error


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_data_is_named(root: Path, geniedrive: Callable[..., Outcome], damage: str, command: str) -> None:
    spoil, said = DAMAGE[damage]
    path = spoil(root)
    assert_refused(geniedrive(*COMMANDS[command](root)), path, said)


def test_the_same_commands_succeed_on_whole_data(root: Path, geniedrive: Callable[..., Outcome]) -> None:
    for command in COMMANDS.values():
        outcome = geniedrive(*command(root))
        assert outcome.code == 0, outcome


@pytest.mark.parametrize("command", [*COMMANDS, "stream"])
def test_wrong_dataroot(tmp_path: Path, geniedrive: Callable[..., Outcome], command: str) -> None:
    commands = {**COMMANDS, "stream": lambda root: ("eval", "--dataroot", root, "--model", "copy")}
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nowhere", tmp_path / "empty"):
        assert_refused(geniedrive(*commands[command](folder)), folder)


def test_a_missing_label_is_named(root: Path, geniedrive: Callable[..., Outcome]) -> None:
    path = remove(some_label(root))
    assert_refused(geniedrive(*COMMANDS["eval"](root)), path.parent.name, "labels.npz")


def test_truncated_stream(root: Path, geniedrive: Callable[..., Outcome]) -> None:
    path = truncate(root / "stream" / f"{SCENE}.npz")
    assert_refused(geniedrive("eval", "--dataroot", root, "--model", "copy"), path, "truncated")


@pytest.mark.parametrize("source", ["stream", "occ3d"])
def test_unknown_scene_lists_those_there_are(root: Path, geniedrive: Callable[..., Outcome], source: str) -> None:
    arguments = ("eval", "--dataroot", root, "--source", source, "--model", "copy", "--scenes", f"{SCENE},scene-9999")
    assert_refused(geniedrive(*arguments), "scene-9999", SCENE, root)


def test_a_protocol_of_the_other_source(root: Path, geniedrive: Callable[..., Outcome]) -> None:
    arguments = ("eval", "--dataroot", root, "--source", "stream", "--protocol", "occworld", "--model", "copy")
    assert_refused(geniedrive(*arguments), "occworld", "stream+5")


def test_a_model_that_is_not_there(root: Path, geniedrive: Callable[..., Outcome]) -> None:
    missing = root / "no-such-run"
    assert_refused(geniedrive("eval", "--dataroot", root, "--model", missing), missing, "ego-warp")


def test_an_error_leaves_an_older_result_alone(root: Path, geniedrive: Callable[..., Outcome]) -> None:
    truncate(some_label(root))
    result = root.parent / "result.json"
    result.write_text("{}")
    assert_refused(geniedrive(*COMMANDS["eval"](root), "--json", result))
    assert result.read_text() == "{}"


def test_as_a_process(tmp_path: Path) -> None:
    """Once through the real entry point: the exit code and the streams are what a shell sees."""
    command = [sys.executable, "-m", "genie.cli.main", "data", "info", str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert_refused(Outcome(done.returncode, done.stdout, done.stderr), tmp_path / "nowhere")
