"""From a checkpoint to the car: export, runtimes, parity, the pipeline."""
