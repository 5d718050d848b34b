"""The control plane: `python -m producer …`, console script `tranquility`. It never imports torch."""
