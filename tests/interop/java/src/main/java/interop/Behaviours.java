package interop;

import static interop.Report.check;
import static interop.Report.equal;
import static interop.Report.that;

import com.google.gson.JsonParser;
import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.AuthenticationFailureException;
import com.rabbitmq.client.BuiltinExchangeType;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.LongString;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.Return;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.math.BigDecimal;
import java.util.Arrays;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** What amqp-client must be able to do, each on a channel of its own. */
final class Behaviours {
    private interface OnChannel {
        void run(Channel channel) throws Exception;
    }

    private final ConnectionFactory factory;
    private Connection connection;

    Behaviours(ConnectionFactory factory) {
        this.factory = factory;
    }

    void all() throws Exception {
        connection = factory.newConnection("interop");
        check("connect", this::connect);
        on("direct-exchange", channel -> exchange(channel, BuiltinExchangeType.DIRECT, "eu", "eu", "us"));
        on("topic-exchange", channel -> exchange(channel, BuiltinExchangeType.TOPIC, "*.new.#", "eu.new.a.b", "eu.old"));
        on("fanout-exchange", channel -> exchange(channel, BuiltinExchangeType.FANOUT, "", "anything", null));
        on("headers-exchange", this::headersExchange);
        on("durable-queue", this::durableQueue);
        on("every-property", this::everyProperty);
        on("mandatory-return", this::mandatoryReturn);
        on("confirm-single", this::confirmSingle);
        on("confirm-batch", this::confirmBatch);
        on("manual-ack", this::manualAck);
        on("nack", channel -> requeued(channel, tag -> channel.basicNack(tag, false, true)));
        on("reject", channel -> requeued(channel, tag -> channel.basicReject(tag, true)));
        on("prefetch", this::prefetch);
        on("cancel-notify", this::cancelNotify);
        on("direct-reply-to", channel -> rpc(channel, "amq.rabbitmq.reply-to"));
        on("reply-queue", channel -> rpc(channel, channel.queueDeclare().getQueue()));
        on("dead-letters", this::deadLetters);
        on("large-body", channel -> body(channel, new byte[5 * 1024 * 1024]));
        on("empty-body", channel -> body(channel, new byte[0]));
        on("header-types", this::headerTypes);
        on("transactions", this::transactions);
        check("declare-406", this::declareRefused);
        check("passive-404", this::passiveRefused);
        check("heartbeat", this::heartbeat);
        connection.close();
    }

    private void on(String name, OnChannel behaviour) {
        check(name, () -> {
            try (Channel channel = connection.createChannel()) {
                behaviour.run(channel);
            }
        });
    }

    private void connect() throws Exception {
        that(!connection.getServerProperties().get("version").toString().isEmpty(), "a broker without a version");
        ConnectionFactory wrong = factory.clone();
        wrong.setPassword("wrong");
        try {
            wrong.newConnection();
            that(false, "a wrong password was accepted");
        } catch (AuthenticationFailureException expected) {
            that(expected.getMessage().contains("ACCESS_REFUSED"), expected);
        }
        ConnectionFactory nowhere = factory.clone();
        nowhere.setVirtualHost("nowhere");
        try {
            nowhere.newConnection();
            that(false, "a virtual host that is not there was accepted");
        } catch (IOException expected) {
            equal(code(expected.getCause()), 530);
        }
    }

    private void exchange(Channel channel, BuiltinExchangeType type, String binding, String hit, String miss)
            throws IOException {
        String name = "interop.amqp-client." + type.getType();
        channel.exchangeDeclare(name, type, false, true, null);
        String queue = channel.queueDeclare().getQueue();
        channel.queueBind(queue, name, binding);
        if (miss != null) {
            channel.basicPublish(name, miss, null, "miss".getBytes());
        }
        channel.basicPublish(name, hit, null, "hit".getBytes());
        GetResponse got = channel.basicGet(queue, true);
        equal(new String(AmqpClient.body(got)), "hit");
        equal(got.getMessageCount(), 0);
    }

