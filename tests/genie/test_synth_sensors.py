"""The synthetic sensors: a lidar that turns while the world moves, cameras whose pixels lie where boxes project to."""

import dataclasses
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("embreex")

from calib.transforms import apply, inverse
from genie.data.synth import camera, lidar
from genie.data.synth.categories import BY_NAME, CATEGORIES
from genie.data.synth.meshes import bodies
from genie.data.synth.render import Renderer
from genie.data.synth.scenery import CELL, GROUND_Z, MANMADE, ROAD, Scenery
from genie.data.synth.sensors import CAMERAS, LIDAR, LIDARSEG, RIG, Lens
from genie.data.synth.world import Boxes, EgoPose, Elevation, build_world
from perception.types import FREE

MOUNT = {m.channel: m for m in RIG}
WALL_X, WALL_Y = 120.0, 70.0  # m, of the sides that face the ego
EGO_SPEED, CAR_SPEED = 10.0, 15.0  # m/s


@pytest.fixture(scope="module")
def town():
    """A scene of a town in which the ego drives."""
    return Renderer(build_world(np.random.default_rng([0, 5]), 21))


class Yard:
    """Asphalt between two walls, with the interface of a World: the ego drives along x, a car comes towards it on its
    left."""

    def __init__(self):
        ground = np.full((800, 500), ROAD, np.uint8)
        column = np.zeros_like(ground)
        column[:, round(WALL_Y / CELL) : round(WALL_Y / CELL) + 10] = 1
        column[round(WALL_X / CELL) : round(WALL_X / CELL) + 10] = 1
        palette = np.full((2, 16), FREE, np.uint8)
        palette[1, GROUND_Z:] = MANMADE
        self.scenery = Scenery(ground, column, palette)
        self.elevation = Elevation(np.zeros((1, 4)))
        self.town = SimpleNamespace(nodes=np.zeros((1, 2)))
        self.kind, self.size = np.array([BY_NAME["vehicle.car"]]), np.array([[1.9, 4.6, 1.6]])

    def ego(self, t):
        return EgoPose(np.array([60 + EGO_SPEED * max(t, 0.0), 50.0, 0.0]), 0.0)

    def datum(self, t):
        return 0.0

    def boxes(self, t):
        centre = np.array([[90 - CAR_SPEED * max(t, 0.0), 53.5, 0.8]])
        velocity, driven = np.array([[-CAR_SPEED, 0.0]]), np.array([False])
        return Boxes(np.array([0]), self.kind, centre, self.size, np.array([np.pi]), velocity, driven)


@pytest.fixture(scope="module")
def yard():
    return Renderer(Yard())


def world_points(renderer, sweep, t):
    """Points [n, 3] in the recorded world frame."""
    return apply(renderer.world.ego(t).world_from_ego @ MOUNT[LIDAR].ego_from_sensor, sweep.points[:, :3].astype(float))


def in_box(points, boxes, index, margin):
    """Which points [n, 3] lie within their box, grown by `margin` [n] (m)."""
    offset = points - boxes.centre[index]
    cos, sin = np.cos(boxes.yaw[index]), np.sin(boxes.yaw[index])
    local = np.stack(
        [cos * offset[:, 0] + sin * offset[:, 1], cos * offset[:, 1] - sin * offset[:, 0], offset[:, 2]], 1
    )
    return (np.abs(local) <= boxes.size[index][:, [1, 0, 2]] / 2 + margin[:, None]).all(1)


def test_points_of_instances_lie_in_their_boxes(town):
    inside, displaced = [], []
    for t in (0.5, 1.0, 1.95):
        sweep = town.lidar(t, np.random.default_rng(0))
        owned = sweep.instance >= 0
        points, index = world_points(town, sweep, t)[owned], sweep.instance[owned]
        boxes = town.world.boxes(t)
        margin = 0.15 + np.hypot(*boxes.velocity[index].T) * 0.05
        inside.append(in_box(points, boxes, index, margin))
        displaced.append(in_box(points + np.array([3.0, 3.0, 0.0]), boxes, index, margin))
        kinds = np.array([LIDARSEG.index(CATEGORIES[k].name) for k in boxes.kind])
        assert (sweep.category[owned] == kinds[index]).all()
        assert len(np.unique(index)) > 5
    inside = np.concatenate(inside)
    print(f"points in their boxes: {inside.mean():.4f} of {len(inside)}")
    assert inside.mean() >= 0.97
    assert np.concatenate(displaced).mean() < 0.6


