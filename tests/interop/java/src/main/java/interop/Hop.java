package interop;

import com.rabbitmq.http.client.Client;
import com.rabbitmq.http.client.GetAckMode;
import com.rabbitmq.http.client.GetEncoding;
import com.rabbitmq.http.client.HttpClientException;
import com.rabbitmq.http.client.domain.ChannelInfo;
import com.rabbitmq.http.client.domain.ConnectionInfo;
import com.rabbitmq.http.client.domain.DetailsParameters;
import com.rabbitmq.http.client.domain.ExchangeInfo;
import com.rabbitmq.http.client.domain.NodeInfo;
import com.rabbitmq.http.client.domain.OutboundMessage;
import com.rabbitmq.http.client.domain.PolicyInfo;
import com.rabbitmq.http.client.domain.QueryParameters;
import com.rabbitmq.http.client.domain.QueueInfo;
import com.rabbitmq.http.client.domain.ShovelDetails;
import com.rabbitmq.http.client.domain.ShovelInfo;
import com.rabbitmq.http.client.domain.TopicPermissions;
import com.rabbitmq.http.client.domain.UserPermissions;
import java.net.URL;
import java.util.Collection;
import java.util.List;
import java.util.Map;

/**
 * Hop, Java's client library of the HTTP API: HTTP-URL AMQP-URL. A client with a connection, a channel and a consumer
 * of the queue "busy" in "/" must be there.
 */
public final class Hop {
    private static final String VHOST = "a/hop";
    private static final Map<String, Object> LIMITED = Map.of("max-length", 50);

    private final Client client;
    private final String amqp;

    private Hop(Client client, String amqp) {
        this.client = client;
        this.amqp = amqp;
    }

    private static void some(String name, java.util.concurrent.Callable<? extends Collection<?>> ask) {
        Report.check(name, () -> Report.that(!ask.call().isEmpty(), "nothing"));
    }

    private static void status(String name, int wanted, Report.Check ask) {
        Report.check(name, () -> {
            try {
                ask.run();
            } catch (HttpClientException refused) {
                Report.equal(refused.status(), wanted);
                return;
            }
            Report.that(false, "it was answered");
        });
    }

    private void setUp() {
        Report.check("vhost", () -> client.createVhost(VHOST, "d", "one", "two"));
        Report.check("user", () -> client.createUser("hare", "secret".toCharArray(), List.of("management")));
        Report.check("user-changed", () -> client.updateUser("hare", "other".toCharArray(), List.of("monitoring")));
        Report.check("permissions", () -> client.updatePermissions(VHOST, "hare", new UserPermissions("a", "b", "c")));
        Report.check("topic-permissions",
            () -> client.updateTopicPermissions(VHOST, "hare", new TopicPermissions("amq.topic", "a", "b")));
        Report.check("exchange", () -> client.declareExchange(VHOST, "in", new ExchangeInfo("topic", true, false)));
        Report.check("queue", () -> client.declareQueue(VHOST, "jobs", new QueueInfo(true, false, false, Map.of("x-max-length", 100))));
        Report.check("binding", () -> client.bindQueue(VHOST, "jobs", "in", "new.*", Map.of("note", "n")));
        Report.check("binding-of-exchanges", () -> client.bindExchange(VHOST, "amq.topic", "in", ""));
        Report.check("policy", () -> client.declarePolicy(VHOST, "p", new PolicyInfo("^jobs$", 1, "queues", LIMITED)));
        Report.check("operator-policy", () -> client.declareOperatorPolicy(VHOST, "o", new PolicyInfo(".*", 1, "queues", LIMITED)));
        Report.check("limit-of-queues", () -> client.limitMaxNumberOfQueues(VHOST, 10));
        Report.check("limit-of-connections", () -> client.limitMaxNumberOfConnections(VHOST, 10));
    }

    private void lookAtThings() {
        Report.check("overview", () -> Report.that(client.getOverview().getRabbitMQVersion() != null, "no version"));
        Report.check("whoami", () -> client.whoAmI());
        Report.check("aliveness", () -> Report.that(client.alivenessTest("/"), "it is dead"));
        Report.check("nodes", () -> {
            for (NodeInfo node : client.getNodes()) {
                Report.that(client.getNode(node.getName()).getName().equals(node.getName()), node);
            }
        });
        Report.check("cluster-name-set", () -> client.setClusterName("form"));
        Report.check("cluster-name", () -> Report.equal(client.getClusterName().getName(), "form"));
        some("vhosts", client::getVhosts);
        Report.check("vhost-shown", () -> Report.equal(client.getVhost(VHOST).getName(), VHOST));
        some("users", client::getUsers);
        Report.check("user-shown", () -> Report.equal(client.getUser("hare").getTags(), List.of("monitoring")));
        some("all-permissions", client::getPermissions);
        some("permissions-in", () -> client.getPermissionsIn(VHOST));
        some("permissions-of", () -> client.getPermissionsOf("hare"));
        Report.check("permissions-shown", () -> Report.equal(client.getPermissions(VHOST, "hare").getWrite(), "b"));
        some("all-topic-permissions", client::getTopicPermissions);
        some("topic-permissions-in", () -> client.getTopicPermissionsIn(VHOST));
        some("topic-permissions-shown", () -> client.getTopicPermissions(VHOST, "hare"));
        some("exchanges", client::getExchanges);
        Report.check("exchange-shown", () -> Report.equal(client.getExchange(VHOST, "in").getName(), "in"));
        some("queues", client::getQueues);
        some("queues-in", () -> client.getQueues(VHOST));
        some("queues-with-samples",
            () -> client.getQueues(new DetailsParameters().lengths(60, 5).messageRates(60, 5)));
        Report.check("page-of-queues", () -> {
            QueryParameters page = new QueryParameters().pagination().pageSize(1).query();
            Report.equal(client.getQueues(page).getItems().length, 1);
        });
        Report.check("queue-shown", () -> {
            QueueInfo queue = client.getQueue(VHOST, "jobs");
            Report.equal(queue.getArguments().get("x-max-length"), 100);
            Report.equal(queue.getPolicy(), "p");
        });
        Report.check("busy-queue-shown", () -> Report.equal(client.getQueue("/", "busy").getName(), "busy"));
        some("bindings", client::getBindings);
        some("bindings-in", () -> client.getBindings(VHOST));
        some("bindings-of-queue", () -> client.getQueueBindings(VHOST, "jobs"));
        some("bindings-from", () -> client.getBindingsBySource(VHOST, "in"));
        some("bindings-between", () -> client.getQueueBindingsBetween(VHOST, "in", "jobs"));
        some("bindings-of-exchanges", () -> client.getExchangeBindingsBetween(VHOST, "in", "amq.topic"));
        some("policies", client::getPolicies);
        some("operator-policies", () -> client.getOperatorPolicies(VHOST));
        some("vhost-limits", client::getVhostLimits);
        Report.check("vhost-limits-shown", () -> Report.equal(client.getVhostLimits(VHOST).getMaxQueues(), 10));
        Report.check("definitions", () -> Report.that(!client.getDefinitions().getQueues().isEmpty(), "no queues"));
        Report.check("extensions", () -> client.getExtensions());
    }

