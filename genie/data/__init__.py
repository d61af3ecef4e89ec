"""nuScenes, its Occ3D labels, 10 Hz streams, windows, and the embedded synthetic nuScenes."""
