//! Text: what a user pasted, cleaned: no colors, no line numbers, no prefixes of ranks and containers, no frames; and
//! without any white space, so that wrapping does not matter.

/// Bytes of a pasted text that are looked at: the last ones, where the error is. A traceback has some kB.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// A cleaned text.
#[derive(Clone, Debug, Default)]
pub struct Text {
    /// Its lines.
    pub lines: Vec<Line>,
    /// All of it without white space, quotes made alike.
    pub compact: String,
    /// What the lines of exceptions say behind their names, compact, with their lines; all lines of a short text.
    pub said: Vec<(usize, String)>,
    /// The line of each byte of `compact`.
    line_of: Vec<u32>,
    /// Where the bytes of each line begin in `compact`.
    begins: Vec<usize>,
}

/// Lines of a text that is a message and no traceback.
const SHORT_LINES_MAX: usize = 5;
/// Lines of exceptions that may be the end of a message.
const SAID_MAX: usize = 40;

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its text without prefixes.
    pub text: String,
    /// What it is.
    pub role: Role,
    /// Number of the chain of exceptions it is in: tracebacks that hang together have one number.
    pub chain: u32,
    /// Number of the exception inside the chain, from the innermost, 0.
    pub depth: u32,
}

/// What a line of a pasted text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The line of an exception (`KeyError: …`), or one that continues its message.
    Exception,
    /// A line inside a traceback: a place, or its source.
    Frame,
    /// Anything else: a log, a warning.
    Other,
}

impl Text {
    /// Cleans a pasted text.
    #[must_use]
    pub fn new(pasted: &str) -> Self {
        let mut from = pasted.len().saturating_sub(TEXT_BYTES_MAX);
        while !pasted.is_char_boundary(from) {
            from += 1;
        }
        let plain = without_escapes(&pasted[from..]).replace("\r\n", "\n");
        let mut text = Self::default();
        for line in plain.split(['\n', '\r']) {
            text.lines.push(Line { text: without_prefix(line), role: Role::Other, chain: 0, depth: 0 });
        }
        text.find_exceptions();
        for (number, line) in text.lines.iter().enumerate() {
            text.begins.push(text.compact.len());
            for c in line.text.chars().filter(|c| !is_left_out(*c)) {
                let c = alike(c);
                text.compact.push(c);
                text.line_of.extend(std::iter::repeat_n(number as u32, c.len_utf8()));
            }
        }
        text.said = text.said();
        text
    }

    /// Returns what the lines of exceptions say behind their names.
    fn said(&self) -> Vec<(usize, String)> {
        let is_short = self.lines.len() <= SHORT_LINES_MAX;
        let lines = self.lines.iter().enumerate().rev();
        let lines = lines.filter(|(_, line)| is_short || line.role == Role::Exception).take(SAID_MAX);
        let said = |(number, line): (usize, &Line)| {
            let plain = line.text.trim();
            let named = plain.split_once(": ").filter(|(name, _)| !name.contains(' '));
            let said = named.map_or(plain, |(_, said)| said).chars().filter(|c| !is_left_out(*c)).map(alike);
            (number, said.collect())
        };
        lines.map(said).collect()
    }

    /// Returns the line of a byte of `compact`.
    #[must_use]
    pub fn line_at(&self, at: usize) -> usize {
        self.line_of.get(at).or(self.line_of.last()).map_or(0, |&line| line as usize)
    }

    /// Returns where the bytes of the line of this byte end in `compact`.
    #[must_use]
    pub fn end_of_line(&self, at: usize) -> usize {
        let next = self.begins.get(self.line_at(at) + 1).copied();
        next.unwrap_or(self.compact.len()).max(at)
    }

    /// Returns where the bytes of the line of this byte begin in `compact`.
    #[must_use]
    pub fn begin_of_line(&self, at: usize) -> usize {
        self.begins.get(self.line_at(at)).copied().unwrap_or(0)
    }

    /// Returns the text of the last exception, else the last line that says something.
    #[must_use]
    pub fn last_words(&self) -> Option<(usize, &str)> {
        let say = |line: &&(usize, &Line)| !line.1.text.trim().is_empty();
        let lines: Vec<(usize, &Line)> = self.lines.iter().enumerate().collect();
        let begins = |line: &&(usize, &Line)| line.1.role == Role::Exception && is_exception(&line.1.text);
        let found = lines.iter().rev().find(begins).or_else(|| lines.iter().rev().find(say))?;
        Some((found.0, found.1.text.trim()))
    }

    /// Finds the lines of exceptions, and which of them hang together.
    fn find_exceptions(&mut self) {
        let (mut chain, mut depth) = (0, 0);
        let mut is_linked = false;
        let mut inside = false;
        let mut role = Role::Other;
        for line in &mut self.lines {
            let trimmed = line.text.trim();
            if trimmed.starts_with("Traceback (most recent call last)") {
                if !is_linked {
                    (chain, depth) = (chain + 1, 0);
                }
                (is_linked, inside, role) = (false, true, Role::Frame);
            } else if trimmed.starts_with("During handling of the above exception")
                || trimmed.starts_with("The above exception was the direct cause")
            {
                (is_linked, inside, role) = (true, false, Role::Other);
                depth += 1;
            } else if is_exception(&line.text) && !line.text.starts_with(' ') {
                (inside, role) = (false, Role::Exception);
            } else if role == Role::Exception && line.text.is_empty() {
                role = Role::Other;
            } else if inside {
                role = Role::Frame;
            }
            (line.role, line.chain, line.depth) = (role, chain, depth);
        }
    }
}