    private void lookAtClients() {
        Report.check("connections", () -> {
            for (ConnectionInfo connection : client.getConnections()) {
                Report.equal(client.getConnection(connection.getName()).getProtocol(), "AMQP 0-9-1");
            }
        });
        some("connections-of-user", () -> client.getConnectionsOfUser("guest"));
        Report.check("channels", () -> {
            for (ChannelInfo channel : client.getChannels()) {
                Report.equal(client.getChannel(channel.getName()).getVhost(), "/");
            }
        });
        some("consumers", client::getConsumers);
        some("consumers-in", () -> client.getConsumers("/"));
    }

    private void messages() {
        Report.check("publish", () -> Report.that(
            client.publish(VHOST, "in", "new.one", new OutboundMessage().payload("text").utf8Encoded()), "not routed"));
        Report.check("get-and-leave", () -> Report.equal(
            client.get(VHOST, "jobs", 1, GetAckMode.NACK_REQUEUE_TRUE, GetEncoding.AUTO).get(0).getPayload(), "text"));
        Report.check("get", () -> Report.equal(
            client.get(VHOST, "jobs", 1, GetAckMode.ACK_REQUEUE_FALSE, GetEncoding.AUTO).get(0).getPayload(), "text"));
        Report.check("purge", () -> client.purgeQueue(VHOST, "jobs"));
    }

    private void shovels() {
        Report.check("shovel", () -> {
            ShovelDetails details = new ShovelDetails(amqp, amqp, 1, false, null);
            details.setSourceQueue("shovelled");
            details.setDestinationQueue("there");
            client.declareShovel("watched", new ShovelInfo("s", details));
        });
        some("shovels", client::getShovels);
        Report.check("shovel-status", () -> {
            long ends = System.nanoTime() + Report.SECONDS * 1_000_000_000L;
            while (client.getShovelsStatus("watched").stream().noneMatch(one -> "running".equals(one.getState()))) {
                Report.that(System.nanoTime() < ends, "it does not run");
                Thread.sleep(100);
            }
        });
        Report.check("shovel-deleted", () -> client.deleteShovel("watched", "s"));
    }

    private void refusals() {
        Report.check("what-is-not-there", () -> Report.that(client.getQueue(VHOST, "nothing") == null, "it is there"));
        status("what-cannot-be", 400, () -> client.declareQueue(VHOST, "jobs", new QueueInfo(false, false, false)));
    }

    private void takeDown() {
        Report.check("binding-deleted", () -> client.unbindExchange(VHOST, "amq.topic", "in", "~"));
        Report.check("policy-deleted", () -> client.deletePolicy(VHOST, "p"));
        Report.check("operator-policy-deleted", () -> client.deleteOperatorPolicy(VHOST, "o"));
        Report.check("limits-cleared", () -> client.clearMaxQueuesLimit(VHOST));
        Report.check("limits-cleared-too", () -> client.clearMaxConnectionsLimit(VHOST));
        Report.check("topic-permissions-deleted", () -> client.clearTopicPermissions(VHOST, "hare"));
        Report.check("permissions-deleted", () -> client.clearPermissions(VHOST, "hare"));
        Report.check("queue-deleted", () -> client.deleteQueue(VHOST, "jobs"));
        Report.check("exchange-deleted", () -> client.deleteExchange(VHOST, "in"));
        Report.check("user-deleted", () -> client.deleteUser("hare"));
        Report.check("vhost-deleted", () -> client.deleteVhost(VHOST));
    }

    public static void main(String[] arguments) throws Exception {
        URL api = new URL(arguments[1] + "/api/");
        Hop hop = new Hop(new Client(api, "guest", "guest"), arguments[2]);
        hop.setUp();
        hop.lookAtThings();
        hop.lookAtClients();
        hop.messages();
        hop.shovels();
        hop.refusals();
        hop.takeDown();
    }
}
