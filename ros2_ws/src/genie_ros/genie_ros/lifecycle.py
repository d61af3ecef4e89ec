"""What our lifecycle nodes share: transitions that tell why they fail, and a start without launch."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from calib.errors import InputError

Node = TypeVar("Node", bound=LifecycleNode)
Transition = Callable[[Node, LifecycleState], TransitionCallbackReturn]


def loud(transition: Transition[Node]) -> Transition[Node]:
    """rclpy turns an exception in a transition into ERROR without a word; here it is logged first."""

    @wraps(transition)
    def logged(node: Node, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception:
            node.get_logger().error(f"{transition.__name__} failed:\n{traceback.format_exc()}")
            raise

    return logged


def start(node: LifecycleNode, configure_error: Callable[[], InputError | None]) -> None:
    """Configures and activates a node. Raises what configuration met, or RuntimeError where that is only in the log."""
    if node.trigger_configure() != TransitionCallbackReturn.SUCCESS:
        error = configure_error()
        if error is not None:
            raise error
        raise RuntimeError("the node could not be configured; see the log above")
    if node.trigger_activate() != TransitionCallbackReturn.SUCCESS:
        raise RuntimeError("the node could not be activated; see the log above")
