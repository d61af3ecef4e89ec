"""Occ3D-like labels from lidar sweeps, annotated boxes and lidarseg: `geniedrive data occupancy`."""
