# bunny: one mode a run.
require 'bunny'
require 'json'
require 'timeout'

$stdout.sync = true
LIBRARY = 'bunny'
SECONDS = 30
BODY = (0..255).to_a.pack('C*')
HEADERS = {
  'text' => 'Grüße', 'small' => 42, 'large' => 5_000_000_000, 'negative' => -5_000_000_000, 'yes' => true,
  'nothing' => nil, 'nested' => { 'inner' => 'value', 'deeper' => { 'level' => 2 } }, 'list' => ['one', 2, 'three']
}.freeze
PROPERTIES = {
  content_type: 'application/octet-stream', content_encoding: 'identity', headers: HEADERS, persistent: true,
  priority: 7, correlation_id: 'correlation-1', reply_to: 'replies', expiration: '3600000', message_id: 'message-1',
  timestamp: 1_700_000_000, type: 'parcel', user_id: 'guest', app_id: LIBRARY
}.freeze

def that(holds, otherwise = 'it does not hold')
  raise otherwise.to_s unless holds
end

def equal(got, wanted)
  that(got == wanted, "got #{got.inspect[0, 300]}, not #{wanted.inspect[0, 300]}")
end

def check(name)
  Timeout.timeout(2 * SECONDS) { yield }
  puts "ok #{name}"
rescue StandardError => e
  puts "FAIL #{name} #{e.class} #{e.message}".tr("\n", ' ')
end

def connect(url, **options)
  Bunny.new(url, log_level: Logger::FATAL, **options).start
end

def temporary(channel, arguments = {})
  channel.queue('', exclusive: true, arguments: arguments)
end

def only(queue, body)
  delivery, _, got = queue.pop
  equal(got&.b, body.b)
  equal(queue.message_count, 0)
  delivery
end

# A consumer whose deliveries are taken one by one.
def consuming(queue, manual_ack: true)
  arrived = Queue.new
  queue.subscribe(manual_ack: manual_ack) { |*delivery| arrived << delivery }
  arrived
end

def exchange(type, binding, hit, miss)
  lambda do |channel|
    exchange = channel.send(type, "interop.bunny.#{type}", auto_delete: true)
    queue = temporary(channel).bind(exchange, routing_key: binding)
    exchange.publish('miss', routing_key: miss) if miss
    exchange.publish('hit', routing_key: hit)
    only(queue, 'hit')
  end
end

def headers_exchange(channel)
  exchange = channel.headers('interop.bunny.headers', auto_delete: true)
  wanted = { 'x-match' => 'all', 'kind' => 'report', 'year' => 2024 }
  queue = temporary(channel).bind(exchange, arguments: wanted)
  [2023, 2024].each { |year| exchange.publish(year.to_s, headers: { 'kind' => 'report', 'year' => year }) }
  only(queue, '2024')
end

def durable_queue(channel)
  exchange = channel.direct('interop.bunny.durable', durable: true)
  queue = channel.queue('interop.bunny.durable', durable: true, arguments: { 'x-max-length' => 10 })
  queue.bind(exchange, routing_key: 'key')
  exchange.publish('kept', routing_key: 'key', persistent: true)
  queue.unbind(exchange, routing_key: 'key')
  equal(channel.queue_purge(queue.name).message_count, 1)
  queue.delete(if_unused: true, if_empty: true)
  exchange.delete(if_unused: true)
end

# bunny hands out the text of headers as plain octets.
def text(value)
  case value
  when String then value.dup.force_encoding(Encoding::UTF_8)
  when Hash then value.transform_values { |field| text(field) }
  when Array then value.map { |item| text(item) }
  else value
  end
end

def parcel(properties, body)
  got = properties.to_hash
  names = %i[content_type content_encoding headers delivery_mode priority correlation_id reply_to expiration message_id
             type user_id app_id]
  names.to_h { |name| [name, got[name]] }
       .merge(headers: text(got[:headers]), timestamp: got[:timestamp].to_i, body: body.unpack1('H*'))
end

def every_property(channel)
  queue = temporary(channel)
  queue.publish(BODY, PROPERTIES)
  _, properties, body = queue.pop
  sent = PROPERTIES.reject { |name, _| name == :persistent }.merge(delivery_mode: 2)
  equal(parcel(properties, body), parcel(sent, BODY))
end

def mandatory_return(channel)
  returned = Queue.new
  exchange = channel.direct('amq.direct', durable: true)
  exchange.on_return { |*message| returned << message }
  exchange.publish('lost', routing_key: 'nobody', mandatory: true)
  info, _, body = returned.pop
  equal([info.reply_code, info.reply_text, info.routing_key, body], [312, 'NO_ROUTE', 'nobody', 'lost'])
