"""The package as others see it: what of rclpy it uses, README's tables, launch files, displays, the API of Humble."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import rclpy.clock
import rclpy.executors
import rclpy.impl.rcutils_logger
import rclpy.lifecycle
import rclpy.timer
import yaml
from genie_ros import tables, topics
from genie_ros.parameters import PARAMETERS
from genie_ros.perception_parameters import PERCEPTION_PARAMETERS

PACKAGE = Path(__file__).resolve().parents[1]
SOURCES = sorted((PACKAGE / "genie_ros").glob("*.py"))


def humble_api() -> Any:
    spec = importlib.util.spec_from_file_location("humble_api", Path(__file__).with_name("humble_api.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HUMBLE = humble_api()
CLASSES = (
    rclpy.lifecycle.LifecycleNode, rclpy.lifecycle.Publisher, rclpy.subscription.Subscription,
    rclpy.executors.SingleThreadedExecutor, rclpy.clock.Clock, rclpy.timer.Timer,
    rclpy.impl.rcutils_logger.RcutilsLogger,
)  # fmt: skip
KNOWN = {name for of in CLASSES for name in dir(of) if not name.startswith("_")}
# Names that classes of rclpy have too, but that are meant of other objects here: lists, dicts, strings, messages.
ELSEWHERE = {"handle", "context", "name", "topic", "period", "level", "clear", "wait", "wake", "nodes", "tick"}


def used_of_rclpy(source: str) -> set[str]:
    """What a file uses that is not in the list of Humble's API."""
    wrong = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "rclpy":
            allowed = HUMBLE.MODULES.get(node.module, set())
            wrong |= {f"{node.module}.{alias.name}" for alias in node.names if alias.name not in allowed}
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rclpy":
            wrong |= {f"rclpy.{node.attr}"} - {f"rclpy.{name}" for name in HUMBLE.MODULES["rclpy"]}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
            if name in KNOWN - ELSEWHERE and name not in HUMBLE.METHODS:
                wrong.add(f"{name}()")
            allowed = HUMBLE.ARGUMENTS.get(name)
            if allowed is not None:
                wrong |= {f"{name}({k.arg}=)" for k in node.keywords if k.arg not in allowed}
    return wrong


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_nothing_is_used_that_humble_lacks(path: Path) -> None:
    assert used_of_rclpy(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    "newer",
    [
        "from rclpy.wait_for_message import wait_for_message",
        "self.wait_for_node('x', 1.0)",
        "node.create_timer(1.0, tick, autostart=False)",
        "subscription.get_publisher_count()",
        "rclpy.spin_until_complete(node)",
    ],
)
def test_what_came_later_is_found(newer: str) -> None:
    assert used_of_rclpy(newer)


def test_callbacks_take_the_message_alone() -> None:
    """Message info came after Humble: a second argument would be filled there by nothing."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and re.match(
                r"_?on_(?!configure|activate|deactivate|cleanup|shut)", node.name
            ):
                arguments = [a.arg for a in node.args.args if a.arg != "self"]
                assert len(arguments) <= 1, f"{path.name}: {node.name}{arguments}"


def test_the_tables_of_readme_are_those_of_the_code() -> None:
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    assert tables.filled(text) == text, "make them anew: python -m genie_ros.tables README.md"
    for topic in (*topics.INPUTS, *topics.OUTPUTS, *topics.PERCEPTION_INPUTS, *topics.PERCEPTION_OUTPUTS):
        assert f"`{topic.name}`" in text
    stale = text.replace("| `publish_rate` | `30.0`", "| `publish_rate` | `10.0`")
    assert stale != text and tables.filled(stale) == text


def test_the_parameter_file_names_parameters_of_the_node() -> None:
    tree = yaml.safe_load((PACKAGE / "config/geniedrive.param.yaml").read_text(encoding="utf-8"))
    values = tree["/**"]["ros__parameters"]
    assert set(values) <= set(PARAMETERS)
    for name, value in values.items():
        assert type(value) is type(PARAMETERS[name].default), name


def launch_names(name: str) -> dict[str, Any]:
    """Literal assignments of a launch file, read without launch: the wheels have none."""
    tree = ast.parse((PACKAGE / f"launch/{name}.launch.py").read_text(encoding="utf-8"))
    assert any(isinstance(n, ast.FunctionDef) and n.name == "generate_launch_description" for n in tree.body)
    found: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and isinstance(node.targets[0], ast.Name):
            constant = [key for key in node.value.keys if isinstance(key, ast.Constant)]
            found[node.targets[0].id] = [ast.literal_eval(key) for key in constant]
    return found


def test_launch_files_are_of_the_node_that_there_is() -> None:
    genie, replay = launch_names("genie"), launch_names("replay")
    assert {"namespace", "params_file", "use_sim_time", "autostart"} <= set(genie["ARGUMENTS"])
    assert set(genie["REMAPS"]) <= {t.name for t in (*topics.INPUTS, *topics.OUTPUTS)}
    text = (PACKAGE / "launch/genie.launch.py").read_text(encoding="utf-8")
    for parameter in re.findall(r'"(\w+)": LaunchConfiguration', text):
        assert parameter in PARAMETERS or parameter == "use_sim_time"
    setup = (PACKAGE / "setup.py").read_text(encoding="utf-8")
    for executable in re.findall(r'executable="(\w+)"', text + (PACKAGE / "launch/replay.launch.py").read_text()):
        assert executable == "rviz2" or f"{executable} = genie_ros." in setup
    assert {"bag", "bundle", "rviz"} <= set(replay["ARGUMENTS"])


def test_the_launch_file_of_perception_is_of_that_node() -> None:
    launch = launch_names("perception")
    assert {"namespace", "use_sim_time", "perception", "rig"} <= set(launch["ARGUMENTS"])
    ours = {t.name for t in (*topics.PERCEPTION_INPUTS, topics.PERCEIVED)}
    text = (PACKAGE / "launch/perception.launch.py").read_text(encoding="utf-8")
    images = {topic.name for topic in topics.IMAGES}
    assert set(launch["REMAPS"]) | images == ours and 'f"~/input/image{i}"' in text
    for parameter in re.findall(r'"(\w+)": LaunchConfiguration', text):
        assert parameter in PERCEPTION_PARAMETERS or parameter == "use_sim_time"
    assert "perception_node = genie_ros." in (PACKAGE / "setup.py").read_text(encoding="utf-8")


def test_displays_show_topics_that_there_are() -> None:
    ours = {t.name.replace("~", "/geniedrive") for t in topics.OUTPUTS}
    rviz = yaml.safe_load((PACKAGE / "rviz/genie.rviz").read_text(encoding="utf-8"))
    shown = [d["Topic"]["Value"] for d in rviz["Visualization Manager"]["Displays"] if "Topic" in d]
    layout = json.loads((PACKAGE / "foxglove/genie.json").read_text(encoding="utf-8"))
    shown += re.findall(r"/geniedrive/[\w/]+", json.dumps(layout))
    assert any(t.startswith("/geniedrive") for t in shown)
    assert {t for t in shown if t.startswith("/geniedrive")} <= ours
    panels = set(layout["configById"])
    placed = set(re.findall(r'"(?:first|second)": "([^"]+)"', json.dumps(layout["layout"])))
    assert placed == panels


def test_package_xml_names_what_is_imported() -> None:
    declared = set(re.findall(r"<exec_depend>([\w-]+)</exec_depend>", (PACKAGE / "package.xml").read_text()))
    imported = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            if module and (module.endswith(".msg") or module.startswith("rclpy")):
                imported.add(module.partition(".")[0])
    assert imported <= declared, imported - declared
