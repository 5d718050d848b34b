using '../main.bicep'
extends 'base.bicepparam'

// No wake: sweeps that last longer than the laptop's day need one. Regular VMs with their system on the local disk.
param capacity = 0
param wakeEnabled = false
param price = { priority: 'regular' }
param vms = { sizes: ['Standard_D8ads_v6'], slotsPerInstance: 4, diskController: 'NVMe', ephemeral: 'NvmeDisk' }
