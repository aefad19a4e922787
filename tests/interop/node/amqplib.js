// amqplib: one mode a run.
'use strict';
const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const { once } = require('node:events');
const { setTimeout: sleep } = require('node:timers/promises');
const amqp = require('amqplib');

const LIBRARY = 'amqplib';
const SECONDS = 30;

async function check(name, behaviour) {
  try {
    await behaviour();
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`FAIL ${name} ${String(error).replaceAll('\n', ' ')}`);
  }
}

// Resolves with what `start` hands to its callback; fails loudly when nothing comes.
function arrival(start, seconds = SECONDS) {
  return new Promise((resolve, reject) => {
    const limit = setTimeout(() => reject(new Error('nothing came')), seconds * 1000);
    Promise.resolve(start((value) => {
      clearTimeout(limit);
      resolve(value);
    })).catch(reject);
  });
}

// The deliveries of a consumer, to be awaited one after the other.
async function consume(channel, queue, options = {}) {
  const waiting = [];
  const arrived = [];
  const { consumerTag } = await channel.consume(queue, (message) => {
    if (waiting.length) waiting.shift()(message);
    else arrived.push(message);
  }, options);
  const next = () => arrival((resolve) => (arrived.length ? resolve(arrived.shift()) : waiting.push(resolve)));
  return { next, consumerTag };
}

const temporary = async (channel, options = {}) => (await channel.assertQueue('', { exclusive: true, ...options })).queue;
const ready = async (channel, queue) => (await channel.checkQueue(queue)).messageCount;

async function only(channel, queue, body) {
  const message = await channel.get(queue, { noAck: true });
  assert.ok(message, 'the queue is empty');
  assert.ok(message.content.equals(Buffer.from(body)), 'another body');
  assert.equal(message.fields.messageCount, 0);
}

const PARCEL = {
  contentType: 'application/octet-stream', contentEncoding: 'identity', deliveryMode: 2, priority: 7,
  correlationId: 'correlation-1', replyTo: 'replies', expiration: '3600000', messageId: 'message-1',
  timestamp: 1_700_000_000, type: 'parcel', userId: 'guest', appId: LIBRARY,
  headers: {
    text: 'Grüße', small: 42, large: 5_000_000_000, negative: -5_000_000_000, yes: true, nothing: null,
    nested: { inner: 'value', deeper: { level: 2 } }, list: ['one', 2, 'three'],
  },
};
const BODY = Buffer.from(Array.from({ length: 256 }, (_, octet) => octet));

function parcel(message) {
  const p = message.properties;
  return {
    body: message.content.toString('hex'), content_type: p.contentType, content_encoding: p.contentEncoding,
    headers: p.headers, delivery_mode: p.deliveryMode, priority: p.priority, correlation_id: p.correlationId,
    reply_to: p.replyTo, expiration: p.expiration, message_id: p.messageId, timestamp: p.timestamp, type: p.type,
    user_id: p.userId, app_id: p.appId,
  };
}

function exchange(kind, binding, hit, miss) {
  return async (channel) => {
    const name = `interop.${LIBRARY}.${kind}`;
    await channel.assertExchange(name, kind, { durable: false, autoDelete: true });
    const queue = await temporary(channel);
    await channel.bindQueue(queue, name, binding);
    if (miss) channel.publish(name, miss, Buffer.from('miss'));
    channel.publish(name, hit, Buffer.from('hit'));
    await only(channel, queue, 'hit');
  };
}

function confirms(batches, size) {
  return async (_, connection) => {
    const channel = await connection.createConfirmChannel();
    const name = `interop.${LIBRARY}.confirms.${size}`;
    await channel.assertQueue(name);
    for (let batch = 0; batch < batches; batch++) {
      for (let number = 0; number < size; number++) channel.sendToQueue(name, Buffer.from('1'), { persistent: true });
      await channel.waitForConfirms();
    }
    assert.equal((await channel.deleteQueue(name)).messageCount, batches * size);
    await channel.close();
  };
}

function requeued(settle) {
  return async (channel) => {
    const queue = await temporary(channel);
    const { next } = await consume(channel, queue);
    channel.sendToQueue(queue, Buffer.from('again'));
    const first = await next();
    assert.equal(first.fields.redelivered, false);
    channel[settle](first, ...(settle === 'nack' ? [false, true] : [true]));
    const second = await next();
    assert.equal(second.fields.redelivered, true);
    channel.ack(second);
  };
}

function rpc(direct) {
  return async (caller, connection) => {
    const replyTo = direct ? 'amq.rabbitmq.reply-to' : await temporary(caller);
    const replies = await consume(caller, replyTo, { noAck: true });
    const worker = await connection.createChannel();
    const queue = await temporary(worker);
    await worker.consume(queue, (request) => {
      const { replyTo: to, correlationId } = request.properties;
      worker.sendToQueue(to, Buffer.from(request.content.toString().toUpperCase()), { correlationId });
    }, { noAck: true });
    caller.sendToQueue(queue, Buffer.from('question'), { replyTo, correlationId: '7' });
    const answer = await replies.next();
    assert.deepEqual([answer.content.toString(), answer.properties.correlationId], ['QUESTION', '7']);
    await worker.close();
  };
}

