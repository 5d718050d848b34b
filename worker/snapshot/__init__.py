"""What a training run is made of while it is not running: rows, state, curve; as values and bytes, without torch."""
