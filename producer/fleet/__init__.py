"""The scale set follows the queue: a pure reconcile and the loop around it."""
