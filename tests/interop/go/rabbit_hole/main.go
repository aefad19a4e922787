// rabbit-hole, the client library of Terraform's provider and of RabbitMQ's Kubernetes operators, against the HTTP API.
//
//	rabbit-hole management URL     a client with a connection, a channel and a consumer of the queue "busy" in "/" must be there
//
// Says "ok NAME" or "FAIL NAME reason" for each thing that it asks.
package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	hole "github.com/michaelklishin/rabbit-hole/v2"
)

const vhost = "rabbit/hole"

var client *hole.Client

func check(name string, err error) {
	name = strings.ReplaceAll(name, " ", "-")
	if err != nil {
		fmt.Printf("FAIL %s %v\n", name, err)
		return
	}
	fmt.Printf("ok %s\n", name)
}

// What was asked must have been answered with that status.
func status(name string, wanted int) func(*http.Response, error) {
	return func(answer *http.Response, err error) {
		if err == nil && answer.StatusCode != wanted {
			err = fmt.Errorf("status %d, not %d", answer.StatusCode, wanted)
		}
		check(name, err)
	}
}

// Asked for a list, which must not be empty.
func list[T any](name string, ask func() ([]T, error)) []T {
	found, err := ask()
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("an empty list")
	}
	check(name, err)
	return found
}

// Asked for one thing, which must be what is expected.
func one[T any](name string, ask func() (T, error), right func(T) bool) {
	found, err := ask()
	if err == nil && !right(found) {
		err = fmt.Errorf("it is %+v", found)
	}
	check(name, err)
}

func in[T any](where string, ask func(string) (T, error)) func() (T, error) {
	return func() (T, error) { return ask(where) }
}

func setUp() {
	status("vhost", 201)(client.PutVhost(vhost, hole.VhostSettings{Description: "d", Tags: hole.VhostTags{"a", "b"}}))
	status("vhost again", 204)(client.PutVhost(vhost, hole.VhostSettings{Description: "d", Tags: hole.VhostTags{"a"}}))
	status("user", 201)(client.PutUser("mole", hole.UserSettings{Password: "secret", Tags: hole.UserTags{"management"}}))
	status("user changed", 204)(client.PutUser("mole", hole.UserSettings{
		PasswordHash:     hole.Base64EncodedSaltedPasswordHashSHA256("secret"),
		HashingAlgorithm: hole.HashingAlgorithmSHA256, Tags: hole.UserTags{"monitoring"}}))
	status("user without a password", 201)(client.PutUserWithoutPassword("blind", hole.UserSettings{Tags: hole.UserTags{}}))
	status("permissions", 201)(client.UpdatePermissionsIn(vhost, "mole", hole.Permissions{Configure: "a", Write: "b", Read: ".*"}))
	status("topic permissions", 201)(client.UpdateTopicPermissionsIn(vhost, "mole",
		hole.TopicPermissions{Exchange: "amq.topic", Write: "a", Read: "b"}))
	status("exchange", 201)(client.DeclareExchange(vhost, "in", hole.ExchangeSettings{Type: "topic", Durable: true}))
	status("queue", 201)(client.DeclareQueue(vhost, "jobs", hole.QueueSettings{Type: "classic", Durable: true,
		Arguments: map[string]interface{}{"x-max-length": 100}}))
	status("queue of a quorum", 201)(client.DeclareQueue(vhost, "safe", hole.QueueSettings{Type: "quorum", Durable: true}))
	for _, key := range []string{"", "a.*", "b/c"} {
		status("binding '"+key+"'", 201)(client.DeclareBinding(vhost, binding(key)))
	}
	status("policy", 201)(client.PutPolicy(vhost, "p", hole.Policy{Pattern: "^jobs$", ApplyTo: "queues", Priority: 1,
		Definition: hole.PolicyDefinition{"max-length": 50}}))
	status("operator policy", 201)(client.PutOperatorPolicy(vhost, "o", hole.OperatorPolicy{Pattern: ".*", ApplyTo: "queues",
		Definition: hole.PolicyDefinition{"expires": 3600000}}))
	status("vhost limits", 204)(client.PutVhostLimits(vhost, hole.VhostLimitsValues{"max-queues": 10}))
	status("user limits", 204)(client.PutUserLimits("mole", hole.UserLimitsValues{"max-channels": 10}))
}

