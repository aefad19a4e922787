package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// parcelBody is every octet once.
func parcelBody() []byte {
	body := make([]byte, 256)
	for octet := range body {
		body[octet] = byte(octet)
	}
	return body
}

// parcel is the message that every library publishes and every other one must get unchanged.
func parcel() amqp.Publishing {
	return amqp.Publishing{
		ContentType:     "application/octet-stream",
		ContentEncoding: "identity",
		Headers: amqp.Table{
			"text": "Grüße", "small": int32(42), "large": int64(5_000_000_000), "negative": int64(-5_000_000_000),
			"yes": true, "nothing": nil,
			"nested": amqp.Table{"inner": "value", "deeper": amqp.Table{"level": int32(2)}},
			"list":   []interface{}{"one", int32(2), "three"},
		},
		DeliveryMode:  amqp.Persistent,
		Priority:      7,
		CorrelationId: "correlation-1",
		ReplyTo:       "replies",
		Expiration:    "3600000",
		MessageId:     "message-1",
		Timestamp:     time.Unix(1_700_000_000, 0),
		Type:          "parcel",
		UserId:        "guest",
		AppId:         library,
		Body:          parcelBody(),
	}
}

func parcelJSON(got amqp.Delivery) (string, error) {
	text, err := json.Marshal(map[string]interface{}{
		"body": hex.EncodeToString(got.Body), "content_type": got.ContentType, "content_encoding": got.ContentEncoding,
		"headers": got.Headers, "delivery_mode": got.DeliveryMode, "priority": got.Priority,
		"correlation_id": got.CorrelationId, "reply_to": got.ReplyTo, "expiration": got.Expiration,
		"message_id": got.MessageId, "timestamp": got.Timestamp.Unix(), "type": got.Type, "user_id": got.UserId,
		"app_id": got.AppId,
	})
	return string(text), err
}

func publishParcel(url string) error {
	return onConnection(url, func(connection *amqp.Connection) error {
		channel, err := connection.Channel()
		if err != nil {
			return err
		}
		confirms := channel.NotifyPublish(make(chan amqp.Confirmation, 1))
		if err := channel.Confirm(false); err != nil {
			return err
		}
		if err := channel.Publish("interop.parcels", "", false, false, parcel()); err != nil {
			return err
		}
		select {
		case confirm := <-confirms:
			if !confirm.Ack {
				return fmt.Errorf("nacked")
			}
			return nil
		case <-time.After(patience):
			return fmt.Errorf("no confirm")
		}
	})
}

func consumeParcels(url, queue string, count int) error {
	return onConnection(url, func(connection *amqp.Connection) error {
		channel, err := connection.Channel()
		if err != nil {
			return err
		}
		deliveries, err := channel.Consume(queue, "", false, false, false, false, nil)
		if err != nil {
			return err
		}
		for ; count > 0; count-- {
			got, err := next(deliveries)
			if err != nil {
				return err
			}
			text, err := parcelJSON(got)
			if err != nil {
				return err
			}
			fmt.Println("parcel", text)
			if err := got.Ack(false); err != nil {
				return err
			}
		}
		return nil
	})
}
