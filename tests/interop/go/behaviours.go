package main

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

type onChannel func(*amqp.Connection, *amqp.Channel) error

func behaviours(url string, connection *amqp.Connection) error {
	table := []struct {
		name      string
		behaviour onChannel
	}{
		{"direct-exchange", exchange(amqp.ExchangeDirect, "eu", "eu", "us")},
		{"topic-exchange", exchange(amqp.ExchangeTopic, "*.new.#", "eu.new.a.b", "eu.old")},
		{"fanout-exchange", exchange(amqp.ExchangeFanout, "", "anything", "")},
		{"headers-exchange", headersExchange},
		{"durable-queue", durableQueue},
		{"every-property", everyProperty},
		{"mandatory-return", mandatoryReturn},
		{"confirm-single", confirms(10, 1)},
		{"confirm-batch", confirms(5, 200)},
		{"manual-ack", manualAck},
		{"nack", requeued(func(delivery amqp.Delivery) error { return delivery.Nack(false, true) })},
		{"reject", requeued(func(delivery amqp.Delivery) error { return delivery.Reject(true) })},
		{"prefetch", prefetch},
		{"cancel-notify", cancelNotify},
		{"direct-reply-to", rpc(true)},
		{"reply-queue", rpc(false)},
		{"dead-letters", deadLetters},
		{"large-body", body(bytes.Repeat([]byte("0123456789abcdef"), 5*1024*1024/16))},
		{"empty-body", body(nil)},
		{"header-types", headerTypes},
		{"transactions", transactions},
		{"declare-406", declareRefused},
		{"passive-404", passiveRefused},
	}
	check("connect", func() error { return connect(url, connection) })
	for _, row := range table {
		behaviour := row.behaviour
		check(row.name, func() error {
			channel, err := connection.Channel()
			if err != nil {
				return err
			}
			defer channel.Close()
			return behaviour(connection, channel)
		})
	}
	check("heartbeat", func() error { return heartbeat(url) })
	return nil
}

func connect(url string, connection *amqp.Connection) error {
	if version, given := connection.Properties["version"].(string); !given || version == "" {
		return fmt.Errorf("a broker without a version: %v", connection.Properties)
	}
	if _, err := amqp.Dial(strings.Replace(url, "guest:guest", "guest:wrong", 1)); !errors.Is(err, amqp.ErrCredentials) {
		return fmt.Errorf("a wrong password: %v", err)
	}
	// streadway has one error for any end after tune; its successor says what the broker said.
	var refusal *amqp.Error
	_, err := amqp.DialConfig(url, amqp.Config{Vhost: "nowhere"})
	if !errors.Is(err, amqp.ErrVhost) && !(errors.As(err, &refusal) && refusal.Code == amqp.NotAllowed) {
		return fmt.Errorf("a virtual host that is not there: %v", err)
	}
	return nil
}

func publish(channel *amqp.Channel, exchange, key string, text string) error {
	return channel.Publish(exchange, key, false, false, amqp.Publishing{Body: []byte(text)})
}

func temporaryQueue(channel *amqp.Channel, arguments amqp.Table) (string, error) {
	queue, err := channel.QueueDeclare("", false, true, true, false, arguments)
	return queue.Name, err
}

