package interop;

import com.rabbitmq.client.ShutdownSignalException;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.springframework.amqp.AmqpException;
import org.springframework.amqp.AmqpRejectAndDontRequeueException;
import org.springframework.amqp.core.Binding;
import org.springframework.amqp.core.BindingBuilder;
import org.springframework.amqp.core.DirectExchange;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.MessageListener;
import org.springframework.amqp.core.Queue;
import org.springframework.amqp.core.QueueBuilder;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory.ConfirmType;
import org.springframework.amqp.rabbit.connection.Connection;
import org.springframework.amqp.rabbit.connection.ConnectionListener;
import org.springframework.amqp.rabbit.connection.CorrelationData;
import org.springframework.amqp.rabbit.core.RabbitAdmin;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.amqp.rabbit.listener.SimpleMessageListenerContainer;

/** spring-amqp: RabbitTemplate and the listener container. */
public final class Spring {
    private static final String QUEUE = "interop.spring";
    private static final String DEAD = "interop.spring.dead";

    private final CachingConnectionFactory factory;
    private final RabbitTemplate template;
    private final RabbitAdmin admin;

    private Spring(String url) {
        factory = new CachingConnectionFactory();
        factory.setUri(url);
        factory.setPublisherConfirmType(ConfirmType.CORRELATED);
        factory.setPublisherReturns(true);
        template = new RabbitTemplate(factory);
        template.setMandatory(true);
        template.setReplyTimeout(Report.SECONDS * 1000);
        admin = new RabbitAdmin(factory);
    }

    public static void main(String[] arguments) throws Exception {
        Spring spring = new Spring(arguments[1]);
        spring.declare();
        switch (arguments[0]) {
            case "tasks" -> spring.tasks();
            case "recover" -> spring.recover();
            default -> throw new IllegalArgumentException(arguments[0]);
        }
        spring.factory.destroy();
        System.exit(0);
    }

    private void declare() {
        DirectExchange exchange = new DirectExchange(QUEUE);
        Queue queue = QueueBuilder.durable(QUEUE).deadLetterExchange("").deadLetterRoutingKey(DEAD).build();
        Binding binding = BindingBuilder.bind(queue).to(exchange).with("task");
        admin.declareExchange(exchange);
        admin.declareQueue(QueueBuilder.durable(DEAD).build());
        admin.declareQueue(queue);
        admin.declareBinding(binding);
    }

    private SimpleMessageListenerContainer listen(MessageListener listener) {
        SimpleMessageListenerContainer container = new SimpleMessageListenerContainer(factory);
        container.setQueueNames(QUEUE);
        container.setMessageListener(listener);
        container.setRecoveryInterval(200);
        container.start();
        return container;
    }

    private void tasks() {
        Report.check("task", this::task);
        Report.check("retry", this::retry);
        Report.check("dead-letter", this::deadLetter);
        admin.deleteQueue(QUEUE);
        admin.deleteQueue(DEAD);
        admin.deleteExchange(QUEUE);
    }

    /** A confirmed message, one that is returned, and a question with its answer. */
    private void task() throws Exception {
        CorrelationData confirmed = new CorrelationData("1");
        BlockingQueue<String> bodies = new LinkedBlockingQueue<>();
        SimpleMessageListenerContainer container = listen(message -> {
            bodies.add(new String(message.getBody()));
            if (message.getMessageProperties().getReplyTo() != null) {
                template.convertAndSend("", message.getMessageProperties().getReplyTo(), "answer", reply -> {
                    reply.getMessageProperties().setCorrelationId(message.getMessageProperties().getCorrelationId());
                    return reply;
                });
            }
        });
        template.convertAndSend(QUEUE, "task", "work", confirmed);
        Report.that(confirmed.getFuture().get(Report.SECONDS, TimeUnit.SECONDS).ack(), "nacked");
        Report.equal(bodies.poll(Report.SECONDS, TimeUnit.SECONDS), "work");
        CorrelationData returned = new CorrelationData("2");
        template.convertAndSend(QUEUE, "nobody", "lost", returned);
        Report.that(returned.getFuture().get(Report.SECONDS, TimeUnit.SECONDS).ack(), "nacked");
        Report.equal(returned.getReturned().getReplyCode(), 312);
        Report.equal(template.convertSendAndReceive(QUEUE, "task", "question"), "answer");
        container.stop();
    }

    /** A listener that throws gets the message again. */
    private void retry() throws Exception {
        AtomicInteger attempts = new AtomicInteger();
        BlockingQueue<Message> done = new LinkedBlockingQueue<>();
        SimpleMessageListenerContainer container = listen(message -> {
            if (attempts.incrementAndGet() < 3) {
                throw new IllegalStateException("not yet");
            }
            done.add(message);
        });
        template.convertAndSend(QUEUE, "task", "stubborn");
        Message message = done.poll(Report.SECONDS, TimeUnit.SECONDS);
        Report.that(message != null && message.getMessageProperties().isRedelivered(), "it did not come again");
        container.stop();
    }

    private void deadLetter() {
        SimpleMessageListenerContainer container = listen(message -> {
            throw new AmqpRejectAndDontRequeueException("never");
        });
        template.convertAndSend(QUEUE, "task", "hopeless");
        Message dead = template.receive(DEAD, Report.SECONDS * 1000);
        Report.equal(new String(dead.getBody()), "hopeless");
        Report.equal(dead.getMessageProperties().getXDeathHeader().get(0).get("reason"), "rejected");
        container.stop();
    }

    private void recover() throws Exception {
        BlockingQueue<String> bodies = new LinkedBlockingQueue<>();
        listen(message -> bodies.add(new String(message.getBody())));
        template.convertAndSend(QUEUE, "task", "before");
        Report.equal(bodies.poll(Report.SECONDS, TimeUnit.SECONDS), "before");
        CountDownLatch lost = new CountDownLatch(1);
        factory.addConnectionListener(new ConnectionListener() {
            @Override
            public void onCreate(Connection connection) { }

            @Override
            public void onShutDown(ShutdownSignalException cause) {
                lost.countDown();
            }
        });
        Report.say("ready");
        Report.check("recovery", () -> {
            Report.that(lost.await(60, TimeUnit.SECONDS), "the broker did not go");
            // A template throws while there is no connection; whoever publishes tries again.
            for (String body = null; !"after".equals(body); ) {
                try {
                    template.convertAndSend(QUEUE, "task", "after");
                } catch (AmqpException gone) {
                    Thread.sleep(100);
                    continue;
                }
                body = bodies.poll(1, TimeUnit.SECONDS);
            }
        });
    }
}
