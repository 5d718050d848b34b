metadata name = 'scaleset-model'
metadata description = 'The model of the set: what the next VM looks like. Running VMs keep the model they were made from.'

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

@description('Administrator of the VMs.')
param adminUsername string = 'tranquility'

@description('SSH public key of the administrator.')
param sshPublicKey string

@description('Exact version of the image.')
param imageVersion string

@description('Capacity.')
param capacity int

@description('cloud-init, base64.')
param customData string

@description('Tags.')
param tags tagMap

var mixed = length(vms.sizes) > 1
var localDisk = mixed && vms.?ephemeral != null
  ? fail('vms.ephemeral is set and vms.sizes names several sizes: Azure refuses an ephemeral OS disk in an instance mix. Give one size, or leave ephemeral out.')
  : vms.?ephemeral
var spot = price.priority == 'spot'
var regularBase = price.?regularBase ?? 0
var regularPercentAboveBase = price.?regularPercentAboveBase ?? 0

// Checked here, because Azure says so only at the first scale-out.
var checkedCustomData = length(customData) > 87380
  ? fail('cloud-init is larger than the 65,535 bytes that Azure takes as custom data.')
  : customData

resource set 'Microsoft.Compute/virtualMachineScaleSets@2025-04-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: mixed ? 'Mix' : vms.sizes[0] // no tier: it is refused with a mix
    capacity: capacity
  }
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${identityId}': {} } }
  properties: {
    orchestrationMode: 'Flexible'
    platformFaultDomainCount: 1
    singlePlacementGroup: false
    upgradePolicy: { mode: 'Manual' } // a new model never touches a running VM
    skuProfile: mixed
      ? { vmSizes: map(vms.sizes, size => { name: size }), allocationStrategy: 'CapacityOptimized' }
      : null
    priorityMixPolicy: spot && regularBase + regularPercentAboveBase > 0
      ? { baseRegularPriorityCount: regularBase, regularPriorityPercentageAboveBase: regularPercentAboveBase }
      : null
    virtualMachineProfile: {
      priority: spot ? 'Spot' : 'Regular'
      evictionPolicy: spot ? 'Delete' : null // a deallocated VM keeps disk and quota, and nothing starts it again
      billingProfile: spot ? { maxPrice: json(price.?maxPrice ?? '-1') } : null
      osProfile: {
        computerNamePrefix: take(name, 9)
        adminUsername: adminUsername
        customData: checkedCustomData
        linuxConfiguration: {
          disablePasswordAuthentication: true
          provisionVMAgent: true
          patchSettings: { patchMode: 'ImageDefault', assessmentMode: 'ImageDefault' } // cloud-init masks what the image would patch with
          ssh: { publicKeys: [{ path: '/home/${adminUsername}/.ssh/authorized_keys', keyData: sshPublicKey }] }
        }
      }
      securityProfile: {
        securityType: 'TrustedLaunch'
        uefiSettings: { secureBootEnabled: true, vTpmEnabled: true }
        // No encryptionAtHost, not even false: it fails where the subscription has not registered the feature.
      }
      diagnosticsProfile: { bootDiagnostics: { enabled: true } }
      storageProfile: {
        diskControllerType: vms.?diskController // of a size that knows NVMe alone, some clients saw Azure take SCSI
        imageReference: {
          publisher: 'Canonical'
          offer: 'ubuntu-24_04-lts'
          sku: 'server'
          version: imageVersion
        }
        osDisk: {
          createOption: 'FromImage'
          deleteOption: 'Delete'
          caching: localDisk == null ? 'ReadWrite' : 'ReadOnly'
          diskSizeGB: 30
          diffDiskSettings: localDisk == null ? null : { option: 'Local', placement: localDisk! }
          managedDisk: localDisk == null ? { storageAccountType: 'StandardSSD_LRS' } : null
        }
      }
      networkProfile: {
        networkApiVersion: '2022-11-01'
        networkInterfaceConfigurations: [
          {
            name: 'nic'
            properties: {
              primary: true
              deleteOption: 'Delete'
              enableAcceleratedNetworking: true
              ipConfigurations: [
                {
                  name: 'ip'
                  properties: {
                    primary: true
                    subnet: { id: subnetId }
                    publicIPAddressConfiguration: instanceAddress
                      ? {
                          name: 'address'
                          sku: { name: 'Standard', tier: 'Regional' }
                          properties: { deleteOption: 'Delete', idleTimeoutInMinutes: 4 }
                        }
                      : null
                  }
                }
              ]
            }
          }
        ]
      }
    }
  }
}
