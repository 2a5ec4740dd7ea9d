import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.avro.LogicalTypes;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericFixed;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;

/**
 * Reads records of other schemas by the schema of an order, with Apache Avro.
 *
 * <pre>
 * Resolve READER_SCHEMA_FILE
 * in:  {"schema": the writer's, as text, "record": in base64}
 * out: {"whole": it is one record by the writer's schema, "error": null or why it is no order,
 *       "id": …, "product": …, "price": the bits of the double in hex, "decimal": the same of a price that is a decimal}
 * </pre>
 */
public final class Resolve {
  private static final ObjectMapper JSON = new ObjectMapper();

  public static void main(String[] args) throws IOException {
    Schema order = new Schema.Parser().parse(new File(args[0]));
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      JsonNode task = JSON.readTree(line);
      Map<String, Object> result = new LinkedHashMap<>();
      result.put("whole", false);
      try {
        Schema writer = new Schema.Parser().parse(task.get("schema").asText());
        byte[] record = task.get("record").binaryValue();
        alone(writer, record, result);
        BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(record, null);
        GenericRecord read = new GenericDatumReader<GenericRecord>(writer, order).read(null, decoder);
        result.put("id", read.get("orderId").toString());
        result.put("product", read.get("product").toString());
        result.put("price", bits((Double) read.get("price")));
      } catch (RuntimeException | IOException e) {
        result.put("error", e.toString());
      }
      System.out.println(JSON.writeValueAsString(result));
    }
  }

  /** Reads the record by its own schema. */
  private static void alone(Schema writer, byte[] record, Map<String, Object> result) throws IOException {
    BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(record, null);
    Object read = new GenericDatumReader<>(writer).read(null, decoder);
    result.put("whole", decoder.isEnd());
    if (!(read instanceof GenericRecord r) || r.getSchema().getField("price") == null) {
      return;
    }
    byte[] raw = null;
    if (r.get("price") instanceof ByteBuffer b) {
      raw = b.array();
    } else if (r.get("price") instanceof GenericFixed f) {
      raw = f.bytes();
    }
    Schema price = r.getSchema().getField("price").schema();
    for (Schema s : price.isUnion() ? price.getTypes() : List.of(price)) {
      if (raw != null && s.getLogicalType() instanceof LogicalTypes.Decimal d) {
        result.put("decimal", bits(new BigDecimal(new BigInteger(raw), d.getScale()).doubleValue()));
      }
    }
  }

  private static String bits(double d) {
    return Long.toHexString(Double.doubleToRawLongBits(d));
  }

  private Resolve() {}
}
