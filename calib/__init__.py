"""Geometry, rigs and calibration. The lowest layer: numpy, OpenCV and yaml only."""
