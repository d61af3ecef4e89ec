"""Bodies of vehicles, drawn at a nominal size (m): x ahead, y left, z from the road."""

from __future__ import annotations

from genie.data.synth.solids import Body, Cells, Sides, Template

_GLASS_SIDE = ([["paint", "glass", "paint", "glass", "paint"], ["paint"] * 5], (0.10, 0.47, 0.52, 0.90), (0.88,))
_GLASS_END = ([["paint", "glass", "paint"], ["paint"] * 3], (0.05, 0.95), (0.90,))
_NOSE = (
    [
        ["plastic", "plastic", "plastic", "plastic", "plastic"],
        ["paint", "plastic", "plate", "plastic", "paint"],
        ["headlamp", "plastic", "plastic", "plastic", "headlamp"],
        ["paint"] * 5,
    ],
    (0.16, 0.36, 0.64, 0.84),
    (0.22, 0.52, 0.80),
)
_TAIL = (
    [
        ["plastic"] * 5,
        ["paint"] * 5,
        ["taillamp", "paint", "plate", "paint", "taillamp"],
        ["paint"] * 5,
    ],
    (0.15, 0.36, 0.64, 0.85),
    (0.22, 0.56, 0.82),
)


def _wheels(body: Body, axles: tuple[float, ...], half_width: float, radius: float, width: float) -> None:
    for x in axles:
        for side in (-1.0, 1.0):
            inner, arch = side * (half_width - 0.05), side * (half_width - 0.004)
            body.tube((x, inner, radius), (x, arch, radius), (1.14 * radius,) * 2, "plastic", 12, closed=True)
            body.wheel(x, side * half_width, radius, width)


def _car(hood: float, shoulder: float, roof: tuple[float, float], rear: float, height: float) -> Template:
    """hood: x where the windscreen begins. shoulder: z of the window line. roof: x of its ends. rear: x of the window
    line's end."""
    body = Body()
    waist = shoulder - 0.10
    sides: Sides = {"front": _NOSE, "back": _TAIL}
    body.tapered((-2.24, 2.22, -0.92, 0.92), (-2.3, 2.3, -0.955, 0.955), (0.20, 0.42), {"bottom": "plastic"}, "paint",
                 chamfer=0.30)  # fmt: skip
    body.tapered((-2.3, 2.3, -0.955, 0.955), (-2.28, 2.20, -0.94, 0.94), (0.42, waist), sides, "paint", chamfer=0.30)
    end = min(rear, -2.0)
    body.tapered((-2.28, 2.20, -0.94, 0.94), (end, hood + 0.55, -0.87, 0.87), (waist, shoulder), {}, "paint",
                 chamfer=0.28)  # fmt: skip
    glass: Sides = {"left": _GLASS_SIDE, "right": _GLASS_SIDE, "front": _GLASS_END, "back": _GLASS_END}
    crown = (roof[0] + 0.25, roof[1] - 0.25, -0.55, 0.55)
    body.tapered(
        (rear, hood, -0.87, 0.87), (*roof, -0.67, 0.67), (shoulder, height - 0.05), glass, "paint", chamfer=0.1
    )
    body.tapered((*roof, -0.67, 0.67), crown, (height - 0.05, height), {}, "paint", chamfer=0.1)
    for side in (-1.0, 1.0):
        y = sorted((side * 0.84, side * 0.975))
        body.box((hood - 0.35, hood - 0.2), (y[0], y[1]), (shoulder + 0.02, shoulder + 0.15), "paint")
        y = sorted((side * 0.92, side * 0.958))
        for door in (-0.45, 0.55):
            body.box((door, door + 0.16), (y[0], y[1]), (waist - 0.06, waist - 0.02), "plastic")
        y = sorted((side * 0.9, side * 0.957))
        body.box((-1.0, 1.02), (y[0], y[1]), (0.2, 0.30), "plastic")
    _wheels(body, (-1.38, 1.40), 0.965, 0.335, 0.22)
    return body.template()


def saloon() -> Template:
    return _car(hood=1.05, shoulder=0.88, roof=(-1.05, 0.30), rear=-1.80, height=1.46)


def hatchback() -> Template:
    return _car(hood=1.15, shoulder=0.92, roof=(-1.85, 0.35), rear=-2.20, height=1.53)


def sport_utility() -> Template:
    return _car(hood=1.15, shoulder=1.03, roof=(-1.95, 0.45), rear=-2.22, height=1.72)


def van() -> Template:
    return _car(hood=1.85, shoulder=1.06, roof=(-2.20, 1.05), rear=-2.24, height=2.0)


def ego_car() -> Template:
    """The small hatchback that carries the rig, in its own frame (rear axle at 0): below and between what the cameras
    see, its roof where the lidar of nuScenes meets it."""
    body = Body()
    body.tapered((-0.66, 3.42, -0.86, 0.86), (-0.64, 3.30, -0.84, 0.84), (0.25, 0.78), {}, "ego")
    body.tapered((-0.64, 3.30, -0.84, 0.84), (-0.62, 2.30, -0.80, 0.80), (0.78, 0.95), {}, "ego")
    body.tapered((-0.62, 2.30, -0.80, 0.80), (-0.62, 1.71, -0.62, 0.62), (0.95, 1.26), {}, "ego")
    body.tapered((-0.62, 1.71, -0.62, 0.62), (-0.10, 1.25, -0.46, 0.46), (1.26, 1.50), {}, "ego")
    _wheels(body, (0.0, 2.59), 0.865, 0.31, 0.2)
    return body.template()


