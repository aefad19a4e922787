// @cloudamqp/amqp-client over a WebSocket, as in a browser. Prints one JSON document; the test beside it judges.
const { AMQPWebSocketClient } = require('@cloudamqp/amqp-client');

globalThis.WebSocket ??= require('ws'); // browsers, and newer versions of Node, have their own

(async () => {
  const { url, sizes } = JSON.parse(process.argv[2]);
  const client = new AMQPWebSocketClient(url, '/', 'guest', 'guest');
  const connection = await client.connect();
  const channel = await connection.channel();
  const queue = (await channel.queueDeclare('', { exclusive: true })).name;
  await channel.confirmSelect();
  const got = [];
  for (const size of sizes) {
    await channel.basicPublish('', queue, Buffer.alloc(size, 'x'), { contentType: 'text/plain', headers: { size } });
    const message = await channel.basicGet(queue, { noAck: true });
    got.push([message.bodySize, message.properties.contentType, message.properties.headers.size]);
  }
  const bodies = [];
  const consumer = await channel.basicConsume(queue, { noAck: false }, async (message) => {
    bodies.push(message.bodyString());
    await message.ack();
    if (bodies.length === 100) await consumer.cancel();
  });
  for (let number = 0; number < 100; number++) await channel.basicPublish('', queue, String(number));
  await consumer.wait();
  const refusal = await connection.channel().then((other) => other.queueDeclare('nowhere', { passive: true }))
    .catch((error) => String(error.message));
  await connection.close();
  console.log(JSON.stringify({ got, bodies, refusal }));
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