// only takes the one message that must be in the queue.
func only(channel *amqp.Channel, queue, text string) error {
	got, found, err := channel.Get(queue, true)
	if err != nil {
		return err
	}
	if !found || string(got.Body) != text || got.MessageCount != 0 {
		return fmt.Errorf("got %v %.20q and %d more", found, got.Body, got.MessageCount)
	}
	return nil
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func exchange(kind, binding, hit, miss string) onChannel {
	return func(_ *amqp.Connection, channel *amqp.Channel) error {
		name := "interop." + library + "." + kind
		if err := channel.ExchangeDeclare(name, kind, false, true, false, false, nil); err != nil {
			return err
		}
		queue, err := temporaryQueue(channel, nil)
		if err = first(err, channel.QueueBind(queue, binding, name, false, nil)); err != nil {
			return err
		}
		if miss != "" {
			err = publish(channel, name, miss, "miss")
		}
		return first(err, publish(channel, name, hit, "hit"), only(channel, queue, "hit"))
	}
}

func headersExchange(_ *amqp.Connection, channel *amqp.Channel) error {
	name := "interop." + library + ".headers"
	if err := channel.ExchangeDeclare(name, amqp.ExchangeHeaders, false, true, false, false, nil); err != nil {
		return err
	}
	queue, err := temporaryQueue(channel, nil)
	wanted := amqp.Table{"x-match": "all", "kind": "report", "year": int32(2024)}
	if err = first(err, channel.QueueBind(queue, "", name, false, wanted)); err != nil {
		return err
	}
	for _, year := range []int{2023, 2024} {
		message := amqp.Publishing{
			Headers: amqp.Table{"kind": "report", "year": int64(year)}, Body: []byte(fmt.Sprint(year)),
		}
		if err := channel.Publish(name, "", false, false, message); err != nil {
			return err
		}
	}
	return only(channel, queue, "2024")
}

func durableQueue(_ *amqp.Connection, channel *amqp.Channel) error {
	name := "interop." + library + ".durable"
	err := channel.ExchangeDeclare(name, amqp.ExchangeDirect, true, false, false, false, nil)
	if err != nil {
		return err
	}
	if _, err = channel.QueueDeclare(name, true, false, false, false, amqp.Table{"x-max-length": int32(10)}); err != nil {
		return err
	}
	err = first(channel.QueueBind(name, "key", name, false, nil), publish(channel, name, "key", "kept"))
	if err != nil {
		return err
	}
	if err = channel.QueueUnbind(name, "key", name, nil); err != nil {
		return err
	}
	if purged, err := channel.QueuePurge(name, false); err != nil || purged != 1 {
		return fmt.Errorf("purged %d: %v", purged, err)
	}
	_, err = channel.QueueDelete(name, true, true, false)
	return first(err, channel.ExchangeDelete(name, true, false))
}

func everyProperty(_ *amqp.Connection, channel *amqp.Channel) error {
	queue, err := temporaryQueue(channel, nil)
	if err = first(err, channel.Publish("", queue, false, false, parcel())); err != nil {
		return err
	}
	got, _, err := channel.Get(queue, true)
	if err != nil {
		return err
	}
	came := amqp.Publishing{
		Headers: got.Headers, ContentType: got.ContentType, ContentEncoding: got.ContentEncoding,
		DeliveryMode: got.DeliveryMode, Priority: got.Priority, CorrelationId: got.CorrelationId, ReplyTo: got.ReplyTo,
		Expiration: got.Expiration, MessageId: got.MessageId, Timestamp: got.Timestamp.Local(), Type: got.Type,
		UserId: got.UserId, AppId: got.AppId, Body: got.Body,
	}
	return equal(came, parcel())
}

func equal(got, wanted interface{}) error {
	if !reflect.DeepEqual(got, wanted) {
		return fmt.Errorf("got %v, not %v", got, wanted)
	}
	return nil
}

func mandatoryReturn(_ *amqp.Connection, channel *amqp.Channel) error {
	returns := channel.NotifyReturn(make(chan amqp.Return, 1))
	message := amqp.Publishing{ContentType: "text/plain", Body: []byte("lost")}
	if err := channel.Publish("amq.direct", "nobody", true, false, message); err != nil {
		return err
	}
	select {
	case back := <-returns:
		got := fmt.Sprint(back.ReplyCode, back.ReplyText, back.Exchange, back.RoutingKey, string(back.Body))
		return equal(got, fmt.Sprint(uint16(amqp.NoRoute), "NO_ROUTE", "amq.direct", "nobody", "lost"))
	case <-time.After(patience):
		return fmt.Errorf("it did not come back")
	}
}

func confirms(batches, size int) onChannel {
	return func(_ *amqp.Connection, channel *amqp.Channel) error {
		name := fmt.Sprint("interop.", library, ".confirms.", size)
		if _, err := channel.QueueDeclare(name, true, false, false, false, nil); err != nil {
			return err
		}
		confirmed := channel.NotifyPublish(make(chan amqp.Confirmation, size))
		if err := channel.Confirm(false); err != nil {
			return err
		}
		tag := uint64(0)
		for batch := 0; batch < batches; batch++ {
			for number := 0; number < size; number++ {
				message := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("1")}
				if err := channel.Publish("", name, false, false, message); err != nil {
					return err
				}
			}
			for number := 0; number < size; number++ {
				tag++
				select {
				case confirm := <-confirmed:
					if !confirm.Ack || confirm.DeliveryTag != tag {
						return fmt.Errorf("%v, not %d", confirm, tag)
					}
				case <-time.After(patience):
					return fmt.Errorf("no confirm of %d", tag)
				}
			}
		}
		left, err := channel.QueueDelete(name, false, false, false)
		return first(err, equal(left, batches*size))
	}
}

