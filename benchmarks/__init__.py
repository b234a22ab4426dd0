"""graphzoo beside torch, autograd and mygrad: `python -m benchmarks`; README.md tells the method."""
