using System;
using System.Collections;
using System.Linq;
using System.Security.Authentication;
using System.Text;
using System.Threading;
using Mono.Security.X509;
using RabbitMQ.Client;
using RabbitMQ.Client.Events;
using RabbitMQ.Client.Exceptions;
using Certificate = System.Security.Cryptography.X509Certificates.X509Certificate;

/// <summary>RabbitMQ.Client as Mono brings it, from before confirms, nack and cancel notices: one mode a run.</summary>
static class Program
{
    const string Library = "RabbitMQ.Client";
    const int Milliseconds = 30000;
    static ConnectionFactory factory;
    static IConnection connection;

    static int Main(string[] arguments)
    {
        var address = new Uri(arguments[1]);
        string[] credentials = address.UserInfo.Split(':');
        factory = Factory(address.Host, address.Port, credentials[0], credentials[1]);
        if (arguments[0] == "recover")
        {
            Console.WriteLine("none recovery");
            Console.WriteLine("ready");
            return 0;
        }
        if (arguments[0] == "tls")
        {
            Check("tls", () => Tls(arguments[2], arguments[3]));
            return 0;
        }
        if (arguments[0] == "pause")
            factory.RequestedHeartbeat = 1;
        connection = factory.CreateConnection();
        switch (arguments[0])
        {
            case "behaviours": Behaviours(); break;
            case "publish": Publish(); break;
            case "consume": Consume(arguments[2], int.Parse(arguments[3])); break;
            case "pause": Pause(); return 0;
            default: throw new ArgumentException(arguments[0]);
        }
        connection.Close();
        return 0;
    }

    static ConnectionFactory Factory(string host, int port, string user, string password, string vhost = "/")
    {
        var made = new ConnectionFactory { HostName = host, Port = port, UserName = user, Password = password };
        made.VirtualHost = vhost;
        made.Protocol = Protocols.AMQP_0_9; // the nearest to 0-9-1 that it has; brokers take it as that
        return made;
    }

    static void Behaviours()
    {
        Check("connect", Connect);
        On("direct-exchange", channel => Exchange(channel, "direct", "eu", "eu", "us"));
        On("topic-exchange", channel => Exchange(channel, "topic", "*.new.#", "eu.new.a.b", "eu.old"));
        On("fanout-exchange", channel => Exchange(channel, "fanout", "", "anything", null));
        On("headers-exchange", HeadersExchange);
        On("durable-queue", DurableQueue);
        On("every-property", EveryProperty);
        On("mandatory-return", MandatoryReturn);
        On("manual-ack", ManualAck);
        On("reject", Reject);
        On("prefetch", Prefetch);
        On("direct-reply-to", channel => Rpc(channel, "amq.rabbitmq.reply-to"));
        On("reply-queue", channel => Rpc(channel, Temporary(channel)));
        On("dead-letters", DeadLetters);
        On("large-body", channel => Body(channel, new byte[5 * 1024 * 1024]));
        On("empty-body", channel => Body(channel, new byte[0]));
        On("header-types", HeaderTypes);
        On("transactions", Transactions);
        Check("declare-406", () => Refused(406, channel =>
        {
            foreach (int length in new[] { 10, 11 })
                Temporary(channel, new Hashtable { { "x-max-length", length } }, "interop." + Library + ".inequivalent");
        }));
        Check("passive-404", () => Refused(404, channel =>
            channel.QueueDeclare("interop.nothing", true, false, false, false, false, null)));
        Check("heartbeat", Heartbeat);
        foreach (string name in new[] { "confirm-single", "confirm-batch", "nack", "cancel-notify" })
            Console.WriteLine("none " + name);
    }

