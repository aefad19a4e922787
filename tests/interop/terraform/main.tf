# Every kind of resource that the provider has. With "changed" nearly all are to be other ones, in place where the
# provider can do that; with "mistyped" and "federated" there is also what FlowMQ refuses.
terraform {
  required_providers {
    rabbitmq = {
      source = "cyrilgdn/rabbitmq"
    }
  }
}

variable "changed" {
  type    = bool
  default = false
}

variable "federated" {
  type    = bool
  default = false
}

variable "mistyped" {
  type    = bool
  default = false
}

# The provider cannot change the settings of an exchange ("doesn't support update"), of whatever broker: it is replaced.
resource "terraform_data" "changed" {
  input = var.changed
}

resource "rabbitmq_vhost" "shop" {
  name = "managed/by terraform"
}

resource "rabbitmq_vhost" "renamed" {
  name = var.changed ? "after" : "before"
}

resource "rabbitmq_user" "ann" {
  name     = "ann"
  password = var.changed ? "another secret" : "secret"
  tags     = var.changed ? ["administrator"] : ["monitoring", "own"]
}

resource "rabbitmq_user" "untagged" {
  name     = "untagged"
  password = "secret"
}

resource "rabbitmq_permissions" "ann" {
  user  = rabbitmq_user.ann.name
  vhost = rabbitmq_vhost.shop.name
  permissions {
    configure = var.changed ? "" : "^a"
    write     = var.changed ? "b" : ".*"
    read      = var.changed ? ".*" : "^$"
  }
}

resource "rabbitmq_topic_permissions" "ann" {
  user  = rabbitmq_user.ann.name
  vhost = rabbitmq_vhost.shop.name
  permissions {
    exchange = "amq.topic"
    write    = var.changed ? "^b" : "^a"
    read     = ".*"
  }
  dynamic "permissions" {
    for_each = var.changed ? [] : ["orders"]
    content {
      exchange = permissions.value
      write    = "{username}"
      read     = ""
    }
  }
}

resource "rabbitmq_exchange" "orders" {
  name  = "orders"
  vhost = rabbitmq_vhost.shop.name
  settings {
    type        = var.changed ? "headers" : "topic"
    durable     = true
    auto_delete = false
    arguments = {
      "alternate-exchange" = var.changed ? "amq.direct" : "amq.fanout"
    }
  }
  lifecycle {
    replace_triggered_by = [terraform_data.changed]
  }
}

resource "rabbitmq_exchange" "plain" {
  name  = "plain"
  vhost = rabbitmq_vhost.shop.name
  settings {
    type        = "fanout"
    auto_delete = var.changed
  }
  lifecycle {
    replace_triggered_by = [terraform_data.changed]
  }
}

resource "rabbitmq_queue" "typed" {
  name  = "typed"
  vhost = rabbitmq_vhost.shop.name
  settings {
    durable = true
    arguments_json = jsonencode({
      "x-max-length"  = var.changed ? 6 : 5
      "x-message-ttl" = 60000
      "x-overflow"    = "reject-publish"
    })
  }
}

resource "rabbitmq_queue" "texts" {
  name  = "texts"
  vhost = rabbitmq_vhost.shop.name
  settings {
    durable = true
    arguments = {
      "x-dead-letter-exchange" = rabbitmq_exchange.plain.name
      "x-queue-type"           = var.changed ? "classic" : "quorum"
    }
  }
}

resource "rabbitmq_queue" "plain" {
  name  = "plain"
  vhost = rabbitmq_vhost.shop.name
  settings {
    durable = !var.changed
  }
}

resource "rabbitmq_binding" "queue" {
  source           = rabbitmq_exchange.orders.name
  vhost            = rabbitmq_vhost.shop.name
  destination      = rabbitmq_queue.typed.name
  destination_type = "queue"
  routing_key      = var.changed ? "c" : "a.*.#"
  arguments = {
    "x-match" = "all"
    "of"      = "ann"
  }
  lifecycle {
    replace_triggered_by = [rabbitmq_exchange.orders, rabbitmq_queue.typed]
  }
}

