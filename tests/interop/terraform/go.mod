module flowmq/interop/terraform

go 1.19

require github.com/terraform-providers/terraform-provider-rabbitmq v1.8.0

replace github.com/terraform-providers/terraform-provider-rabbitmq => github.com/cyrilgdn/terraform-provider-rabbitmq v1.8.0
