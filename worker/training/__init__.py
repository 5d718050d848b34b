"""The algorithm and all state that a bit-exact resume needs. The only place that imports torch."""
