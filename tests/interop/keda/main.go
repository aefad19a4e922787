// KEDA's scaler for RabbitMQ, the Go package itself, asks a broker as KEDA's operator does.
//
//	keda management HTTP-API AMQP
//
// Says "ok NAME" or "FAIL NAME reason" for each thing that it asks.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers"
	"github.com/kedacore/keda/v2/pkg/scalers/scalersconfig"
	amqp "github.com/rabbitmq/amqp091-go"
)

const patience = 30 * time.Second

type settings map[string]string

func check(name string, behaviour func() error) {
	if err := behaviour(); err != nil {
		fmt.Printf("FAIL %s %s\n", name, strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	fmt.Printf("ok %s\n", name)
}

// What the scaler says of the metric, in whole units, and whether there is anything to do.
func ask(host string, metadata settings) (float64, bool, error) {
	config := &scalersconfig.ScalerConfig{
		ScalableObjectName:      "interop",
		ScalableObjectNamespace: "default",
		GlobalHTTPTimeout:       patience,
		TriggerMetadata:         metadata,
		AuthParams:              settings{"host": host},
	}
	scaler, err := scalers.NewRabbitMQScaler(config)
	if err != nil {
		return 0, false, err
	}
	ctx := context.Background()
	defer scaler.Close(ctx)
	spec := scaler.GetMetricSpecForScaling(ctx)
	values, active, err := scaler.GetMetricsAndActivity(ctx, spec[0].External.Metric.Name)
	if err != nil {
		return 0, false, err
	}
	return values[0].Value.AsApproximateFloat64(), active, nil
}

func says(host string, metadata settings, expected float64, expectedActive bool) func() error {
	return func() error {
		value, active, err := ask(host, metadata)
		if err == nil && (value != expected || active != expectedActive) {
			err = fmt.Errorf("%v, active %v; not %v, %v", value, active, expected, expectedActive)
		}
		return err
	}
}

func fails(host string, metadata settings, part string) func() error {
	return func() error {
		value, _, err := ask(host, metadata)
		if err == nil {
			return fmt.Errorf("it said %v", value)
		}
		if !strings.Contains(err.Error(), part) {
			return err
		}
		return nil
	}
}

// While messages keep coming and going the rate must show it.
func rate(host, mode string, work func() error) func() error {
	return func() error {
		for ends := time.Now().Add(patience); time.Now().Before(ends); time.Sleep(50 * time.Millisecond) {
			if err := work(); err != nil {
				return err
			}
			value, active, err := ask(host, settings{"queueName": "keda.rate", "mode": mode, "value": "1"})
			if err != nil {
				return err
			}
			if value > 0 && active {
				return nil
			}
		}
		return fmt.Errorf("it stays 0")
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func length(queue string, more ...string) settings {
	metadata := settings{"queueName": queue, "mode": "QueueLength", "value": "1"}
	for at := 0; at < len(more); at += 2 {
		metadata[more[at]] = more[at+1]
	}
	return metadata
}

func main() {
	http, url := os.Args[2], os.Args[3]
	connection := must(amqp.Dial(url))
	defer connection.Close()
	channel := must(connection.Channel())
	if err := channel.Confirm(false); err != nil {
		panic(err)
	}
	publish := func(queue string) error {
		message := amqp.Publishing{Body: []byte("x")}
		confirmation, err := channel.PublishWithDeferredConfirm("", queue, false, false, message)
		if err == nil {
			confirmation.Wait()
		}
		return err
	}
	for queue, count := range map[string]int{"keda.none": 0, "keda.three": 3, "keda.five": 5, "keda.rate": 0} {
		must(channel.QueueDeclare(queue, true, false, false, false, nil))
		defer channel.QueueDelete(queue, false, false, false)
		for ; count > 0; count-- {
			if err := publish(queue); err != nil {
				panic(err)
			}
		}
	}
	vhost := url[strings.LastIndex(url, "/")+1:]
	root := http + "/" + vhost
	unacked := must(connection.Channel())
	if _, found, err := unacked.Get("keda.five", false); err != nil || !found {
		panic(fmt.Sprint("nothing in the queue: ", err))
	}

	check("amqp-length", says(url, length("keda.three"), 3, true))
	check("amqp-length-of-an-empty-queue", says(url, length("keda.none"), 0, false))
	check("amqp-length-without-unacked", says(url, length("keda.five"), 4, true))
	check("amqp-below-the-activation", says(url, length("keda.three", "activationValue", "3"), 3, false))
	check("amqp-vhost-by-name", says(strings.TrimSuffix(url, vhost), length("keda.three", "vhostName", vhost), 3, true))
	check("amqp-no-such-queue", fails(url, length("keda.absent"), "NOT_FOUND"))
	check("http-length", says(root, length("keda.three"), 3, true))
	check("http-length-with-unacked", says(root, length("keda.five"), 5, true))
	check("http-length-without-unacked", says(root, length("keda.five", "excludeUnacknowledged", "true"), 4, true))
	check("http-vhost-by-name", says(http, length("keda.three", "vhostName", vhost), 3, true))
	check("http-no-such-queue", fails(root, length("keda.absent"), "404"))
	check("http-wrong-password", fails(strings.Replace(root, "guest:guest", "guest:wrong", 1), length("keda.three"), "401"))
	pattern := `^keda\.(three|five)$`
	for operation, expected := range map[string]float64{"sum": 8, "avg": 4, "max": 5} {
		metadata := length(pattern, "useRegex", "true", "operation", operation)
		check("regex-"+operation, says(root, metadata, expected, true))
	}
	check("regex-that-nothing-matches", says(root, length("^nothing$", "useRegex", "true"), 0, false))
	check("regex-one-page", says(root, length(pattern, "useRegex", "true", "pageSize", "2"), 8, true))
	check("regex-too-many", fails(root, length(pattern, "useRegex", "true", "pageSize", "1"), "more queues than can be recovered"))
	check("rate-of-messages", rate(root, "MessageRate", func() error { return publish("keda.rate") }))
	take := func() error {
		if err := publish("keda.rate"); err != nil {
			return err
		}
		_, _, err := channel.Get("keda.rate", true)
		return err
	}
	check("rate-of-deliveries", rate(root, "DeliverGetRate", take))
	check("ratio", rate(root, "PublishedToDeliveredRatio", take))
	check("expected-time", rate(root, "ExpectedQueueConsumptionTime", take))
}
