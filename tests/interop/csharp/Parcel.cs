using System;
using System.Collections;
using System.Globalization;
using System.Linq;
using System.Text;
using RabbitMQ.Client;

/// <summary>The message that every library publishes and every other one must get unchanged.</summary>
static class Parcel
{
    public static readonly byte[] Body = Enumerable.Range(0, 256).Select(octet => (byte)octet).ToArray();

    public static IBasicProperties Properties(IModel channel, string library)
    {
        IBasicProperties properties = channel.CreateBasicProperties();
        properties.ContentType = "application/octet-stream";
        properties.ContentEncoding = "identity";
        properties.Headers = Headers();
        properties.DeliveryMode = 2;
        properties.Priority = 7;
        properties.CorrelationId = "correlation-1";
        properties.ReplyTo = "replies";
        properties.Expiration = "3600000";
        properties.MessageId = "message-1";
        properties.Timestamp = new AmqpTimestamp(1700000000);
        properties.Type = "parcel";
        properties.UserId = "guest";
        properties.AppId = library;
        return properties;
    }

    public static Hashtable Headers()
    {
        var deeper = new Hashtable { { "level", 2 } };
        return new Hashtable
        {
            { "text", "Grüße" }, { "small", 42 }, { "large", 5000000000L }, { "negative", -5000000000L }, { "yes", true },
            { "nothing", null },
            { "nested", new Hashtable { { "inner", "value" }, { "deeper", deeper } } },
            { "list", new ArrayList { "one", 2, "three" } },
        };
    }

    public static string Json(IBasicProperties got, byte[] body)
    {
        return Json(new Hashtable
        {
            { "body", BitConverter.ToString(body).Replace("-", "").ToLowerInvariant() },
            { "content_type", got.ContentType }, { "content_encoding", got.ContentEncoding },
            { "headers", got.Headers }, { "delivery_mode", got.DeliveryMode }, { "priority", got.Priority },
            { "correlation_id", got.CorrelationId }, { "reply_to", got.ReplyTo }, { "expiration", got.Expiration },
            { "message_id", got.MessageId }, { "timestamp", got.Timestamp.UnixTime }, { "type", got.Type },
            { "user_id", got.UserId }, { "app_id", got.AppId },
        });
    }

    /// <summary>Names in order, so that equal values are equal texts; the library hands out texts as octets.</summary>
    public static string Json(object value)
    {
        if (value == null)
            return "null";
        if (value is bool)
            return (bool)value ? "true" : "false";
        if (value is byte[])
            return Json(Encoding.UTF8.GetString((byte[])value));
        if (value is string)
            return "\"" + string.Concat(((string)value).Select(Escaped)) + "\"";
        var table = value as IDictionary;
        if (table != null)
        {
            var names = table.Keys.Cast<object>().OrderBy(name => name.ToString(), StringComparer.Ordinal);
            return "{" + string.Join(",", names.Select(name => Json(name) + ":" + Json(table[name]))) + "}";
        }
        var list = value as IList;
        if (list != null)
            return "[" + string.Join(",", list.Cast<object>().Select(Json)) + "]";
        return Convert.ToString(value, CultureInfo.InvariantCulture);
    }

    static string Escaped(char letter)
    {
        return letter < ' ' || letter > '~' || letter == '"' || letter == '\\'
            ? "\\u" + ((int)letter).ToString("x4")
            : letter.ToString();
    }
}
