metadata name = 'types'
metadata description = 'The shapes that main.bicep shares with its modules and with the producer.'

@export()
@description('One VM size, or a mix of up to five.')
type sizing = {
  @description('VM sizes. More than one makes an instance mix: same architecture, disk interface, local-disk layout and security type.')
  @minLength(1)
  @maxLength(5)
  sizes: string[]

  @description('Workers of one VM: its physical cores, of the smallest size when there are several. Falsv6 has no SMT (cores = vCPUs); where a size has it, half the vCPUs.')
  @minValue(1)
  @maxValue(256)
  slotsPerInstance: int

  @description('How disks are attached. Sizes of version 6 and later know NVMe alone, older ones SCSI. Default: what Azure takes for the size.')
  diskController: ('NVMe' | 'SCSI')?

  @description('Local disk that holds the operating system, for a size that has one. Azure refuses it together with an instance mix.')
  ephemeral: ('NvmeDisk' | 'ResourceDisk' | 'CacheDisk')?
}

@export()
@discriminator('priority')
@description('How the VMs are bought.')
type pricing = spotPricing | regularPricing

@description('Spot VMs, evicted at 30 seconds\' notice or none.')
type spotPricing = {
  @description('Spot VMs.')
  priority: 'spot'

  @description('Most that a VM may cost, USD per hour, as decimal text because Bicep has no fractions. Default \'-1\': never evicted for its price.')
  maxPrice: string?

  @description('VMs that are bought at the regular price before the first spot VM. Default 0.')
  @minValue(0)
  @maxValue(1000)
  regularBase: int?

  @description('Share of regular VMs above that base, per cent. Default 0.')
  @minValue(0)
  @maxValue(100)
  regularPercentAboveBase: int?
}

@description('VMs at the regular price that nobody evicts.')
type regularPricing = {
  @description('Regular VMs.')
  priority: 'regular'
}

@export()
@discriminator('mode')
@description('The way out of the subnet. Azure Resource Manager is on it, without which no VM can delete itself.')
type egress = instanceAddressEgress | natGatewayEgress

@description('A public address per VM with everything inbound denied: paid while the VM lives, nothing at zero VMs. A subscription has 10 by default.')
type instanceAddressEgress = {
  @description('One Standard public address per VM.')
  mode: 'instanceAddress'
}

@description('One NAT gateway with one address: about 36 USD a month, also at zero VMs.')
type natGatewayEgress = {
  @description('One NAT gateway.')
  mode: 'natGateway'
}

@export()
@discriminator('mode')
@description('Who reaches the storage account by network. Roles decide what they may do there, in both modes.')
type firewall = openFirewall | closedFirewall

@description('Every network: a laptop changes its address, and a token is needed anyway.')
type openFirewall = {
  @description('Any network.')
  mode: 'open'
}

@description('Only the subnet, the wake and these addresses.')
type closedFirewall = {
  @description('The subnet, the wake and the addresses below.')
  mode: 'closed'

  @description('Public IPv4 addresses or CIDR ranges (at most /30) of the operators\' laptops.')
  @minLength(1)
  operatorAddresses: string[]
}

@export()
@description('A person, group or pipeline that enqueues, publishes releases and scales.')
type operator = {
  @description('Object id in Entra ID.')
  @minLength(36)
  @maxLength(36)
  objectId: string

  @description('What the id names.')
  kind: 'User' | 'Group' | 'ServicePrincipal'
}

@export()
@description('Tags of every resource.')
type tagMap = {
  *: string
}

@export()
@description('Where a sweep runs: worker.contract.settings.Target, field by field, so that it is written to a file as it is.')
type target = {
  @description('Azure, and not the emulator.')
  kind: 'azure'
  @description('Subscription id.')
  subscription_id: string
  @description('Resource group of everything.')
  resource_group: string
  @description('Region.')
  location: string
  @description('Name of the scale set.')
  scale_set: string
  @description('Blob endpoint, ends in a slash.')
  blob_endpoint: string
  @description('Queue endpoint, ends in a slash.')
  queue_endpoint: string
  @description('Azure Resource Manager, without a slash at its end.')
  arm_endpoint: string
  @description('Resource id of the identity of the VMs; empty on a laptop, where whoever is signed in acts.')
  identity_id: string
  @description('Most VMs that reconcile and the wake raise to.')
  max_instances: int
  @description('Workers of one VM.')
  slots_per_instance: int
  @description('Size of a VM, the first one of a mix: what costs are reckoned with.')
  vm_size: string
  @description('Name of the wake; empty when it is off.')
  wake: string
  @description('Days after which a checkpoint that nobody touched is deleted.')
  checkpoint_retention_days: int
}

@export()
@description('What deploy, doctor and destroy need to know besides the target.')
type deployment = {
  @description('Name of the storage account.')
  storageAccount: string
  @description('Name of the wake, null when it is off.')
  wake: string?
  @description('Can a VM delete itself? Not with customRoles=false.')
  vmsDeleteThemselves: bool
  @description('Ids of the custom role definitions, which outlive the group.')
  customRoleIds: string[]
}
