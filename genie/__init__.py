"""The world model: how the scene will look over the next three seconds."""
