package interop;

import com.google.gson.GsonBuilder;
import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.LongString;
import java.util.Date;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The message that every library publishes and every other one must get unchanged. */
final class Parcel {
    static final byte[] BODY = new byte[256];

    static {
        for (int octet = 0; octet < 256; octet++) {
            BODY[octet] = (byte) octet;
        }
    }

    private Parcel() {}

    static BasicProperties properties(String library) {
        Map<String, Object> headers = new LinkedHashMap<>();
        headers.put("text", "Grüße");
        headers.put("small", 42);
        headers.put("large", 5_000_000_000L);
        headers.put("negative", -5_000_000_000L);
        headers.put("yes", true);
        headers.put("nothing", null);
        headers.put("nested", Map.of("inner", "value", "deeper", Map.of("level", 2)));
        headers.put("list", List.of("one", 2, "three"));
        return new BasicProperties.Builder().contentType("application/octet-stream").contentEncoding("identity")
            .headers(headers).deliveryMode(2).priority(7).correlationId("correlation-1").replyTo("replies")
            .expiration("3600000").messageId("message-1").timestamp(new Date(1_700_000_000_000L)).type("parcel")
            .userId("guest").appId(library).build();
    }

    static String json(Delivery delivery) {
        BasicProperties got = delivery.getProperties();
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("body", HexFormat.of().formatHex(delivery.getBody()));
        fields.put("content_type", got.getContentType());
        fields.put("content_encoding", got.getContentEncoding());
        fields.put("headers", plain(got.getHeaders()));
        fields.put("delivery_mode", got.getDeliveryMode());
        fields.put("priority", got.getPriority());
        fields.put("correlation_id", got.getCorrelationId());
        fields.put("reply_to", got.getReplyTo());
        fields.put("expiration", got.getExpiration());
        fields.put("message_id", got.getMessageId());
        fields.put("timestamp", got.getTimestamp().getTime() / 1000);
        fields.put("type", got.getType());
        fields.put("user_id", got.getUserId());
        fields.put("app_id", got.getAppId());
        return new GsonBuilder().serializeNulls().create().toJson(fields);
    }

    /** The library's values as those of JSON. */
    private static Object plain(Object value) {
        if (value instanceof LongString text) {
            return text.toString();
        }
        if (value instanceof List<?> list) {
            return list.stream().map(Parcel::plain).toList();
        }
        if (value instanceof Map<?, ?> table) {
            Map<String, Object> fields = new LinkedHashMap<>();
            table.forEach((name, field) -> fields.put(name.toString(), plain(field)));
            return fields;
        }
        return value;
    }
}
