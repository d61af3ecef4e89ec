"""Offline replay: forecasts against what happened."""
