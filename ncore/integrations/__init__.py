"""Other people's training loops and trackers: callbacks over the Probe, and rows from and to their files.

`ncore.integrations.lightning.NeuralCollapse` and `ncore.integrations.transformers.NeuralCollapse` are callbacks.
"""