resource "rabbitmq_binding" "json" {
  source           = "amq.headers"
  vhost            = rabbitmq_vhost.shop.name
  destination      = rabbitmq_queue.texts.name
  destination_type = "queue"
  arguments_json   = jsonencode({ "x-match" = "any", "number" = var.changed ? 2 : 1, "yes" = true })
  lifecycle {
    replace_triggered_by = [rabbitmq_queue.texts]
  }
}

resource "rabbitmq_binding" "exchange" {
  source           = "amq.topic"
  vhost            = rabbitmq_vhost.shop.name
  destination      = rabbitmq_exchange.plain.name
  destination_type = "exchange"
  routing_key      = "to.all % of them"
  lifecycle {
    replace_triggered_by = [rabbitmq_exchange.plain]
  }
}

resource "rabbitmq_policy" "limits" {
  name  = "limits"
  vhost = rabbitmq_vhost.shop.name
  policy {
    pattern  = var.changed ? "^t" : ".*"
    priority = var.changed ? 3 : 0
    apply_to = var.changed ? "queues" : "all"
    definition = var.changed ? {
      "max-length" = 7
      "ha-mode"    = "all"
      } : {
      "max-length"           = 8
      "dead-letter-exchange" = "plain"
    }
  }
}

resource "rabbitmq_policy" "mirrored" {
  name  = "mirrored"
  vhost = rabbitmq_vhost.shop.name
  policy {
    pattern  = "^mirrored"
    priority = 1
    apply_to = "queues"
    definition = {
      "ha-mode"      = "nodes"
      "ha-params"    = var.changed ? "rabbit@one,rabbit@two" : "rabbit@one"
      "ha-sync-mode" = "automatic"
    }
  }
}

resource "rabbitmq_operator_policy" "limits" {
  name  = "limits"
  vhost = rabbitmq_vhost.shop.name
  policy {
    pattern  = ".*"
    priority = 0
    apply_to = "queues"
    definition = {
      "expires" = var.changed ? 7200000 : 3600000
    }
  }
}

resource "rabbitmq_shovel" "here" {
  name  = "here"
  vhost = rabbitmq_vhost.shop.name
  info {
    source_uri            = "amqp:///managed%2Fby%20terraform"
    source_queue          = rabbitmq_queue.typed.name
    source_prefetch_count = var.changed ? 20 : 10
    destination_uri       = "amqp:///managed%2Fby%20terraform"
    destination_queue     = rabbitmq_queue.texts.name
  }
}

resource "rabbitmq_shovel" "elsewhere" {
  name  = "elsewhere"
  vhost = rabbitmq_vhost.shop.name
  info {
    ack_mode                         = "on-publish"
    source_uri                       = "amqp://mole:pass%20word@127.0.0.1:1/%2F?heartbeat=5"
    source_exchange                  = "amq.topic"
    source_exchange_key              = "a.#"
    source_delete_after              = "never"
    destination_uri                  = "amqps://mole:secret@127.0.0.1:1"
    destination_exchange             = "amq.direct"
    destination_exchange_key         = "b"
    destination_add_forward_headers  = true
    destination_add_timestamp_header = true
    reconnect_delay                  = var.changed ? 60 : 30
  }
}

resource "rabbitmq_queue" "mistyped" {
  count = var.mistyped ? 1 : 0
  name  = "mistyped"
  vhost = rabbitmq_vhost.shop.name
  settings {
    arguments = {
      "x-max-length" = 5
    }
  }
}

resource "rabbitmq_federation_upstream" "upstream" {
  count = var.federated ? 1 : 0
  name  = "upstream"
  vhost = rabbitmq_vhost.shop.name
  definition {
    uri = "amqp://elsewhere"
  }
}

data "rabbitmq_vhost" "shop" {
  name = rabbitmq_vhost.shop.name
}

data "rabbitmq_user" "ann" {
  name       = "ann"
  depends_on = [rabbitmq_user.ann]
}

data "rabbitmq_exchange" "orders" {
  name  = rabbitmq_exchange.orders.name
  vhost = rabbitmq_vhost.shop.name
}

output "read" {
  value = {
    vhost    = data.rabbitmq_vhost.shop.name
    tags     = data.rabbitmq_user.ann.tags
    exchange = data.rabbitmq_exchange.orders.settings[0]
  }
}
