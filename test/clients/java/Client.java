import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Writes orders and reads topics with Kafka's own client and Apache Avro, which share no code with
 * Orderflow. Each record that was acknowledged or read is one line of JSON:
 *
 * <pre>{"name": …, "topic": …, "partition": …, "offset": …, "key": …, "value": …, "headers": [[name, value], …]}</pre>
 *
 * with keys and values in base64, or null.
 *
 * <pre>
 * Client write BROKERS TOPIC PREFIX COUNT SCHEMA_FILE [SCHEMA_ID]   with an id: Confluent framing
 * Client read  BROKERS TOPIC                                        what is committed
 * </pre>
 */
public final class Client {
  private static final Duration PATIENCE = Duration.ofSeconds(60);
  private static final ObjectMapper JSON = new ObjectMapper();

  public static void main(String[] args) throws Exception {
    if (args.length >= 6 && args[0].equals("write")) {
      Integer id = args.length > 6 ? Integer.valueOf(args[6]) : null;
      write(args[1], args[2], args[3], Integer.parseInt(args[4]), new Schema.Parser().parse(new File(args[5])), id);
    } else if (args.length == 3 && args[0].equals("read")) {
      read(args[1], args[2]);
    } else {
      System.err.println("usage: write BROKERS TOPIC PREFIX COUNT SCHEMA_FILE [SCHEMA_ID] | read BROKERS TOPIC");
      System.exit(2);
    }
  }

  private static void write(String brokers, String topic, String prefix, int count, Schema schema, Integer id)
      throws IOException, ExecutionException, InterruptedException {
    Map<String, Object> config = new HashMap<>();
    config.put("bootstrap.servers", brokers);
    config.put("acks", "all");
    Map<ProducerRecord<byte[], byte[]>, Future<RecordMetadata>> sent = new LinkedHashMap<>();
    List<String> names = new ArrayList<>();
    try (KafkaProducer<byte[], byte[]> producer =
        new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
      for (int i = 0; i < count; i++) {
        String orderId = String.format("%s-%03d", prefix, i);
        names.add(i % 10 == 0 ? "price 0" : "sound");
        byte[] value = order(schema, orderId, i % 10 == 0 ? 0 : (1000 + i * 3701 % 49000) / 100.0, id);
        byte[] key = i % 10 == 1 ? null : orderId.getBytes(StandardCharsets.UTF_8);
        send(producer, sent, new ProducerRecord<>(topic, null, key, value, i % 5 == 0 ? oddHeaders() : List.of()));
      }
      names.add("null value");
      send(producer, sent, new ProducerRecord<>(topic, null, new byte[] {0, -1, -2}, null, oddHeaders()));
    }
    int i = 0;
    for (Map.Entry<ProducerRecord<byte[], byte[]>, Future<RecordMetadata>> e : sent.entrySet()) {
      ProducerRecord<byte[], byte[]> r = e.getKey();
      RecordMetadata at = e.getValue().get();
      print(names.get(i++), at.topic(), at.partition(), at.offset(), r.key(), r.value(), r.headers());
    }
  }

  private static void send(KafkaProducer<byte[], byte[]> producer,
      Map<ProducerRecord<byte[], byte[]>, Future<RecordMetadata>> sent, ProducerRecord<byte[], byte[]> record) {
    sent.put(record, producer.send(record));
  }

  /** Names that repeat, and values that are null, empty or no UTF-8. */
  private static List<Header> oddHeaders() {
    return List.of(
        new RecordHeader("trace", new byte[] {'a'}),
        new RecordHeader("trace", new byte[] {-1, -2, 0}),
        new RecordHeader("none", (byte[]) null),
        new RecordHeader("trace", new byte[] {'a'}),
        new RecordHeader("empty", new byte[0]));
  }

  private static byte[] order(Schema schema, String orderId, double price, Integer id) throws IOException {
    GenericRecord order = new GenericData.Record(schema);
    order.put("orderId", orderId);
    order.put("product", "Füllfederhalter");
    order.put("price", price);
    for (Schema.Field field : schema.getFields()) { // those of other versions of the schema
      switch (field.name()) {
        case "note" -> order.put("note", "fragile");
        case "currency" -> order.put("currency", "USD");
        case "tags" -> order.put("tags", List.of("gift", "express"));
        default -> { }
      }
    }
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    if (id != null) {
      out.write(0);
      out.write(ByteBuffer.allocate(4).putInt(id).array());
    }
    BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(out, null);
    new GenericDatumWriter<GenericRecord>(schema).write(order, encoder);
    encoder.flush();
    return out.toByteArray();
  }

  private static void read(String brokers, String topic) throws IOException {
    Map<String, Object> config = new HashMap<>();
    config.put("bootstrap.servers", brokers);
    config.put("isolation.level", "read_committed");
    config.put("enable.auto.commit", "false");
    try (KafkaConsumer<byte[], byte[]> consumer =
        new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
      Collection<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
          .map(p -> new TopicPartition(topic, p.partition())).toList();
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
      long deadline = System.nanoTime() + PATIENCE.toNanos();
      while (partitions.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
        if (System.nanoTime() > deadline) {
          throw new IOException("reading " + topic + ": not at its end within " + PATIENCE);
        }
        for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(200))) {
          print("", r.topic(), r.partition(), r.offset(), r.key(), r.value(), r.headers());
        }
      }
    }
  }

  private static void print(String name, String topic, int partition, long offset, byte[] key, byte[] value,
      Iterable<Header> headers) throws IOException {
    List<Object[]> pairs = new ArrayList<>();
    for (Header h : headers) {
      pairs.add(new Object[] {h.key(), h.value()}); // Jackson writes bytes in base64
    }
    Map<String, Object> line = new LinkedHashMap<>();
    line.put("name", name);
    line.put("topic", topic);
    line.put("partition", partition);
    line.put("offset", offset);
    line.put("key", key);
    line.put("value", value);
    line.put("headers", pairs);
    System.out.println(JSON.writeValueAsString(line));
  }

  private Client() {}
}