end

def confirms(batches, size)
  lambda do |channel|
    queue = channel.queue("interop.bunny.confirms.#{size}", durable: true)
    channel.confirm_select
    batches.times do
      size.times { queue.publish('1', persistent: true) }
      that(channel.wait_for_confirms, 'nacked')
    end
    equal(queue.message_count, batches * size)
    queue.delete
  end
end

def manual_ack(channel)
  queue = temporary(channel)
  arrived = consuming(queue)
  %w[0 1 2].each { |text| queue.publish(text) }
  got = Array.new(3) { arrived.pop }
  equal(got.map(&:last), %w[0 1 2])
  channel.ack(got.last.first.delivery_tag, true)
  channel.basic_recover(true)
  queue.publish('new')
  equal(arrived.pop.last, 'new')
end

def requeued
  lambda do |channel|
    queue = temporary(channel)
    arrived = consuming(queue)
    queue.publish('again')
    delivery = arrived.pop.first
    that(!delivery.redelivered?)
    yield channel, delivery.delivery_tag
    that(arrived.pop.first.redelivered?)
  end
end

def prefetch(channel)
  queue = temporary(channel)
  %w[0 1 2 3 4].each { |text| queue.publish(text) }
  channel.prefetch(2)
  arrived = consuming(queue)
  first = arrived.pop
  arrived.pop
  equal(queue.message_count, 3)
  channel.ack(first.first.delivery_tag)
  equal(arrived.pop.last, '2')
  equal(queue.message_count, 2)
end

def cancel_notify(channel)
  cancelled = Queue.new
  queue = temporary(channel)
  consumer = Bunny::Consumer.new(channel, queue)
  consumer.on_cancellation { |cancel| cancelled << cancel.consumer_tag }
  queue.subscribe_with(consumer)
  channel.queue_delete(queue.name)
  equal(cancelled.pop, consumer.consumer_tag)
end

def rpc(direct)
  lambda do |caller|
    reply_to = direct ? 'amq.rabbitmq.reply-to' : temporary(caller).name
    replies = Queue.new
    caller.basic_consume(reply_to, '', true) { |*answer| replies << answer }
    worker = caller.connection.create_channel
    requests = temporary(worker)
    requests.subscribe do |_, asked, body|
      worker.default_exchange.publish(body.upcase, routing_key: asked.reply_to, correlation_id: asked.correlation_id)
    end
    caller.default_exchange.publish('question', routing_key: requests.name, reply_to: reply_to, correlation_id: '7')
    _, properties, body = replies.pop
    equal([body, properties.correlation_id], %w[QUESTION 7])
    worker.close
  end
end

def dead_letters(channel)
  dead = temporary(channel)
  arguments = { 'x-message-ttl' => 50, 'x-dead-letter-exchange' => '', 'x-dead-letter-routing-key' => dead.name }
  queue = temporary(channel, arguments)
  arrived = consuming(dead)
  queue.publish('late')
  _, properties, = arrived.pop
  death = properties.headers['x-death'].first
  equal(death.values_at('reason', 'queue', 'count'), ['expired', queue.name, 1])
end

def body_of(content)
  lambda do |channel|
    queue = temporary(channel)
    queue.publish(content)
    only(queue, content)
  end
end

def header_types(channel)
  queue = temporary(channel)
  headers = HEADERS.merge(
    'time' => Time.at(1_700_000_000), 'double' => 2.25, 'long text' => 'x' * 70_000,
    'deep' => [1, [2, { 'three' => ['four', { 'four' => -(2**40) }] }]]
  )
  queue.publish('', headers: headers)
  _, properties, = queue.pop
  equal(text(properties.headers), headers)
end

def transactions(channel)
  queue = temporary(channel)
  channel.tx_select
  queue.publish('rolled back')
  channel.tx_rollback
  queue.publish('committed')
  equal(queue.message_count, 0)
  channel.tx_commit
  only(queue, 'committed')
end

def refused(error)
  lambda do |channel|
    yield channel
  rescue error
    that(channel.closed?, 'the channel is open')
  else
    raise 'it was accepted'
  end
end

