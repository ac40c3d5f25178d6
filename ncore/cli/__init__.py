"""The command `ncore`."""