    /// A message over TLS; and a broker whose certificate another authority has signed is not trusted. Left to itself
    /// the library offers TLS 1.0, and its factory forgets that TLS was asked for, so that the connection is put
    /// together here. It asks the user's store of authorities, which the runner has put elsewhere.
    static void Tls(string authority, string another)
    {
        var options = new SslOption("localhost", "", true) { Version = SslProtocols.Tls12 };
        var endpoint = new AmqpTcpEndpoint(factory.Protocol, factory.HostName, factory.Port, options);
        Func<IConnection> connect = () =>
            factory.Protocol.CreateConnection(factory, false, factory.Protocol.CreateFrameHandler(endpoint));
        var store = X509StoreManager.NewCurrentUser.TrustedRoot;
        var trusted = new X509Certificate(new Certificate(authority).GetRawCertData());
        store.Import(trusted);
        using (IConnection secured = connect())
        using (IModel channel = secured.CreateModel())
        {
            string queue = Temporary(channel);
            Send(channel, queue, "secret");
            Equal(Encoding.UTF8.GetString(channel.BasicGet(queue, true).Body), "secret");
        }
        store.Remove(trusted);
        store.Import(new X509Certificate(new Certificate(another).GetRawCertData()));
        try
        {
            connect();
        }
        catch (AuthenticationException)
        {
            return;
        }
        throw new Exception("a broker of an unknown authority is trusted");
    }

    static void Check(string name, Action behaviour)
    {
        try
        {
            behaviour();
            Console.WriteLine("ok " + name);
        }
        catch (Exception failure)
        {
            Console.WriteLine("FAIL " + name + " " + failure.ToString().Replace('\n', ' '));
        }
    }

    static void On(string name, Action<IModel> behaviour)
    {
        Check(name, () =>
        {
            using (IModel channel = connection.CreateModel())
                behaviour(channel);
        });
    }

    static void Equal(object got, object wanted)
    {
        if (!wanted.Equals(got))
            throw new Exception("got " + got + ", not " + wanted);
    }

    static string Temporary(IModel channel, IDictionary arguments = null, string name = "")
    {
        return channel.QueueDeclare(name, false, false, true, true, false, arguments);
    }

    static void Send(IModel channel, string queue, params string[] texts)
    {
        foreach (string text in texts)
            channel.BasicPublish("", queue, null, Encoding.UTF8.GetBytes(text));
    }

    static void Only(IModel channel, string queue, string text)
    {
        BasicGetResult got = channel.BasicGet(queue, true);
        Equal(got == null ? null : Encoding.UTF8.GetString(got.Body), text);
        Equal(got.MessageCount, 0u);
    }

    static QueueingBasicConsumer Consuming(IModel channel, string queue, bool noAck = false)
    {
        var consumer = new QueueingBasicConsumer(channel);
        channel.BasicConsume(queue, noAck, null, consumer);
        return consumer;
    }

    static BasicDeliverEventArgs Next(QueueingBasicConsumer consumer)
    {
        object got;
        if (!consumer.Queue.Dequeue(Milliseconds, out got))
            throw new TimeoutException("no delivery came");
        return (BasicDeliverEventArgs)got;
    }

    static BasicDeliverEventArgs Expect(QueueingBasicConsumer consumer, string text, bool redelivered = false)
    {
        BasicDeliverEventArgs got = Next(consumer);
        Equal(Encoding.UTF8.GetString(got.Body) + got.Redelivered, text + redelivered);
        return got;
    }

    /// <summary>What ends a log-in differs with the place; it must end.</summary>
    static void Connect()
    {
        foreach (bool wrongPassword in new[] { true, false })
        {
            ConnectionFactory wrong = Factory(factory.HostName, factory.Port, "guest",
                wrongPassword ? "wrong" : "guest", wrongPassword ? "/" : "nowhere");
            try
            {
                wrong.CreateConnection();
            }
            catch (BrokerUnreachableException)
            {
                continue;
            }
            catch (OperationInterruptedException)
            {
                continue;
            }
            throw new Exception("it was accepted");
        }
    }

    static void Exchange(IModel channel, string type, string binding, string hit, string miss)
    {
        string name = "interop." + Library + "." + type, queue = Temporary(channel);
        channel.ExchangeDeclare(name, type, false, false, true, false, false, null);
        channel.QueueBind(queue, name, binding, false, null);
        if (miss != null)
            channel.BasicPublish(name, miss, null, Encoding.UTF8.GetBytes("miss"));
        channel.BasicPublish(name, hit, null, Encoding.UTF8.GetBytes("hit"));
        Only(channel, queue, "hit");
    }