/// Returns true for a line that begins with the name of an exception: `torch.OutOfMemoryError: …`, `AssertionError`.
fn is_exception(line: &str) -> bool {
    let line = line.trim_start();
    let name: &str = line.split([':', ' ', '(']).next().unwrap_or(line);
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_word = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
    let kinds = ["Error", "Exception", "Warning", "Exit", "Interrupt", "Failed"];
    is_word && last.chars().next().is_some_and(char::is_uppercase) && kinds.iter().any(|k| last.ends_with(k))
}

/// White space, which wrapping changes, and the backticks of Markdown, which a copy may have lost.
pub(super) fn is_left_out(c: char) -> bool {
    c.is_whitespace() || c == '`'
}

/// Makes quotes alike: which of them a message has differs by version and terminal.
pub(super) fn alike(c: char) -> char {
    match c {
        '"' | '‘' | '’' | '“' | '”' => '\'',
        '\u{a0}' => ' ',
        c => c,
    }
}

/// Removes escape sequences (colors, links, titles) and control characters but line ends and tabs.
fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                Some('[') => while chars.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {},
                Some(']') => {
                    // Up to BEL or ESC \.
                    while let Some(c) = chars.next() {
                        if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                _ => {}
            },
            '\n' | '\r' | '\t' => plain.push(c),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    // Colors whose escape was lost on the way: `[31m`, `[0;1m`.
    strip_bare_colors(&plain)
}

/// Removes `[31m` and the like, which some logs keep without their escape.
fn strip_bare_colors(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('[') {
        let inner = &rest[at + 1..];
        let digits = inner.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(inner.len());
        let is_color = inner[digits..].starts_with('m') && digits < 12;
        plain.push_str(&rest[..at]);
        if is_color {
            rest = &inner[digits + 1..];
        } else {
            plain.push('[');
            rest = inner;
        }
    }
    plain.push_str(rest);
    plain
}

/// Takes off what stands before the line itself: frames of boxes, ranks, line numbers, times, names of containers.
fn without_prefix(line: &str) -> String {
    // A blank that wrapping left at the end of a line is no empty line.
    if line.trim().is_empty() {
        return line.to_owned();
    }
    let is_frame = |c: char| ('\u{2500}'..='\u{257f}').contains(&c) || c == '❱' || c == '❯';
    let boxed = line.contains(is_frame);
    let mut line: &str = line.trim_end();
    let owned;
    if boxed {
        owned = line.replace(is_frame, " ");
        line = owned.trim();
    }
    loop {
        let before = line;
        for strip in [rank, numbered, timed, logged, container] {
            line = strip(line).unwrap_or(line);
        }
        if line.len() == before.len() {
            return line.to_owned();
        }
    }
}

/// `[rank0]: `, `(EngineCore_0 pid=12) `, `E   ` of pytest.
fn rank(line: &str) -> Option<&str> {
    let head = line.trim_start();
    if let Some(rest) = head.strip_prefix("[rank") {
        let (digits, rest) = rest.split_once(']')?;
        return digits.bytes().all(|b| b.is_ascii_digit()).then(|| after_blank(rest.trim_start_matches(':')));
    }
    if let Some(rest) = head.strip_prefix('(') {
        let (inside, rest) = rest.split_once(')')?;
        return inside.contains("pid=").then(|| after_blank(rest));
    }
    line.strip_prefix("E   ")
}

/// `41 | `, `41: `, `  41→`, as editors and `cat -n` print them. A number alone is none: it may be part of a message.
fn numbered(line: &str) -> Option<&str> {
    let head = line.trim_start();
    let digits = head.bytes().take_while(u8::is_ascii_digit).count();
    if !(1..=6).contains(&digits) {
        return None;
    }
    let rest = &head[digits..];
    let rest_trimmed = rest.trim_start_matches(' ');
    for mark in ["|", "→"] {
        if let Some(rest) = rest_trimmed.strip_prefix(mark) {
            return Some(after_blank(rest));
        }
    }
    rest.strip_prefix('\t').or_else(|| rest.strip_prefix(": "))
}

/// `2025-05-01T10:00:00.123Z `, `[2025-05-01 10:00:00,123] `, `10:00:00 `.
fn timed(line: &str) -> Option<&str> {
    let head = line.strip_prefix('[').unwrap_or(line);
    let is_time = |c: char| c.is_ascii_digit() || "-:.,TZ+".contains(c);
    let mut end = head.find(|c| !is_time(c)).unwrap_or(head.len());
    // A date and a time are two words.
    if head[..end].matches('-').count() == 2 && head[end..].starts_with(' ') {
        let rest = &head[end + 1..];
        let time = rest.find(|c| !is_time(c)).unwrap_or(rest.len());
        if rest[..time].matches(':').count() >= 2 {
            end += 1 + time;
        }
    }
    let stamp = &head[..end];
    if stamp.matches(':').count() < 2 || stamp.bytes().filter(u8::is_ascii_digit).count() < 6 {
        return None;
    }
    let rest = &head[end..];
    Some(after_blank(rest.strip_prefix(']').unwrap_or(rest)))
}

