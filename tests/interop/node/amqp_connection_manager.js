// amqp-connection-manager: tasks with retry and dead letters, and a connection that comes back.
'use strict';
const assert = require('node:assert/strict');
const { once } = require('node:events');
const manager = require('amqp-connection-manager');

const QUEUE = 'interop.connection-manager';
const DEAD = `${QUEUE}.dead`;

async function check(name, behaviour) {
  try {
    await Promise.race([behaviour(), new Promise((_, reject) => {
      setTimeout(() => reject(new Error('it took too long')), 60_000).unref();
    })]);
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`FAIL ${name} ${String(error).replaceAll('\n', ' ')}`);
  }
}

function open(url) {
  const connection = manager.connect([url], { heartbeatIntervalInSeconds: 5, reconnectTimeInSeconds: 0.2 });
  const channel = connection.createChannel({
    json: true,
    setup: async (raw) => {
      await raw.assertQueue(DEAD);
      await raw.assertQueue(QUEUE, { deadLetterExchange: '', deadLetterRoutingKey: DEAD });
    },
  });
  return { connection, channel };
}

// Hands every message of a queue to `handle` until that returns something.
function until(channel, queue, handle) {
  return new Promise((resolve, reject) => {
    channel.consume(queue, (message) => {
      const result = handle(message);
      if (result !== undefined) resolve(result);
    }).catch(reject);
  });
}

async function tasks(url) {
  const { connection, channel } = open(url);
  await check('task', async () => {
    const done = until(channel, QUEUE, (message) => (channel.ack(message), JSON.parse(message.content).work));
    await channel.sendToQueue(QUEUE, { work: 1 }, { persistent: true });
    assert.equal(await done, 1);
    await channel.cancelAll();
  });
  await check('retry', async () => {
    let attempts = 0;
    const done = until(channel, QUEUE, (message) => {
      if (++attempts < 3) return channel.nack(message, false, true);
      channel.ack(message);
      return message.fields.redelivered;
    });
    await channel.sendToQueue(QUEUE, { work: 2 });
    assert.equal(await done, true);
    await channel.cancelAll();
  });
  await check('dead-letter', async () => {
    const done = until(channel, DEAD, (message) => (channel.ack(message), message.properties.headers['x-death'][0]));
    await channel.consume(QUEUE, (message) => channel.nack(message, false, false));
    await channel.sendToQueue(QUEUE, { work: 3 });
    const death = await done;
    assert.deepEqual([death.reason, death.queue], ['rejected', QUEUE]);
    await channel.cancelAll();
  });
  await channel.deleteQueue(QUEUE);
  await channel.deleteQueue(DEAD);
  await connection.close();
}

async function recover(url) {
  const { connection, channel } = open(url);
  const bodies = [];
  let arrived = () => {};
  await channel.consume(QUEUE, (message) => {
    bodies.push(JSON.parse(message.content));
    channel.ack(message);
    arrived();
  });
  const received = async (body) => {
    while (!bodies.includes(body)) await new Promise((resolve) => { arrived = resolve; });
  };
  await channel.sendToQueue(QUEUE, 'before');
  await received('before');
  const back = once(connection, 'disconnect').then(() => once(connection, 'connect'));
  console.log('ready');
  await check('recovery', async () => {
    await back;
    await channel.sendToQueue(QUEUE, 'after');
    await received('after');
  });
}

const [mode, url] = process.argv.slice(2);
({ tasks, recover })[mode](url).then(() => process.exit(0), (error) => {
  console.error(String(error));
  process.exit(1);
});