func binding(key string) hole.BindingInfo {
	return hole.BindingInfo{Source: "in", Destination: "jobs", DestinationType: "queue", RoutingKey: key,
		Arguments: map[string]interface{}{"note": "n"}}
}

func lookAtThings() {
	one("whoami", client.Whoami, func(found *hole.WhoamiInfo) bool { return found.Name == "guest" })
	one("overview", client.Overview, func(found *hole.Overview) bool {
		return found.RabbitMQVersion != "" && found.ObjectTotals.Queues >= 3 && len(found.ExchangeTypes) >= 4
	})
	one("protocols", client.ProtocolPorts, func(found map[string]hole.Port) bool { return found["amqp"] != 0 })
	status("cluster name set", 204)(client.SetClusterName(hole.ClusterName{Name: "burrow"}))
	one("cluster name", client.GetClusterName, func(found *hole.ClusterName) bool { return found.Name == "burrow" })
	for _, node := range list("nodes", client.ListNodes) {
		one("node", in(node.Name, client.GetNode), func(found *hole.NodeInfo) bool {
			return found.IsRunning && found.MemUsed > 0 && len(found.AuthMechanisms) > 0
		})
	}
	list("vhosts", client.ListVhosts)
	one("vhost", in(vhost, client.GetVhost), func(found *hole.VhostInfo) bool { return found.Description == "d" })
	list("users", client.ListUsers)
	one("user", in("mole", client.GetUser), func(found *hole.UserInfo) bool {
		return found.Tags[0] == "monitoring" && found.HashingAlgorithm == hole.HashingAlgorithmSHA256
	})
	list("permissions", client.ListPermissions)
	list("permissions of a user", func() ([]hole.PermissionInfo, error) { return client.ListPermissionsOf("mole") })
	one("permissions in a vhost", func() (hole.PermissionInfo, error) { return client.GetPermissionsIn(vhost, "mole") },
		func(found hole.PermissionInfo) bool { return found.Write == "b" })
	list("topic permissions", client.ListTopicPermissions)
	list("topic permissions of a user", func() ([]hole.TopicPermissionInfo, error) { return client.ListTopicPermissionsOf("mole") })
	list("topic permissions in a vhost", func() ([]hole.TopicPermissionInfo, error) { return client.GetTopicPermissionsIn(vhost, "mole") })
	list("exchanges", client.ListExchanges)
	list("exchanges in a vhost", func() ([]hole.ExchangeInfo, error) { return client.ListExchangesIn(vhost) })
	one("exchange", func() (*hole.DetailedExchangeInfo, error) { return client.GetExchange(vhost, "in") },
		func(found *hole.DetailedExchangeInfo) bool { return found.Type == "topic" && found.Durable })
	list("queues", client.ListQueues)
	list("queues in a vhost", func() ([]hole.QueueInfo, error) { return client.ListQueuesIn(vhost) })
	samples := url.Values{"lengths_age": {"60"}, "lengths_incr": {"5"}, "msg_rates_age": {"60"}, "msg_rates_incr": {"5"}}
	list("queues with samples", func() ([]hole.QueueInfo, error) { return client.ListQueuesWithParameters(samples) })
	one("a page of queues", func() (hole.PagedQueueInfo, error) {
		return client.PagedListQueuesWithParameters(url.Values{"page": {"1"}, "page_size": {"2"}})
	}, func(found hole.PagedQueueInfo) bool { return found.ItemCount == 2 && found.TotalCount >= 3 })
	one("queue", func() (*hole.DetailedQueueInfo, error) { return client.GetQueue(vhost, "jobs") },
		func(found *hole.DetailedQueueInfo) bool {
			return found.Arguments["x-max-length"] == 100.0 && found.Policy == "p" && found.Status == "running"
		})
	one("queue with a consumer", func() (*hole.DetailedQueueInfo, error) { return client.GetQueue("/", "busy") },
		func(found *hole.DetailedQueueInfo) bool {
			return found.Consumers == 1 && len(*found.ConsumerDetails) == 1 && found.MessageStats != nil
		})
	list("bindings", client.ListBindings)
	list("bindings in a vhost", func() ([]hole.BindingInfo, error) { return client.ListBindingsIn(vhost) })
	list("bindings of a queue", func() ([]hole.BindingInfo, error) { return client.ListQueueBindings(vhost, "jobs") })
	list("bindings from an exchange", func() ([]hole.BindingInfo, error) { return client.ListExchangeBindingsWithSource(vhost, "in") })
	list("policies", client.ListPolicies)
	one("policy", func() (*hole.Policy, error) { return client.GetPolicy(vhost, "p") },
		func(found *hole.Policy) bool { return found.Priority == 1 && found.Definition["max-length"] == 50.0 })
	list("operator policies", client.ListOperatorPolicies)
	one("operator policy", func() (*hole.OperatorPolicy, error) { return client.GetOperatorPolicy(vhost, "o") },
		func(found *hole.OperatorPolicy) bool { return found.ApplyTo == "queues" })
	list("limits of vhosts", client.GetAllVhostLimits)
	list("limits of a vhost", func() ([]hole.VhostLimitsInfo, error) { return client.GetVhostLimits(vhost) })
	list("limits of users", client.GetAllUserLimits)
	list("limits of a user", func() ([]hole.UserLimitsInfo, error) { return client.GetUserLimits("mole") })
	one("definitions", client.ListDefinitions, func(found *hole.ExportedDefinitions) bool { return len(*found.Queues) >= 2 })
	one("definitions of a vhost", in(vhost, client.ListVhostDefinitions),
		func(found *hole.ExportedDefinitions) bool { return len(*found.Queues) == 2 })
	_, err := client.ListFeatureFlags()
	check("feature flags", err)
	_, err = client.ListFederationLinks()
	check("federation links", err)
	_, err = client.ListRuntimeParameters()
	check("parameters", err)
	_, err = client.ListGlobalParameters()
	check("global parameters", err)
	_, err = client.ListShovels()
	check("shovels", err)
}