    static void HeadersExchange(IModel channel)
    {
        string name = "interop." + Library + ".headers", queue = Temporary(channel);
        channel.ExchangeDeclare(name, "headers", false, false, true, false, false, null);
        var wanted = new Hashtable { { "x-match", "all" }, { "kind", "report" }, { "year", 2024 } };
        channel.QueueBind(queue, name, "", false, wanted);
        foreach (int year in new[] { 2023, 2024 })
        {
            IBasicProperties properties = channel.CreateBasicProperties();
            properties.Headers = new Hashtable { { "kind", "report" }, { "year", year } };
            channel.BasicPublish(name, "", properties, Encoding.UTF8.GetBytes(year.ToString()));
        }
        Only(channel, queue, "2024");
    }

    static void DurableQueue(IModel channel)
    {
        string name = "interop." + Library + ".durable";
        channel.ExchangeDeclare(name, "direct", true);
        channel.QueueDeclare(name, false, true, false, false, false, new Hashtable { { "x-max-length", 10 } });
        channel.QueueBind(name, name, "key", false, null);
        IBasicProperties properties = channel.CreateBasicProperties();
        properties.SetPersistent(true);
        channel.BasicPublish(name, "key", properties, Encoding.UTF8.GetBytes("kept"));
        channel.QueueUnbind(name, name, "key", null);
        Equal(channel.QueuePurge(name, false), 1u);
        channel.QueueDelete(name, true, true, false);
        channel.ExchangeDelete(name, true, false);
    }

    static void EveryProperty(IModel channel)
    {
        string queue = Temporary(channel);
        IBasicProperties sent = Parcel.Properties(channel, Library);
        channel.BasicPublish("", queue, sent, Parcel.Body);
        BasicGetResult got = channel.BasicGet(queue, true);
        Equal(Parcel.Json(got.BasicProperties, got.Body), Parcel.Json(sent, Parcel.Body));
    }

    static void MandatoryReturn(IModel channel)
    {
        BasicReturnEventArgs returned = null;
        var arrived = new ManualResetEvent(false);
        channel.BasicReturn += (model, message) =>
        {
            returned = message;
            arrived.Set();
        };
        channel.BasicPublish("amq.direct", "nobody", true, false, null, Encoding.UTF8.GetBytes("lost"));
        Equal(arrived.WaitOne(Milliseconds), true);
        Equal(returned.ReplyCode + returned.ReplyText + returned.RoutingKey, "312NO_ROUTEnobody");
        Equal(Encoding.UTF8.GetString(returned.Body), "lost");
    }

    static void ManualAck(IModel channel)
    {
        string queue = Temporary(channel);
        QueueingBasicConsumer consumer = Consuming(channel, queue);
        Send(channel, queue, "0", "1", "2");
        Expect(consumer, "0");
        Expect(consumer, "1");
        channel.BasicAck(Expect(consumer, "2").DeliveryTag, true);
        channel.BasicRecover(true);
        Send(channel, queue, "new");
        Expect(consumer, "new");
    }

    static void Reject(IModel channel)
    {
        string queue = Temporary(channel);
        QueueingBasicConsumer consumer = Consuming(channel, queue);
        Send(channel, queue, "again");
        channel.BasicReject(Expect(consumer, "again").DeliveryTag, true);
        Expect(consumer, "again", true);
    }

    static void Prefetch(IModel channel)
    {
        string queue = Temporary(channel);
        Send(channel, queue, "0", "1", "2", "3", "4");
        channel.BasicQos(0, 2, false);
        QueueingBasicConsumer consumer = Consuming(channel, queue);
        BasicDeliverEventArgs first = Expect(consumer, "0");
        Expect(consumer, "1");
        channel.BasicAck(first.DeliveryTag, false);
        Expect(consumer, "2");
        Equal(channel.QueuePurge(queue, false), 2u);
    }

    static void Rpc(IModel caller, string replyTo)
    {
        QueueingBasicConsumer replies = Consuming(caller, replyTo, true);
        using (IModel worker = connection.CreateModel())
        {
            string queue = Temporary(worker);
            QueueingBasicConsumer requests = Consuming(worker, queue, true);
            IBasicProperties question = caller.CreateBasicProperties();
            question.ReplyTo = replyTo;
            question.CorrelationId = "7";
            caller.BasicPublish("", queue, question, Encoding.UTF8.GetBytes("question"));
            BasicDeliverEventArgs request = Expect(requests, "question");
            IBasicProperties answer = worker.CreateBasicProperties();
            answer.CorrelationId = request.BasicProperties.CorrelationId;
            worker.BasicPublish("", request.BasicProperties.ReplyTo, answer, Encoding.UTF8.GetBytes("QUESTION"));
            Equal(Expect(replies, "QUESTION").BasicProperties.CorrelationId, "7");
        }
    }

