// The documentation's program with amqplib for Node. Prints one JSON document; the test beside it judges.
const amqp = require('amqplib');

async function take(channel, queue) {
  return new Promise((resolve, reject) => {
    channel.consume(queue, (message) => (message ? resolve(message) : reject(new Error('cancelled')))).catch(reject);
  });
}

async function program(connection, input) {
  const channel = await connection.createChannel();
  for (const [name, kind] of Object.entries(input.exchanges)) {
    await channel.assertExchange(name, kind, { durable: true });
  }
  await channel.assertQueue(input.queue, { durable: true });
  await channel.bindQueue(input.queue, 'orders', input.key);
  await channel.prefetch(1);
  const p = input.properties;
  channel.publish('orders', input.key, Buffer.from(input.body), {
    deliveryMode: p.delivery_mode, contentType: p.content_type, headers: p.headers, priority: p.priority,
    correlationId: p.correlation_id, replyTo: p.reply_to, expiration: p.expiration, messageId: p.message_id,
    appId: p.app_id,
  });
  const message = await take(channel, input.queue);
  channel.ack(message);
  await channel.close();
  return { body: message.content.toString(), properties: message.properties };
}

async function confirms(connection) {
  const channel = await connection.createConfirmChannel();
  const { queue } = await channel.assertQueue('', { exclusive: true });
  for (let number = 0; number < 50; number++) channel.sendToQueue(queue, Buffer.from(String(number)));
  await channel.waitForConfirms();
  const { messageCount } = await channel.checkQueue(queue);
  return messageCount;
}

async function rpc(connection) {
  const caller = await connection.createChannel();
  const worker = await connection.createChannel();
  const { queue } = await worker.assertQueue('', { exclusive: true });
  await worker.consume(queue, (request) => {
    const { replyTo, correlationId } = request.properties;
    worker.sendToQueue(replyTo, Buffer.from(request.content.toString().toUpperCase()), { correlationId });
    worker.ack(request);
  });
  return new Promise((resolve, reject) => {
    caller.consume('amq.rabbitmq.reply-to', (answer) => {
      resolve({ body: answer.content.toString(), correlation: answer.properties.correlationId });
    }, { noAck: true }).then(() => {
      caller.sendToQueue(queue, Buffer.from('question'), { replyTo: 'amq.rabbitmq.reply-to', correlationId: '7' });
    }).catch(reject);
  });
}

async function refusal(connection) {
  const channel = await connection.createChannel();
  channel.on('error', () => {});
  return channel.checkQueue('no-such-queue').then(() => null, (error) => error.code);
}

async function main() {
  const input = JSON.parse(process.argv[2]);
  const connection = await amqp.connect(input.url);
  const small = await amqp.connect(`${input.url}?frameMax=4096`);
  const output = {
    program: await program(connection, input),
    confirms: await confirms(connection),
    rpc: await rpc(connection),
    refusal: await refusal(connection),
    small: await confirms(small),
  };
  await small.close();
  await connection.close();
  console.log(JSON.stringify(output));
}

main().catch((error) => { console.error(error); process.exit(1); });