BEHAVIOURS = {
  'direct-exchange' => exchange(:direct, 'eu', 'eu', 'us'),
  'topic-exchange' => exchange(:topic, '*.new.#', 'eu.new.a.b', 'eu.old'),
  'fanout-exchange' => exchange(:fanout, '', 'anything', nil),
  'headers-exchange' => method(:headers_exchange),
  'durable-queue' => method(:durable_queue),
  'every-property' => method(:every_property),
  'mandatory-return' => method(:mandatory_return),
  'confirm-single' => confirms(10, 1),
  'confirm-batch' => confirms(5, 200),
  'manual-ack' => method(:manual_ack),
  'nack' => requeued { |channel, tag| channel.nack(tag, false, true) },
  'reject' => requeued { |channel, tag| channel.reject(tag, true) },
  'prefetch' => method(:prefetch),
  'cancel-notify' => method(:cancel_notify),
  'direct-reply-to' => rpc(true),
  'reply-queue' => rpc(false),
  'dead-letters' => method(:dead_letters),
  'large-body' => body_of('0123456789abcdef' * (5 * 1024 * 1024 / 16)),
  'empty-body' => body_of(''),
  'header-types' => method(:header_types),
  'transactions' => method(:transactions),
  'declare-406' => refused(Bunny::PreconditionFailed) do |channel|
    [10, 11].each do |length|
      channel.queue_declare('interop.bunny.inequivalent', exclusive: true, arguments: { 'x-max-length' => length })
    end
  end,
  'passive-404' => refused(Bunny::NotFound) { |channel| channel.queue('interop.nothing', passive: true) }
}.freeze

def logins(url)
  { url.sub('guest:guest', 'guest:wrong') => Bunny::AuthenticationFailureError,
    url.sub(/%2f$/i, 'nowhere') => Bunny::NotAllowedError }.each do |wrong, error|
    connect(wrong, automatically_recover: false)
    raise "#{wrong} was accepted"
  rescue error
    next
  end
end

def behaviours(url)
  check('connect') { logins(url) }
  connection = connect(url)
  BEHAVIOURS.each do |name, behaviour|
    check(name) do
      channel = connection.create_channel
      behaviour.call(channel)
      channel.close if channel.open?
    end
  end
  check('heartbeat') do
    idle = connect(url, heartbeat: 1)
    sleep 3.5 # longer than either side would wait for a silent one
    temporary(idle.create_channel)
    idle.close
  end
  connection.close
end

# A message over TLS; and a broker whose certificate another authority has signed is not trusted.
def tls(url, authority, another)
  trusting = lambda do |path|
    connect(url, verify_peer: true, tls_ca_certificates: [path], automatically_recover: false)
  end
  check('tls') do
    connection = trusting.call(authority)
    channel = connection.create_channel
    queue = temporary(channel)
    queue.publish('secret')
    that(queue.pop[2] == 'secret', 'another body')
    connection.close
    begin
      trusting.call(another)
    rescue OpenSSL::SSL::SSLError, Bunny::TCPConnectionFailed => e
      that(e.message.include?('certificate verify failed'), e.message)
    else
      raise 'a broker of an unknown authority is trusted'
    end
  end
end

def publish(url)
  channel = connect(url).create_channel
  channel.confirm_select
  channel.basic_publish(BODY, 'interop.parcels', '', PROPERTIES.dup)
  that(channel.wait_for_confirms, 'nacked')
end

def consume(url, name, count)
  channel = connect(url).create_channel
  arrived = consuming(channel.queue(name, passive: true))
  count.to_i.times do
    delivery, properties, body = Timeout.timeout(SECONDS) { arrived.pop }
    puts "parcel #{JSON.generate(parcel(properties, body))}"
    channel.ack(delivery.delivery_tag)
  end
  channel.connection.close
end

# A session that does not recover raises what ended it in the thread that made it.
def pause(url)
  connect(url, heartbeat: 1, automatically_recover: false)
  check('paused-client') do
    puts 'ready'
    sleep
  rescue Bunny::Exception, SystemCallError, IOError => e
    warn "noticed: #{e.inspect}"
  end
end

def recover(url)
  recovered = Queue.new
  connection = connect(url, network_recovery_interval: 0.2, recovery_completed: -> { recovered << true })
  queue = connection.create_channel.queue("interop.recover.#{LIBRARY}", durable: true)
  arrived = consuming(queue, manual_ack: false)
  queue.publish('before')
  equal(arrived.pop.last, 'before')
  puts 'ready'
  check('recovery') do
    recovered.pop
    queue.publish('after')
    equal(arrived.pop.last, 'after')
  end
end

send(ARGV.shift, *ARGV)