func consuming(channel *amqp.Channel, prefetchCount int, texts ...string) (string, <-chan amqp.Delivery, error) {
	queue, err := temporaryQueue(channel, nil)
	if err != nil {
		return queue, nil, err
	}
	for _, text := range texts {
		if err := publish(channel, "", queue, text); err != nil {
			return queue, nil, err
		}
	}
	if err := channel.Qos(prefetchCount, 0, false); err != nil {
		return queue, nil, err
	}
	deliveries, err := channel.Consume(queue, "", false, false, false, false, nil)
	return queue, deliveries, err
}

func expect(deliveries <-chan amqp.Delivery, text string, redelivered bool) (amqp.Delivery, error) {
	got, err := next(deliveries)
	if err == nil && (string(got.Body) != text || got.Redelivered != redelivered) {
		err = fmt.Errorf("got %q, redelivered %v", got.Body, got.Redelivered)
	}
	return got, err
}

func ready(channel *amqp.Channel, queue string, count int) error {
	state, err := channel.QueueInspect(queue)
	return first(err, equal(state.Messages, count))
}

func manualAck(_ *amqp.Connection, channel *amqp.Channel) error {
	queue, deliveries, err := consuming(channel, 0, "0", "1", "2")
	if err != nil {
		return err
	}
	var last amqp.Delivery
	for _, text := range []string{"0", "1", "2"} {
		if last, err = expect(deliveries, text, false); err != nil {
			return err
		}
	}
	if err = first(last.Ack(true), channel.Recover(true), ready(channel, queue, 0)); err != nil {
		return err
	}
	if err = publish(channel, "", queue, "new"); err != nil {
		return err
	}
	_, err = expect(deliveries, "new", false)
	return err
}

func requeued(settle func(amqp.Delivery) error) onChannel {
	return func(_ *amqp.Connection, channel *amqp.Channel) error {
		_, deliveries, err := consuming(channel, 0, "again")
		if err != nil {
			return err
		}
		delivery, err := expect(deliveries, "again", false)
		if err = first(err, settle(delivery)); err != nil {
			return err
		}
		delivery, err = expect(deliveries, "again", true)
		return first(err, delivery.Ack(false))
	}
}

func prefetch(_ *amqp.Connection, channel *amqp.Channel) error {
	queue, deliveries, err := consuming(channel, 2, "0", "1", "2", "3", "4")
	if err != nil {
		return err
	}
	zero, err := expect(deliveries, "0", false)
	if err != nil {
		return err
	}
	if _, err = expect(deliveries, "1", false); err != nil {
		return err
	}
	if err = first(ready(channel, queue, 3), zero.Ack(false)); err != nil {
		return err
	}
	_, err = expect(deliveries, "2", false)
	return first(err, ready(channel, queue, 2))
}

func cancelNotify(_ *amqp.Connection, channel *amqp.Channel) error {
	queue, err := temporaryQueue(channel, nil)
	if err != nil {
		return err
	}
	cancelled := channel.NotifyCancel(make(chan string, 1))
	if _, err = channel.Consume(queue, "tag", false, false, false, false, nil); err != nil {
		return err
	}
	if _, err = channel.QueueDelete(queue, false, false, false); err != nil {
		return err
	}
	select {
	case tag := <-cancelled:
		return equal(tag, "tag")
	case <-time.After(patience):
		return fmt.Errorf("no cancel came")
	}
}

func rpc(direct bool) onChannel {
	return func(connection *amqp.Connection, caller *amqp.Channel) error {
		replyTo := "amq.rabbitmq.reply-to"
		if !direct {
			var err error
			if replyTo, err = temporaryQueue(caller, nil); err != nil {
				return err
			}
		}
		replies, err := caller.Consume(replyTo, "", true, false, false, false, nil)
		if err != nil {
			return err
		}
		worker, err := connection.Channel()
		if err != nil {
			return err
		}
		defer worker.Close()
		queue, requests, err := consuming(worker, 0)
		if err != nil {
			return err
		}
		question := amqp.Publishing{ReplyTo: replyTo, CorrelationId: "7", Body: []byte("question")}
		if err = caller.Publish("", queue, false, false, question); err != nil {
			return err
		}
		request, err := expect(requests, "question", false)
		if err != nil {
			return err
		}
		answer := amqp.Publishing{CorrelationId: request.CorrelationId, Body: bytes.ToUpper(request.Body)}
		if err = worker.Publish("", request.ReplyTo, false, false, answer); err != nil {
			return err
		}
		reply, err := expect(replies, "QUESTION", false)
		return first(err, equal(reply.CorrelationId, "7"))
	}
}

