"""A synthetic nuScenes in the real schema: world, labels, writer; sensors plug in between."""