/// `ERROR 10-11 16:03:09 engine.py:157] `, `ERROR 10-11 16:03:09 [core.py:700] `, as vLLM logs.
fn logged(line: &str) -> Option<&str> {
    const PREFIX_BYTES_MAX: usize = 100;
    let levels = ["ERROR ", "WARNING ", "INFO ", "DEBUG ", "CRITICAL "];
    let is_log = levels.iter().any(|level| line.starts_with(level));
    let end = line.find(']').filter(|end| is_log && *end < PREFIX_BYTES_MAX)?;
    line[..end].contains(".py:").then(|| after_blank(&line[end + 1..]))
}

/// `trainer-1  | `, as Docker Compose prints it.
fn container(line: &str) -> Option<&str> {
    let (name, rest) = line.split_once('|')?;
    let name = name.trim_end();
    let is_name = !name.is_empty()
        && name.len() < 40
        && name.ends_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    is_name.then(|| after_blank(rest))
}

/// One blank belongs to the prefix; more are the line's own.
fn after_blank(text: &str) -> &str {
    text.strip_prefix(' ').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(text: &str) -> Vec<String> {
        Text::new(text).lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn prefixes_colors_and_frames_are_taken_off() {
        for (pasted, wanted) in [
            ("\u{1b}[31mKeyError\u{1b}[0m: 'x'", "KeyError: 'x'"),
            ("[31mKeyError[0m: 'x'", "KeyError: 'x'"),
            ("[rank0]: KeyError: 'x'", "KeyError: 'x'"),
            ("[rank12]:   File \"a.py\"", "  File \"a.py\""),
            ("(EngineCore_0 pid=4121) KeyError: 'x'", "KeyError: 'x'"),
            ("  41 | KeyError: 'x'", "KeyError: 'x'"),
            ("2025-05-01T10:00:00.123Z KeyError: 'x'", "KeyError: 'x'"),
            ("[2025-05-01 10:00:00,123] KeyError: 'x'", "KeyError: 'x'"),
            ("ERROR 10-11 16:03:09 engine.py:157] KeyError: 'x'", "KeyError: 'x'"),
            ("(EngineCore_0 pid=7) ERROR 10-11 16:03:09 [core.py:700] KeyError: 'x'", "KeyError: 'x'"),
            ("trainer-1  | [rank0]: KeyError: 'x'", "KeyError: 'x'"),
            ("│ KeyError: 'x'            │", "KeyError: 'x'"),
            ("[4096, 1] is not [128, 256]", "[4096, 1] is not [128, 256]"),
            ("128 is not 256", "128 is not 256"),
        ] {
            assert_eq!(cleaned(pasted), [wanted], "{pasted:?}");
        }
    }

    #[test]
    fn exceptions_that_hang_together_are_one_chain_from_the_inside() {
        let text = "Traceback (most recent call last):\n  File \"a\"\n    f()\nKeyError: 'x'\n\nDuring handling of the \
                    above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \
                    \"b\"\nOSError: no\nTraceback (most recent call last):\nValueError: y";
        let text = Text::new(text);
        let found: Vec<(&str, u32, u32)> = text
            .lines
            .iter()
            .filter(|line| line.role == Role::Exception)
            .map(|line| (line.text.as_str(), line.chain, line.depth))
            .collect();
        assert_eq!(found, [("KeyError: 'x'", 1, 0), ("OSError: no", 1, 1), ("ValueError: y", 2, 0)]);
        assert_eq!(text.last_words().map(|(_, words)| words), Some("ValueError: y"));
    }

    #[test]
    fn each_byte_knows_where_its_line_begins_and_ends() {
        let text = Text::new("\nab c\n\n  é d\n\n");
        assert_eq!(text.compact, "abcéd");
        let places: Vec<(usize, usize)> =
            (0..=6).map(|at| (text.begin_of_line(at), text.end_of_line(at))).collect();
        assert_eq!(places, [(0, 3), (0, 3), (0, 3), (3, 6), (3, 6), (3, 6), (3, 6)]);
        let nothing = Text::new("");
        assert_eq!((nothing.begin_of_line(0), nothing.end_of_line(0)), (0, 0));
    }

    #[test]
    fn hostile_texts_do_not_stop_it() {
        for text in ["", "\u{1b}", "\u{1b}[", "\u{1b}]", "[", "│", "\u{1b}]8;;\u{7}x", "[rank", "("] {
            let _ = Text::new(text);
        }
        let long = "é".repeat(TEXT_BYTES_MAX);
        assert!(Text::new(&long).compact.len() <= TEXT_BYTES_MAX);
    }
}