function body(content) {
  return async (channel) => {
    const queue = await temporary(channel);
    channel.sendToQueue(queue, content);
    await only(channel, queue, content);
  };
}

// The refusal closes the channel and rejects the promise with the code.
function refused(code, refusal) {
  return async (_, connection) => {
    const channel = await connection.createChannel();
    channel.on('error', () => {}); // it comes as an event too
    await assert.rejects(refusal(channel), { code });
    await assert.rejects(async () => channel.checkExchange('amq.direct'));
  };
}

const BEHAVIOURS = {
  'direct-exchange': exchange('direct', 'eu', 'eu', 'us'),
  'topic-exchange': exchange('topic', '*.new.#', 'eu.new.a.b', 'eu.old'),
  'fanout-exchange': exchange('fanout', '', 'anything', ''),
  'headers-exchange': async (channel) => {
    const name = `interop.${LIBRARY}.headers`;
    await channel.assertExchange(name, 'headers', { durable: false, autoDelete: true });
    const queue = await temporary(channel);
    await channel.bindQueue(queue, name, '', { 'x-match': 'all', kind: 'report', year: 2024 });
    for (const year of [2023, 2024]) {
      channel.publish(name, '', Buffer.from(String(year)), { headers: { kind: 'report', year } });
    }
    await only(channel, queue, '2024');
  },
  'durable-queue': async (channel) => {
    const name = `interop.${LIBRARY}.durable`;
    await channel.assertExchange(name, 'direct');
    await channel.assertQueue(name, { maxLength: 10 });
    await channel.bindQueue(name, name, 'key');
    channel.publish(name, 'key', Buffer.from('kept'), { persistent: true });
    await channel.unbindQueue(name, name, 'key');
    assert.equal((await channel.purgeQueue(name)).messageCount, 1);
    await channel.deleteQueue(name, { ifUnused: true, ifEmpty: true });
    await channel.deleteExchange(name, { ifUnused: true });
  },
  'every-property': async (channel) => {
    const queue = await temporary(channel);
    channel.sendToQueue(queue, BODY, PARCEL);
    const message = await channel.get(queue, { noAck: true });
    assert.deepEqual(parcel(message), parcel({ content: BODY, properties: PARCEL }));
  },
  'mandatory-return': async (channel) => {
    const returned = await arrival((resolve) => {
      channel.on('return', resolve);
      channel.publish('amq.direct', 'nobody', Buffer.from('lost'), { mandatory: true });
    });
    const { replyCode, replyText, exchange: from, routingKey } = returned.fields;
    assert.deepEqual([replyCode, replyText, from, routingKey], [312, 'NO_ROUTE', 'amq.direct', 'nobody']);
    assert.equal(returned.content.toString(), 'lost');
  },
  'confirm-single': confirms(10, 1),
  'confirm-batch': confirms(5, 200),
  'manual-ack': async (channel) => {
    const queue = await temporary(channel);
    const { next } = await consume(channel, queue);
    for (const text of ['0', '1', '2']) channel.sendToQueue(queue, Buffer.from(text));
    let last;
    for (const text of ['0', '1', '2']) {
      last = await next();
      assert.equal(last.content.toString(), text);
    }
    channel.ack(last, true);
    await channel.recover();
    channel.sendToQueue(queue, Buffer.from('new'));
    assert.equal((await next()).content.toString(), 'new');
  },
  nack: requeued('nack'),
  reject: requeued('reject'),
  prefetch: async (channel) => {
    const queue = await temporary(channel);
    for (const text of ['0', '1', '2', '3', '4']) channel.sendToQueue(queue, Buffer.from(text));
    await channel.prefetch(2);
    const { next } = await consume(channel, queue);
    const first = await next();
    await next();
    assert.equal(await ready(channel, queue), 3);
    channel.ack(first);
    assert.equal((await next()).content.toString(), '2');
    assert.equal(await ready(channel, queue), 2);
  },
  'cancel-notify': async (channel) => {
    const queue = await temporary(channel);
    const { next } = await consume(channel, queue);
    await channel.deleteQueue(queue);
    assert.equal(await next(), null); // amqplib's word for it
  },
  'direct-reply-to': rpc(true),
  'reply-queue': rpc(false),
  'dead-letters': async (channel) => {
    const dead = await temporary(channel);
    const { next } = await consume(channel, dead);
    const queue = await temporary(channel, { messageTtl: 50, deadLetterExchange: '', deadLetterRoutingKey: dead });
    channel.sendToQueue(queue, Buffer.from('late'));
    const [death] = (await next()).properties.headers['x-death'];
    assert.deepEqual([death.reason, death.queue, death.count], ['expired', queue, 1]);
  },
  'large-body': body(Buffer.alloc(5 * 1024 * 1024, '0123456789abcdef')),
  'empty-body': body(Buffer.alloc(0)),
  'header-types': async (channel) => {
    const queue = await temporary(channel);
    const typed = (type, value) => ({ '!': type, value });
    const headers = {
      byte: typed('byte', -5), short: typed('short', -500), int: typed('int', -50_000), long: typed('long', -5e9),
      float: typed('float', 1.5), double: typed('double', 2.25), time: typed('timestamp', 1_700_000_000),
      decimal: typed('decimal', { places: 2, digits: 314 }), boolean: false, void: null, text: 'Grüße',
      octets: Buffer.from([0, 1, 255]), list: [1, [2, { deep: true }]], table: { one: { two: { three: 3 } } },
    };
    channel.sendToQueue(queue, Buffer.from(''), { headers });
    const got = (await channel.get(queue, { noAck: true })).properties.headers;
    assert.deepEqual(got, {
      ...headers, byte: -5, short: -500, int: -50_000, long: -5e9, float: 1.5, double: 2.25,
    });
  },
  'declare-406': refused(406, async (channel) => {
    const queue = `interop.${LIBRARY}.inequivalent`;
    await channel.assertQueue(queue, { exclusive: true, maxLength: 10 });
    await channel.assertQueue(queue, { exclusive: true, maxLength: 11 });
  }),
  'passive-404': refused(404, (channel) => channel.checkQueue('interop.nothing')),
};

