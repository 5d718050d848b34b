metadata name = 'scaleset'
metadata description = 'Writes the model of the set with the capacity that the set has at that moment: a PUT with another one would delete blind victims.'

import { pricing, sizing, tagMap } from 'types.bicep'

@description('Region.')
param location string

@description('Name of the set.')
param name string

@description('Sizes.')
param vms sizing

@description('How they are bought.')
param price pricing

@description('Subnet of the VMs.')
param subnetId string

@description('A public address per VM?')
param instanceAddress bool

@description('Resource id of the identity of the VMs.')
param identityId string

@description('SSH public key of the administrator.')
param sshPublicKey string

@description('Exact version of the image.')
param imageVersion string

@description('Capacity to write, null for: as it is, 0 when the set is new.')
param capacity int?

@description('cloud-init, base64.')
param customData string

@description('Tags.')
param tags tagMap

@nullIfNotFound()
resource current 'Microsoft.Compute/virtualMachineScaleSets@2025-04-01' existing = {
  name: name
}

// A module of its own, because a resource cannot ask for its own present state. It starts right after the read above.
module model 'scaleset-model.bicep' = {
  params: {
    location: location
    name: name
    vms: vms
    price: price
    subnetId: subnetId
    instanceAddress: instanceAddress
    identityId: identityId
    sshPublicKey: sshPublicKey
    imageVersion: imageVersion
    capacity: capacity ?? current.?sku.?capacity ?? 0
    customData: customData
    tags: tags
  }
}
