"""A bundle is what was packed, or it is refused by the name of what is wrong, on the host and on the target alike."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from calib.errors import CheckFailed, InputError
from deploy.bundle import pack, write_bundle
from deploy.flash import AGENT, agent_program
from deploy.golden import GOLDEN_FILE, read_golden, stretches
from deploy.orin.archive import INDEX_FILE, sha256_file, unpack, verify_archive, verify_folder
from deploy.parity_stream import given_ticks
from deploy.spec import read_manifest
from deploy.torch_runtime import TorchRuntime
from genie.data.sequence import Sequence
from genie.model import GenieDrive

REPOSITORY = Path(__file__).resolve().parents[2]
Change = Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes] | None]


def rewritten(archive: Path, to: Path, change: Change, more: list[tuple[tarfile.TarInfo, bytes]] | None = None) -> Path:
    """The archive as somebody else would write it: each member changed or left out, further ones behind."""
    with tarfile.open(archive) as old, tarfile.open(to, "w", format=tarfile.PAX_FORMAT) as new:
        members = []
        for member in old:
            file = old.extractfile(member)
            changed = change(member, file.read() if file else b"")
            members += [changed] if changed else []
        for member, content in members + (more or []):
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return to


def unchanged(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return member, content


def special(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def with_listed(name: str) -> Change:
    """As if the index, too, knew the file."""

    def change(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if member.name == INDEX_FILE:
            tree = json.loads(content)
            tree["files"][name] = {
                "size": 0,
                "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            }
            content = json.dumps(tree).encode()
        return member, content

    return change


def test_packed_is_unpacked_and_equal_content_gives_equal_bytes(
    dense_bundle: Path, golden: Path, archives: tuple[Path, Path], tmp_path: Path
) -> None:
    again = tmp_path / "again.tar"
    index = pack(dense_bundle, golden, again)
    assert again.read_bytes() == archives[0].read_bytes()
    folder = tmp_path / "release"
    assert unpack(again, folder) == index == verify_folder(folder)
    for name in ("manifest.json", "tick.onnx"):
        assert (folder / "bundle" / name).read_bytes() == (dense_bundle / name).read_bytes()
    assert not (folder / "bundle/weights.safetensors").exists()
    assert verify_archive(archives[1]).release("ort") != index.release("ort") != index.release("trt")


def test_the_command_packs_what_onnx_runtime_reproduces(
    dense_bundle: Path, tmp_path: Path, geniedrive: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "car.tar"
    assert geniedrive("bundle", dense_bundle, "--out", out, "--ticks", 2, "--threads", 1) == 0
    assert sha256_file(out) in capsys.readouterr().out
    unpack(out, tmp_path / "release")
    manifest = read_manifest(tmp_path / "release/bundle")
    first, second = read_golden(tmp_path / "release" / GOLDEN_FILE, manifest)
    assert (first.inputs["plan_given"], second.inputs["plan_given"]) == (1.0, 0.0)
    assert first.truth is not None and not first.state and second.state.keys() == manifest.state().keys()


def test_an_export_that_computes_otherwise_is_not_packed(
    dense_bundle: Path, other_export: dict[str, bytes], model: GenieDrive, stream: Sequence, tmp_path: Path
) -> None:
    for name, content in other_export.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    with pytest.raises(CheckFailed, match=r"nothing was packed.*trajectory"):
        reference = TorchRuntime(model, "dense")
        write_bundle(tmp_path / "bundle", tmp_path / "car.tar", reference, given_ticks(stream, 2), 2, threads=1)
    assert not (tmp_path / "car.tar").exists()


@pytest.mark.parametrize("ticks", [2, 5, 12, 99])
def test_a_gated_recording_begins_a_stretch_in_each_bucket(dense_bundle: Path, ticks: int) -> None:
    dense = read_manifest(dense_bundle)
    ends = stretches(ticks, replace(dense, form="gated"))
    assert max(ends) == ticks - 1 and ends[ticks - 1] == 0
    if ticks >= 5:
        assert list(ends.values()) == [640, 256, 128, 64, 0]
    assert stretches(ticks, dense) == {ticks - 1: 0}


def test_what_it_carries_runs_without_this_checkout_and_without_torch(
    archives: tuple[Path, Path], tmp_path: Path
) -> None:
    unpack(archives[0], tmp_path / "release")
    app = tmp_path / "release/app"
    code = (
        "import sys; sys.modules['torch'] = None; sys.path.insert(0, sys.argv[1]);"
        "import deploy.pipeline, deploy.live, deploy.orin.check, genie.cli.main, genie.cli.ros, genie.cli.ros_env;"
        "import deploy.spec; assert deploy.spec.__file__.startswith(sys.argv[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(app)], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": "/usr/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (app / "ros2_ws/src/genie_msgs/msg/OccupancyForecast.msg").is_file()
    assert (app / "tools/setup_ros.py").is_file() and not (app / "genie/training").exists()


@pytest.mark.parametrize(
    ("change", "more", "says"),
    [
        (unchanged, [special("../evil")], "unsafe name '../evil'"),
        (unchanged, [special("app/../../evil")], "unsafe name"),
        (unchanged, [special("/etc/evil")], "unsafe name '/etc/evil'"),
        (with_listed("../evil"), [], "unsafe name '../evil'"),
        (with_listed("/etc/evil"), [special("/etc/evil")], "unsafe name '/etc/evil'"),
        (with_listed("app/a\\b"), [], "unsafe name"),
        (unchanged, [special("app/link", tarfile.SYMTYPE, "/etc/passwd")], "'app/link' is no regular file"),
        (with_listed("app/link"), [special("app/link", tarfile.LNKTYPE, "/etc/passwd")], "no regular file"),
        (unchanged, [special("app/dev", tarfile.CHRTYPE)], "'app/dev' is no regular file"),
        (unchanged, [special("app/pipe", tarfile.FIFOTYPE)], "'app/pipe' is no regular file"),
        (unchanged, [special("app/folder", tarfile.DIRTYPE)], "'app/folder' is no regular file"),
        (unchanged, [special("app/unlisted.py")], "'app/unlisted.py' is not listed"),
        (unchanged, [special("bundle/tick.onnx")], "'bundle/tick.onnx' is not listed in index.json, or is there twice"),
        (lambda m, c: (m, c[:-1] + b"?") if m.name == "golden.npz" else (m, c), [], "'golden.npz' has sha256"),
        (lambda m, c: (m, c + b"?") if m.name == "golden.npz" else (m, c), [], "'golden.npz' has .* bytes"),
        (lambda m, c: None if m.name == "golden.npz" else (m, c), [], "golden.npz missing"),
        (lambda m, c: None if m.name == INDEX_FILE else (m, c), [], "index.json does not come first"),
        (lambda m, c: (m, b"[]") if m.name == INDEX_FILE else (m, c), [], "index.json cannot be read"),
        (lambda m, c: (m, c.replace(b'"schema": 1', b'"schema": 9')), [], "schema 9"),
    ],
)  # fmt: skip
def test_an_archive_that_is_not_in_order_is_refused_by_name(
    archives: tuple[Path, Path], tmp_path: Path, change: Change, more: list[tarfile.TarInfo], says: str
) -> None:
    other = rewritten(archives[0], tmp_path / "other.tar", change, [(m, b"") for m in more])
    with pytest.raises(InputError, match=says) as error:
        verify_archive(other)
    assert str(error.value.path).startswith(str(tmp_path))
    with pytest.raises(InputError, match=says):
        unpack(other, tmp_path / "out/release")
    assert not list(tmp_path.rglob("evil*")) and not list(tmp_path.rglob("link"))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_copy_that_was_cut_off_is_refused(archives: tuple[Path, Path], tmp_path: Path, share: float) -> None:
    whole = archives[0].read_bytes()
    short = tmp_path / "short.tar"
    short.write_bytes(whole[: int(share * verify_archive(archives[0]).size)])
    with pytest.raises(InputError, match=r"cut off|not a bundle|missing") as error:
        verify_archive(short)
    assert error.value.path == short


def test_a_release_that_was_changed_on_the_disk_is_noticed(archives: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "release"
    unpack(archives[0], folder)
    (folder / "bundle/engine.built").write_bytes(b"built on the target")
    verify_folder(folder)
    changed = folder / "app/deploy/pipeline.py"
    changed.write_text(changed.read_text() + "#")
    with pytest.raises(InputError, match="sha256") as error:
        verify_folder(folder)
    assert error.value.path == changed
    changed.unlink()
    changed.symlink_to("/etc/hostname")
    with pytest.raises(InputError, match="missing"):
        verify_folder(folder)


def test_the_agent_needs_the_standard_library_alone() -> None:
    """It runs on a target where nothing is installed: no third-party import, and of ours only what is sent with it."""
    for name in AGENT:
        tree = ast.parse((REPOSITORY / (name.replace(".", "/") + ".py")).read_text())
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for imported in names:
                known = imported.partition(".")[0] in sys.stdlib_module_names
                assert known or imported in AGENT[: AGENT.index(name)], (name, imported)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", agent_program().decode()],
        input=b"",
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert b"JSONDecodeError" in done.stderr, "it ends only because nobody sent it settings"
