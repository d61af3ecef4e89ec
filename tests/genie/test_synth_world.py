"""The synthetic world behaves: traffic stays on the road and apart, moves in many ways, and is drawn where it is."""

from __future__ import annotations

import numpy as np
import pytest
from shapely import STRtree
from shapely.geometry import Polygon

from genie.data.synth.categories import BY_NAME, CATEGORIES, Category
from genie.data.synth.config import SynthConfig
from genie.data.synth.generate import scene_world
from genie.data.synth.rasterise import background, put_box, rasterise
from genie.data.synth.scenery import CELL, GROUND_Z
from genie.data.synth.tables import annotated
from genie.data.synth.world import REAR_AXLE, Elevation, body_tilt, in_ego
from perception.types import CLASS_NAMES, DRIVEABLE, FREE, GRID

CONFIG = SynthConfig(scenes=3, seconds=12.0, seed=11)
TIMES = np.arange(0.0, 12.01, 1.5)
VEHICLES = [i for i, c in enumerate(CATEGORIES) if c.name.startswith("vehicle")]


@pytest.fixture(scope="module")
def worlds():
    return [scene_world(CONFIG, i) for i in range(CONFIG.scenes)]


def ego_centres(world) -> np.ndarray:
    poses = [world.ego(t) for t in np.arange(0.0, world.duration + 1e-6, 0.1)]
    return np.array([p.xyz[:2] + REAR_AXLE * np.array([np.cos(p.yaw), np.sin(p.yaw)]) for p in poses])


def footprint(centre, size, yaw) -> Polygon:
    half_w, half_l = size[0] / 2, size[1] / 2
    corners = np.array([[half_l, half_w], [-half_l, half_w], [-half_l, -half_w], [half_l, -half_w]])
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    return Polygon(corners @ turn.T + centre[:2])


def test_the_ego_stays_on_the_road_and_drives_like_a_car(worlds):
    for world in worlds:
        centres = ego_centres(world)
        cells = (centres / CELL).astype(int)
        assert world.scenery.drivable[cells[:, 0], cells[:, 1]].all()
        speed = np.linalg.norm(np.diff(centres, axis=0), axis=1) * 10
        assert speed.max() < 19
        assert np.abs(np.diff(speed) * 10).max() < 9  # m/s2


def test_vehicles_do_not_overlap(worlds):
    boxes_seen = overlaps = 0
    for world in worlds:
        for t in TIMES:
            boxes = world.boxes(t)
            boxes = annotated(boxes.select(np.isin(boxes.kind, VEHICLES)), world.ego(t))
            shapes = [footprint(*b) for b in zip(boxes.centre, boxes.size, boxes.yaw, strict=True)]
            boxes_seen += len(shapes)
            if not shapes:
                continue
            for i, j in STRtree(shapes).query(shapes, predicate="intersects").T:
                if i < j and shapes[i].intersection(shapes[j]).area > 0.3 * min(shapes[i].area, shapes[j].area):
                    overlaps += 1
    assert boxes_seen > 150
    assert overlaps <= 0.005 * boxes_seen


def test_motion_is_varied(worlds):
    """Cruising, standing, accelerating, braking and turning vehicles; walkers at walking pace; parked cars."""
    cars, accelerations, turns, walkers, parked = [], [], [], [], 0
    for world in worlds:
        for t in TIMES[:-1]:
            now, later = world.boxes(t), world.boxes(t + 1.0)
            speed, then = np.linalg.norm(now.velocity, axis=1), np.linalg.norm(later.velocity, axis=1)
            driven = np.isin(now.kind, VEHICLES) & ~now.parked
            cars.append(speed[driven])
            accelerations.append((then - speed)[driven])
            turns.append(np.abs(later.yaw - now.yaw)[driven])
            walkers.append(speed[now.kind == BY_NAME["human.pedestrian.adult"]])
            parked += int(now.parked.sum())
    speed, acceleration = np.concatenate(cars), np.concatenate(accelerations)
    assert 0.1 < (speed < 0.3).mean() < 0.5
    assert np.quantile(speed, 0.5) > 3 and np.quantile(speed, 0.95) > 9 and speed.max() < 21
    assert (acceleration > 0.7).mean() > 0.05 and (acceleration < -0.7).mean() > 0.05
    assert (np.concatenate(turns) > 0.25).mean() > 0.03
    walking = np.concatenate(walkers)
    walking = walking[walking > 0.5]
    assert 0.9 < np.median(walking) < 1.6 and np.quantile(walking, 0.98) < 2.4
    assert parked > 0


def test_velocity_is_the_derivative_of_position(worlds):
    world = worlds[0]
    now, later = world.boxes(7.3), world.boxes(7.35)
    np.testing.assert_allclose((later.centre - now.centre)[:, :2] / 0.05, now.velocity, atol=1e-6)


def test_boxes_are_drawn_where_they_are(worlds):
    """Every voxel of a box class lies in a box of that class, and nearly every box near the ego has voxels."""
    world = worlds[1]
    semantics, ego, boxes = rasterise(world, 4.0), world.ego(4.0), world.boxes(4.0)
    centre = in_ego(boxes, ego)
    drawn = near = 0
    for b in range(len(boxes)):
        if np.abs(centre[b, :2]).max() < 38:
            near += 1
            i, j, k = np.clip(GRID.index_of(centre[b]), 0, np.array(GRID.shape) - 1)
            drawn += bool((semantics[i - 1 : i + 2, j - 1 : j + 2, k] < 11).any())
    assert near > 5 and drawn >= 0.98 * near
    assert ((semantics == DRIVEABLE).any(axis=(0, 1)).nonzero()[0] == [GROUND_Z]).all()
    plain = background(world.scenery, ego)
    untouched = semantics >= 11
    # Boxes only ever add: what they do not cover is the background.
    np.testing.assert_array_equal(semantics[untouched], plain[untouched])


