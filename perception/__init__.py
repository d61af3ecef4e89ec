"""What the car sees now: data types, preprocessing, occupancy, metrics."""
