"""Quality of service of the topics. A subscriber that asks for more than is offered receives nothing, silently: here
such a pair is found, by the event where it happens and by the graph for as long as it lasts."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

try:  # since Iron
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

__all__ = ["PublisherEventCallbacks", "SubscriptionEventCallbacks"]

KEEP_LAST, BEST_EFFORT, RELIABLE = HistoryPolicy.KEEP_LAST, ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE
SENSOR_INPUT = QoSProfile(history=KEEP_LAST, depth=1, reliability=BEST_EFFORT)
ODOMETRY_INPUT = QoSProfile(history=KEEP_LAST, depth=10, reliability=BEST_EFFORT)
EXPECTED_INPUT = QoSProfile(history=KEEP_LAST, depth=5, reliability=BEST_EFFORT)
COMMAND_INPUT = QoSProfile(history=KEEP_LAST, depth=1, reliability=RELIABLE)
OUTPUT = QoSProfile(history=KEEP_LAST, depth=1, reliability=RELIABLE)
DIAGNOSTICS = QoSProfile(history=KEEP_LAST, depth=10, reliability=RELIABLE)
CLOCK = QoSProfile(history=KEEP_LAST, depth=10, reliability=RELIABLE)
LATCHED = QoSProfile(history=KEEP_LAST, depth=1, reliability=RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def mismatches(node: Node, offered: dict[str, QoSProfile], requested: dict[str, QoSProfile]) -> list[str]:
    """Who asks for more than is offered, now, as words.

    Args:
        offered: by full topic name, what we publish with.
        requested: what we subscribe with.
    """
    found = []
    for topic, ours in offered.items():
        for other in node.get_subscriptions_info_by_topic(topic):
            found += _judged(topic, f"subscriber {other.node_name}", ours, other.qos_profile)
    for topic, ours in requested.items():
        for other in node.get_publishers_info_by_topic(topic):
            found += _judged(topic, f"publisher {other.node_name}", other.qos_profile, ours)
    return sorted(found)


def _judged(topic: str, who: str, offers: QoSProfile, asks: QoSProfile) -> list[str]:
    """The two policies that profiles differ in. qos_check_compatible is of no use here: the graph tells a deadline that
    nobody set as one of 292 years, which a publisher without one is then said not to keep."""
    wrong = []
    if asks.reliability == RELIABLE and offers.reliability == BEST_EFFORT:
        wrong.append("RELIABILITY: reliable is asked for, best effort offered")
    if asks.durability == DurabilityPolicy.TRANSIENT_LOCAL and offers.durability == DurabilityPolicy.VOLATILE:
        wrong.append("DURABILITY: transient local is asked for, volatile offered")
    return [f"incompatible QoS on {topic}: {who}: {why}" for why in wrong]
