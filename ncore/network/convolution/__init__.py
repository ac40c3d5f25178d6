"""3 × 3 convolutions on small maps, as matrix products."""