    static void DeadLetters(IModel channel)
    {
        string dead = Temporary(channel);
        string queue = Temporary(channel, new Hashtable
        {
            { "x-message-ttl", 50 }, { "x-dead-letter-exchange", "" }, { "x-dead-letter-routing-key", dead },
        });
        QueueingBasicConsumer consumer = Consuming(channel, dead);
        Send(channel, queue, "late");
        var deaths = (IList)Expect(consumer, "late").BasicProperties.Headers["x-death"];
        var death = (IDictionary)deaths[0];
        Equal(Parcel.Json(death["reason"]) + Parcel.Json(death["queue"]) + death["count"],
            Parcel.Json("expired") + Parcel.Json(queue) + 1);
    }

    static void Body(IModel channel, byte[] body)
    {
        for (int octet = 0; octet < body.Length; octet++)
            body[octet] = (byte)(octet % 251);
        string queue = Temporary(channel);
        channel.BasicPublish("", queue, null, body);
        Equal(channel.BasicGet(queue, true).Body.SequenceEqual(body), true);
    }

    static void HeaderTypes(IModel channel)
    {
        string queue = Temporary(channel);
        IBasicProperties properties = channel.CreateBasicProperties();
        Hashtable headers = Parcel.Headers();
        headers["time"] = new AmqpTimestamp(1700000000);
        headers["decimal"] = 3.14m;
        headers["double"] = 2.25;
        headers["short"] = (short)-500;
        headers["deep"] = new ArrayList { 1, new Hashtable { { "two", new ArrayList { "three", -4L } } } };
        properties.Headers = headers;
        channel.BasicPublish("", queue, properties, new byte[0]);
        IDictionary got = channel.BasicGet(queue, true).BasicProperties.Headers;
        Equal(Parcel.Json(got), Parcel.Json(headers));
    }

    static void Transactions(IModel channel)
    {
        string queue = Temporary(channel);
        channel.TxSelect();
        Send(channel, queue, "rolled back");
        channel.TxRollback();
        Send(channel, queue, "committed");
        Equal(channel.BasicGet(queue, true) == null, true);
        channel.TxCommit();
        Only(channel, queue, "committed");
    }

    static void Refused(int code, Action<IModel> refusal)
    {
        IModel channel = connection.CreateModel();
        try
        {
            refusal(channel);
        }
        catch (OperationInterruptedException expected)
        {
            Equal((int)expected.ShutdownReason.ReplyCode, code);
            Equal(channel.IsOpen, false);
            return;
        }
        throw new Exception("it was accepted");
    }

    static void Heartbeat()
    {
        ConnectionFactory quick = Factory(factory.HostName, factory.Port, factory.UserName, factory.Password);
        quick.RequestedHeartbeat = 1;
        using (IConnection idle = quick.CreateConnection())
        {
            Thread.Sleep(3500); // longer than either side would wait for a silent one
            Temporary(idle.CreateModel());
        }
    }

    static void Publish()
    {
        using (IModel channel = connection.CreateModel())
        {
            channel.TxSelect();
            channel.BasicPublish("interop.parcels", "", Parcel.Properties(channel, Library), Parcel.Body);
            channel.TxCommit();
        }
    }

    static void Consume(string queue, int count)
    {
        using (IModel channel = connection.CreateModel())
        {
            QueueingBasicConsumer consumer = Consuming(channel, queue);
            for (; count > 0; count--)
            {
                BasicDeliverEventArgs got = Next(consumer);
                Console.WriteLine("parcel " + Parcel.Json(got.BasicProperties, got.Body));
                channel.BasicAck(got.DeliveryTag, false);
            }
        }
    }

    static void Pause()
    {
        var closed = new ManualResetEvent(false);
        connection.ConnectionShutdown += (ended, reason) => closed.Set();
        Console.WriteLine("ready");
        Check("paused-client", () => Equal(closed.WaitOne(2 * Milliseconds), true));
    }
}
