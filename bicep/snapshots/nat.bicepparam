using '../main.bicep'
extends 'base.bicepparam'

// One way out for all VMs, and a storage account that only the subnet, the wake and one office reach.
param capacity = 0
param way = { mode: 'natGateway' }
param reach = { mode: 'closed', operatorAddresses: ['198.51.100.0/24'] }