def test_the_scene_has_all_kinds_of_background(worlds):
    seen = set().union(*(np.unique(background(w.scenery, w.ego(0.0))) for w in worlds))
    wanted = {"driveable_surface", "sidewalk", "terrain", "manmade", "vegetation", "free"}
    assert {("free" if c == FREE else CLASS_NAMES[c]) for c in seen} >= wanted


def test_sizes_are_those_of_their_category():
    rng = np.random.default_rng(0)
    for category in CATEGORIES:
        sizes = np.array([category.draw_size(rng) for _ in range(400)])
        np.testing.assert_allclose(np.exp(np.log(sizes).mean(0)), category.size, rtol=0.06)
    assert isinstance(CATEGORIES[BY_NAME["vehicle.car"]], Category)


@pytest.mark.mini
def test_the_rasteriser_reproduces_the_labels_of_real_scenes(mini_root):
    """Real annotated boxes, drawn by our rule, against labels that were drawn by the rule's authors."""
    from nuscenes.nuscenes import NuScenes
    from pyquaternion import Quaternion

    nusc = NuScenes("v1.0-mini", str(mini_root), verbose=False)
    known = {c.name: c.occupancy_class for c in CATEGORIES}
    for scene in nusc.scene[:3]:
        sample = nusc.get("sample", scene["first_sample_token"])
        pose = nusc.get("ego_pose", nusc.get("sample_data", sample["data"]["LIDAR_TOP"])["ego_pose_token"])
        turn = Quaternion(pose["rotation"]).inverse
        drawn = np.full(GRID.shape, FREE, np.uint8)
        for annotation in (nusc.get("sample_annotation", a) for a in sample["anns"]):
            if annotation["category_name"] not in known:
                continue
            centre = turn.rotate(np.array(annotation["translation"]) - np.array(pose["translation"]))
            yaw = (turn * Quaternion(annotation["rotation"])).yaw_pitch_roll[0]
            size = np.maximum(annotation["size"], GRID.voxel_size)
            put_box(drawn, centre, size, yaw, known[annotation["category_name"]])
        with np.load(mini_root / "gts" / scene["name"] / sample["token"] / "labels.npz", allow_pickle=False) as file:
            truth = file["semantics"]
        either = (truth < DRIVEABLE) | (drawn < DRIVEABLE)
        assert either.sum() > 500
        assert (truth == drawn)[either].mean() > 0.99


def test_the_ego_leans_as_a_car_does_on_its_road(worlds):
    """A rigid pose, planar at its core; small tilts that change smoothly and follow slope and acceleration."""
    for world in worlds:
        poses = [world.ego(t) for t in np.arange(0.0, 12.0, 0.1)]
        tilt = np.degrees([[p.pitch, p.roll] for p in poses])
        assert 0.05 < np.abs(tilt).max() < 1.5
        assert np.abs(np.diff(tilt, axis=0)).max() < 0.3
        pose = poses[17]
        matrix = pose.world_from_ego
        np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(matrix[:3, 3], pose.xyz)
        assert pose.xyz[2] == 0.0
        assert world.datum(1.7) == pytest.approx(float(world.elevation.at(pose.xyz[:2])))


def test_tilt_has_the_signs_of_a_car():
    """Braking dives (nose down: positive pitch); a left turn leans to the right (positive roll); uphill is nose up."""
    level = Elevation(np.zeros((1, 4)))
    t = np.arange(0, 6, 0.1)
    braking = np.stack([12 * t - t**2, 0 * t], axis=1)
    assert (body_tilt(braking, 0 * t, level)[10:-10, 0] > 0.003).all()
    yaw = 0.2 * t
    left_turn = 40 * np.stack([np.sin(yaw), 1 - np.cos(yaw)], axis=1)  # 8 m/s
    assert (body_tilt(left_turn, yaw, level)[10:-10, 1] > 0.003).all()
    uphill = Elevation(np.array([[1e-3, 0.0, 0.0, 10.0]]))  # 1 % along x
    steady = np.stack([8 * t, 0 * t], axis=1)
    np.testing.assert_allclose(body_tilt(steady, 0 * t, uphill)[:, 0], -0.01, rtol=0.1)


def test_paint_lies_on_the_road_and_stop_lines_before_the_lanes_end(worlds):
    for world in worlds:
        kinds = {m.kind for m in world.scenery.markings}
        assert kinds >= {"centre", "lane", "edge", "stop", "crossing"}
        on_road = []
        for marking in world.scenery.markings:
            x, y = (marking.line.mean(0) / CELL).astype(int)
            on_road.append(world.scenery.drivable[x, y])
            assert marking.polygon.shape == (2 * len(marking.line), 2)
            area = Polygon(marking.polygon).area
            length = np.linalg.norm(np.diff(marking.line, axis=0), axis=1).sum()
            assert area == pytest.approx(length * marking.width, rel=0.1)
        assert np.mean(on_road) > 0.97
        lanes = world.town.lanes
        ends = np.array([lanes.lines.line(int(i))[-1] for i in np.flatnonzero(~lanes.is_connector)])
        stops = np.array([m.line.mean(0) for m in world.scenery.markings if m.kind == "stop"])
        nearest = np.linalg.norm(stops[:, None] - ends[None], axis=-1).min(1)
        assert (nearest < world.town.roads[0].lane_width * 1.6).all()
