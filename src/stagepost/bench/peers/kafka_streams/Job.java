import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayDeque;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams: contacts and counters in memory with changelogs, exactly_once_v2, a commit every 100 ms.
 * Does what rule.py says. The caches in front of the stores make one changelog record per changed key and commit.
 */
public final class Job {
    static final int REMEMBERED = 16;
    static final ObjectMapper JSON = new ObjectMapper();
    static final ObjectReader EVENTS = JSON.readerFor(Event.class);

    @JsonIgnoreProperties(ignoreUnknown = true)
    public static final class Event {
        public String id;
        public String type;
        public String contact;
        public String occurred_at;
        public String campaign;
        public String url;

        int rank() {
            switch (type) {
                case "email.delivered":
                    return 1;
                case "email.clicked":
                    return url != null && (url.contains("/pricing/") || url.contains("/products/")) ? 3 : 2;
                case "order.completed":
                    return 4;
                default:
                    return 0;
            }
        }
    }

    static final class Standing {
        int rank;
        final ArrayDeque<String> ids = new ArrayDeque<>(REMEMBERED + 1);

        static Standing of(byte[] value) throws IOException {
            Standing standing = new Standing();
            if (value != null) {
                DataInputStream in = new DataInputStream(new ByteArrayInputStream(value));
                standing.rank = in.readByte();
                for (int left = in.readByte(); left > 0; left--) {
                    standing.ids.add(in.readUTF());
                }
            }
            return standing;
        }

        byte[] packed() throws IOException {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream(256);
            DataOutputStream out = new DataOutputStream(bytes);
            out.writeByte(rank);
            out.writeByte(ids.size());
            for (String id : ids) {
                out.writeUTF(id);
            }
            return bytes.toByteArray();
        }
    }

    static final class Follow implements Processor<byte[], byte[], byte[], byte[]> {
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<String, byte[]> contacts;
        private KeyValueStore<String, Long> tallies;

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            contacts = context.getStateStore("contacts");
            tallies = context.getStateStore("tallies");
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            try {
                Event event = EVENTS.readValue(record.value());
                Standing standing = Standing.of(contacts.get(event.contact));
                if (standing.ids.contains(event.id)) {
                    return;
                }
                int before = standing.rank;
                standing.rank = Math.max(before, event.rank());
                standing.ids.add(event.id);
                if (standing.ids.size() > REMEMBERED) {
                    standing.ids.removeFirst();
                }
                contacts.put(event.contact, standing.packed());
                String counted = event.campaign + "/" + event.type;
                Long so = tallies.get(counted);
                tallies.put(counted, so == null ? 1L : so + 1L);
                if (standing.rank != before) {
                    Map<String, Object> transition = new LinkedHashMap<>();
                    transition.put("contact", event.contact);
                    transition.put("before", before);
                    transition.put("after", standing.rank);
                    transition.put("at", event.occurred_at);
                    transition.put("cause", event.id);
                    context.forward(record.withValue(JSON.writeValueAsBytes(transition)));
                }
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    }

    public static void main(String[] arguments) {
        String name = arguments[2];
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("application.id", name);
        settings.put("state.dir", System.getProperty("java.io.tmpdir"));
        settings.put("processing.guarantee", "exactly_once_v2");
        settings.put("commit.interval.ms", "100");
        settings.put("num.stream.threads", "1");
        settings.put("replication.factor", "1");
        settings.put("statestore.cache.max.bytes", String.valueOf(64 << 20));
        settings.put("consumer.auto.offset.reset", "earliest");
        settings.put("consumer.max.poll.records", "5000");
        settings.put("producer.compression.type", "lz4");
        Topology topology = new Topology();
        topology.addSource("events", Serdes.ByteArray().deserializer(), Serdes.ByteArray().deserializer(), arguments[1]);
        topology.addProcessor("follow", Follow::new, "events");
        topology.addStateStore(
            Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore("contacts"), Serdes.String(), Serdes.ByteArray())
                .withCachingEnabled(),
            "follow");
        topology.addStateStore(
            Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore("tallies"), Serdes.String(), Serdes.Long())
                .withCachingEnabled(),
            "follow");
        topology.addSink(
            "transitions",
            name + ".transitions",
            Serdes.ByteArray().serializer(),
            Serdes.ByteArray().serializer(),
            "follow");
        KafkaStreams streams = new KafkaStreams(topology, settings);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
