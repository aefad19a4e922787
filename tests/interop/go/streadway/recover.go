package main

import "fmt"

// recoverConnection says that streadway/amqp has no recovery.
func recoverConnection(string) error {
	fmt.Println("none recovery")
	fmt.Println("ready")
	return nil
}
