"""The publishers of a configured node: a tick becomes messages, megabytes only for those who listen."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import Any, Generic, TypeVar

from genie_msgs.msg import ScenePredictionStatus
from geometry_msgs.msg import Pose
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Float64

from deploy.live_status import Tick
from genie_ros import conversions, topics, views
from genie_ros.parameters import NodeParameters
from genie_ros.qos import PublisherEventCallbacks
from perception.types import SceneForecast

K, V = TypeVar("K"), TypeVar("V")


class Kept(Generic[K, V]):
    """The newest few of something costly. The inference thread makes them ready, so that the thread that publishes need
    not: what it did not get ready is made when it is asked for."""

    def __init__(self, size: int = 2) -> None:
        self._size, self._lock = size, Lock()
        self._values: dict[K, V] = {}

    def of(self, key: K, make: Callable[[], V]) -> V:
        """Two threads that ask for the same at once both make it: neither waits for the other."""
        with self._lock:
            if key in self._values:
                return self._values[key]
        value = make()
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._size:
                del self._values[next(iter(self._values))]
        return value


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
        self._packed: Kept[int, array[int] | array[float]] = Kept()
        self._occupied: Kept[tuple[int, int], views.Occupied] = Kept()

    def close(self) -> None:
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = {}

    def tell_labels(self) -> None:
        """Once for each activation."""
        self._labels.publish(views.labels_message())

    def prepare(self, forecast: SceneForecast, horizon_s: float) -> None:
        """What costs most, for somebody who listens: the voxels in the order of the messages. From any thread."""
        forecast = self._chosen_steps(forecast)
        if self._heard(topics.FORECAST):
            self._packed_of(forecast)
        if self._heard(topics.POINTS):
            self._occupied_of(forecast, views.step_nearest(forecast, horizon_s))

    def publish(self, tick: Tick, cycle_ms: float, horizon_s: float) -> None:
        """All messages of a tick, what cars drive by first. horizon_s: which step the topics of one step show."""
        status = conversions.status_message(tick.status, self._chosen.ego_frame)
        forecast = None if tick.forecast is None else self._chosen_steps(tick.forecast)
        poses = [] if forecast is None else conversions.future_poses(forecast)
        if forecast is not None:
            self._publish_future(forecast, poses, status)
        self._publishers[topics.STATUS].publish(status)
        if tick.forecast is not None and status.is_new_inference and self._heard(topics.NEXT_STEP):
            self._publish_next(tick.forecast, status)
        if forecast is not None:
            self._publish_views(forecast, poses, views.step_nearest(forecast, horizon_s))
        self._publishers[topics.CYCLE].publish(Float64(data=cycle_ms))
        if tick.status.is_new_inference:
            self._publishers[topics.PROCESSING].publish(Float64(data=tick.status.inference_time_s * 1e3))
            self._publishers[topics.LATENCY].publish(Float64(data=tick.status.input_age_s * 1e3))

    def _publish_future(self, forecast: SceneForecast, poses: list[Pose], status: ScenePredictionStatus) -> None:
        frame = self._chosen.ego_frame
        if self._heard(topics.FORECAST):
            message = conversions.forecast_message(forecast, self._packed_of(forecast), poses, status, frame)
            self._publishers[topics.FORECAST].publish(message)
        self._publishers[topics.TRAJECTORY].publish(conversions.trajectory_message(forecast, poses, status, frame))

    def _publish_next(self, forecast: SceneForecast, status: ScenePredictionStatus) -> None:
        """After what cars drive by: it is for half a second later."""
        first = _steps(forecast, [0])
        data, poses = conversions.forecast_data(first.semantics), conversions.future_poses(first)
        message = conversions.forecast_message(first, data, poses, status, self._chosen.ego_frame)
        self._publishers[topics.NEXT_STEP].publish(message)

    def _publish_views(self, forecast: SceneForecast, poses: list[Pose], step: int) -> None:
        frame = self._chosen.ego_frame
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
        return _steps(forecast, keep)

    def _packed_of(self, forecast: SceneForecast) -> array[int] | array[float]:
        return self._packed.of(forecast.inference_id, lambda: conversions.forecast_data(forecast.semantics))

    def _occupied_of(self, forecast: SceneForecast, step: int) -> views.Occupied:
        return self._occupied.of((forecast.inference_id, step), lambda: views.occupied(forecast.semantics[step]))


def _steps(forecast: SceneForecast, keep: list[int]) -> SceneForecast:
    """A forecast of some of its steps."""
    return replace(
        forecast,
        horizons_s=forecast.horizons_s[keep],
        semantics=forecast.semantics[keep],
        trajectory=forecast.trajectory[keep],
        confidence=forecast.confidence[keep],
    )
