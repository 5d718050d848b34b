metadata name = 'identity'
metadata description = 'The one identity that every VM of the set carries.'

import { tagMap } from 'types.bicep'

@description('Region.')
param location string

@description('Name of the identity.')
param name string

@description('Tags.')
param tags tagMap

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}

@description('Principal that the roles are assigned to.')
output principalId string = identity.properties.principalId
