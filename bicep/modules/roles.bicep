metadata name = 'roles'
metadata description = 'Who may do what. producer/target/permissions.py says which call needs which action; a test compares the two.'

import { operator } from 'types.bicep'

@description('Start of the display names of the custom roles, which are unique per tenant.')
param prefix string

@description('Storage account.')
param storageName string

@description('Identity of the VMs.')
param identityName string

@description('Virtual network of the VMs.')
param vnetName string

@description('Principal of the VMs.')
param vmPrincipalId string

@description('Is there a wake?')
param wakeEnabled bool

@description('Principal of the wake, empty when it is off.')
param wakePrincipalId string

@description('Who enqueues, publishes and scales.')
param operators operator[]

@description('Define roles of just the needed actions. Without, the nearest built-in ones are assigned, and no VM may delete itself.')
param customRoles bool

// ---- Definitions ----------------------------------------------------------------------------------------------------
var suffix = take(uniqueString(resourceGroup().id, prefix), 6)

var queueDataContributor = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
)
var queueDataReader = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '19e7f393-937e-4f77-808e-94535e297925'
)
var queueDataMessageSender = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a'
)
var blobDataContributor = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
)
var blobDataReader = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
)
var virtualMachineContributor = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '9980e02c-c2be-4d73-94e8-173b1dc7cf3c'
)
var networkContributor = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '4d97b98b-1d4f-4787-a291-c67834d212e7'
)
var managedIdentityOperator = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  'f1a07417-d97a-45cb-824c-7a7467783830'
)

resource queueWorker 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (customRoles) {
  name: guid(resourceGroup().id, prefix, 'queue worker')
  properties: {
    roleName: '${prefix} queue worker ${suffix}'
    description: 'Count, receive, renew, release and delete messages. The built-in Message Processor can neither renew nor count.'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        actions: ['Microsoft.Storage/storageAccounts/queueServices/queues/read']
        dataActions: [
          'Microsoft.Storage/storageAccounts/queueServices/queues/messages/process/action'
          'Microsoft.Storage/storageAccounts/queueServices/queues/messages/write'
        ]
      }
    ]
  }
}

resource counter 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (customRoles) {
  name: guid(resourceGroup().id, prefix, 'queue counter')
  properties: {
    roleName: '${prefix} queue counter ${suffix}'
    description: 'Read how many messages a queue holds, and none of them.'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        actions: ['Microsoft.Storage/storageAccounts/queueServices/queues/read']
      }
    ]
  }
}

// The VMs of a Flexible set are siblings of the set, so a role on the set alone can neither list nor create them.
resource scaler 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (customRoles) {
  name: guid(resourceGroup().id, prefix, 'scaler')
  properties: {
    roleName: '${prefix} scaler ${suffix}'
    description: 'Change the capacity of a Flexible scale set, with all that its VMs consist of.'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        actions: [
          'Microsoft.Compute/virtualMachineScaleSets/read'
          'Microsoft.Compute/virtualMachineScaleSets/write'
          'Microsoft.Compute/virtualMachines/read'
          'Microsoft.Compute/virtualMachines/write'
          'Microsoft.Compute/virtualMachines/delete'
          'Microsoft.Compute/disks/read'
          'Microsoft.Compute/disks/write'
          'Microsoft.Compute/disks/delete'
          'Microsoft.Network/networkInterfaces/read'
          'Microsoft.Network/networkInterfaces/write'
          'Microsoft.Network/networkInterfaces/join/action'
          'Microsoft.Network/networkInterfaces/delete'
          'Microsoft.Network/publicIPAddresses/read'
          'Microsoft.Network/publicIPAddresses/write'
          'Microsoft.Network/publicIPAddresses/join/action'
          'Microsoft.Network/publicIPAddresses/delete'
        ]
      }
    ]
  }
}

// Assigned to the subnet and to the identity, not to the group: in a group shared with others it must not lend out theirs.
resource attacher 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (customRoles) {
  name: guid(resourceGroup().id, prefix, 'attacher')
  properties: {
    roleName: '${prefix} attacher ${suffix}'
    description: 'Put a new VM into the subnet and give it the identity of the VMs.'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        actions: [
          'Microsoft.Network/virtualNetworks/subnets/join/action'
          'Microsoft.ManagedIdentity/userAssignedIdentities/assign/action'
        ]
      }
    ]
  }
}

