metadata name = 'tranquility'
metadata description = '''
A queue of jobs, storage for their checkpoints, and a scale set of spot VMs that follows the queue.

    laptop ──enqueue──▶ storage: jobs, jobs-poison · sweeps, checkpoints, control, releases ◀──count, pulse── wake
                           ▲  work, checkpoint, answer                                                     │ raise
                           │                                                                               ▼ clear
                        VMs with one identity, in a private subnet ◀──creates── scale set, Flexible, Spot, from 0
'''

import { deployment, egress, firewall, operator, pricing, sizing, tagMap, target } from 'modules/types.bicep'

// ---- What you must give ---------------------------------------------------------------------------------------------
@description('SSH public key of the administrator of the VMs. No port is open for it; the serial console and a peered network can use it.')
@minLength(64)
param sshPublicKey string

@description('Exact version of the image Canonical:ubuntu-24_04-lts:server. \'latest\' would put two C libraries into one sweep, which ends bit-exact resumption.')
@minLength(10)
param imageVersion string

// ---- What you may change ----------------------------------------------------------------------------------------------
@description('Region of everything. Default: that of the resource group.')
param location string = resourceGroup().location

@description('Start of every name, lower case letters and digits. Default \'tranq\'.')
@minLength(3)
@maxLength(11)
param prefix string = 'tranq'

@description('Sizes of the VMs. Default: Standard_F8als_v6, 8 cores of one documented processor (AMD EPYC 9004), 16 GiB, no SMT; so 8 slots.')
param vms sizing = {
  sizes: ['Standard_F8als_v6']
  slotsPerInstance: 8
  diskController: 'NVMe'
}

@description('How the VMs are bought. Default: spot, at any price up to the regular one.')
param price pricing = {
  priority: 'spot'
}

@description('Most VMs that reconcile and the wake raise to. Default 10, which is also the default quota of public addresses.')
@minValue(1)
@maxValue(1000)
param maxInstances int = 10

@description('The way out of the subnet. Default: an address per VM.')
param way egress = {
  mode: 'instanceAddress'
}

@description('Who reaches the storage account by network. Default: every network, with roles as the gate.')
param reach firewall = {
  mode: 'open'
}

@description('Object id of the one who deploys, who gets the roles of an operator. Default: found by Azure.')
param deployerObjectId string = deployer().objectId

@description('What that id names. Default \'User\'.')
param deployerKind ('User' | 'Group' | 'ServicePrincipal') = 'User'

@description('Further operators. Default: none.')
param operators operator[] = []

@description('Define custom roles of just the needed actions, which takes Owner or User Access Administrator. Without them the nearest built-in roles are assigned, and VMs cannot delete themselves. Default true.')
param customRoles bool = true

@description('Deploy the wake, which keeps a sweep alive when no laptop is. About 0.45 USD a month when idle. Default true.')
param wakeEnabled bool = true

@description('Minutes between two runs of the wake. Default 10.')
@minValue(1)
@maxValue(60)
param wakeIntervalMinutes int = 10

@description('Minutes after boot at which a VM without a ready worker deletes itself. Default 30.')
@minValue(5)
@maxValue(240)
param readyWithinMinutes int = 30

@description('Days after which a checkpoint that nobody touched is deleted. Segments are append-only, so an old one may be live: far above any pause of a sweep. Default 90.')
@minValue(30)
@maxValue(3650)
param checkpointRetentionDays int = 90

@description('Capacity to write. Leave it out: a set that is there keeps its own, a new one starts at 0. Default null.')
@minValue(0)
param capacity int?

@description('DNS suffix of storage in this cloud. Default: that of the cloud deployed to.')
param storageSuffix string = environment().suffixes.storage

@description('Azure Resource Manager of this cloud, ends in a slash. Default: that of the cloud deployed to.')
param armEndpoint string = environment().resourceManager

@description('Tags of every resource. Default: none.')
param tags tagMap = {}

// ---- Names, known before anything is deployed: custom data and the wake are made of them -----------------------------
var names = {
  storage: take('${prefix}${uniqueString(resourceGroup().id, prefix)}', 24)
  identity: '${prefix}-vm'
  vnet: '${prefix}-vnet'
  securityGroup: '${prefix}-nsg'
  nat: '${prefix}-nat'
  scaleSet: '${prefix}-set'
  wake: '${prefix}-wake'
}
var identityId = resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', names.identity)
var scaleSetId = resourceId('Microsoft.Compute/virtualMachineScaleSets', names.scaleSet)
var wakeId = resourceId('Microsoft.Logic/workflows', names.wake)
var blobEndpoint = 'https://${names.storage}.blob.${storageSuffix}/'
var queueEndpoint = 'https://${names.storage}.queue.${storageSuffix}/'
var laptopTarget = {
  kind: 'azure'
  subscription_id: subscription().subscriptionId
  resource_group: resourceGroup().name
  location: location
  scale_set: names.scaleSet
  blob_endpoint: blobEndpoint
  queue_endpoint: queueEndpoint
  arm_endpoint: endsWith(armEndpoint, '/') ? substring(armEndpoint, 0, max(0, length(armEndpoint) - 1)) : armEndpoint
  identity_id: ''
  max_instances: maxInstances
  slots_per_instance: vms.slotsPerInstance
  vm_size: vms.sizes[0]
  wake: wakeIsOn ? names.wake : ''
  checkpoint_retention_days: checkpointRetentionDays
}
var vmTarget = union(laptopTarget, { identity_id: identityId })
var allTags = union(tags, { application: 'tranquility' })
var deployingOperator = { objectId: deployerObjectId, kind: deployerKind }
var allOperators = concat([deployingOperator], filter(operators, person => person.objectId != deployerObjectId))

