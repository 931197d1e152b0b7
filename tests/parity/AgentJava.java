// What the Kinesis Agent's patterns and Jackson 2.17.2 answer, for agent_java.py, which says how to run this.
// In: a line for each question, its kind and texts in base64, with tabs between. Out: a line of JSON each.

import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Scanner;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

public class AgentJava {
    static final String CONSTANTS = "com.amazon.kinesis.streaming.agent.processing.parsers.PatternConstants";
    static final ObjectMapper MAPPER = new ObjectMapper();

    static List<String> format(String constant, String suffix, String text) throws Exception {
        Pattern pattern = Pattern.compile((String) Class.forName(CONSTANTS).getField(constant).get(null) + suffix);
        Matcher matcher = pattern.matcher(text);
        if (!matcher.matches()) return null;
        List<String> groups = new ArrayList<>();
        for (int i = 1; i <= matcher.groupCount(); i++) groups.add(matcher.group(i));
        return groups;
    }

    static List<String> json(String text) {
        try {
            LinkedHashMap<String, Object> read = MAPPER.readValue(text, new TypeReference<LinkedHashMap<String, Object>>() {});
            if (read == null) return null;
            return List.of(MAPPER.writeValueAsString(read), MAPPER.writerWithDefaultPrettyPrinter().writeValueAsString(read));
        } catch (Exception error) {
            return null;
        }
    }

    public static void main(String[] arguments) throws Exception {
        Scanner in = new Scanner(System.in, StandardCharsets.UTF_8);
        while (in.hasNextLine()) {
            String[] parts = in.nextLine().split("\t", -1);
            byte[] data = Base64.getDecoder().decode(parts[parts.length - 1]);
            String text = new String(data, StandardCharsets.UTF_8);
            Object answer = parts[0].equals("utf8") ? text
                : parts[0].equals("json") ? json(text)
                : format(parts[1], parts[2], text);
            // ASCII only, with escapes of UTF-16 for the rest
            StringBuilder out = new StringBuilder();
            for (char c : MAPPER.writeValueAsString(answer).toCharArray())
                out.append(c < 0x7f ? String.valueOf(c) : String.format("\\u%04x", (int) c));
            System.out.println(out);
        }
    }
}
