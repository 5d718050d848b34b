using '../main.bicep'
extends 'base.bicepparam'

// Several sizes, some regular VMs first, a price limit, a second operator.
param capacity = 0
param vms = { sizes: ['Standard_F8als_v6', 'Standard_F8as_v6'], slotsPerInstance: 8, diskController: 'NVMe' }
param price = { priority: 'spot', maxPrice: '0.12', regularBase: 1, regularPercentAboveBase: 10 }
param operators = [{ objectId: '00000000-0000-0000-0000-0000000000d1', kind: 'Group' }]
