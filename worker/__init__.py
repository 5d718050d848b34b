"""The data plane: a slot pulls a job, trains it, checkpoints it and publishes the result. Read `loop.py` first."""