resource keeper 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (customRoles) {
  name: guid(resourceGroup().id, prefix, 'keeper')
  properties: {
    roleName: '${prefix} keeper ${suffix}'
    description: 'Look at VMs and at runs of the wake, delete VMs by name, try an eviction.'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        actions: [
          'Microsoft.Compute/virtualMachineScaleSets/delete/action'
          'Microsoft.Compute/virtualMachines/instanceView/read'
          'Microsoft.Compute/virtualMachines/simulateEviction/action'
          'Microsoft.Logic/workflows/read'
          'Microsoft.Logic/workflows/runs/read'
        ]
      }
    ]
  }
}

// What a VM may do to the fleet. virtualMachineScaleSets/write is not here: it holds the custom data of every later VM, and
// so would be root on all of them, and the bill.
resource retirer 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (customRoles) {
  name: guid(resourceGroup().id, prefix, 'retirer')
  properties: {
    roleName: '${prefix} retirer ${suffix}'
    description: 'Delete VMs of a Flexible scale set by name, with disk, interface and address.'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        actions: [
          'Microsoft.Compute/virtualMachineScaleSets/delete/action'
          'Microsoft.Compute/virtualMachines/delete'
          'Microsoft.Compute/disks/delete'
          'Microsoft.Network/networkInterfaces/delete'
          'Microsoft.Network/publicIPAddresses/delete'
        ]
      }
    ]
  }
}

var retirerId = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', retirer.name)
var keeperId = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', keeper.name)
var attacherId = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', attacher.name)
var queueWorkerId = customRoles
  ? subscriptionResourceId('Microsoft.Authorization/roleDefinitions', queueWorker.name)
  : queueDataContributor
var counterId = customRoles
  ? subscriptionResourceId('Microsoft.Authorization/roleDefinitions', counter.name)
  : queueDataReader
var scalerIds = customRoles
  ? [subscriptionResourceId('Microsoft.Authorization/roleDefinitions', scaler.name)]
  : [virtualMachineContributor, networkContributor]
var identityLenderId = customRoles ? attacherId : managedIdentityOperator

// ---- Scopes ---------------------------------------------------------------------------------------------------------
resource account 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageName

  resource queues 'queueServices' existing = {
    name: 'default'

    resource jobs 'queues' existing = {
      name: 'jobs'
    }
    resource poison 'queues' existing = {
      name: 'jobs-poison'
    }
  }

  resource blobs 'blobServices' existing = {
    name: 'default'

    resource sweeps 'containers' existing = {
      name: 'sweeps'
    }
    resource checkpoints 'containers' existing = {
      name: 'checkpoints'
    }
    resource control 'containers' existing = {
      name: 'control'
    }
    resource releases 'containers' existing = {
      name: 'releases'
    }
  }
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource vnet 'Microsoft.Network/virtualNetworks@2025-05-01' existing = {
  name: vnetName

  resource workers 'subnets' existing = {
    name: 'workers'
  }
}

// ---- The VMs --------------------------------------------------------------------------------------------------------
// The name of an assignment contains its principal: an identity that was deleted and made again has another one, and Azure
// refuses to change the principal of an assignment. A new custom role takes minutes to be known everywhere, hence retryOn.

@retryOn(['RoleDefinitionDoesNotExist'], 6)
resource vmsWorkOnJobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account::queues::jobs.id, vmPrincipalId, queueWorkerId)
  scope: account::queues::jobs
  properties: { principalId: vmPrincipalId, principalType: 'ServicePrincipal', roleDefinitionId: queueWorkerId }
}

resource vmsPoison 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account::queues::poison.id, vmPrincipalId, queueDataMessageSender)
  scope: account::queues::poison
  properties: {
    principalId: vmPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: queueDataMessageSender
  }
}

resource vmsWriteSweeps 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account::blobs::sweeps.id, vmPrincipalId, blobDataContributor)
  scope: account::blobs::sweeps
  properties: { principalId: vmPrincipalId, principalType: 'ServicePrincipal', roleDefinitionId: blobDataContributor }
}

resource vmsWriteCheckpoints 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account::blobs::checkpoints.id, vmPrincipalId, blobDataContributor)
  scope: account::blobs::checkpoints
  properties: { principalId: vmPrincipalId, principalType: 'ServicePrincipal', roleDefinitionId: blobDataContributor }
}

