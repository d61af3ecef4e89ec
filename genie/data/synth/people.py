"""Bodies of people, of cycles with and without riders, of barriers and cones; drawn like those of vehicles."""

from __future__ import annotations

import numpy as np

from genie.data.synth.solids import Body, Template

STRIDES = 4  # poses of one gait cycle


def walker(pose: int, *, vest: bool = False) -> Template:
    """A person in one of STRIDES poses; 0 and 2 are feet together."""
    body = Body()
    swing = 0.30 * np.sin(2 * np.pi * pose / STRIDES)
    _upright(body, hip=0.92, swing=float(swing), jacket="vest" if vest else "shirt")
    if vest:
        body.ball((0, 0, 1.70), (0.13, 0.12, 0.09), "machine", rows=3)
    return body.template(box=(0.73, 0.67))


def _upright(body: Body, hip: float, swing: float, jacket: str) -> None:
    for side in (-1, 1):
        reach = side * swing
        body.tube((0, 0.09 * side, hip), (reach * 0.5, 0.1 * side, hip / 2), (0.095, 0.075), "trousers", 6)
        body.tube((reach * 0.5, 0.1 * side, hip / 2), (reach, 0.1 * side, 0.07), (0.07, 0.05), "trousers", 6)
        body.box((reach - 0.08, reach + 0.17), (0.1 * side - 0.05, 0.1 * side + 0.05), (0.0, 0.08), "plastic")
        body.tube((0, 0.23 * side, hip + 0.5), (-reach * 0.4, 0.27 * side, hip + 0.22), (0.06, 0.05), jacket, 6)
        body.tube((-reach * 0.4, 0.27 * side, hip + 0.22), (0.08 - reach * 0.9, 0.25 * side, hip - 0.02), (0.05, 0.04),
                  "skin", 6, closed=True)  # fmt: skip
    _torso(body, (0.0, hip - 0.04), (0.0, hip + 0.54), jacket)
    _head(body, 0.02, hip + 0.72)


def _torso(body: Body, low: tuple[float, float], high: tuple[float, float], jacket: str) -> None:
    (x0, z0), (x1, z1) = low, high
    middle = ((x0 + x1) / 2 + 0.01, (z0 + z1) / 2)
    body.ball((x0, 0, z0 + 0.05), (0.13, 0.17, 0.13), "trousers", rows=3)
    body.ball((middle[0], 0, middle[1]), (0.14, 0.19, (z1 - z0) * 0.58), jacket, rows=5)
    body.ball((x1, 0, z1 - 0.07), (0.11, 0.24, 0.12), jacket, rows=3)
    body.tube((x1, 0, z1 - 0.02), (x1 + 0.02, 0, z1 + 0.1), (0.055, 0.05), "skin", 6)


def _head(body: Body, x: float, z: float) -> None:
    body.ball((x, 0, z), (0.105, 0.085, 0.13), "skin", rows=5)
    body.ball((x - 0.025, 0, z + 0.035), (0.105, 0.092, 0.11), "hair", rows=4)


def _hoop(body: Body, x: float, radius: float, thick: float, half_width: float, material: str) -> None:
    """A tyre around a free middle."""
    n = 14
    angle = np.arange(n) * 2 * np.pi / n
    around = np.stack([np.cos(angle), np.sin(angle)], 1)
    rings = [(radius - thick, 0.0), (radius - thick / 2, half_width), (radius, 0.0), (radius - thick / 2, -half_width)]
    vertices = np.concatenate(
        [np.stack([x + r * around[:, 0], np.full(n, y), radius + r * around[:, 1]], 1) for r, y in rings]
    )
    i, j = np.arange(n), (np.arange(n) + 1) % n
    faces = []
    for a in range(4):
        p, q = a * n, ((a + 1) % 4) * n
        faces += [np.stack([i + p, j + p, j + q], 1), np.stack([i + p, j + q, i + q], 1)]
    body.add(vertices, np.concatenate(faces), [material] * (8 * n))


def _rider(
    body: Body, seat: tuple[float, float], grip: tuple[float, float], pedal: float, jacket: str, helmet: str
) -> None:
    shoulder = (seat[0] + 0.22, seat[1] + 0.50)
    _torso(body, seat, shoulder, jacket)
    _head(body, shoulder[0] + 0.06, shoulder[1] + 0.18)
    body.ball((shoulder[0] + 0.04, 0, shoulder[1] + 0.23), (0.14, 0.12, 0.12), helmet, rows=4)
    for side in (-1, 1):
        y = 0.21 * side
        body.tube((shoulder[0], y, shoulder[1] - 0.06), (grip[0], 0.25 * side, grip[1]), (0.06, 0.045), jacket, 6)
        knee = (seat[0] + 0.38, 0.13 * side, seat[1] - 0.12 - 0.05 * side)
        body.tube((seat[0], 0.1 * side, seat[1]), knee, (0.095, 0.075), "trousers", 6)
        body.tube(knee, (seat[0] + 0.22, 0.12 * side, pedal + 0.08 - 0.08 * side), (0.07, 0.05), "trousers", 6)


