package interop;

import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.Recoverable;
import com.rabbitmq.client.RecoveryListener;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** amqp-client: one mode a run. */
public final class AmqpClient {
    static final String LIBRARY = "amqp-client";

    private AmqpClient() {}

    public static void main(String[] arguments) throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(arguments[1]);
        switch (arguments[0]) {
            case "behaviours" -> new Behaviours(factory).all();
            case "tls" -> Report.check("tls", () -> Tls.exchange(factory, arguments[2], arguments[3]));
            case "publish" -> publish(factory);
            case "consume" -> consume(factory, arguments[2], Integer.parseInt(arguments[3]));
            case "pause" -> pause(factory);
            case "recover" -> recover(factory);
            default -> throw new IllegalArgumentException(arguments[0]);
        }
        System.exit(0);
    }

    private static void publish(ConnectionFactory factory) throws Exception {
        try (Connection connection = factory.newConnection(); Channel channel = connection.createChannel()) {
            channel.confirmSelect();
            channel.basicPublish("interop.parcels", "", Parcel.properties(LIBRARY), Parcel.BODY);
            channel.waitForConfirmsOrDie(Report.SECONDS * 1000);
        }
    }

    private static void consume(ConnectionFactory factory, String queue, int count) throws Exception {
        try (Connection connection = factory.newConnection(); Channel channel = connection.createChannel()) {
            BlockingQueue<Delivery> deliveries = new LinkedBlockingQueue<>();
            channel.basicConsume(queue, false, (tag, delivery) -> deliveries.add(delivery), tag -> { });
            for (int number = 0; number < count; number++) {
                Delivery delivery = deliveries.poll(Report.SECONDS, TimeUnit.SECONDS);
                Report.say("parcel " + Parcel.json(delivery));
                channel.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
            }
        }
    }

    private static void pause(ConnectionFactory factory) throws Exception {
        factory.setRequestedHeartbeat(1);
        factory.setAutomaticRecoveryEnabled(false);
        Connection connection = factory.newConnection();
        CountDownLatch closed = new CountDownLatch(1);
        connection.addShutdownListener(cause -> closed.countDown());
        Report.say("ready");
        Report.check("paused-client", () -> Report.that(closed.await(60, TimeUnit.SECONDS), "it never noticed"));
    }

    private static void recover(ConnectionFactory factory) throws Exception {
        factory.setNetworkRecoveryInterval(200);
        Connection connection = factory.newConnection();
        CountDownLatch recovered = new CountDownLatch(1);
        ((Recoverable) connection).addRecoveryListener(new RecoveryListener() {
            @Override
            public void handleRecovery(Recoverable recoverable) {
                recovered.countDown();
            }

            @Override
            public void handleRecoveryStarted(Recoverable recoverable) { }
        });
        Channel channel = connection.createChannel();
        String queue = channel.queueDeclare("interop.recover." + LIBRARY, true, false, false, null).getQueue();
        BlockingQueue<String> bodies = new LinkedBlockingQueue<>();
        channel.basicConsume(queue, true, (tag, delivery) -> bodies.add(new String(delivery.getBody())), tag -> { });
        channel.basicPublish("", queue, MessageProperties.PERSISTENT_BASIC, "before".getBytes());
        Report.equal(bodies.poll(Report.SECONDS, TimeUnit.SECONDS), "before");
        Report.say("ready");
        Report.check("recovery", () -> {
            Report.that(recovered.await(60, TimeUnit.SECONDS), "it never recovered");
            channel.basicPublish("", queue, new BasicProperties(), "after".getBytes());
            Report.equal(bodies.poll(Report.SECONDS, TimeUnit.SECONDS), "after");
        });
    }

    static byte[] body(GetResponse got) {
        Report.that(got != null, "the queue is empty");
        return got.getBody();
    }
}