def test_a_sweep_is_laid_out_like_that_of_an_hdl_32e(yard):
    sweep = yard.lidar(0.0, np.random.default_rng(0))  # before the start the ego stands
    points = sweep.points
    assert points.dtype == np.float32 and points.shape == (1084 * 32, 5)
    np.testing.assert_array_equal(points[:, 4], np.tile(np.arange(32), 1084))
    assert points[:, 3].min() >= 0 and 20 < points[:, 3].max() <= 255
    x, y, z = points[:, :3].T.astype(float)
    far = np.hypot(x, y) > 3
    elevation = np.degrees(np.arctan2(z, np.hypot(x, y)))
    expected = -30.67 + points[:, 4] * (41.34 / 31)
    np.testing.assert_allclose(elevation[far], expected[far], atol=0.02)
    azimuth = np.degrees(np.arctan2(y, x))
    ring = np.flatnonzero(far & (points[:, 4] == 12))
    turned = (azimuth[ring[0]] - azimuth[ring] + 1e-3) % 360
    assert (np.diff(turned) > 0).all() and turned[-1] > 355  # clockwise, once around
    assert abs((azimuth[ring[0]] - 188 + 180) % 360 - 180) < 3  # from the left


def test_x_points_right_and_y_ahead(yard):
    sweep = yard.lidar(0.5, np.random.default_rng(0))
    car = sweep.points[sweep.instance == 0]
    assert len(car) > 30 and (car[:, 1] > 0).all() and (car[:, 0] < 0).all()  # ahead, on the left
    wall = sweep.category == LIDARSEG.index("static.manmade")
    ahead = wall & (np.abs(sweep.points[:, 0]) < 5) & (sweep.points[:, 1] > 0)
    sensor_x = yard.world.ego(0.5).xyz[0] + MOUNT[LIDAR].translation[0]
    assert np.median(sweep.points[ahead, 1]) == pytest.approx(WALL_X - sensor_x, abs=0.3)
    ground = sweep.category == LIDARSEG.index("flat.driveable_surface")
    assert np.median(sweep.points[ground, 2]) == pytest.approx(-1.84, abs=0.1)


def test_equal_seeds_give_equal_bytes(town):
    first, again, other = (town.lidar(1.0, np.random.default_rng(s)) for s in (3, 3, 4))
    assert first.points.tobytes() == again.points.tobytes()
    assert first.points.tobytes() != other.points.tobytes()
    np.testing.assert_array_equal(first.category[first.category * other.category > 0],
                                  other.category[first.category * other.category > 0])  # fmt: skip
    images = [town.camera(CAMERAS[0], 1.0, 0.1, np.random.default_rng(s)) for s in (3, 3, 4)]
    assert images[0].tobytes() == images[1].tobytes() != images[2].tobytes()


def test_range_noise_is_as_stated(yard):
    residuals = []
    for seed in range(3):
        sweep = yard.lidar(0.0, np.random.default_rng(seed))
        x, y = sweep.points[:, 0].astype(float), sweep.points[:, 1].astype(float)
        wall = (sweep.category == LIDARSEG.index("static.manmade")) & (np.abs(x) < 12) & (y > 20)
        distance = np.linalg.norm(sweep.points[wall, :3].astype(float), axis=1)
        # Along the ray: what is off across the wall, over the cosine of the incidence. The lidar leans a degree.
        off = y[wall] - np.polyval(np.polyfit(x[wall], y[wall], 1), x[wall])
        z = sweep.points[wall, 2].astype(float)
        off -= np.polyval(np.polyfit(z, off, 1), z)
        residuals.append(off * distance / y[wall])
    residuals = np.concatenate(residuals)
    print(f"range noise on a wall: {residuals.std() * 1e3:.1f} mm, {len(residuals)} points")
    assert len(residuals) > 500
    assert residuals.std() == pytest.approx(lidar.RANGE_SIGMA, rel=0.1)


