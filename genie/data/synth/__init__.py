"""A synthetic nuScenes in the real schema, from a seed.

Read in this order: `generate` (scene by scene), `world` (what is where at any instant), `town` with `lanes` and
`paths` (geometry), `traffic` and `walkers` (motion), `scenery` and `furniture` (what stands), `rasterise` (labels),
`tables` and `writer` (the schema). `sensors` is the seam for simulated sensors: no sensor files are written yet.
"""
