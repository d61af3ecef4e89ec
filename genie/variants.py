"""The forms in which one set of weights can run: the dense twin, each technique alone, all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from calib.errors import InputError

if TYPE_CHECKING:
    from genie.model import GenieDrive

_FULL = 2500
_ALL_ROWS = (1.0,)
# The bucket of (nearly) all columns keeps every row in every layer; one column fewer, and retention can be seen alone.
_NEARLY_ALL = (_FULL - 1, _FULL)
_FEWER_HEADS = (1.0, 1.0, 0.4, 0.4)


@dataclass(frozen=True)
class Variant:
    """form: "dense" or "gated". gate: what differs from the default GateConfig."""

    name: str
    title: str
    form: str = "gated"
    gate: dict[str, Any] = field(default_factory=dict)


DENSE, OFF, MEMORY, GATED = "dense", "off", "memory", "all"
VARIANTS = (
    Variant(DENSE, "dense twin", "dense"),
    Variant(OFF, "gated form, everything off", gate={"buckets": (_FULL,), "keep": _ALL_ROWS, "memory": "frames"}),
    Variant(MEMORY, "memory fusion alone", gate={"buckets": (_FULL,), "keep": _ALL_ROWS}),
    Variant("retention", "token retention alone", gate={"buckets": _NEARLY_ALL, "memory": "frames"}),
    Variant(
        "heads",
        "variable heads alone",
        gate={"buckets": _NEARLY_ALL, "memory": "frames", "keep": _ALL_ROWS, "head_share": _FEWER_HEADS},
    ),
    Variant("gate", "change gate alone", gate={"memory": "frames", "keep": _ALL_ROWS}),
    Variant("gate-memory", "gate + memory", gate={"keep": _ALL_ROWS}),
    Variant(GATED, "gate + memory + retention (the default)"),
    Variant("all-heads", "all four", gate={"head_share": _FEWER_HEADS}),
)
VARIANT_OF = {v.name: v for v in VARIANTS}
_REACHED = {"reached": True, "not reached": False}


def variants_named(names: Sequence[str]) -> list[Variant]:
    """In the order of VARIANTS, all where none is named; the dense twin and the default are always among them.

    Raises:
        InputError: no such variant.
    """
    for name in names:
        if name not in VARIANT_OF:
            raise InputError(f"variant {name!r}", expected=f"one of {', '.join(VARIANT_OF)}", fix="name one of these")
    return [v for v in VARIANTS if not names or v.name in (*names, DENSE, GATED)]


def as_variant(model: GenieDrive, variant: Variant) -> GenieDrive:
    """The same weights with the variant's gate."""
    from genie.model import GenieDrive

    gate = dataclasses.replace(model.config.gate, **variant.gate)
    other = GenieDrive(dataclasses.replace(model.config, gate=gate))
    other.load_state_dict(model.state_dict())
    return other.eval()


def reached(parts: Mapping[str, bool]) -> str:
    """What of a claim is reached, and what is not, in words."""
    groups = {word: [name for name, ok in parts.items() if ok is wanted] for word, wanted in _REACHED.items()}
    return "; ".join(f"{word}: {', '.join(names)}" for word, names in groups.items() if names)
