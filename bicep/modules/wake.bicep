metadata name = 'wake'
metadata description = 'Rule 12 as a scheduled workflow: it raises a set that is too small for its queue, and clears one that is dead. It needs no other part to be alive. producer/emulator/wake.py evaluates this same definition on a laptop.'

import { tagMap } from 'types.bicep'

@description('Region.')
param location string

@description('Name of the workflow.')
param name string

@description('Resource id of the scale set.')
param scaleSetId string

@description('Azure Resource Manager of this cloud, ends in a slash.')
param armEndpoint string

@description('Blob endpoint, ends in a slash.')
param blobEndpoint string

@description('Queue endpoint, ends in a slash.')
param queueEndpoint string

@description('Most VMs that it raises to.')
param maxInstances int

@description('Workers of one VM.')
param slotsPerInstance int

@description('Minutes between two runs.')
@minValue(1)
@maxValue(60)
param intervalMinutes int

@description('Tags.')
param tags tagMap

// ---- Pieces of the definition ---------------------------------------------------------------------------------------
// Nothing is retried: what a run cannot read now the next run reads, and a PATCH that arrives late deletes a live fleet.

@description('Which ends of which actions start this one.')
type order = { *: ('Succeeded' | 'Failed' | 'TimedOut' | 'Skipped')[] }
@description('Further headers.')
type textMap = { *: string }
@description('Body of a blob.')
type contentMap = { *: string }
@description('An action of the workflow, or a condition.')
type node = {
  #disable-next-line no-explicit-any // Bicep has no types for the workflow definition language
  *: any
}

func read(uri string, audience string, after order) node => {
  type: 'Http'
  runAfter: after
  inputs: {
    method: 'GET'
    uri: uri
    headers: { 'x-ms-version': '2024-11-04', 'x-ms-date': '''@{utcNow('r')}''' }
    authentication: { type: 'ManagedServiceIdentity', audience: audience }
    retryPolicy: { type: 'none' }
  }
}

func writeBlob(uri string, metadata textMap, content contentMap, after order) node => {
  type: 'Http'
  runAfter: after
  inputs: {
    method: 'PUT'
    uri: uri
    headers: union(
      {
        'x-ms-version': '2024-11-04'
        'x-ms-date': '''@{utcNow('r')}'''
        'x-ms-blob-type': 'BlockBlob'
        'Content-Type': 'application/json'
      },
      metadata
    )
    body: content
    authentication: { type: 'ManagedServiceIdentity', audience: 'https://storage.azure.com/' }
    retryPolicy: { type: 'none' }
  }
}

// The freshness of what was read is part of If-Match, so that a run that the engine held up between two actions is refused
// by the scale set itself. The answer is not waited for: an allocation takes minutes, and every poll is paid.
func patchCapacity(capacity string, readSince string, after order) node => {
  type: 'Http'
  operationOptions: 'DisableAsyncPattern'
  runAfter: after
  inputs: {
    method: 'PATCH'
    uri: '''@{parameters('scaleSetUri')}'''
    headers: {
      'Content-Type': 'application/json'
      'If-Match': '@{if(lessOrEquals(sub(ticks(utcNow()), ticks(outputs(\'${readSince}\'))), mul(parameters(\'freshness_s\'), 10000000)), body(\'read_set\')[\'etag\'], \'"read too long ago"\')}'
    }
    body: { sku: { capacity: capacity } }
    authentication: { type: 'ManagedServiceIdentity', audience: '''@{parameters('armAudience')}''' }
    retryPolicy: { type: 'none' }
  }
}

// Seconds between two headers of one answer: both are stamped by the storage account, so no two clocks are compared.
func age(answer string) string =>
  '@div(sub(ticks(parseDateTime(outputs(\'${answer}\')[\'headers\'][\'Date\'], \'en-US\', \'r\')), ticks(parseDateTime(outputs(\'${answer}\')[\'headers\'][\'Last-Modified\'], \'en-US\', \'r\'))), 10000000)'

func answeredWith(answer string, status int, or int) node => {
  or: [
    { equals: ['@outputs(\'${answer}\')?[\'statusCode\']', status] }
    { equals: ['@outputs(\'${answer}\')?[\'statusCode\']', or] }
  ]
}

func fails(code string, message string, after order) node => {
  type: 'Terminate'
  runAfter: after
  inputs: { runStatus: 'Failed', runError: { code: code, message: message } }
}

var storageAudience = 'https://storage.azure.com/'
var commitUri = '''@{parameters('controlUri')}/commit'''
var memoryUri = '''@{parameters('controlUri')}/wake'''
var pulseUri = '''@{parameters('controlUri')}/pulse'''
var succeeded = ['Succeeded']
var answered = ['Succeeded', 'Failed', 'TimedOut'] // a 404 is a Failed action with an answer