func deadLetters(_ *amqp.Connection, channel *amqp.Channel) error {
	dead, deliveries, err := consuming(channel, 0)
	if err != nil {
		return err
	}
	queue, err := temporaryQueue(channel, amqp.Table{
		"x-message-ttl": int32(50), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead,
	})
	if err = first(err, publish(channel, "", queue, "late")); err != nil {
		return err
	}
	got, err := expect(deliveries, "late", false)
	if err != nil {
		return err
	}
	deaths, _ := got.Headers["x-death"].([]interface{})
	if len(deaths) != 1 {
		return fmt.Errorf("x-death is %v", got.Headers["x-death"])
	}
	death, _ := deaths[0].(amqp.Table)
	return equal(fmt.Sprint(death["reason"], death["queue"], death["count"]), fmt.Sprint("expired", queue, 1))
}

func body(content []byte) onChannel {
	return func(_ *amqp.Connection, channel *amqp.Channel) error {
		queue, err := temporaryQueue(channel, nil)
		if err = first(err, publish(channel, "", queue, string(content))); err != nil {
			return err
		}
		return only(channel, queue, string(content))
	}
}

func headerTypes(_ *amqp.Connection, channel *amqp.Channel) error {
	queue, err := temporaryQueue(channel, nil)
	if err != nil {
		return err
	}
	sent := amqp.Table{
		"octet": byte(200), "short": int16(-500), "int": int32(-50_000), "long": int64(-5_000_000_000),
		"float": float32(1.5), "double": 2.25, "decimal": amqp.Decimal{Scale: 2, Value: 314}, "boolean": false,
		"time": time.Unix(1_700_000_000, 0), "void": nil, "octets": []byte{0, 1, 255}, "text": "Grüße",
		"list":  []interface{}{int32(1), []interface{}{int64(2), amqp.Table{"deep": true}}},
		"table": amqp.Table{"one": amqp.Table{"two": amqp.Table{"three": int32(3)}}},
	}
	if err = channel.Publish("", queue, false, false, amqp.Publishing{Headers: sent}); err != nil {
		return err
	}
	got, _, err := channel.Get(queue, true)
	if err != nil {
		return err
	}
	if moment, ok := got.Headers["time"].(time.Time); ok {
		got.Headers["time"] = moment.Local()
	}
	return equal(got.Headers, sent)
}

func transactions(_ *amqp.Connection, channel *amqp.Channel) error {
	queue, err := temporaryQueue(channel, nil)
	return first(err, channel.Tx(), publish(channel, "", queue, "rolled back"), channel.TxRollback(),
		publish(channel, "", queue, "committed"), ready(channel, queue, 0), channel.TxCommit(),
		only(channel, queue, "committed"))
}

func refused(err error, channel *amqp.Channel, code int) error {
	var refusal *amqp.Error
	if !errors.As(err, &refusal) || refusal.Code != code || !refusal.Server {
		return fmt.Errorf("%v, not %d", err, code)
	}
	if publish(channel, "", "nobody", "closed") == nil {
		return fmt.Errorf("the channel is open")
	}
	return nil
}

func declareRefused(_ *amqp.Connection, channel *amqp.Channel) error {
	name := "interop." + library + ".inequivalent"
	if _, err := channel.QueueDeclare(name, false, false, true, false, amqp.Table{"x-max-length": int32(10)}); err != nil {
		return err
	}
	_, err := channel.QueueDeclare(name, false, false, true, false, amqp.Table{"x-max-length": int32(11)})
	return refused(err, channel, amqp.PreconditionFailed)
}

func passiveRefused(_ *amqp.Connection, channel *amqp.Channel) error {
	_, err := channel.QueueDeclarePassive("interop.nothing", false, false, false, false, nil)
	return refused(err, channel, amqp.NotFound)
}

func heartbeat(url string) error {
	idle, err := amqp.DialConfig(url, amqp.Config{Heartbeat: time.Second})
	if err != nil {
		return err
	}
	defer idle.Close()
	if err = equal(idle.Config.Heartbeat, time.Second); err != nil {
		return err
	}
	time.Sleep(3500 * time.Millisecond) // longer than either side would wait for a silent one
	channel, err := idle.Channel()
	if err != nil {
		return err
	}
	_, err = temporaryQueue(channel, nil)
	return err
}
