package interop;

import static interop.Report.equal;
import static interop.Report.that;

import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLHandshakeException;
import javax.net.ssl.TrustManagerFactory;

/** A message over TLS; and a broker whose certificate another authority has signed is not trusted. */
final class Tls {
    private Tls() {}

    static void exchange(ConnectionFactory factory, String authority, String another) throws Exception {
        factory.enableHostnameVerification();
        factory.useSslProtocol(trusting(authority));
        try (Connection connection = factory.newConnection(); Channel channel = connection.createChannel()) {
            String queue = channel.queueDeclare().getQueue();
            channel.basicPublish("", queue, null, "secret".getBytes());
            equal(new String(channel.basicGet(queue, true).getBody()), "secret");
        }
        factory.useSslProtocol(trusting(another));
        try {
            factory.newConnection();
            that(false, "a broker of an unknown authority is trusted");
        } catch (SSLHandshakeException expected) {
            that(expected.getMessage().contains("unable to find valid certification path"), expected);
        }
    }

    private static SSLContext trusting(String path) throws Exception {
        KeyStore authorities = KeyStore.getInstance(KeyStore.getDefaultType());
        authorities.load(null, null);
        try (InputStream file = Files.newInputStream(Path.of(path))) {
            authorities.setCertificateEntry("authority", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(authorities);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        return context;
    }
}
