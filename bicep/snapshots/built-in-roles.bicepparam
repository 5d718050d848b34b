using '../main.bicep'
extends 'base.bicepparam'

// For someone who may assign roles and not define them.
param capacity = 0
param customRoles = false
