def measure_confidence(*a): raise NotImplementedError
