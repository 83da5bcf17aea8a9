"""The settings file: models, loading, and every mistake with its line."""