    private void headersExchange(Channel channel) throws IOException {
        String name = "interop.amqp-client.headers";
        channel.exchangeDeclare(name, BuiltinExchangeType.HEADERS, false, true, null);
        String queue = channel.queueDeclare().getQueue();
        channel.queueBind(queue, name, "", Map.of("x-match", "all", "kind", "report", "year", 2024));
        for (int year : new int[] {2023, 2024}) {
            BasicProperties properties = new BasicProperties.Builder()
                .headers(Map.of("kind", "report", "year", year)).build();
            channel.basicPublish(name, "", properties, String.valueOf(year).getBytes());
        }
        GetResponse got = channel.basicGet(queue, true);
        equal(new String(AmqpClient.body(got)), "2024");
        equal(got.getMessageCount(), 0);
    }

    private void durableQueue(Channel channel) throws IOException {
        channel.exchangeDeclare("interop.amqp-client.durable", BuiltinExchangeType.DIRECT, true);
        channel.queueDeclare("interop.amqp-client.durable", true, false, false, Map.of("x-max-length", 10));
        channel.queueBind("interop.amqp-client.durable", "interop.amqp-client.durable", "key");
        channel.basicPublish("interop.amqp-client.durable", "key", MessageProperties.PERSISTENT_BASIC, "kept".getBytes());
        channel.queueUnbind("interop.amqp-client.durable", "interop.amqp-client.durable", "key");
        equal(channel.queuePurge("interop.amqp-client.durable").getMessageCount(), 1);
        channel.queueDelete("interop.amqp-client.durable", true, true);
        channel.exchangeDelete("interop.amqp-client.durable", true);
    }

    private void everyProperty(Channel channel) throws IOException {
        String queue = channel.queueDeclare().getQueue();
        BasicProperties sent = Parcel.properties(AmqpClient.LIBRARY);
        channel.basicPublish("", queue, sent, Parcel.BODY);
        GetResponse got = channel.basicGet(queue, true);
        String wanted = Parcel.json(new Delivery(got.getEnvelope(), sent, Parcel.BODY));
        String came = Parcel.json(new Delivery(got.getEnvelope(), got.getProps(), AmqpClient.body(got)));
        equal(JsonParser.parseString(came), JsonParser.parseString(wanted));
    }

    private void mandatoryReturn(Channel channel) throws Exception {
        BlockingQueue<Return> returned = new LinkedBlockingQueue<>();
        channel.addReturnListener(returned::add);
        channel.basicPublish("amq.direct", "nobody", true, MessageProperties.TEXT_PLAIN, "lost".getBytes());
        Return message = returned.poll(Report.SECONDS, TimeUnit.SECONDS);
        equal(message.getReplyCode(), AMQP.NO_ROUTE);
        equal(message.getReplyText(), "NO_ROUTE");
        equal(message.getExchange() + " " + message.getRoutingKey(), "amq.direct nobody");
        equal(new String(message.getBody()), "lost");
    }

    private void confirmSingle(Channel channel) throws Exception {
        channel.queueDeclare("interop.amqp-client.confirms", true, false, false, null);
        channel.confirmSelect();
        for (int number = 0; number < 10; number++) {
            equal(channel.getNextPublishSeqNo(), number + 1L);
            channel.basicPublish("", "interop.amqp-client.confirms", MessageProperties.PERSISTENT_BASIC, new byte[1]);
            that(channel.waitForConfirms(Report.SECONDS * 1000), "nacked");
        }
        equal(channel.queueDelete("interop.amqp-client.confirms").getMessageCount(), 10);
    }

    private void confirmBatch(Channel channel) throws Exception {
        channel.queueDeclare("interop.amqp-client.batches", true, false, false, null);
        channel.confirmSelect();
        BlockingQueue<Long> refused = new LinkedBlockingQueue<>();
        channel.addConfirmListener((tag, multiple) -> { }, (tag, multiple) -> refused.add(tag));
        for (int batch = 0; batch < 5; batch++) {
            for (int number = 0; number < 200; number++) {
                channel.basicPublish("", "interop.amqp-client.batches", MessageProperties.PERSISTENT_BASIC, new byte[1]);
            }
            channel.waitForConfirmsOrDie(Report.SECONDS * 1000);
        }
        that(refused.isEmpty(), "nacked: " + refused);
        equal(channel.queueDelete("interop.amqp-client.batches").getMessageCount(), 1000);
    }

