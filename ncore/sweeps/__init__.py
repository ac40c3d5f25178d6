"""Sweeps: which combinations of values a request asks for, what is said of each, and where an adaptive one goes on."""
