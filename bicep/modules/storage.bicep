metadata name = 'storage'
metadata description = 'Queues, containers and retention. No account key opens it: every request carries a token of Entra ID.'

import { firewall, tagMap } from 'types.bicep'

@description('Region.')
param location string

@description('Account name, unique in the world.')
param name string

@description('Who reaches it by network.')
param reach firewall

@description('Subnet of the VMs.')
param subnetId string

@description('Resource id of the wake, empty when it is off. Only a closed firewall asks for it.')
param wakeId string

@description('Days after which a checkpoint that nobody touched is deleted.')
@minValue(30)
param checkpointRetentionDays int

@description('Tags.')
param tags tagMap

var closed = reach.mode == 'closed'
var operatorAddresses = reach.?operatorAddresses ?? []

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' } // a lost region loses checkpoints, not results downloaded; three times the price buys a second one
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    allowCrossTenantReplication: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: 'Enabled' // laptop, wake and VMs come by the public endpoint; networkAcls and roles are the gates
    networkAcls: {
      defaultAction: closed ? 'Deny' : 'Allow'
      bypass: 'None'
      virtualNetworkRules: closed ? [{ id: subnetId, action: 'Allow' }] : []
      ipRules: map(operatorAddresses, address => { value: address, action: 'Allow' })
      resourceAccessRules: closed && !empty(wakeId) ? [{ tenantId: tenant().tenantId, resourceId: wakeId }] : []
    }
  }
}

resource queues 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource queue 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = [
  for queueName in ['jobs', 'jobs-poison']: {
    parent: queues
    name: queueName
  }
]

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: account
  name: 'default'
  properties: {
    // These three are of the whole account, and would bill every collected segment for as long again.
    isVersioningEnabled: false
    changeFeed: { enabled: false }
    deleteRetentionPolicy: { enabled: false }
    containerDeleteRetentionPolicy: { enabled: true, days: 7 }
  }
}

resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = [
  for containerName in ['sweeps', 'checkpoints', 'control', 'releases']: {
    parent: blobs
    name: containerName
    properties: { publicAccess: 'None' }
  }
]

// Workers delete checkpoints themselves once the terminal record is committed. This catches what a killed worker left.
resource retention 'Microsoft.Storage/storageAccounts/managementPolicies@2025-06-01' = {
  parent: account
  name: 'default'
  properties: {
    policy: {
      rules: [
        {
          name: 'forgotten-checkpoints'
          type: 'Lifecycle'
          enabled: true
          definition: {
            filters: { blobTypes: ['blockBlob'], prefixMatch: ['checkpoints/'] }
            actions: { baseBlob: { delete: { daysAfterModificationGreaterThan: checkpointRetentionDays } } }
          }
        }
      ]
    }
  }
  dependsOn: [container]
}

@description('Blob endpoint, ends in a slash.')
output blobEndpoint string = account.properties.primaryEndpoints.blob

@description('Queue endpoint, ends in a slash.')
output queueEndpoint string = account.properties.primaryEndpoints.queue
