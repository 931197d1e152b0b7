// Answers of java.util.regex for the patterns and texts of java_regex.py, which runs this program.
// In: a line for each pattern: the pattern and its texts, each in base64, with tabs between. Out: a line of JSON each.

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Scanner;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

public class JavaRegex {
    static String decode(String part) {
        return new String(Base64.getDecoder().decode(part), StandardCharsets.UTF_8);
    }

    static String quote(String text) {
        if (text == null) return "null";
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c < 0x20 || c > 0x7e || c == '"' || c == '\\') out.append(String.format("\\u%04x", (int) c));
            else out.append(c);
        }
        return out.append('"').toString();
    }

    static String list(List<String> items) {
        return "[" + String.join(", ", items) + "]";
    }

    static String groups(Matcher matcher) {
        List<String> groups = new ArrayList<>();
        for (int i = 0; i <= matcher.groupCount(); i++) groups.add(quote(matcher.group(i)));
        return list(groups);
    }

    static String answer(Pattern pattern, String text) {
        Matcher matcher = pattern.matcher(text);
        String matches = matcher.matches() ? groups(matcher) : "null";
        matcher.reset();
        String lookingAt = matcher.lookingAt() ? groups(matcher) : "null";
        matcher.reset();
        String find = matcher.find() ? groups(matcher) : "null";
        List<String> split = new ArrayList<>();
        for (String part : text.split(pattern.pattern())) split.add(quote(part));
        return String.format("{\"text\": %s, \"fullmatch\": %s, \"match\": %s, \"search\": %s, \"split\": %s}",
            quote(text), matches, lookingAt, find, list(split));
    }

    public static void main(String[] arguments) {
        Scanner in = new Scanner(System.in, StandardCharsets.UTF_8);
        while (in.hasNextLine()) {
            String[] parts = in.nextLine().split("\t", -1);
            String source = decode(parts[0]);
            try {
                Pattern pattern = Pattern.compile(source);
                List<String> answers = new ArrayList<>();
                for (int i = 1; i < parts.length; i++) answers.add(answer(pattern, decode(parts[i])));
                System.out.println("{\"pattern\": " + quote(source) + ", \"answers\": " + list(answers) + "}");
            } catch (PatternSyntaxException error) {
                System.out.println("{\"pattern\": " + quote(source) + ", \"error\": " + quote(error.getDescription()) + "}");
            }
        }
    }
}
