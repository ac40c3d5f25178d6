"""Sweeps: the combinations of values of a request, a summary of each, and the refinement of adaptive ones."""
