"""The engine of neural-collapse experiments: models, metrics, theory. It knows no web, queue or database."""
