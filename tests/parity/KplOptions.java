// What KinesisProducerConfiguration of the KPL on the class path takes: kpl_options.py runs this program.
// Out, in JSON: for each option its kind, whether a properties file can set it, its default, its least and its greatest
// value or its rule; and what the KPL makes of each of kpl_options.py's properties files.
// In: a line for each file: its text in base64.

import java.io.StringReader;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Scanner;
import java.util.TreeMap;
import software.amazon.kinesis.producer.KinesisProducerConfiguration;

public class KplOptions {
    // A text that no option with a rule of its own takes.
    static final String NO_CHOICE = "no such choice";

    static String quote(Object value) {
        if (value == null) return "null";
        if (value instanceof Boolean || value instanceof Number) return value.toString();
        StringBuilder out = new StringBuilder("\"");
        for (char c : value.toString().toCharArray()) {
            if (c < 0x20 || c > 0x7e || c == '"' || c == '\\') out.append(String.format("\\u%04x", (int) c));
            else out.append(c);
        }
        return out.append('"').toString();
    }

    /** Return the error of a properties file with this one entry, or null if the KPL takes it. */
    static String refusal(String name, String value) {
        Properties properties = new Properties();
        properties.setProperty(name, value);
        try {
            KinesisProducerConfiguration.fromProperties(properties);
            return null;
        } catch (IllegalArgumentException error) {
            Throwable cause = error.getCause();
            if (cause instanceof InvocationTargetException) cause = cause.getCause();
            return cause == null ? error.getMessage() : String.valueOf(cause.getMessage());
        }
    }

    /** Return the last number from `taken` towards `end` that the KPL takes; null if it takes `end`: there is no bound. */
    static Long bound(String name, long taken, long end) {
        if (refusal(name, Long.toString(end)) == null) return null;
        long refused = end;
        while (Math.abs((double) taken - (double) refused) > 1.5 || Math.abs(taken - refused) > 1) {
            long middle = (taken & refused) + ((taken ^ refused) >> 1); // the mean, without overflow
            if (refusal(name, Long.toString(middle)) == null) taken = middle; else refused = middle;
        }
        return taken;
    }

    static Object get(KinesisProducerConfiguration config, String name) throws Exception {
        for (Method method : KinesisProducerConfiguration.class.getMethods()) {
            if ((method.getName().equals("get" + name) || method.getName().equals("is" + name))
                && method.getParameterCount() == 0) return method.invoke(config);
        }
        throw new IllegalStateException("no getter of " + name);
    }

    static boolean isText(Class<?> kind) {
        return kind == String.class || kind == boolean.class || kind == long.class || kind == int.class;
    }

    static String option(String name, List<Class<?>> kinds) throws Exception {
        Map<String, Object> found = new TreeMap<>();
        Object value = get(new KinesisProducerConfiguration(), name);
        boolean settable = kinds.stream().anyMatch(KplOptions::isText);
        Class<?> kind = kinds.stream().filter(each -> !isText(each)).findFirst().orElse(kinds.get(0));
        found.put("kind", kind.isEnum() ? "enum" : kind.getSimpleName());
        found.put("in_file", settable);
        found.put("default", value == null || isText(kind) || kind.isEnum() ? value : value.getClass().getSimpleName());
        StringBuilder more = new StringBuilder();
        if (kind.isEnum()) {
            List<String> values = new ArrayList<>();
            for (Object each : kind.getEnumConstants()) values.add(quote(each));
            more.append(", \"values\": [" + String.join(", ", values) + "]");
        } else if (kind == long.class || kind == int.class) {
            long of = ((Number) value).longValue();
            found.put("least", bound(name, of, kind == long.class ? Long.MIN_VALUE : Integer.MIN_VALUE));
            found.put("greatest", bound(name, of, kind == long.class ? Long.MAX_VALUE : Integer.MAX_VALUE));
        } else if (kind == String.class) {
            found.put("rule", refusal(name, NO_CHOICE));
        }
        List<String> parts = new ArrayList<>();
        for (Map.Entry<String, Object> each : found.entrySet()) {
            parts.add(quote(each.getKey()) + ": " + quote(each.getValue()));
        }
        return quote(name) + ": {" + String.join(", ", parts) + more + "}";
    }

    static String file(String text, Iterable<String> names) throws Exception {
        Properties properties = new Properties();
        properties.load(new StringReader(text));
        String outcome;
        try {
            KinesisProducerConfiguration config = KinesisProducerConfiguration.fromProperties(properties);
            KinesisProducerConfiguration without = new KinesisProducerConfiguration();
            List<String> set = new ArrayList<>();
            for (String name : names) {
                Object value = get(config, name), usual = get(without, name);
                boolean same = value == null ? usual == null : value.equals(usual);
                if (!same && !name.endsWith("Provider")) set.add(quote(name) + ": " + quote(value));
            }
            outcome = "\"set\": {" + String.join(", ", set) + "}";
        } catch (IllegalArgumentException error) {
            outcome = "\"error\": " + quote(error.getMessage());
        }
        return "{\"text\": " + quote(text) + ", " + outcome + "}";
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, List<Class<?>>> options = new TreeMap<>();
        for (Method method : KinesisProducerConfiguration.class.getMethods()) {
            if (method.getName().startsWith("set") && method.getParameterCount() == 1) {
                options.computeIfAbsent(method.getName().substring(3), name -> new ArrayList<>())
                    .add(method.getParameterTypes()[0]);
            }
        }
        List<String> shown = new ArrayList<>(), files = new ArrayList<>();
        for (Map.Entry<String, List<Class<?>>> each : options.entrySet()) {
            shown.add(option(each.getKey(), each.getValue()));
        }
        Scanner in = new Scanner(System.in, StandardCharsets.UTF_8);
        while (in.hasNextLine()) {
            byte[] text = Base64.getDecoder().decode(in.nextLine());
            files.add(file(new String(text, StandardCharsets.UTF_8), options.keySet()));
        }
        System.out.println("{\"options\": {" + String.join(",\n", shown) + "}, \"files\": ["
            + String.join(",\n", files) + "]}");
    }
}
