"""The publishers of a configured node: a tick becomes messages, megabytes only for those who listen."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, TypeVar

from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Float64

from deploy.live_status import Tick
from genie_ros import conversions, topics, views
from genie_ros.parameters import NodeParameters
from genie_ros.qos import PublisherEventCallbacks
from perception.types import SceneForecast

K, V = TypeVar("K"), TypeVar("V")


class Once(Generic[K, V]):
    """The newest of something costly. What is told again has the same voxels: they are turned round once for each
    inference."""

    def __init__(self) -> None:
        self._kept: tuple[K, V] | None = None

    def of(self, key: K, make: Callable[[], V]) -> V:
        if self._kept is None or self._kept[0] != key:
            self._kept = (key, make())
        return self._kept[1]


class Outputs:
    """Publishes when it is told; `close` takes the publishers down."""

    def __init__(self, node: LifecycleNode, chosen: NodeParameters, on_mismatch: Callable[[Any], None]) -> None:
        """on_mismatch: told at once of a subscriber that asks for more than is offered."""
        self._node, self._chosen = node, chosen
        events = PublisherEventCallbacks(incompatible_qos=on_mismatch, use_default_callbacks=False)
        self.topics = [topic for topic in topics.OUTPUTS if topic is not topics.DIAGNOSTICS]
        self._publishers = {
            topic: node.create_lifecycle_publisher(topic.type, topic.name, topic.qos, event_callbacks=events)
            for topic in self.topics
        }
        # The class names do not change; whoever comes later gets them too. The state machine cannot hold them back.
        self._labels = self._publishers[topics.LABELS]
        self._packed: Once[int, array[int] | array[float]] = Once()
        self._occupied: Once[tuple[int, int], views.Occupied] = Once()

    def close(self) -> None:
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = {}

    def tell_labels(self) -> None:
        """Once for each activation."""
        self._labels.publish(views.labels_message())

    def publish(self, tick: Tick, cycle_ms: float, horizon_s: float) -> None:
        """All messages of a tick. horizon_s: which step the topics of one step show."""
        frame = self._chosen.ego_frame
        status = conversions.status_message(tick.status, frame)
        self._publishers[topics.STATUS].publish(status)
        self._publishers[topics.CYCLE].publish(Float64(data=cycle_ms))
        if tick.status.is_new_inference:
            self._publishers[topics.PROCESSING].publish(Float64(data=tick.status.inference_time_s * 1e3))
            self._publishers[topics.LATENCY].publish(Float64(data=tick.status.input_age_s * 1e3))
        if tick.forecast is None:
            return
        forecast = self._chosen_steps(tick.forecast)
        poses = conversions.future_poses(forecast)
        self._publishers[topics.TRAJECTORY].publish(conversions.trajectory_message(forecast, poses, status, frame))
        if self._heard(topics.FORECAST):
            data = self._packed.of(forecast.inference_id, lambda: conversions.forecast_data(forecast.semantics))
            message = conversions.forecast_message(forecast, data, poses, status, frame)
            self._publishers[topics.FORECAST].publish(message)
        step = views.step_nearest(forecast, horizon_s)
        for topic, make in (
            (topics.PATH, lambda: views.path_message(forecast, poses, frame)),
            (topics.STEP, lambda: views.step_message(forecast, step, frame)),
            (topics.POINTS, lambda: views.points_message(forecast, step, self._occupied_of(forecast, step), frame)),
            (topics.BEV, lambda: views.bev_message(forecast, step, frame)),
        ):
            if self._heard(topic):
                self._publishers[topic].publish(make())

    def _heard(self, topic: topics.Topic) -> bool:
        return self._publishers[topic].get_subscription_count() > 0

    def _chosen_steps(self, forecast: SceneForecast) -> SceneForecast:
        """The first `forecast_steps`, each `step_stride`-th of them, counted from the last: the far end stays."""
        steps, stride = self._chosen.forecast_steps, self._chosen.step_stride
        if steps >= len(forecast.semantics) and stride == 1:
            return forecast
        keep = list(range(min(steps, len(forecast.semantics)) - 1, -1, -stride))[::-1]
        return replace(
            forecast,
            horizons_s=forecast.horizons_s[keep],
            semantics=forecast.semantics[keep],
            trajectory=forecast.trajectory[keep],
            confidence=forecast.confidence[keep],
        )

    def _occupied_of(self, forecast: SceneForecast, step: int) -> views.Occupied:
        return self._occupied.of((forecast.inference_id, step), lambda: views.occupied(forecast.semantics[step]))
