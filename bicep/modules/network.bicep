metadata name = 'network'
metadata description = 'A private subnet: nothing comes in, the way out is chosen, storage is reached by its service endpoint.'

import { egress, tagMap } from 'types.bicep'

@description('Region.')
param location string

@description('Name of the virtual network.')
param vnetName string

@description('Name of its security group.')
param securityGroupName string

@description('Name of the NAT gateway and of its address.')
param natName string

@description('The way out.')
param way egress

@description('Tags.')
param tags tagMap

var withNat = way.mode == 'natGateway'

resource securityGroup 'Microsoft.Network/networkSecurityGroups@2025-05-01' = {
  name: securityGroupName
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'deny-everything-inbound'
        properties: {
          description: 'Also from the virtual network and the load balancer probe, which the default rules let in.'
          priority: 100
          direction: 'Inbound'
          access: 'Deny'
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

resource natAddress 'Microsoft.Network/publicIPAddresses@2025-05-01' = if (withNat) {
  name: natName
  location: location
  tags: tags
  sku: { name: 'Standard' }
  properties: { publicIPAllocationMethod: 'Static' }
}

resource nat 'Microsoft.Network/natGateways@2025-05-01' = if (withNat) {
  name: natName
  location: location
  tags: tags
  sku: { name: 'Standard' }
  properties: {
    publicIpAddresses: [{ id: natAddress.id }]
    idleTimeoutInMinutes: 4
  }
}

// The subnet is a property, not a child resource: a second deployment would otherwise first PUT a network without it.
resource vnet 'Microsoft.Network/virtualNetworks@2025-05-01' = {
  name: vnetName
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: ['10.71.0.0/16'] }
    subnets: [
      {
        name: 'workers'
        properties: {
          addressPrefix: '10.71.0.0/20'
          defaultOutboundAccess: false
          networkSecurityGroup: { id: securityGroup.id }
          natGateway: withNat ? { id: nat.id } : null
          serviceEndpoints: [{ service: 'Microsoft.Storage', locations: [location] }]
        }
      }
    ]
  }
}

@description('Where the VMs go.')
output subnetId string = vnet.properties.subnets[0].id
