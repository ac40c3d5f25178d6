"""Unconstrained features models: free features H₁ under M weight layers, trained by full-batch gradient descent."""
