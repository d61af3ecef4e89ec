"""What the demo shows: top views, error maps, the choice of windows, the HTML file; and the stages' ledger."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from calib.errors import InputError
from calib.transforms import se3_from_xyz_yaw
from genie.baselines import EgoWarpForecaster
from genie.cli.demo_run import Demo, DemoConfig
from genie.cli.demo_table import pooled
from genie.cli.stage import LEDGER, Ledger, Stage, run_stages
from genie.data.scenes import Scene, load_scenes
from genie.data.sequence import Sequence
from genie.evaluation import pictures, topview
from genie.evaluation.html import Card, Picture, Report, render
from genie.evaluation.report import to_json
from genie.evaluation.rollout import evaluate
from genie.evaluation.showcase import Shown, load_shown, show
from genie.training.scenes import split_scenes
from perception.types import CLASS_NAMES, FREE, GRID

CAR, ROAD, WALL = (CLASS_NAMES.index(n) for n in ("car", "driveable_surface", "manmade"))


def street(car_x: int) -> np.ndarray:
    """A road with a wall at its left, and a car of 10 x 5 voxels from cell `car_x` on."""
    scene = np.full(GRID.shape, FREE, np.uint8)
    scene[:, 80:120, 2] = ROAD
    scene[:, 125, 2:8] = WALL
    scene[car_x : car_x + 10, 98:103, 3:6] = CAR
    return scene


def test_an_error_map_tells_missed_from_wrongly_there() -> None:
    truth, forecast = street(150), street(140)
    forecast[:, 125, 2:8] = np.where(np.arange(200)[:, None] < 100, WALL, CLASS_NAMES.index("vegetation"))
    found = topview.verdicts(truth, forecast)
    assert (found[150:160, 98:103] == topview.MISSED).all()
    assert (found[140:150, 98:103] == topview.INVENTED).all()
    assert (found[:100, 125] == topview.RIGHT_STANDING).all() and (found[100:, 125] == topview.CONFUSED).all()
    assert (found[:140, 98:103] == topview.RIGHT_GROUND).all() and (found[:, :80] == topview.NOTHING).all()
    assert (topview.verdicts(truth, truth)[150:160, 98:103] == topview.RIGHT_MOVABLE).all()


def test_forward_is_up_and_left_is_left_and_the_highest_voxel_shows() -> None:
    scene = np.full(GRID.shape, FREE, np.uint8)
    scene[190, 190, :3] = ROAD
    scene[190, 190, 9] = CAR
    image = topview.scene_image(scene)
    rows, columns = np.nonzero((image != 255).any(axis=2))
    assert rows.max() < 100 * topview.SCALE and columns.max() < 100 * topview.SCALE
    middle = image[int(9.5 * topview.SCALE), int(9.5 * topview.SCALE)].astype(int)
    assert np.abs(middle - topview.CLASS_COLOURS[CAR]).max() < 60, "the car above the road is what is seen"


def made_sequence() -> Sequence:
    """4.5 s at 10 Hz: the car drives at 4 m/s, standing until 0.9 s."""
    frames = [street(60 + max(0, t - 9)) for t in range(46)]
    poses = se3_from_xyz_yaw(np.zeros((46, 3)), np.zeros(46))
    return Sequence("scene-0001", np.stack(frames), np.arange(46) * 100_000 + 10**12, poses, Path("made"))


@pytest.fixture(scope="module")
def shown() -> Shown:
    window = show(Scene(made_sequence(), None), "stream", EgoWarpForecaster(), EgoWarpForecaster())
    assert window is not None
    return window


def test_a_window_holds_what_happened_after_its_present(shown: Shown, tmp_path: Path) -> None:
    assert "1.0 s into it" in shown.title
    for row, frame in enumerate((20, 30, 40)):
        assert np.array_equal(shown.truth[row], street(60 + frame - 9))
    assert np.array_equal(shown.baseline[2], shown.observation), "nothing moves but the ego, and it stands"
    shown.save(tmp_path / "0.npz")
    again = load_shown(tmp_path / "0.npz")
    assert again.title == shown.title and np.array_equal(again.forecast, shown.forecast)
    (tmp_path / "0.npz").write_bytes((tmp_path / "0.npz").read_bytes()[:500])
    with pytest.raises(InputError, match=r"0\.npz.*truncated"):
        load_shown(tmp_path / "0.npz")


def made_report(shown: Shown) -> Report:
    horizons = {h: {"miou": 40.0, "iou": 50.0, "miou_moving": None} for h in ("1.0", "2.0", "3.0")}
    better = {**horizons, "2.0": {"miou": 41.26, "iou": 50.0, "miou_moving": None}}
    ros: dict[str, Any] = {
        "seconds": 20.0, "forecasts": 600, "forecasts_lost": 1, "published_hz": 29.97, "new_inferences": 150,
        "new_inference_hz": 7.5, "observations_skipped": 40, "longest_silence_ms": 51.0, "inference_ms": None,
        "latency_ms": {"count": 150, "median": 160.4, "p95": 210.0, "max": 300.0},
        "levels": {"OK": 590, "DEGRADED": 10, "HOLD": 0, "FAULT": 0},
        "timeline": [
            {"begin_s": 0.0, "end_s": 5.0, "level": "DEGRADED", "reasons": ["history_refilling"]},
            {"begin_s": 5.0, "end_s": 20.0, "level": "OK", "reasons": []},
        ],
    }  # fmt: skip
    losses = [
        {"step": s, "steps_per_s": 3.0, "total": 1 / s, "motion": 2 / s, "motion_measured": 0.1} for s in (20, 40)
    ]
    return Report(
        title="Report", lead="<lead>", cards=[Card("30 Hz", "published")],
        scores=[{"model": "copy", "horizons": horizons}, {"model": "ours & theirs", "horizons": better}],
        scores_note="note", ros=ros, ros_note="note", stages=[("data", 12.4, "4 scenes")],
        facts=[("processor", "some")],
        pictures=[Picture("window", pictures.png(pictures.comparison_figure(shown, "ego-warp"), dpi=40))],
        losses=Picture("losses", pictures.png(pictures.loss_figure(losses), dpi=40)), not_measured=["a GPU"],
    )  # fmt: skip


def test_the_report_is_one_file_that_loads_nothing(shown: Shown) -> None:
    text = render(made_report(shown))
    assert "0.00 to 5.00 s DEGRADED: history_refilling" in text and "width:25.000%" in text
    assert not re.search(r"<script|<link|src=\"(?!data:image/png;base64,)|https?://|url\(", text)
    assert text.count("data:image/png;base64,") == 2
    assert "&lt;lead&gt;" in text and "ours &amp; theirs" in text
    assert "<td class=best>41.3</td>" in text and text.count("class=best>41.3") == 1
    assert "<td>-</td>" in text, "what the data cannot tell is no number"
    for words in ("29.97 Hz", "7.50 Hz (150 in all)", "median 160 ms, p95 210 ms", "OK 590, DEGRADED 10", "a GPU"):
        assert words in text
    assert "HOLD" not in text


def test_the_wide_picture_is_written_whole(shown: Shown, tmp_path: Path) -> None:
    pictures.save_png(pictures.forecast_figure(shown), tmp_path / "forecast.png", dpi=60)
    image = cv2.imread(str(tmp_path / "forecast.png"))
    assert image.shape[1] > 1.8 * image.shape[0] and image.std() > 10
    assert [p.name for p in tmp_path.iterdir()] == ["forecast.png"]


class Bench:
    """Three stages that write a file each; `ran` tells which did."""

    def __init__(self, out: Path) -> None:
        self.out, self.ran, self.failing = out, [], ""
        self.stages = [Stage(n, f"make {n}", (out / n,), self._runner(n)) for n in ("one", "two", "three")]

    def _runner(self, name: str) -> Any:
        def run() -> str:
            if name == self.failing:
                raise InputError("broken", expected="whole", fix="mend it")
            self.ran.append(name)
            (self.out / name).touch()
            return f"{name} is done"

        return run

    def go(self, **identity: int) -> list[str]:
        self.ran.clear()
        run_stages(self.stages, Ledger.open(self.out, identity))
        return list(self.ran)


def test_a_stage_runs_once_and_again_when_its_output_is_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(tmp_path / "out")
    bench.failing = "three"
    with pytest.raises(InputError, match="broken"):
        bench.go(seed=0)
    bench.failing = ""
    assert bench.go(seed=0) == ["three"], "it goes on where it stopped"
    assert bench.go(seed=0) == []
    assert "three is done" in capsys.readouterr().out, "a skipped stage still tells its result"
    (bench.out / "two").unlink()
    assert bench.go(seed=0) == ["two", "three"], "what rests on it is made anew, too"


def test_another_configuration_and_a_foreign_folder_are_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "out")
    bench.go(seed=0)
    with pytest.raises(InputError, match="seed 0, now 1"):
        bench.go(seed=1)
    (bench.out / LEDGER).write_text('{"identity": ')
    with pytest.raises(InputError, match=LEDGER):
        bench.go(seed=0)
    (bench.out / LEDGER).unlink()
    with pytest.raises(InputError, match="something else is there"):
        bench.go(seed=0)
    assert (bench.out / "one").exists()


def labelled(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_the_users_stream_is_preferred_to_keyframes(tmp_path: Path) -> None:
    keyframes = [f"gts/scene-{i:04d}/token/labels.npz" for i in range(1, 7)]
    streams = [f"stream/scene-{i:04d}.npz" for i in range(1, 11)]
    both = Demo.open(tmp_path / "out", labelled(tmp_path / "both", *keyframes, *streams), DemoConfig())
    alone = Demo.open(tmp_path / "out", labelled(tmp_path / "alone", *keyframes), DemoConfig(steps=7))
    assert (both.source, both.protocol) == ("stream", "stream") and (alone.source, alone.protocol) == (
        "occ3d",
        "i2world",
    )
    assert both.overrides() == ["train.most_scenes=28", "train.holdout_scenes=2"], (
        "a small data set keeps most of it for training"
    )
    assert alone.overrides() == ["train.most_scenes=28", "train.holdout_scenes=1", "train.steps=7"]
    assert Demo.open(tmp_path / "out", None, DemoConfig()).overrides() == [
        "train.most_scenes=28",
        "train.holdout_scenes=4",
    ]
    with pytest.raises(InputError, match="no occ3d labels"):
        Demo.open(tmp_path / "out", labelled(tmp_path / "none", "v1.0-mini/scene.json"), DemoConfig())
    with pytest.raises(InputError, match="no such folder"):
        Demo.open(tmp_path / "out", tmp_path / "nowhere", DemoConfig())


def test_of_a_large_data_root_the_first_scenes_are_used(synth_root: Path) -> None:
    assert split_scenes(synth_root, "stream", 1) == (["scene-0001", "scene-0002", "scene-0003"], ["scene-0004"])
    assert split_scenes(synth_root, "stream", 1, most=2) == (["scene-0001"], ["scene-0002"])
    with pytest.raises(InputError, match=r"1 scenes.*\s.*more than train\.holdout_scenes \(1\)"):
        split_scenes(synth_root, "stream", 1, most=1)


def test_scenes_judged_apart_are_pooled_as_if_judged_together(synth_root: Path) -> None:
    scenes = list(load_scenes(synth_root, "stream", ["scene-0001", "scene-0002"]))
    together = evaluate(EgoWarpForecaster(), scenes, "stream")
    apart = pooled(tuple(evaluate(EgoWarpForecaster(), [scene], "stream") for scene in scenes))
    assert to_json(apart) == to_json(together)
