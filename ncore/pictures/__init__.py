"""Pictures of measurements beside predictions, as Vega-Lite and as files."""