// Without custom roles no VM can delete itself, and without the wake nobody else would when the laptop is closed.
var wakeIsOn = customRoles || wakeEnabled
  ? wakeEnabled
  : fail('customRoles=false and wakeEnabled=false: VMs could not delete themselves, and nothing would clear a forgotten set. Turn one of them on.')

// ---- cloud-init: every byte is known at compile time, so that a snapshot shows what a VM gets --------------------------
var customData = base64(reduce(
  items({
    __BOOTSTRAP_PY__: loadFileAsBase64('cloud-init/bootstrap.py')
    __DEADMAN_PY__: loadFileAsBase64('cloud-init/deadman.py')
    __AZURE_REST_PY__: loadFileAsBase64('cloud-init/azure_rest.py')
    __BOOTSTRAP_SERVICE__: loadFileAsBase64('cloud-init/tranquility-bootstrap.service')
    __DEADMAN_SERVICE__: loadFileAsBase64('cloud-init/tranquility-deadman.service')
    __DEADMAN_TIMER__: loadFileAsBase64('cloud-init/tranquility-deadman.timer')
    __TARGET_JSON__: base64(string(vmTarget))
    __READY_WITHIN_S__: string(readyWithinMinutes * 60)
  }),
  loadTextContent('cloud-init/user-data.yaml'),
  (text, item) => replace(text, item.key, item.value)
))

// ---- What there is ----------------------------------------------------------------------------------------------------
module identity 'modules/identity.bicep' = {
  params: { location: location, name: names.identity, tags: allTags }
}

module network 'modules/network.bicep' = {
  params: {
    location: location
    vnetName: names.vnet
    securityGroupName: names.securityGroup
    natName: names.nat
    way: way
    tags: allTags
  }
}

module wake 'modules/wake.bicep' = if (wakeIsOn) {
  params: {
    location: location
    name: names.wake
    scaleSetId: scaleSetId
    armEndpoint: armEndpoint
    blobEndpoint: blobEndpoint
    queueEndpoint: queueEndpoint
    maxInstances: maxInstances
    slotsPerInstance: vms.slotsPerInstance
    intervalMinutes: wakeIntervalMinutes
    tags: allTags
  }
}

module storage 'modules/storage.bicep' = {
  params: {
    location: location
    name: names.storage
    reach: reach
    subnetId: network.outputs.subnetId
    wakeId: wakeIsOn ? wakeId : ''
    checkpointRetentionDays: checkpointRetentionDays
    tags: allTags
  }
  dependsOn: [wake] // a closed firewall names it
}

module roles 'modules/roles.bicep' = {
  params: {
    prefix: prefix
    storageName: names.storage
    identityName: names.identity
    vnetName: names.vnet
    // What-if cannot foresee the name of an assignment that contains its principal; one that does not contain it breaks
    // when an identity is deleted and made again.
    #disable-next-line what-if-short-circuiting
    vmPrincipalId: identity.outputs.principalId
    wakeEnabled: wakeIsOn
    #disable-next-line what-if-short-circuiting
    wakePrincipalId: wake.?outputs.principalId ?? ''
    operators: allOperators
    customRoles: customRoles
  }
  dependsOn: [storage]
}

module scaleset 'modules/scaleset.bicep' = {
  params: {
    location: location
    name: names.scaleSet
    vms: vms
    price: price
    subnetId: network.outputs.subnetId
    instanceAddress: way.mode == 'instanceAddress'
    identityId: identityId
    sshPublicKey: sshPublicKey
    imageVersion: imageVersion
    capacity: capacity
    customData: customData
    tags: union(allTags, {
      'tranquility-max-instances': string(maxInstances)
      'tranquility-slots-per-instance': string(vms.slotsPerInstance)
    })
  }
  dependsOn: [roles] // no VM before its rights
}

@description('What every command of the producer reads.')
output target target = laptopTarget

@description('What deploy, doctor and destroy need besides.')
output deployment deployment = {
  storageAccount: names.storage
  wake: wakeIsOn ? names.wake : null
  vmsDeleteThemselves: customRoles
  customRoleIds: roles.outputs.customRoleIds
}
