module flowmq/interop/keda

go 1.26.0

require (
	github.com/kedacore/keda/v2 v2.21.0
	github.com/rabbitmq/amqp091-go v1.16.0
)

// As KEDA's own go.mod has it: a replacement counts in the main module only.
replace github.com/nexus-rpc/nexus-proto-annotations v0.1.0 => github.com/nexus-rpc/nexus-proto-annotations v0.1.1-0.20260629224316-835bd8d49cb4
