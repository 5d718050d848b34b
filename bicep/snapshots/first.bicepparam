using '../main.bicep'
extends 'base.bicepparam'

// The defaults, on an empty group. 'local up' reads this snapshot.
param capacity = 0
