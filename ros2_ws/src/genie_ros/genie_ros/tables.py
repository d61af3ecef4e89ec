"""The tables of README, made from the tables that the node is made from.

python -m genie_ros.tables README.md    writes them between their marks
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from calib.errors import InputError
from calib.files import write_text
from genie_ros import topics
from genie_ros.parameters import PARAMETERS, Parameter
from genie_ros.perception_parameters import PERCEPTION_PARAMETERS
from genie_ros.topics import Topic

MARK = re.compile(r"(<!-- made by genie_ros\.tables: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def topic_table(of: Iterable[Topic]) -> str:
    rows = [f"| `{t.name}` | {t.type_name} | {t.qos_text} | {t.text} |" for t in of]
    return "\n".join(["| topic | type | QoS | what |", "|---|---|---|---|", *rows])


def parameter_table(of: dict[str, Parameter]) -> str:
    rows = [f"| `{name}` | {_shown(p.default)} | {_range(p)} | {p.text}{_when(p)} |" for name, p in of.items()]
    return "\n".join(["| parameter | default | allowed | what |", "|---|---|---|---|", *rows])


def _when(parameter: Parameter) -> str:
    return "" if parameter.read_only else " May change at run time."


def _shown(default: float | str) -> str:
    return f"`'{default}'`" if isinstance(default, str) else f"`{default}`"


def _range(parameter: Parameter) -> str:
    if parameter.bounds is not None:
        return f"{parameter.bounds[0]:g} to {parameter.bounds[1]:g}"
    return ", ".join(parameter.choices)


def filled(text: str) -> str:
    """A README with its tables as they are now. InputError where a mark names no table."""
    tables = {
        "inputs": topic_table((*topics.INPUTS, *topics.CAMERA_INFOS)),
        "outputs": topic_table(topics.OUTPUTS),
        "parameters": parameter_table(PARAMETERS),
        "perception_inputs": topic_table(topics.PERCEPTION_INPUTS),
        "perception_outputs": topic_table(topics.PERCEPTION_OUTPUTS),
        "perception_parameters": parameter_table(PERCEPTION_PARAMETERS),
    }

    def fill(mark: re.Match[str]) -> str:
        if mark[2] not in tables:
            raise InputError(f"a mark of {mark[2]}", expected=", ".join(tables), fix="mend the mark")
        return f"{mark[1]}{tables[mark[2]]}\n{mark[3]}"

    return MARK.sub(fill, text)


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    write_text(readme, filled(readme.read_text(encoding="utf-8")))
