using 'main.bicep'

// What has no default. `tranquility deploy` sets both variables; by hand:
//   export TRANQUILITY_SSH_PUBLIC_KEY="$(cat ~/.ssh/id_ed25519.pub)"
//   export TRANQUILITY_IMAGE_VERSION="$(az vm image list --publisher Canonical --offer ubuntu-24_04-lts --sku server \
//     --all --output tsv \
//     --query "sort_by([?publisher=='Canonical' && offer=='ubuntu-24_04-lts' && sku=='server'], &version)[-1].version")"
param sshPublicKey = readEnvironmentVariable('TRANQUILITY_SSH_PUBLIC_KEY')
param imageVersion = readEnvironmentVariable('TRANQUILITY_IMAGE_VERSION')

// What you may want to change; main.bicep describes all of it, and bicep/snapshots/ has examples.
param maxInstances = 10
param vms = { sizes: ['Standard_F8als_v6'], slotsPerInstance: 8, diskController: 'NVMe' }
param price = { priority: 'spot' }
