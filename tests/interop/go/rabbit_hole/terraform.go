package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"

	hole "github.com/michaelklishin/rabbit-hole/v2"
)

const managed = "managed/by terraform"

// What Terraform's provider does with one of its resources, which this library does for it: a plan after it was made or
// changed is empty only if all that was set reads back as it was, and a resource that is gone must be known as gone.
type resource struct {
	name    string
	put     func(changed bool) (*http.Response, error)
	read    func() (any, error)
	created any
	changed any // nothing for those that are deleted and made anew
	remove  func() (*http.Response, error)
}

func (r resource) live() {
	made := func(stage string, changed bool, wanted any) {
		_, err := r.put(changed)
		check(fmt.Sprintf("terraform %s %s", r.name, stage), err)
		found, err := r.read()
		if err == nil && !reflect.DeepEqual(found, wanted) {
			err = fmt.Errorf("%+v reads back as %+v", wanted, found)
		}
		check(fmt.Sprintf("terraform %s %s, an empty plan", r.name, stage), err)
	}
	made("created", false, r.created)
	if r.changed != nil {
		made("changed", true, r.changed)
	}
}

func (r resource) end() {
	_, err := r.remove()
	check(fmt.Sprintf("terraform %s destroyed", r.name), err)
	check(fmt.Sprintf("terraform %s gone", r.name), isGone(r.read()))
	answer, err := r.remove()
	if err == nil && answer.StatusCode != 404 {
		err = fmt.Errorf("status %d, not 404", answer.StatusCode)
	}
	if refused := (hole.ErrorResponse{}); errors.As(err, &refused) && refused.StatusCode == 404 {
		err = nil
	}
	check(fmt.Sprintf("terraform %s destroyed by somebody else", r.name), err)
}

func isGone(found any, err error) error {
	if refused := (hole.ErrorResponse{}); errors.As(err, &refused) && refused.StatusCode == 404 {
		return nil
	}
	if list := reflect.ValueOf(found); err == nil && list.Kind() == reflect.Slice && list.Len() == 0 {
		return nil
	}
	return fmt.Errorf("it is %+v, %v", found, err)
}

// Of an answer only what the provider puts into its state.
func reading[T any](ask func() (T, error), state func(T) any) func() (any, error) {
	return func() (any, error) {
		found, err := ask()
		if err != nil {
			return nil, err
		}
		return state(found), nil
	}
}

func either[T any](changed bool, before, after T) T {
	if changed {
		return after
	}
	return before
}

type fields = map[string]any