// ---- Raise ----------------------------------------------------------------------------------------------------------
var raise = {
  pulse_of_raise: writeBlob(pulseUri, {}, { by: 'wake' }, {}) // before the PATCH, so that no clearing overtakes it
  grow: patchCapacity('''@outputs('facts')['step']''', 'opened', { pulse_of_raise: succeeded })
  // Quota and allocation: one VM is better than none. Any other refusal (412: the set has changed) waits for the next run.
  refused: {
    type: 'If'
    runAfter: { grow: ['Failed'] }
    expression: {
      and: [
        answeredWith('grow', 400, 409)
        { greater: ['''@outputs('facts')['step']''', '''@add(outputs('facts')['capacity'], 1)'''] }
      ]
    }
    actions: {
      grow_by_one: patchCapacity('''@add(outputs('facts')['capacity'], 1)''', 'opened', {})
    }
    else: {
      actions: {
        not_raised: fails('NotRaised', 'The scale set refused the new capacity: see the answer of action grow.', {})
      }
    }
  }
  // Written after an accepted raise only: a refused one costs nothing and is tried again. Metadata, because the headers of
  // an answer can be read without knowing whether there was a blob.
  remember: writeBlob(
    memoryUri,
    {
      'x-ms-meta-raises': '''@{add(outputs('memory')['raises'], 1)}'''
      'x-ms-meta-commit': '''@{outputs('memory')['commit']}'''
    },
    {
      raises: '''@add(outputs('memory')['raises'], 1)'''
      commit: '''@outputs('memory')['commit']'''
      says: '''@{if(less(add(outputs('memory')['raises'], 1), parameters('fruitlessRaises')), 'raised', concat('raised ', add(outputs('memory')['raises'], 1), ' times without a commit in between: the next raise comes ', parameters('rest_s'), ' s after this one, unless a job commits'))}'''
    },
    { grow: answered, refused: ['Succeeded', 'Skipped'] } // no grow at all, no memory of one
  )
}

// Rule 13. What is remembered counts only while no commit came in between: the ETag of control/commit tells.
var unlessFruitless = {
  memory: {
    type: 'Compose'
    runAfter: {}
    inputs: {
      commit: '''@coalesce(outputs('read_commit')?['headers']?['ETag'], 'none')'''
      raises: '''@if(equals(coalesce(outputs('read_memory')?['headers']?['x-ms-meta-commit'], ''), coalesce(outputs('read_commit')?['headers']?['ETag'], 'none')), int(coalesce(outputs('read_memory')?['headers']?['x-ms-meta-raises'], '0')), 0)'''
    }
  }
  fruitless: {
    type: 'If'
    runAfter: { memory: succeeded }
    expression: {
      and: [{ greaterOrEquals: ['''@outputs('memory')['raises']''', '''@parameters('fruitlessRaises')'''] }]
    }
    actions: {
      rested_s: { type: 'Compose', runAfter: {}, inputs: age('read_memory') }
    }
  }
  rested: {
    type: 'If'
    runAfter: { fruitless: succeeded }
    expression: {
      and: [
        { greaterOrEquals: ['''@coalesce(outputs('rested_s'), parameters('rest_s'))''', '''@parameters('rest_s')'''] }
      ]
    }
    actions: raise
    else: {
      actions: {
        resting: {
          type: 'Compose'
          runAfter: {}
          inputs: '''@{outputs('memory')['raises']} raises without a commit in between, the last one @{outputs('rested_s')} s ago: raising once in @{parameters('rest_s')} s until a job commits.'''
        }
      }
    }
  }
}

var raiseIfShort = {
  read_commit: read(commitUri, storageAudience, {})
  read_memory: read(memoryUri, storageAudience, { read_commit: answered })
  recalled: {
    type: 'If'
    runAfter: { read_memory: answered }
    expression: {
      and: [answeredWith('read_commit', 200, 404), answeredWith('read_memory', 200, 404)]
    }
    actions: unlessFruitless
    else: {
      actions: {
        not_recalled: fails(
          'ControlUnreadable',
          'control/commit or control/wake could not be read: nothing is raised on a guess.',
          {}
        )
      }
    }
  }
}

// ---- Clear ----------------------------------------------------------------------------------------------------------
// An answer without a blob, or without the headers, fails the action that asks for its age: nothing is cleared then.
var clearIfDead = {
  read_pulse: read(pulseUri, storageAudience, {})
  pulse_age_s: { type: 'Compose', runAfter: { read_pulse: succeeded }, inputs: age('read_pulse') }
  silent: {
    type: 'If'
    runAfter: { pulse_age_s: succeeded }
    expression: { and: [{ greaterOrEquals: ['''@outputs('pulse_age_s')''', '''@parameters('pulseAge_s')'''] }] }
    actions: {
      wait: {
        type: 'Wait'
        runAfter: {}
        inputs: { interval: { count: '''@parameters('clearDelay_s')''', unit: 'Second' } }
      }
      reopened: { type: 'Compose', runAfter: { wait: succeeded }, inputs: '''@utcNow()''' }
      read_pulse_again: read(pulseUri, storageAudience, { reopened: succeeded })
      still_silent: {
        type: 'If'
        runAfter: { read_pulse_again: succeeded }
        expression: {
          and: [
            {
              equals: [
                '''@outputs('read_pulse_again')['headers']['ETag']'''
                '''@outputs('read_pulse')['headers']['ETag']'''
              ]
            }
          ]
        }
        actions: {
          clear: patchCapacity('''@int('0')''', 'reopened', {})
        }
      }
    }
  }
}