resource vmsWriteControl 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account::blobs::control.id, vmPrincipalId, blobDataContributor)
  scope: account::blobs::control
  properties: { principalId: vmPrincipalId, principalType: 'ServicePrincipal', roleDefinitionId: blobDataContributor }
}

resource vmsReadReleases 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account::blobs::releases.id, vmPrincipalId, blobDataReader)
  scope: account::blobs::releases
  properties: { principalId: vmPrincipalId, principalType: 'ServicePrincipal', roleDefinitionId: blobDataReader }
}

@retryOn(['RoleDefinitionDoesNotExist'], 6)
resource vmsRetire 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (customRoles) {
  name: guid(resourceGroup().id, vmPrincipalId, retirerId)
  properties: {
    principalId: vmPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: retirerId
  }
}

// ---- The wake -------------------------------------------------------------------------------------------------------
@retryOn(['RoleDefinitionDoesNotExist'], 6)
resource wakeCounts 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (wakeEnabled) {
  name: guid(account::queues::jobs.id, wakePrincipalId, counterId)
  scope: account::queues::jobs
  properties: { principalId: wakePrincipalId, principalType: 'ServicePrincipal', roleDefinitionId: counterId }
}

resource wakeWritesControl 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (wakeEnabled) {
  name: guid(account::blobs::control.id, wakePrincipalId, blobDataContributor)
  scope: account::blobs::control
  properties: { principalId: wakePrincipalId, principalType: 'ServicePrincipal', roleDefinitionId: blobDataContributor }
}

// ---- The operators: with shared keys off even an Owner has no right to data ------------------------------------------
resource operatorsUseQueues 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for person in operators: {
    name: guid(account.id, person.objectId, queueDataContributor)
    scope: account
    properties: {
      principalId: person.objectId
      principalType: person.kind
      roleDefinitionId: queueDataContributor
    }
  }
]

resource operatorsUseBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for person in operators: {
    name: guid(account.id, person.objectId, blobDataContributor)
    scope: account
    properties: {
      principalId: person.objectId
      principalType: person.kind
      roleDefinitionId: blobDataContributor
    }
  }
]

@retryOn(['RoleDefinitionDoesNotExist'], 6)
resource operatorsKeep 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for person in operators: if (customRoles) {
    name: guid(resourceGroup().id, person.objectId, keeperId)
    properties: {
      principalId: person.objectId
      principalType: person.kind
      roleDefinitionId: keeperId
    }
  }
]

// ---- Who raises: the wake and the operators, no VM --------------------------------------------------------------------
var wakes = wakeEnabled ? [{ objectId: wakePrincipalId, kind: 'ServicePrincipal' }] : []
var raisers = concat(wakes, operators)

@retryOn(['RoleDefinitionDoesNotExist'], 6)
resource raisersScale 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for pair in range(0, length(raisers) * length(scalerIds)): {
    name: guid(resourceGroup().id, raisers[pair / length(scalerIds)].objectId, scalerIds[pair % length(scalerIds)])
    properties: {
      principalId: raisers[pair / length(scalerIds)].objectId
      principalType: raisers[pair / length(scalerIds)].kind
      roleDefinitionId: scalerIds[pair % length(scalerIds)]
    }
  }
]

@retryOn(['RoleDefinitionDoesNotExist'], 6)
resource raisersJoin 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for raiser in raisers: if (customRoles) {
    name: guid(vnet::workers.id, raiser.objectId, attacherId)
    scope: vnet::workers
    properties: {
      principalId: raiser.objectId
      principalType: raiser.kind
      roleDefinitionId: attacherId
    }
  }
]

@retryOn(['RoleDefinitionDoesNotExist'], 6)
resource raisersLendIdentity 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for raiser in raisers: {
    name: guid(identity.id, raiser.objectId, identityLenderId)
    scope: identity
    properties: {
      principalId: raiser.objectId
      principalType: raiser.kind
      roleDefinitionId: identityLenderId
    }
  }
]

@description('Custom role definitions: they outlive the group, and have to be deleted after their assignments.')
output customRoleIds string[] = customRoles
  ? [queueWorker.id, counter.id, scaler.id, attacher.id, keeper.id, retirer.id]
  : []
