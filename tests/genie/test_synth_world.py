"""The synthetic world behaves: traffic stays on the road and apart, moves in many ways, and is drawn where it is."""

from __future__ import annotations

import numpy as np
import pytest
from shapely import STRtree
from shapely.geometry import Polygon

from genie.data.synth.car_following import Drivers
from genie.data.synth.categories import BY_NAME, CATEGORIES, Category
from genie.data.synth.config import SynthConfig
from genie.data.synth.lane_change import Approach, Queue, worth
from genie.data.synth.polylines import unit
from genie.data.synth.rasterise import background, put_box, rasterise
from genie.data.synth.scenery import CELL, GROUND_Z
from genie.data.synth.town import build_town
from genie.data.synth.traffic import Traffic
from genie.data.synth.walkers import Crossing
from genie.data.synth.world import REAR_AXLE, Elevation, body_tilt, build_world, in_ego
from perception.types import CLASS_NAMES, DRIVEABLE, FREE, GRID

CONFIG = SynthConfig(scenes=3, seconds=12.0, seed=11)
TIMES = np.arange(0.0, 12.01, 1.5)
VEHICLES = [i for i, c in enumerate(CATEGORIES) if c.name.startswith("vehicle")]


@pytest.fixture(scope="module")
def worlds():
    return [build_world(np.random.default_rng([CONFIG.seed, i]), CONFIG.frames) for i in range(CONFIG.scenes)]


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
            boxes = boxes.select(np.isin(boxes.kind, VEHICLES))
            boxes = boxes.select((np.abs(in_ego(boxes, world.ego(t))[:, :2]) < 50.0).all(1))
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
    semantics, ego, boxes = rasterise(world, 4.0, levelled=True), world.ego(4.0), world.boxes(4.0)
    centre = in_ego(boxes, ego)
    drawn = near = 0
    for b in range(len(boxes)):
        if np.abs(centre[b, :2]).max() < 38:
            near += 1
            i, j, k = np.clip(GRID.index_of(centre[b]), 0, np.array(GRID.shape) - 1)
            drawn += bool((semantics[i - 1 : i + 2, j - 1 : j + 2, k] < 11).any())
    assert near > 5 and drawn >= 0.98 * near
    assert (rasterise(world, 4.0, "mini") == DRIVEABLE).any(axis=(0, 1)).nonzero()[0].tolist() == [GROUND_Z]
    assert (semantics[98:103, 98:103, GROUND_Z] == DRIVEABLE).all()  # streams are levelled
    plain = background(world, 4.0, levelled=True)
    untouched = semantics >= 11
    # Boxes only ever add: what they do not cover is the background.
    np.testing.assert_array_equal(semantics[untouched], plain[untouched])


def test_the_scene_has_all_kinds_of_background(worlds):
    seen = set().union(*(np.unique(background(w, 0.0)) for w in worlds))
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


def a_queue(vehicles: list[tuple[int, float, float]], wanted: float = 12.0) -> Queue:
    """Cars of 4 m: (segment, arc length, speed) each."""
    segment, s, speed = (np.array(column) for column in zip(*vehicles, strict=True))
    n = len(s)
    drivers = Drivers(np.full(n, 1.5), np.full(n, 2.0), np.full(n, 1.2), np.full(n, 2.0))
    return Queue(segment, s, speed, np.full(n, 2.0), np.full(n, 2.0), np.full(n, wanted), drivers)


def gain_of_change(vehicles, politeness=0.0, bonus=0.0, approach=None) -> float:
    """Of vehicle 0, from segment 0 to the place beside it in segment 1."""
    queue = a_queue(vehicles)
    nobody = Approach(np.full(2, -1), np.full(2, np.inf))
    one = np.zeros(1, np.int64)
    values = worth(queue, approach or nobody, one, one + 1, queue.s[:1], np.array([politeness]), np.array([bonus]))
    return float(values[0])


def test_lane_changes_follow_mobil():
    slow_ahead = (0, 70.0, 5.0)
    assert gain_of_change([(0, 40.0, 10.0), slow_ahead]) > 0.5  # a free lane beside a queue
    assert gain_of_change([(0, 40.0, 10.0)]) < 0  # no reason to change
    assert gain_of_change([(0, 40.0, 10.0), slow_ahead, (1, 62.0, 3.0)]) < 0  # the other lane is worse
    assert gain_of_change([(0, 40.0, 10.0), slow_ahead, (1, 39.0, 10.0)]) == -np.inf  # somebody is beside it
    assert gain_of_change([(0, 40.0, 5.0), slow_ahead, (1, 22.0, 15.0)]) == -np.inf  # somebody comes too fast
    behind = [(0, 40.0, 10.0), slow_ahead, (1, 14.0, 11.0)]
    assert gain_of_change(behind) > gain_of_change(behind, politeness=0.5) > -np.inf
    follower = [(0, 40.0, 5.0), (0, 26.0, 8.0)]  # a polite driver lets somebody past
    assert gain_of_change(follower, politeness=1.0) > gain_of_change(follower)
    assert gain_of_change([(0, 40.0, 10.0)], bonus=1.2) > 0  # the route wants it
    coming = Approach(np.array([-1, 1]), np.array([np.inf, 2.0]))
    over_the_junction = [(0, 8.0, 3.0), (5, 60.0, 15.0)]
    assert gain_of_change(over_the_junction, bonus=1.2, approach=coming) == -np.inf


def test_traffic_changes_lanes_in_steady_curves():
    """Changes happen, the road is kept, and nobody jumps or swerves."""
    rng = np.random.default_rng(4)
    town = build_town(rng)
    traffic = Traffic(town, rng, per_km=18.0)
    nobody = Crossing(np.zeros((0, 2)), np.zeros((0, 2)))
    before, _ = traffic.pose()
    for _ in range(400):
        traffic.step(nobody)
        after, heading = traffic.pose()
        sideways = ((after - before) * unit(heading + np.pi / 2)).sum(-1)
        assert np.abs(sideways).max() < 0.45
        assert np.linalg.norm(after - before, axis=1).max() < 2.5
        before = after
    assert 0.1 < len(traffic.lane_changes) / len(traffic.s) < 2.0
