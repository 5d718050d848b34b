"""The place that commands work on: which one, how to deploy it, whether it is well."""
