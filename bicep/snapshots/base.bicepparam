using none

// What Azure would fill in at deployment, and what every snapshot shares.
param deployerObjectId = '00000000-0000-0000-0000-0000000000d0'
param storageSuffix = 'core.windows.net'
param armEndpoint = 'https://management.azure.com/'
param sshPublicKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH6Zr0bL6XnD8zvI1cTQ3dJk7wq0Kf4mYyT5uVbN2sPe operator@example'
param imageVersion = '24.04.202608010'
