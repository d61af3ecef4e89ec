"""An embedded nuScenes: procedural towns with traffic and sensors, written in the layout of the real data set.

world (where everything is at any time) <- sensors and `Renderer` (what a rig there would measure), rasterise (labels)
<- writer (files and tables). A data root:

v1.0-synth/             the 13 tables; with --lidar also lidarseg.json and panoptic.json
samples/, sweeps/       with --lidar and --cameras: LIDAR_TOP at 20 Hz, six cameras at 12 Hz; keyframes at 2 Hz
lidarseg/, panoptic/    with --lidar: a class, and a class and instance, of each point of the lidar's keyframes
maps/                   the drivable surface of each scene's town
gts/                    Occ3D labels at the keyframes: semantics, mask_lidar, mask_camera
stream/, stream-mini/   labels at 10 Hz: everything, and solid boxes and road alone (see `rasterise`)
can_bus/                the ego pose at 50 Hz
events/                 what happens in each scene, and when

Read in this order: `generate` (scene by scene), `world`, `town` with `lanes` and `paths` (geometry), `traffic` and
`walkers` (motion), `scenery` and `furniture` (what stands), `render` with `lidar` and `camera`, `rasterise` and `masks`
(labels), `samples`, `tables` and `writer` (the schema).
"""
