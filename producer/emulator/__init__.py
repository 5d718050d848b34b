"""A scale set on this machine: Azurite, ARM, IMDS and instances that are processes."""