func shovels() {
	definition := hole.ShovelDefinition{SourceURI: hole.URISet{"amqp://"}, SourceQueue: "busy", SourcePrefetchCount: 10,
		SourceDeleteAfter: "never", DestinationURI: hole.URISet{"amqp://mole:secret@127.0.0.1:1"}, DestinationQueue: "there",
		AckMode: "on-confirm", ReconnectDelay: 1, DestinationAddForwardHeaders: true, SourceProtocol: "amqp091"}
	status("shovel", 201)(client.DeclareShovel("/", "s", definition))
	status("shovel again", 204)(client.DeclareShovel("/", "s", definition))
	list("shovels", client.ListShovels)
	list("shovels in a vhost", func() ([]hole.ShovelInfo, error) { return client.ListShovelsIn("/") })
	one("shovel", func() (*hole.ShovelInfo, error) { return client.GetShovel("/", "s") }, func(found *hole.ShovelInfo) bool {
		return found.Definition.SourcePrefetchCount == 10 && found.Definition.DestinationURI[0] == "amqp://mole:secret@127.0.0.1:1"
	})
	for _, state := range list("shovels' states", func() ([]hole.ShovelStatus, error) { return client.ListShovelStatus("/") }) {
		one("shovel's state", func() (hole.ShovelStatus, error) { return state, nil }, func(found hole.ShovelStatus) bool {
			return found.Name == "s" && found.Type == "dynamic" && found.State != "running" && found.Timestamp != ""
		})
	}
	status("shovel deleted", 204)(client.DeleteShovel("/", "s"))
	status("global parameter", 201)(client.PutGlobalParameter("site", map[string]interface{}{"owner": "ann"}))
	one("global parameter", in("site", client.GetGlobalParameter),
		func(found *hole.GlobalRuntimeParameter) bool { return found.Name == "site" })
	status("global parameter deleted", 204)(client.DeleteGlobalParameter("site"))
}

func lookAtClients() {
	for _, connection := range list("connections", client.ListConnections) {
		one("connection", in(connection.Name, client.GetConnection),
			func(found *hole.ConnectionInfo) bool { return found.User == "guest" && found.Protocol == "AMQP 0-9-1" })
	}
	list("connections in a vhost", func() ([]hole.ConnectionInfo, error) { return client.ListVhostConnections("/") })
	for _, channel := range list("channels", client.ListChannels)[:1] {
		one("channel", in(channel.Name, client.GetChannel), func(found *hole.ChannelInfo) bool { return found.Vhost == "/" })
	}
	list("consumers", client.ListConsumers)
	list("consumers in a vhost", func() ([]hole.ConsumerInfo, error) { return client.ListConsumersIn("/") })
}

