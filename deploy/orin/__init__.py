"""What runs on the target: reading a release, installing it, telling that it is well. All but `check` needs nothing
but Python 3.10, because it runs there before anything is installed."""