def bicycle(*, ridden: bool) -> Template:
    body = Body()
    for x in (-0.53, 0.53):
        _hoop(body, x, 0.34, 0.06, 0.025, "tyre")
        for a in np.arange(6) * np.pi / 6:
            dx, dz = 0.29 * np.cos(a), 0.29 * np.sin(a)
            body.tube((x - dx, 0, 0.34 - dz), (x + dx, 0, 0.34 + dz), (0.006, 0.006), "rim", 3)
    for a, b in (((-0.53, 0.34), (-0.1, 0.3)), ((-0.1, 0.3), (-0.22, 0.82)), ((-0.2, 0.74), (0.36, 0.76)),
                 ((-0.1, 0.3), (0.38, 0.7)), ((0.53, 0.34), (0.36, 0.88)), ((-0.53, 0.34), (-0.2, 0.74))):  # fmt: skip
        body.tube((a[0], 0, a[1]), (b[0], 0, b[1]), (0.022, 0.022), "paint", 5)
    body.tube((0.34, -0.28, 0.98), (0.34, 0.28, 0.98), (0.02, 0.02), "plastic", 5)
    body.tube((0.36, 0, 0.86), (0.34, 0, 0.98), (0.02, 0.02), "rim", 5)
    body.box((-0.34, -0.1), (-0.07, 0.07), (0.82, 0.88), "plastic")
    if ridden:
        _rider(body, (-0.18, 0.95), (0.34, 1.0), 0.16, "shirt", "barrier_white")
    return body.template(box=(1.74, 0.61))


def motorcycle(*, ridden: bool) -> Template:
    body = Body()
    for x in (-0.72, 0.72):
        _hoop(body, x, 0.31, 0.13, 0.07, "tyre")
        body.tube((x, -0.075, 0.31), (x, 0.075, 0.31), (0.2, 0.2), "rim", 10, closed=True)
    body.tapered((-0.45, 0.4, -0.17, 0.17), (-0.35, 0.35, -0.14, 0.14), (0.22, 0.62), {}, "plastic")
    body.tapered((-0.2, 0.45, -0.15, 0.15), (-0.1, 0.42, -0.1, 0.1), (0.62, 0.86), {}, "paint")
    body.tapered((-0.95, -0.1, -0.14, 0.14), (-0.9, -0.12, -0.1, 0.1), (0.62, 0.78), {"back": "taillamp"}, "plastic")
    body.tapered((0.42, 0.72, -0.16, 0.16), (0.40, 0.55, -0.12, 0.12), (0.72, 1.05), {"front": "headlamp"}, "paint")
    for y in (-0.1, 0.1):
        body.tube((0.72, y, 0.31), (0.48, y, 0.9), (0.03, 0.03), "rim", 5)
    body.tube((0.42, -0.36, 1.05), (0.42, 0.36, 1.05), (0.025, 0.025), "plastic", 5)
    for side in (-1, 1):
        body.ball((0.45, 0.33 * side, 1.15), (0.02, 0.06, 0.04), "plastic", rows=3, sides=6)
    if ridden:
        _rider(body, (-0.25, 0.86), (0.40, 1.05), 0.28, "shirt", "paint")
    return body.template(box=(2.1, 0.78))


def barrier() -> Template:
    """Water-filled blocks, red and white; its width is the long side."""
    body = Body()
    for n, y in enumerate(np.linspace(-1.15, 0.575, 4)):
        material = "barrier_red" if n % 2 else "barrier_white"
        y1 = y + 0.575 - (0.02 if n < 3 else 0.0)
        body.tapered((-0.27, 0.27, y, y1), (-0.14, 0.14, y, y1), (0.0, 0.45), {}, material)
        body.tapered((-0.14, 0.14, y, y1), (-0.10, 0.10, y, y1), (0.45, 1.0), {}, material)
    return body.template()


def cone() -> Template:
    body = Body()
    body.box((-0.2, 0.2), (-0.2, 0.2), (0.0, 0.05), "plastic")
    for z0, z1, material in ((0.05, 0.38, "cone"), (0.38, 0.58, "reflector"), (0.58, 0.9, "cone")):
        radii = (0.15 - 0.13 * z0 / 0.9, 0.15 - 0.13 * z1 / 0.9)
        body.tube((0, 0, z0), (0, 0, z1), radii, material, 10, closed=True)
    return body.template()