    private void manualAck(Channel channel) throws Exception {
        String queue = channel.queueDeclare().getQueue();
        BlockingQueue<Delivery> deliveries = consume(channel, queue);
        for (int number = 0; number < 3; number++) {
            channel.basicPublish("", queue, null, new byte[] {(byte) number});
        }
        Delivery last = null;
        for (int number = 0; number < 3; number++) {
            last = deliveries.poll(Report.SECONDS, TimeUnit.SECONDS);
            equal((int) last.getBody()[0], number);
        }
        channel.basicAck(last.getEnvelope().getDeliveryTag(), true);
        channel.basicRecover(true);
        equal(channel.messageCount(queue), 0L);
        that(deliveries.isEmpty(), "an acknowledged message came back");
    }

    private interface Settle {
        void settle(long tag) throws IOException;
    }

    private void requeued(Channel channel, Settle settle) throws Exception {
        String queue = channel.queueDeclare().getQueue();
        BlockingQueue<Delivery> deliveries = consume(channel, queue);
        channel.basicPublish("", queue, null, "again".getBytes());
        Delivery first = deliveries.poll(Report.SECONDS, TimeUnit.SECONDS);
        that(!first.getEnvelope().isRedeliver(), "redelivered at once");
        settle.settle(first.getEnvelope().getDeliveryTag());
        Delivery second = deliveries.poll(Report.SECONDS, TimeUnit.SECONDS);
        that(second.getEnvelope().isRedeliver(), "not marked redelivered");
        channel.basicAck(second.getEnvelope().getDeliveryTag(), false);
    }

    private void prefetch(Channel channel) throws Exception {
        String queue = channel.queueDeclare().getQueue();
        for (int number = 0; number < 5; number++) {
            channel.basicPublish("", queue, null, new byte[] {(byte) number});
        }
        channel.basicQos(2);
        BlockingQueue<Delivery> deliveries = consume(channel, queue);
        Delivery first = deliveries.poll(Report.SECONDS, TimeUnit.SECONDS);
        deliveries.poll(Report.SECONDS, TimeUnit.SECONDS);
        equal(channel.messageCount(queue), 3L);
        channel.basicAck(first.getEnvelope().getDeliveryTag(), false);
        equal((int) deliveries.poll(Report.SECONDS, TimeUnit.SECONDS).getBody()[0], 2);
        equal(channel.messageCount(queue), 2L);
    }

    private void cancelNotify(Channel channel) throws Exception {
        String queue = channel.queueDeclare().getQueue();
        BlockingQueue<String> cancelled = new LinkedBlockingQueue<>();
        String tag = channel.basicConsume(queue, false, (consumer, delivery) -> { }, cancelled::add);
        channel.queueDelete(queue);
        equal(cancelled.poll(Report.SECONDS, TimeUnit.SECONDS), tag);
    }

    private void rpc(Channel caller, String replyTo) throws Exception {
        BlockingQueue<Delivery> replies = new LinkedBlockingQueue<>();
        caller.basicConsume(replyTo, true, (tag, delivery) -> replies.add(delivery), tag -> { });
        try (Channel worker = connection.createChannel()) {
            String requests = worker.queueDeclare().getQueue();
            worker.basicConsume(requests, true, (tag, request) -> {
                BasicProperties asked = request.getProperties();
                BasicProperties answer = new BasicProperties.Builder().correlationId(asked.getCorrelationId()).build();
                worker.basicPublish("", asked.getReplyTo(), answer,
                    new String(request.getBody()).toUpperCase().getBytes());
            }, tag -> { });
            BasicProperties question = new BasicProperties.Builder().replyTo(replyTo).correlationId("7").build();
            caller.basicPublish("", requests, question, "question".getBytes());
            Delivery answer = replies.poll(Report.SECONDS, TimeUnit.SECONDS);
            equal(new String(answer.getBody()) + answer.getProperties().getCorrelationId(), "QUESTION7");
        }
    }

    private void deadLetters(Channel channel) throws Exception {
        String dead = channel.queueDeclare().getQueue();
        BlockingQueue<Delivery> deliveries = consume(channel, dead);
        String queue = channel.queueDeclare("", false, true, true, Map.of("x-message-ttl", 50,
            "x-dead-letter-exchange", "", "x-dead-letter-routing-key", dead)).getQueue();
        channel.basicPublish("", queue, null, "late".getBytes());
        Delivery got = deliveries.poll(Report.SECONDS, TimeUnit.SECONDS);
        equal(new String(got.getBody()), "late");
        Map<?, ?> death = (Map<?, ?>) ((List<?>) got.getProperties().getHeaders().get("x-death")).get(0);
        equal(death.get("reason").toString(), "expired");
        equal(death.get("queue").toString(), queue);
        equal(death.get("count"), 1L);
    }

