package main

import (
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// recoverConnection uses the recovery of amqp091-go; streadway/amqp has none, and a file of its own in place of this.
func recoverConnection(url string) error {
	connection, err := amqp.DialConfig(url, amqp.Config{Recovery: &amqp.Recovery{
		ReconnectionConfig: &amqp.ReconnectionConfig{MaxRetryCount: 100, RetryInterval: 200 * time.Millisecond},
	}})
	if err != nil {
		return err
	}
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	changes := make(chan *amqp.StateChanged, 16)
	channel.NotifyStateChange(changes)
	queue := "interop.recover." + library
	if _, err = channel.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		return err
	}
	deliveries, err := channel.Consume(queue, "", true, false, false, false, nil)
	if err = first(err, publish(channel, "", queue, "before")); err != nil {
		return err
	}
	if _, err = expect(deliveries, "before", false); err != nil {
		return err
	}
	fmt.Println("ready")
	check("recovery", func() error {
		for lost := false; ; {
			select {
			case change := <-changes:
				if lost && change.To == amqp.StateOpen {
					if err := publish(channel, "", queue, "after"); err != nil {
						return err
					}
					_, err := expect(deliveries, "after", false)
					return err
				}
				lost = lost || change.To != amqp.StateOpen
			case <-time.After(2 * patience):
				return fmt.Errorf("it never recovered")
			}
		}
	})
	return nil
}