def _ribs(count: int) -> Cells:
    """The side of a box body: sheets with seams between rails."""
    row = [name for _ in range(count) for name in ("cargo", "seam")][:-1]
    cuts = [x for k in range(1, count) for x in (k / count - 0.12 / count, k / count + 0.12 / count)]
    return [["seam"] * len(row), row, ["seam"] * len(row)], cuts, (0.05, 0.95)


def truck() -> Template:
    """A cab and a closed box."""
    body = Body()
    cells = [["paint", "paint", "paint"], ["paint", "glass", "paint"], ["paint"] * 3]
    nose = ([["plastic", "plastic", "plastic"], ["headlamp", "plastic", "headlamp"], ["paint", "glass", "paint"],
             ["paint"] * 3], (0.14, 0.86), (0.14, 0.26, 0.88))  # fmt: skip
    door = (cells, (0.25, 0.85), (0.45, 0.88))
    sides: Sides = {"front": nose, "left": door, "right": door}
    body.tapered((1.75, 3.35, -1.12, 1.12), (1.75, 3.15, -1.08, 1.08), (0.45, 2.35), sides, "paint")
    body.box((-3.25, 2.0), (-0.9, 0.9), (0.60, 0.85), "plastic")
    rear = ([["taillamp", "plastic", "taillamp"], ["cargo", "seam", "cargo"]], (0.485, 0.515), (0.07,))
    body.tapered((-3.35, 1.65, -1.225, 1.225), (-3.35, 1.65, -1.225, 1.225), (0.85, 2.75),
                 {"back": rear, "left": _ribs(10), "right": _ribs(10)}, "cargo")  # fmt: skip
    _wheels(body, (-2.2, 2.45), 1.18, 0.47, 0.28)
    return body.template()


def bus() -> Template:
    body = Body()
    windows = ["paint"] + ["glass", "glass", "glass", "paint"] * 4 + ["glass"]
    cuts = tuple(i / len(windows) for i in range(1, len(windows)))
    side = ([["paint"] * len(windows), windows, ["paint"] * len(windows)], cuts, (0.36, 0.80))
    nose = ([["plastic"] * 3, ["headlamp", "paint", "headlamp"], ["glass"] * 3, ["paint", "plastic", "paint"]],
            (0.16, 0.84), (0.08, 0.18, 0.84))  # fmt: skip
    lamps = ["taillamp", "paint", "plate", "paint", "taillamp"]
    tail = ([["plastic"] * 5, lamps, ["paint"] * 5, ["paint", "paint", "glass", "paint", "paint"], ["paint"] * 5],
            (0.07, 0.15, 0.85, 0.93), (0.08, 0.16, 0.5, 0.82))  # fmt: skip
    sides: Sides = {"left": side, "right": side, "front": nose, "back": tail, "bottom": "plastic"}
    body.tapered((-5.55, 5.55, -1.45, 1.45), (-5.55, 5.48, -1.43, 1.43), (0.32, 3.25), sides, "paint", chamfer=0.15)
    body.box((-3.5, 1.5), (-1.0, 1.0), (3.25, 3.45), "paint")
    _wheels(body, (-3.2, 2.9), 1.455, 0.48, 0.3)
    return body.template()


def trailer() -> Template:
    body = Body()
    rear = ([["taillamp", "plastic", "taillamp"], ["cargo", "seam", "cargo"]], (0.485, 0.515), (0.06,))
    sides: Sides = {"back": rear, "left": _ribs(18), "right": _ribs(18), "front": _ribs(4)}
    body.tapered((-4.75, 4.75, -1.3, 1.3), (-4.75, 4.75, -1.3, 1.3), (1.15, 3.7), sides, "cargo")
    body.box((-4.6, 4.0), (-0.5, 0.5), (0.85, 1.15), "plastic")
    body.box((2.6, 2.8), (-0.9, 0.9), (0.1, 1.0), "plastic")
    _wheels(body, (-2.2, -3.3), 1.28, 0.5, 0.5)
    return body.template()


def excavator() -> Template:
    body = Body()
    for y in ((-1.35, -0.75), (0.75, 1.35)):
        body.tapered((-1.9, 1.9, *y), (-2.2, 2.2, *y), (0.0, 0.45), {}, "tyre")
        body.tapered((-2.2, 2.2, *y), (-1.9, 1.9, *y), (0.45, 0.9), {}, "tyre")
    body.tapered((-3.0, 1.0, -1.25, 1.25), (-2.8, 0.9, -1.2, 1.2), (0.95, 1.9), {"bottom": "plastic"}, "machine")
    window = ([["machine"] * 3, ["machine", "glass", "machine"], ["machine"] * 3], (0.12, 0.88), (0.25, 0.9))
    sides: Sides = {"front": window, "left": window, "right": window, "back": window}
    body.tapered((-0.5, 1.1, 0.1, 1.2), (-0.4, 0.9, 0.15, 1.15), (1.3, 2.9), sides, "machine")
    body.tube((0.7, -0.4, 1.7), (2.0, -0.4, 2.75), (0.24, 0.20), "machine", 6)
    body.tube((1.95, -0.4, 2.8), (2.75, -0.4, 1.0), (0.19, 0.15), "machine", 6, closed=True)
    body.tapered((2.2, 2.8, -0.9, 0.1), (2.3, 3.0, -0.9, 0.1), (0.25, 1.0), {}, "plastic")
    return body.template()