def test_ego_motion_is_compensated(yard):
    t = 1.0
    sweep = yard.lidar(t, np.random.default_rng(0))
    world = world_points(yard, sweep, t)
    wall = sweep.category == LIDARSEG.index("static.manmade")
    ahead = wall & (np.abs(world[:, 0] - WALL_X) < 1) & (world[:, 1] < WALL_Y - 1) & (world[:, 1] > 2)
    aside = wall & (np.abs(world[:, 1] - WALL_Y) < 1) & (world[:, 0] < WALL_X - 1)
    assert ahead.sum() > 200 and aside.sum() > 1000
    # A wall is flat to the range noise; had the ego's half metre not been taken out, it would drift as the beam turns.
    assert world[ahead, 0].std() < 0.025 and world[aside, 1].std() < 0.025
    time = np.repeat(np.arange(1084) / 1084, 32) * 0.05
    assert abs(np.polyfit(time[ahead], world[ahead, 0], 1)[0]) < 0.05 * EGO_SPEED
    raw = world[:, 0] + (0.05 - time) * EGO_SPEED
    assert abs(np.polyfit(time[ahead], raw[ahead], 1)[0]) > 0.9 * EGO_SPEED
    silent = sweep.category == 0
    trail = world[silent & (sweep.points[:, 4] > 28), 0]  # no echo: where the sensor was
    assert trail.max() - trail.min() == pytest.approx(EGO_SPEED * 0.05, abs=0.1)


def test_what_moves_is_where_it_was_when_the_beam_passed(yard):
    t = 1.15  # the car is alongside
    sweep = yard.lidar(t, np.random.default_rng(0))
    car = sweep.instance == 0
    along = world_points(yard, sweep, t)[car, 0]
    before = 0.05 - np.repeat(np.arange(1084) / 1084, 32)[car] * 0.05  # s before the stamp
    centre, length = yard.world.boxes(t).centre[0, 0], yard.world.size[0, 1]
    assert before.max() - before.min() > 0.005
    # The car drives along -x, so earlier it was further on.
    local = along - (centre + CAR_SPEED * before)
    assert np.abs(local).max() < length / 2 + 0.12
    frozen = along - centre
    assert np.abs(frozen).max() > length / 2 + 0.3


def test_distant_asphalt_is_lost_and_walls_are_heard(yard):
    sweep = yard.lidar(0.0, np.random.default_rng(0))
    distance = np.linalg.norm(sweep.points[:, :3], axis=1)
    asphalt = sweep.category == LIDARSEG.index("flat.driveable_surface")
    wall = sweep.category == LIDARSEG.index("static.manmade")
    assert 25 < np.percentile(distance[asphalt], 99.9) < 55
    assert distance[wall].max() > 55
    own = sweep.category == LIDARSEG.index("vehicle.ego")
    assert 1000 < own.sum() < 10000 and distance[own].max() < 3  # nuScenes' lidar sees its own roof


def test_bodies_fill_their_boxes():
    count = len(CATEGORIES)
    size = np.array([c.size for c in CATEGORIES])
    centre = np.stack([np.arange(count) * 30.0, np.zeros(count), size[:, 2] / 2], 1)
    velocity = np.zeros((count, 2))
    for parked in (True, False):
        boxes = Boxes(
            np.arange(count), np.arange(count), centre, size, np.zeros(count), velocity, np.full(count, parked)
        )
        mesh = bodies(boxes, 0.0)
        for i, category in enumerate(CATEGORIES):
            local = mesh.vertices[np.unique(mesh.faces[mesh.instance == i])] - centre[i]
            low, high = local.min(0), local.max(0)
            half = size[i][[1, 0, 2]] / 2
            upright = category.name.startswith("human") or category.name.endswith("cycle")
            axes = [2] if upright else [0, 1, 2]
            np.testing.assert_allclose(high[axes], half[axes], atol=0.05, err_msg=category.name)
            np.testing.assert_allclose(low[axes], -half[axes], atol=0.05, err_msg=category.name)
            assert (high < half + 0.15).all() and (low > -half - 0.15).all()