// ---- One run --------------------------------------------------------------------------------------------------------
resource wake 'Microsoft.Logic/workflows@2019-05-01' = {
  name: name
  location: location
  tags: tags
  identity: { type: 'SystemAssigned' } // a closed storage firewall lets only this kind of a workflow in
  properties: {
    state: 'Enabled'
    definition: {
      '$schema': 'https://schema.management.azure.com/providers/Microsoft.Logic/schemas/2016-06-01/workflowdefinition.json#'
      contentVersion: '1.0.0.0'
      parameters: {
        scaleSetUri: { type: 'String' }
        armAudience: { type: 'String' }
        countUri: { type: 'String' }
        controlUri: { type: 'String' }
        maxInstances: { type: 'Int' }
        slotsPerInstance: { type: 'Int' }
        freshness_s: { type: 'Int' }
        pulseAge_s: { type: 'Int' }
        clearDelay_s: { type: 'Int' }
        fruitlessRaises: { type: 'Int' }
        rest_s: { type: 'Int' }
      }
      triggers: {
        tick: {
          type: 'Recurrence'
          recurrence: { frequency: 'Minute', interval: intervalMinutes }
          runtimeConfiguration: { concurrency: { runs: 1 } }
        }
      }
      actions: {
        opened: { type: 'Compose', runAfter: {}, inputs: '''@utcNow()''' }
        read_set: read('''@{parameters('scaleSetUri')}''', '''@{parameters('armAudience')}''', { opened: succeeded })
        read_count: read('''@{parameters('countUri')}''', storageAudience, { read_set: succeeded })
        // int() of a missing value fails the action, and with it the run: a failed read is neither count 0 nor capacity 0.
        awake: {
          type: 'If'
          runAfter: { read_count: succeeded }
          expression: {
            or: [
              { greater: ['''@int(body('read_set')?['sku']?['capacity'])''', 0] }
              { greater: ['''@int(outputs('read_count')?['headers']?['x-ms-approximate-messages-count'])''', 0] }
            ]
          }
          actions: {
            needed: {
              type: 'Compose'
              runAfter: {}
              inputs: '''@min(parameters('maxInstances'), div(add(int(outputs('read_count')['headers']['x-ms-approximate-messages-count']), sub(parameters('slotsPerInstance'), 1)), parameters('slotsPerInstance')))'''
            }
            // An allocation that failed after the PATCH was accepted shows only here: then, too, by one.
            facts: {
              type: 'Compose'
              runAfter: { needed: succeeded }
              inputs: {
                capacity: '''@int(body('read_set')['sku']['capacity'])'''
                step: '''@if(equals(body('read_set')?['properties']?['provisioningState'], 'Failed'), add(int(body('read_set')['sku']['capacity']), 1), outputs('needed'))'''
              }
            }
            short: {
              type: 'If'
              runAfter: { facts: succeeded }
              expression: { and: [{ greater: ['''@outputs('needed')''', '''@outputs('facts')['capacity']'''] }] }
              actions: raiseIfShort
            }
            // After the raise, whose own pulse keeps it from clearing what it has just raised.
            occupied: {
              type: 'If'
              runAfter: { short: answered }
              expression: { and: [{ greater: ['''@outputs('facts')['capacity']''', 0] }] }
              actions: clearIfDead
            }
            says: {
              type: 'If'
              runAfter: { occupied: succeeded }
              expression: { and: [{ not: { equals: ['''@outputs('resting')''', '''@null'''] } }] }
              actions: {
                fruitless_fleet: fails('FruitlessRaises', '''@outputs('resting')''', {})
              }
            }
            short_failed: fails(
              'NotRaised',
              'The set is too small for its queue and was not raised: see action short.',
              {
                short: ['Failed', 'TimedOut']
                occupied: ['Succeeded', 'Failed', 'TimedOut', 'Skipped']
              }
            )
          }
        }
      }
    }
    parameters: {
      scaleSetUri: { value: '${armEndpoint}${substring(scaleSetId, 1)}?api-version=2025-04-01' }
      armAudience: { value: armEndpoint }
      countUri: { value: '${queueEndpoint}jobs?comp=metadata' }
      controlUri: { value: '${blobEndpoint}control' }
      maxInstances: { value: maxInstances }
      slotsPerInstance: { value: slotsPerInstance }
      freshness_s: { value: 30 }
      pulseAge_s: { value: 1800 }
      clearDelay_s: { value: 600 }
      fruitlessRaises: { value: 3 }
      rest_s: { value: 21600 }
    }
  }
}

@description('Principal that the roles are assigned to.')
output principalId string = wake.identity.principalId