func terraform() {
	arguments := fields{"x-max-length": 5.0, "x-overflow": "reject-publish", "x-message-ttl": 60000.0}
	policy := func(changed bool) hole.Policy {
		return hole.Policy{Vhost: managed, Name: "p", Pattern: "^a", ApplyTo: "all", Priority: either(changed, 0, 3),
			Definition: either(changed, hole.PolicyDefinition{"max-length": 5, "dead-letter-exchange": "d"}, hole.PolicyDefinition{"max-length": 6})}
	}
	operator := func(changed bool) hole.OperatorPolicy {
		return hole.OperatorPolicy{Vhost: managed, Name: "o", Pattern: "^a", ApplyTo: "queues", Priority: either(changed, 0, 3),
			Definition: hole.PolicyDefinition{"expires": either(changed, 3600000, 7200000)}}
	}
	shovel := func(changed bool) hole.ShovelDefinition {
		return hole.ShovelDefinition{SourceURI: hole.URISet{"amqp:///managed%2Fby%20terraform"}, SourceQueue: "q",
			SourceProtocol: "amqp091", DestinationURI: hole.URISet{"amqp://mole:secret@127.0.0.1:1"}, DestinationQueue: "r",
			DestinationProtocol: "amqp091", AckMode: "on-confirm", ReconnectDelay: either(changed, 1, 2)}
	}
	permissions := []hole.Permissions{{Configure: "^a", Write: ".*", Read: "^$"}, {Configure: "", Write: "b", Read: ".*"}}
	topics := []hole.TopicPermissions{{Exchange: "amq.topic", Write: "a", Read: "b"}, {Exchange: "other", Write: "", Read: "c"}}
	key := ""
	bound := hole.BindingInfo{Source: "e", Destination: "q", DestinationType: "queue", RoutingKey: "a.b/c #",
		Arguments: fields{"x": "y", "n": 1.0}}
	resources := []resource{
		{
			name: "vhost",
			put: func(changed bool) (*http.Response, error) {
				if answer, err := client.PutVhost(managed, hole.VhostSettings{Description: either(changed, "d", "e")}); err != nil {
					return answer, err
				}
				if answer, err := client.DeleteVhostLimits(managed, hole.VhostLimits{"max-connections", "max-queues"}); err != nil {
					return answer, err
				}
				return client.PutVhostLimits(managed, hole.VhostLimitsValues{"max-queues": either(changed, 10, 20)})
			},
			read: func() (any, error) {
				found, err := client.GetVhost(managed)
				if err != nil {
					return nil, err
				}
				limits, err := client.GetVhostLimits(managed)
				if err != nil || len(limits) != 1 {
					return nil, fmt.Errorf("%v: %v", limits, err)
				}
				return fields{"description": found.Description, "tracing": found.Tracing, "limits": limits[0].Value}, nil
			},
			created: fields{"description": "d", "tracing": false, "limits": hole.VhostLimitsValues{"max-queues": 10}},
			changed: fields{"description": "e", "tracing": false, "limits": hole.VhostLimitsValues{"max-queues": 20}},
			remove:  func() (*http.Response, error) { return client.DeleteVhost(managed) },
		},
		{
			name: "user",
			put: func(changed bool) (*http.Response, error) {
				tags := either(changed, hole.UserTags{"monitoring", "own"}, hole.UserTags{"administrator"})
				return client.PutUser("terra", hole.UserSettings{Password: "secret", Tags: tags})
			},
			read: reading(in("terra", client.GetUser), func(found *hole.UserInfo) any {
				return fields{"name": found.Name, "tags": found.Tags}
			}),
			created: fields{"name": "terra", "tags": hole.UserTags{"monitoring", "own"}},
			changed: fields{"name": "terra", "tags": hole.UserTags{"administrator"}},
			remove:  func() (*http.Response, error) { return client.DeleteUser("terra") },
		},
		{
			name: "permissions",
			put: func(changed bool) (*http.Response, error) {
				return client.UpdatePermissionsIn(managed, "terra", either(changed, permissions[0], permissions[1]))
			},
			read: reading(func() (hole.PermissionInfo, error) { return client.GetPermissionsIn(managed, "terra") },
				func(found hole.PermissionInfo) any {
					return hole.Permissions{Configure: found.Configure, Write: found.Write, Read: found.Read}
				}),
			created: permissions[0],
			changed: permissions[1],
			remove:  func() (*http.Response, error) { return client.ClearPermissionsIn(managed, "terra") },
		},
		{
			name: "topic permissions",
			put: func(changed bool) (*http.Response, error) {
				if changed {
					if answer, err := client.ClearTopicPermissionsIn(managed, "terra"); err != nil {
						return answer, err
					}
					return client.UpdateTopicPermissionsIn(managed, "terra", topics[1])
				}
				if answer, err := client.UpdateTopicPermissionsIn(managed, "terra", topics[1]); err != nil {
					return answer, err
				}
				return client.UpdateTopicPermissionsIn(managed, "terra", topics[0])
			},
			read: reading(func() ([]hole.TopicPermissionInfo, error) { return client.GetTopicPermissionsIn(managed, "terra") },
				func(found []hole.TopicPermissionInfo) any {
					byExchange := fields{}
					for _, one := range found {
						byExchange[one.Exchange] = hole.TopicPermissions{Exchange: one.Exchange, Write: one.Write, Read: one.Read}
					}
					return byExchange
				}),
			created: fields{"amq.topic": topics[0], "other": topics[1]},
			changed: fields{"other": topics[1]},
			remove:  func() (*http.Response, error) { return client.ClearTopicPermissionsIn(managed, "terra") },
		},
		{
			name: "exchange",
			put: func(bool) (*http.Response, error) {
				return client.DeclareExchange(managed, "e", hole.ExchangeSettings{Type: "topic", AutoDelete: false,
					Arguments: fields{"alternate-exchange": "amq.fanout"}})
			},
			read: reading(func() (*hole.DetailedExchangeInfo, error) { return client.GetExchange(managed, "e") },
				func(found *hole.DetailedExchangeInfo) any {
					return []any{found.Name, found.Type, found.Durable, bool(found.AutoDelete), found.Arguments}
				}),
			created: []any{"e", "topic", false, false, fields{"alternate-exchange": "amq.fanout"}},
			remove:  func() (*http.Response, error) { return client.DeleteExchange(managed, "e") },
		},
		{
			name: "queue",
			put: func(bool) (*http.Response, error) {
				return client.DeclareQueue(managed, "q", hole.QueueSettings{Durable: true, Arguments: arguments})
			},
			read: reading(func() (*hole.DetailedQueueInfo, error) { return client.GetQueue(managed, "q") },
				func(found *hole.DetailedQueueInfo) any {
					return []any{found.Name, found.Vhost, found.Durable, bool(found.AutoDelete), found.Arguments}
				}),
			created: []any{"q", managed, true, false, arguments},
			remove:  func() (*http.Response, error) { return client.DeleteQueue(managed, "q") },
		},
		{
			name: "binding",
			put: func(bool) (*http.Response, error) {
				answer, err := client.DeclareBinding(managed, bound)
				if err == nil {
					location := strings.Split(answer.Header.Get("Location"), "/")
					key, err = url.PathUnescape(location[len(location)-1])
				}
				return answer, err
			},
			// It is found again by the last part of the address that it got when it was made.
			read: func() (any, error) {
				found, err := client.ListQueueBindingsBetween(managed, "e", "q")
				for _, one := range found {
					if one.PropertiesKey == key {
						return []any{one.RoutingKey, one.Arguments, one.Vhost}, nil
					}
				}
				return found, err
			},
			created: []any{bound.RoutingKey, bound.Arguments, managed},
			remove: func() (*http.Response, error) {
				known := hole.BindingInfo{Vhost: managed, Source: "e", Destination: "q", DestinationType: "queue", PropertiesKey: key}
				return client.DeleteBinding(managed, known)
			},
		},
		{
			name: "policy",
			put:  func(changed bool) (*http.Response, error) { return client.PutPolicy(managed, "p", policy(changed)) },
			read: reading(func() (*hole.Policy, error) { return client.GetPolicy(managed, "p") },
				func(found *hole.Policy) any {
					return []any{found.Name, found.Vhost, found.Pattern, found.ApplyTo, found.Priority, found.Definition}
				}),
			created: []any{"p", managed, "^a", "all", 0, hole.PolicyDefinition{"max-length": 5.0, "dead-letter-exchange": "d"}},
			changed: []any{"p", managed, "^a", "all", 3, hole.PolicyDefinition{"max-length": 6.0}},
			remove:  func() (*http.Response, error) { return client.DeletePolicy(managed, "p") },
		},
		{
			name: "operator policy",
			put: func(changed bool) (*http.Response, error) {
				return client.PutOperatorPolicy(managed, "o", operator(changed))
			},
			read: reading(func() (*hole.OperatorPolicy, error) { return client.GetOperatorPolicy(managed, "o") },
				func(found *hole.OperatorPolicy) any {
					return []any{found.Name, found.Vhost, found.Pattern, found.ApplyTo, found.Priority, found.Definition}
				}),
			created: []any{"o", managed, "^a", "queues", 0, hole.PolicyDefinition{"expires": 3600000.0}},
			changed: []any{"o", managed, "^a", "queues", 3, hole.PolicyDefinition{"expires": 7200000.0}},
			remove:  func() (*http.Response, error) { return client.DeleteOperatorPolicy(managed, "o") },
		},
		{
			name: "shovel",
			put: func(changed bool) (*http.Response, error) {
				return client.DeclareShovel(managed, "s", shovel(changed))
			},
			read: reading(func() (*hole.ShovelInfo, error) { return client.GetShovel(managed, "s") },
				func(found *hole.ShovelInfo) any { return found.Definition }),
			created: shovel(false),
			changed: shovel(true),
			remove:  func() (*http.Response, error) { return client.DeleteShovel(managed, "s") },
		},
	}
	for _, one := range resources {
		one.live()
	}
	for at := range resources { // as Terraform does: what needs others goes before them
		resources[len(resources)-1-at].end()
	}
}