func healthChecks() {
	one("alarms", client.HealthCheckAlarms, func(found hole.ResourceAlarmCheckStatus) bool { return found.Ok() })
	one("local alarms", client.HealthCheckLocalAlarms, func(found hole.ResourceAlarmCheckStatus) bool { return found.Ok() })
	one("virtual hosts", client.HealthCheckVirtualHosts, func(found hole.HealthCheckStatus) bool { return found.Ok() })
	one("quorum", client.HealthCheckNodeIsQuorumCritical, func(found hole.HealthCheckStatus) bool { return found.Ok() })
	one("mirrors", client.HealthCheckNodeIsMirrorSyncCritical, func(found hole.HealthCheckStatus) bool { return found.Ok() })
	one("certificates", func() (hole.HealthCheckStatus, error) { return client.HealthCheckCertificateExpiration(1, hole.DAYS) },
		func(found hole.HealthCheckStatus) bool { return found.Ok() })
	one("protocol listener", func() (hole.ProtocolListenerCheckStatus, error) {
		return client.HealthCheckProtocolListener(hole.AMQP091)
	},
		func(found hole.ProtocolListenerCheckStatus) bool { return found.Ok() })
	one("no port listener", func() (hole.PortListenerCheckStatus, error) { return client.HealthCheckPortListener(1) },
		func(found hole.PortListenerCheckStatus) bool {
			return !found.Ok() && found.Missing == 1 && len(found.Ports) > 0
		})
}

func refusals() {
	_, err := client.GetQueue(vhost, "nothing")
	refused, is := err.(hole.ErrorResponse)
	if !is || refused.StatusCode != 404 {
		check("what is not there", fmt.Errorf("%v", err))
	} else {
		check("what is not there", nil)
	}
	_, err = client.DeclareQueue(vhost, "jobs", hole.QueueSettings{Durable: false})
	refused, is = err.(hole.ErrorResponse)
	if !is || refused.StatusCode != 400 || refused.Reason == "" {
		check("what cannot be", fmt.Errorf("%v", err))
	} else {
		check("what cannot be", nil)
	}
}

func takeDown() {
	for _, found := range list("bindings between", func() ([]hole.BindingInfo, error) {
		return client.ListQueueBindingsBetween(vhost, "in", "jobs")
	}) {
		status("binding deleted", 204)(client.DeleteBinding(vhost, found))
	}
	status("purge", 204)(client.PurgeQueue(vhost, "jobs"))
	status("limits of a user deleted", 204)(client.DeleteUserLimits("mole", hole.UserLimits{"max-channels"}))
	status("limits of a vhost deleted", 204)(client.DeleteVhostLimits(vhost, hole.VhostLimits{"max-queues"}))
	status("operator policy deleted", 204)(client.DeleteOperatorPolicy(vhost, "o"))
	status("policy deleted", 204)(client.DeletePolicy(vhost, "p"))
	status("queue deleted", 204)(client.DeleteQueue(vhost, "jobs", hole.QueueDeleteOptions{IfEmpty: true, IfUnused: true}))
	status("exchange deleted", 204)(client.DeleteExchange(vhost, "in"))
	status("topic permissions deleted", 204)(client.DeleteTopicPermissionsIn(vhost, "mole", "amq.topic"))
	status("permissions deleted", 204)(client.ClearPermissionsIn(vhost, "mole"))
	status("user deleted", 204)(client.DeleteUser("mole"))
	status("user without a password deleted", 204)(client.DeleteUser("blind"))
	status("vhost deleted", 204)(client.DeleteVhost(vhost))
	for _, connection := range list("connections to close", client.ListConnections) {
		status("connection closed", 204)(client.CloseConnection(connection.Name))
	}
}

func main() {
	var err error
	if client, err = hole.NewClient(os.Args[2], "guest", "guest"); err != nil {
		panic(err)
	}
	setUp()
	lookAtThings()
	shovels()
	lookAtClients()
	healthChecks()
	refusals()
	takeDown()
	terraform()
}
