package interop;

import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.Base64;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import org.testcontainers.containers.RabbitMQContainer;
import org.testcontainers.utility.DockerImageName;

/**
 * testcontainers for Java starts FlowMQ's image where it would start RabbitMQ's, and declares in it all that it can.
 * FLOWMQ_IMAGE names the image, DOCKER_HOST who runs it. A virtual host with tracing is not among it: there is none.
 */
public final class Containers {
    private static final DockerImageName IMAGE =
            DockerImageName.parse(System.getenv("FLOWMQ_IMAGE")).asCompatibleSubstituteFor("rabbitmq");

    private static void check(String name, Callable<Boolean> behaviour) {
        try {
            System.out.println(behaviour.call() ? "ok " + name : "FAIL " + name + " it is not so");
        } catch (Exception failure) {
            System.out.println("FAIL " + name + " " + failure.toString().replace('\n', ' '));
        }
    }

    private static Connection connected(RabbitMQContainer container, String vhost) throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(container.getAmqpUrl());
        factory.setUsername(container.getAdminUsername());
        factory.setPassword(container.getAdminPassword());
        factory.setVirtualHost(vhost);
        return factory.newConnection();
    }

    /** What the HTTP API says there, without blanks. */
    private static String asked(RabbitMQContainer container, String path) throws Exception {
        String login = container.getAdminUsername() + ":" + container.getAdminPassword();
        HttpRequest request = HttpRequest.newBuilder(URI.create(container.getHttpUrl() + "/api/" + path))
                .header("Authorization", "Basic " + Base64.getEncoder().encodeToString(login.getBytes()))
                .build();
        HttpResponse<String> answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200) {
            throw new IllegalStateException(path + ": " + answer.statusCode() + " " + answer.body());
        }
        return answer.body().replace(" ", "");
    }

    private static boolean says(RabbitMQContainer container, String path, String... parts) throws Exception {
        String answer = asked(container, path);
        for (String part : parts) {
            if (!answer.contains(part)) {
                throw new IllegalStateException(part + " is not in " + answer);
            }
        }
        return true;
    }

    private static void plain() {
        try (RabbitMQContainer container = new RabbitMQContainer(IMAGE)) {
            container.start();
            check("container-as-it-is", () -> {
                try (Connection connection = connected(container, "/"); Channel channel = connection.createChannel()) {
                    channel.queueDeclare("jobs", true, false, false, null);
                    channel.confirmSelect();
                    channel.basicPublish("", "jobs", null, "one".getBytes());
                    channel.waitForConfirmsOrDie(10_000);
                    return new String(channel.basicGet("jobs", true).getBody()).equals("one");
                }
            });
            check("http-as-it-is", () -> says(container, "overview", "\"product_name\":\"FlowMQ\""));
        }
    }

    /** Each of them is a rabbitmqadmin, rabbitmqctl or rabbitmq-plugins that must succeed inside. */
    @SuppressWarnings("deprecation")
    private static void declared() {
        try (RabbitMQContainer container = new RabbitMQContainer(IMAGE)
                .withPluginsEnabled("rabbitmq_shovel", "rabbitmq_management")
                .withVhost("own")
                .withVhost("plain", false)
                .withVhostLimit("own", "max-queues", 7)
                .withUser("ann", "secret")
                .withUser("bob", "secret", Set.of("monitoring"))
                .withPermission("own", "ann", "^a", ".*", ".*")
                .withQueue("first")
                .withQueue("own", "second")
                .withQueue("own", "third", false, true, Map.of("x-message-ttl", 1000))
                .withExchange("direct", "direct")
                .withExchange("own", "topic", "topic", true, false, false, Map.of("alternate-exchange", "amq.fanout"))
                .withBinding("direct", "first")
                .withBinding("own", "topic", "second", Map.of("x", 1), "a.b", "queue")
                .withPolicy("limit", "^s", Map.of("max-length", 5), 1, "queues")
                .withPolicy("own", "limit", "^s", Map.of("max-length", 5))
                .withOperatorPolicy("ceiling", ".*", Map.of("expires", 3600000), 1, "queues")
                .withParameter("shovel", "mine", "{\"src-uri\":\"amqp://\",\"src-queue\":\"first\","
                        + "\"dest-uri\":\"amqp://\",\"dest-queue\":\"elsewhere\"}")) {
            container.start();
            check("vhosts", () -> says(container, "vhosts", "\"name\":\"own\"", "\"name\":\"plain\""));
            check("limits", () -> says(container, "vhost-limits/own", "\"max-queues\":7"));
            check("users", () -> says(container, "users", "\"name\":\"ann\"", "\"tags\":[\"monitoring\"]"));
            check("permissions", () -> says(container, "permissions/own/ann", "\"configure\":\"^a\""));
            check("queues", () -> says(container, "queues", "\"name\":\"first\"", "\"name\":\"second\""));
            check("a-queue", () -> says(container, "queues/own/third", "\"x-message-ttl\":1000", "\"durable\":true"));
            check("exchanges", () -> says(container, "exchanges/%2F/direct", "\"type\":\"direct\""));
            check("an-exchange", () -> says(container, "exchanges/own/topic", "\"alternate-exchange\":\"amq.fanout\""));
            check("binding", () -> says(container, "bindings/%2F/e/direct/q/first", "\"source\":\"direct\""));
            check("a-binding", () -> says(container, "bindings/own/e/topic/q/second", "\"routing_key\":\"a.b\"", "\"x\":1"));
            check("policies", () -> says(container, "policies/%2F/limit", "\"max-length\":5", "\"priority\":1"));
            check("a-policy", () -> says(container, "policies/own/limit", "\"pattern\":\"^s\""));
            check("operator-policies", () -> says(container, "operator-policies/%2F/ceiling", "\"expires\":3600000"));
            check("parameters", () -> says(container, "parameters/shovel/%2F/mine", "\"src-queue\":\"first\""));
            check("log-in-to-a-vhost", () -> {
                try (Connection connection = connected(container, "/"); Channel channel = connection.createChannel()) {
                    return channel.queueDeclarePassive("first").getMessageCount() == 0;
                }
            });
        }
    }

    /** The commands inside name nobody: they log in as the user whom the container was given. RabbitMQ's are refused. */
    @SuppressWarnings("deprecation")
    private static void named() {
        try (RabbitMQContainer container = new RabbitMQContainer(IMAGE)
                .withAdminUser("boss")
                .withAdminPassword("se cret")
                .withVhost("own")
                .withQueue("first")) {
            container.start();
            check("declared-by-a-named-user", () -> says(container, "vhosts", "\"name\":\"own\""));
            check("a-named-user-declares", () -> {
                try (Connection connection = connected(container, "/"); Channel channel = connection.createChannel()) {
                    channel.queueDeclarePassive("first");
                    return channel.queueDeclare("second", true, false, false, null).getMessageCount() == 0;
                }
            });
        }
    }

    public static void main(String[] arguments) {
        plain();
        declared();
        named();
    }
}