def test_pixels_lie_in_the_hull_of_their_box(town):
    t, scale = 1.0, 0.22
    boxes, checked, inside, total = town.world.boxes(t), 0, 0, 0
    for mount in CAMERAS:
        image = town.instances(mount, t, scale)
        sensor_from_world = inverse(town.world.ego(t).world_from_ego @ mount.ego_from_sensor)
        for instance in np.unique(image[image >= 0]):
            signs = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1]), -1).reshape(-1, 3) / 2
            local = signs * (boxes.size[instance][[1, 0, 2]] + 0.1)
            cos, sin = np.cos(boxes.yaw[instance]), np.sin(boxes.yaw[instance])
            turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
            corners = apply(sensor_from_world, local @ turn.T + boxes.centre[instance])
            if (corners[:, 2] < 0.5).any():
                continue
            hull = cv2.convexHull(camera.project(mount, scale, corners).astype(np.float32))
            rows, columns = np.nonzero(image == instance)
            distance = [
                cv2.pointPolygonTest(hull, (float(c), float(r)), True) for r, c in zip(rows, columns, strict=True)
            ]
            inside += int((np.array(distance) >= -0.8).sum())
            total += len(rows)
            checked += 1
    print(f"pixels in the hull of their box: {inside / total:.4f} of {total}, {checked} boxes")
    assert checked > 15 and inside / total > 0.98


def test_lidar_points_project_onto_their_object(town):
    t, scale = 1.0, 0.44
    sweep = town.lidar(t, np.random.default_rng(0))
    still = np.hypot(*town.world.boxes(t).velocity.T) < 0.1
    owned = (sweep.instance >= 0) & still[np.maximum(sweep.instance, 0)]
    world, index = world_points(town, sweep, t)[owned], sweep.instance[owned]
    hits, total = 0, 0
    for mount in CAMERAS:
        world_from_camera = town.world.ego(t).world_from_ego @ mount.ego_from_sensor
        points = apply(inverse(world_from_camera), world)
        # From the roof the lidar looks over what stands before a camera.
        away = np.linalg.norm(points, axis=1)
        origin = np.broadcast_to(world_from_camera[:3, 3], world.shape)
        seen = town.ranges(t, origin, (world - origin) / away[:, None]) > away - 0.3
        front = (points[:, 2] > 1) & seen
        pixels = np.round(camera.project(mount, scale, points[front])).astype(int)
        image = town.instances(mount, t, scale)
        inside = ((pixels >= 0) & (pixels < image.shape[::-1])).all(1)
        x, y = pixels[inside].T
        # Within a pixel: thin things are missed by a ray's width.
        near = [
            np.roll(image, s, (0, 1))[y, x] == index[front][inside] for s in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
        ]
        hits += int(np.any(near, axis=0).sum())
        total += int(inside.sum())
    print(f"lidar points on the pixels of their object: {hits / total:.3f} of {total}")
    assert total > 100 and hits / total > 0.97


@pytest.mark.parametrize("lens", [Lens(), Lens(k1=-0.12, k2=0.02, p1=0.001)])
def test_rays_and_projection_agree(lens):
    mount = dataclasses.replace(CAMERAS[0], lens=lens)
    shot = camera.view(mount, 0.25)
    assert (shot.height, shot.width) == (225, 400)
    pixels = camera.project(mount, 0.25, shot.directions.astype(float) * 7)
    v, u = np.divmod(np.arange(shot.height * shot.width), shot.width)
    np.testing.assert_allclose(pixels, np.stack([u, v], 1), atol=0.05)
    plain = camera.view(CAMERAS[0], 0.25).directions
    assert np.allclose(shot.directions, plain) == (lens == Lens())


def test_an_image_looks_like_a_street(town):
    image = town.camera(CAMERAS[0], 1.0, 0.25, np.random.default_rng(0))
    assert image.dtype == np.uint8 and image.shape == (225, 400, 3)
    sky, road = image[:40].reshape(-1, 3).mean(0), image[-40:].reshape(-1, 3).mean(0)
    assert sky[0] > sky[2] - 5 and sky.mean() > road.mean() + 20  # blue or grey, and brighter than asphalt
    assert image.std() > 25 and (image == 255).mean() < 0.2
    assert image.reshape(-1, 3).std(1).mean() < 40