    private void body(Channel channel, byte[] body) throws IOException {
        String queue = channel.queueDeclare().getQueue();
        for (int octet = 0; octet < body.length; octet++) {
            body[octet] = (byte) (octet % 251);
        }
        channel.basicPublish("", queue, null, body);
        that(Arrays.equals(AmqpClient.body(channel.basicGet(queue, true)), body), "another body");
    }

    private void headerTypes(Channel channel) throws IOException {
        String queue = channel.queueDeclare().getQueue();
        Map<String, Object> sent = new HashMap<>();
        sent.put("byte", (byte) -5);
        sent.put("short", (short) -500);
        sent.put("int", -50_000);
        sent.put("long", -5_000_000_000L);
        sent.put("float", 1.5f);
        sent.put("double", 2.25);
        sent.put("decimal", new BigDecimal("3.14"));
        sent.put("boolean", false);
        sent.put("time", new Date(1_700_000_000_000L));
        sent.put("void", null);
        sent.put("list", List.of(1, List.of(2L, Map.of("deep", true))));
        sent.put("table", Map.of("one", Map.of("two", Map.of("three", 3))));
        Map<String, Object> more = new HashMap<>(sent);
        more.put("octets", new byte[] {0, 1, (byte) 255});
        more.put("text", "Grüße");
        channel.basicPublish("", queue, new BasicProperties.Builder().headers(more).build(), new byte[0]);
        Map<String, Object> got = new HashMap<>(channel.basicGet(queue, true).getProps().getHeaders());
        that(Arrays.equals((byte[]) got.remove("octets"), new byte[] {0, 1, (byte) 255}), "other octets");
        equal(((LongString) got.remove("text")).toString(), "Grüße");
        equal(got, sent);
    }

    private void transactions(Channel channel) throws IOException {
        String queue = channel.queueDeclare().getQueue();
        channel.txSelect();
        channel.basicPublish("", queue, null, "rolled back".getBytes());
        channel.txRollback();
        channel.basicPublish("", queue, null, "committed".getBytes());
        equal(channel.messageCount(queue), 0L);
        channel.txCommit();
        equal(new String(AmqpClient.body(channel.basicGet(queue, true))), "committed");
        that(channel.basicGet(queue, true) == null, "what was rolled back is there");
    }

    private void declareRefused() throws Exception {
        String queue = "interop.amqp-client.inequivalent";
        try (Channel channel = connection.createChannel()) {
            channel.queueDeclare(queue, false, false, true, null);
        }
        Channel channel = connection.createChannel();
        try {
            channel.queueDeclare(queue, true, false, true, null);
            that(false, "it was accepted");
        } catch (IOException expected) {
            equal(code(expected.getCause()), AMQP.PRECONDITION_FAILED);
        }
        that(!channel.isOpen(), "the channel is open");
        try (Channel other = connection.createChannel()) {
            other.queueDelete(queue);
        }
    }

    private void passiveRefused() throws Exception {
        Channel channel = connection.createChannel();
        try {
            channel.queueDeclarePassive("interop.nothing");
            that(false, "it was accepted");
        } catch (IOException expected) {
            equal(code(expected.getCause()), AMQP.NOT_FOUND);
        }
        that(connection.isOpen(), "the connection is closed");
    }

    private void heartbeat() throws Exception {
        ConnectionFactory quick = factory.clone();
        quick.setRequestedHeartbeat(1);
        try (Connection idle = quick.newConnection()) {
            equal(idle.getHeartbeat(), 1);
            Thread.sleep(3500); // longer than either side would wait for a silent one
            idle.createChannel().queueDeclare();
        }
    }

    private static int code(Throwable cause) {
        Object reason = ((ShutdownSignalException) cause).getReason();
        return reason instanceof AMQP.Channel.Close channel
            ? channel.getReplyCode()
            : ((AMQP.Connection.Close) reason).getReplyCode();
    }

    private static BlockingQueue<Delivery> consume(Channel channel, String queue) throws IOException {
        BlockingQueue<Delivery> deliveries = new LinkedBlockingQueue<>();
        channel.basicConsume(queue, false, (tag, delivery) -> deliveries.add(delivery), tag -> { });
        return deliveries;
    }
}
