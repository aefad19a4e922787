package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	amqp "github.com/rabbitmq/amqp091-go"
)

func trusting(url, path string) (*amqp.Connection, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", path)
	}
	return amqp.DialTLS(url, &tls.Config{RootCAs: authorities})
}

// secured sends a message over TLS, and does not trust a broker whose certificate another authority has signed.
func secured(url, authority, another string) error {
	connection, err := trusting(url, authority)
	if err != nil {
		return err
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	queue, err := temporaryQueue(channel, nil)
	if err := first(err, publish(channel, "", queue, "secret")); err != nil {
		return err
	}
	if err := only(channel, queue, "secret"); err != nil {
		return err
	}
	var unknown x509.UnknownAuthorityError
	if _, err := trusting(url, another); !errors.As(err, &unknown) {
		return fmt.Errorf("a broker of an unknown authority: %v", err)
	}
	return nil
}