async function connect(url) {
  await assert.rejects(amqp.connect(url.replace('guest:guest', 'guest:wrong')), /ACCESS.REFUSED|403/i);
  await assert.rejects(amqp.connect(url.replace(/%2F$/i, 'nowhere')), /ConnectionClose/); // all that it says
}

async function heartbeat(url) {
  const idle = await amqp.connect(`${url}?heartbeat=1`);
  await sleep(3500); // longer than either side would wait for a silent one
  await temporary(await idle.createChannel());
  await idle.close();
}

const MODES = {
  async behaviours(url) {
    const connection = await amqp.connect(url);
    await check('connect', () => connect(url));
    for (const [name, behaviour] of Object.entries(BEHAVIOURS)) {
      await check(name, async () => {
        const channel = await connection.createChannel();
        await behaviour(channel, connection);
        await channel.close();
      });
    }
    await check('heartbeat', () => heartbeat(url));
    console.log('none transactions');
    await connection.close();
  },
  async tls(url, authority, another) {
    const trusting = (path) => amqp.connect(url, { ca: [readFileSync(path)] });
    await check('tls', async () => {
      const connection = await trusting(authority);
      const channel = await connection.createChannel();
      const queue = await temporary(channel);
      channel.sendToQueue(queue, Buffer.from('secret'));
      const { next } = await consume(channel, queue, { noAck: true });
      assert.equal((await next()).content.toString(), 'secret');
      await connection.close();
      await assert.rejects(trusting(another), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' });
    });
  },
  async publish(url) {
    const connection = await amqp.connect(url);
    const channel = await connection.createConfirmChannel();
    channel.publish('interop.parcels', '', BODY, PARCEL);
    await channel.waitForConfirms();
    await connection.close();
  },
  async consume(url, queue, count) {
    const connection = await amqp.connect(url);
    const channel = await connection.createChannel();
    const { next } = await consume(channel, queue);
    for (let number = 0; number < Number(count); number++) {
      const message = await next();
      console.log(`parcel ${JSON.stringify(parcel(message))}`);
      channel.ack(message);
    }
    await connection.close();
  },
  async pause(url) {
    const connection = await amqp.connect(`${url}?heartbeat=1`);
    connection.on('error', () => {}); // 'close' follows
    const closed = arrival((resolve) => connection.on('close', resolve), 2 * SECONDS);
    console.log('ready');
    await check('paused-client', () => closed);
  },
  async recover(url) {
    const queue = `interop.recover.${LIBRARY}`;
    let channel;
    let arrived = () => {};
    const bodies = [];
    const received = (body) => arrival((resolve) => {
      arrived = () => bodies.includes(body) && resolve();
      arrived();
    });
    const setup = async (model) => {
      channel = await model.createChannel();
      await channel.assertQueue(queue);
      await channel.consume(queue, (message) => {
        bodies.push(message.content.toString());
        arrived();
      }, { noAck: true });
    };
    const connection = await amqp.connect(url, { recovery: { initialDelay: 200, factor: 1, setup } });
    channel.sendToQueue(queue, Buffer.from('before'));
    await received('before');
    const back = once(connection, 'disconnect').then(() => once(connection, 'connect'));
    console.log('ready');
    await check('recovery', async () => {
      await back;
      channel.sendToQueue(queue, Buffer.from('after'));
      await received('after');
    });
  },
};

const [mode, ...rest] = process.argv.slice(2);
MODES[mode](...rest).then(() => process.exit(0), (error) => {
  console.error(String(error));
  process.exit(1);
});
