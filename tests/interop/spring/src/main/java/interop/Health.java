package interop;

import io.micrometer.core.instrument.Meter;
import io.micrometer.core.instrument.MeterRegistry;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.springframework.amqp.core.AmqpAdmin;
import org.springframework.amqp.core.Queue;
import org.springframework.amqp.rabbit.annotation.RabbitListener;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.amqp.health.RabbitHealthIndicator;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.health.actuate.endpoint.HealthDescriptor;
import org.springframework.boot.health.actuate.endpoint.HealthEndpoint;
import org.springframework.boot.health.actuate.endpoint.IndicatedHealthDescriptor;
import org.springframework.boot.health.contributor.Status;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Bean;

/**
 * An application of Spring Boot with its actuator: Health management HTTP-API AMQP METRICS.
 * Its health and its metrics must tell of the broker what they tell of RabbitMQ.
 */
@SpringBootApplication
public class Health {
    private static final int SECONDS = 30;
    private static final BlockingQueue<String> received = new LinkedBlockingQueue<>();

    @Bean
    public Queue watched() {
        return new Queue("spring.watched", false, false, true);
    }

    @RabbitListener(queues = "spring.watched")
    public void receive(String body) {
        received.add(body);
    }

    private interface Behaviour {
        void run() throws Exception;
    }

    private static void check(String name, Behaviour behaviour) {
        try {
            behaviour.run();
            System.out.println("ok " + name);
        } catch (Exception | AssertionError failure) {
            System.out.println("FAIL " + name + " " + failure.toString().replace('\n', ' '));
        }
    }

    private static void equal(Object got, Object expected) {
        if (!expected.equals(got)) {
            throw new AssertionError(got + ", not " + expected);
        }
    }

    /** The client counts what it does; acknowledgements are sent when the listener has returned. */
    private static void reaches(MeterRegistry registry, String name, double expected) throws InterruptedException {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(SECONDS);
        double value;
        while ((value = measured(registry, name)) != expected && System.nanoTime() < end) {
            Thread.sleep(20);
        }
        equal(value, expected);
    }

    private static double measured(MeterRegistry registry, String name) {
        Meter meter = registry.get(name).meter();
        return meter.measure().iterator().next().getValue();
    }

    public static void main(String[] arguments) {
        SpringApplication application = new SpringApplication(Health.class);
        application.setDefaultProperties(Map.of(
                "spring.rabbitmq.addresses", arguments[2],
                "spring.rabbitmq.publisher-confirm-type", "correlated",
                "spring.main.banner-mode", "off",
                "logging.level.root", "error",
                "management.endpoint.health.show-details", "always"));
        try (ConfigurableApplicationContext context = application.run()) {
            RabbitTemplate template = context.getBean(RabbitTemplate.class);
            MeterRegistry registry = context.getBean(MeterRegistry.class);
            HealthEndpoint endpoint = context.getBean(HealthEndpoint.class);
            check("health-of-all", () -> equal(endpoint.health().getStatus(), Status.UP));
            check("health-of-the-broker", () -> {
                HealthDescriptor found = endpoint.healthForPath("rabbit");
                equal(found.getStatus(), Status.UP);
                Object version = ((IndicatedHealthDescriptor) found).getDetails().get("version");
                if (version == null || !version.toString().matches("\\d+\\.\\d+.*")) {
                    throw new AssertionError("the version is " + version);
                }
            });
            check("listener", () -> {
                List<String> expected = new ArrayList<>(List.of("one", "two", "three"));
                for (String body : expected) {
                    template.invoke(operations -> {
                        operations.convertAndSend("spring.watched", body);
                        return operations.waitForConfirms(SECONDS * 1000);
                    });
                }
                for (String body : expected) {
                    equal(received.poll(SECONDS, TimeUnit.SECONDS), body);
                }
            });
            check("metric-published", () -> reaches(registry, "rabbitmq.published", 3));
            check("metric-consumed", () -> reaches(registry, "rabbitmq.consumed", 3));
            check("metric-acknowledged", () -> reaches(registry, "rabbitmq.acknowledged", 3));
            check("metric-connections", () -> {
                if (measured(registry, "rabbitmq.connections") < 1 || measured(registry, "rabbitmq.channels") < 1) {
                    throw new AssertionError("no connection, or no channel");
                }
            });
            check("queue-information", () -> {
                var information = context.getBean(AmqpAdmin.class).getQueueInfo("spring.watched");
                equal(Arrays.asList(information.getMessageCount(), information.getConsumerCount()), List.of(0L, 1));
            });
            check("health-without-a-broker", () -> {
                CachingConnectionFactory nowhere = new CachingConnectionFactory("127.0.0.1", 1);
                equal(new RabbitHealthIndicator(new RabbitTemplate(nowhere)).health().getStatus(), Status.DOWN);
                nowhere.destroy();
            });
        }
    }
}
