// Program for amqp091-go and, with the import path of that library instead, for streadway/amqp, which it came from:
// it uses only what both have. One mode a run.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const patience = 30 * time.Second

// library names the queues and the publisher, as given by the runner.
var library = os.Getenv("INTEROP_LIBRARY")

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(mode, url string) error {
	switch mode {
	case "behaviours":
		return onConnection(url, func(connection *amqp.Connection) error { return behaviours(url, connection) })
	case "tls":
		check("tls", func() error { return secured(url, os.Args[3], os.Args[4]) })
		return nil
	case "publish":
		return publishParcel(url)
	case "consume":
		count, err := strconv.Atoi(os.Args[4])
		if err != nil {
			return err
		}
		return consumeParcels(url, os.Args[3], count)
	case "pause":
		return pause(url)
	case "recover":
		return recoverConnection(url)
	}
	return fmt.Errorf("no mode %s", mode)
}

func onConnection(url string, work func(*amqp.Connection) error) error {
	connection, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	defer connection.Close()
	return work(connection)
}

func pause(url string) error {
	connection, err := amqp.DialConfig(url, amqp.Config{Heartbeat: time.Second})
	if err != nil {
		return err
	}
	closed := connection.NotifyClose(make(chan *amqp.Error, 1))
	fmt.Println("ready")
	check("paused-client", func() error {
		select {
		case <-closed:
			return nil
		case <-time.After(2 * patience):
			return fmt.Errorf("it never noticed")
		}
	})
	return nil
}

func check(name string, behaviour func() error) {
	if err := behaviour(); err != nil {
		fmt.Println("FAIL", name, err)
		return
	}
	fmt.Println("ok", name)
}

func next(deliveries <-chan amqp.Delivery) (amqp.Delivery, error) {
	select {
	case delivery, open := <-deliveries:
		if !open {
			return delivery, fmt.Errorf("the consumer ended")
		}
		return delivery, nil
	case <-time.After(patience):
		return amqp.Delivery{}, fmt.Errorf("no delivery came")
	}
}
