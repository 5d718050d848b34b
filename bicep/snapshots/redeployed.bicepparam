using '../main.bicep'
extends 'base.bicepparam'

// The defaults, on a group that may hold a running set: no capacity is given, so the set's own is looked up.
