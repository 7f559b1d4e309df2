//! Text as roff has it.

/// Words to be typed or read as they stand: no quote, dash or accent becomes a typographic one.
pub fn verbatim(text: &str) -> String {
    let mut roff = String::new();
    for character in text.chars() {
        match character {
            '\\' => roff.push_str("\\e"),
            '-' => roff.push_str("\\-"),
            '\'' => roff.push_str("\\(aq"),
            '`' => roff.push_str("\\(ga"),
            '^' => roff.push_str("\\(ha"),
            '~' => roff.push_str("\\(ti"),
            other => roff.push(other),
        }
    }
    // A dot in the first column would be a request.
    if roff.starts_with('.') { format!("\\&{roff}") } else { roff }
}

/// Prose in which backquotes stand around what is typed.
pub fn prose(text: &str) -> String {
    let spans = text.split('`').enumerate().map(|(nth, span)| match nth % 2 {
        0 => span.replace('\\', "\\e").replace('"', "\\(dq").replace('~', "\\(ti"),
        _ => verbatim(span),
    });
    let line = bold(&spans.collect::<Vec<_>>().join("`"));
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}

/// What stands between backquotes becomes bold; the rest is roff already.
pub fn bold(line: &str) -> String {
    let spans = line.split('`').enumerate();
    spans.map(|(nth, span)| if nth % 2 == 1 { format!("\\fB{span}\\fR") } else { span.to_owned() }).collect()
}
