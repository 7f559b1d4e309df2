//! The keys of the configuration file, from the comments of the sample: what explains a key stands above it there, and
//! below it in the manual.

use super::roff;

/// Every section of the sample with its keys.
pub fn all(sample: &str) -> String {
    let mut page = Page::default();
    // The first paragraph is about the file, which the page tells in its own words.
    for line in sample.lines().skip_while(|line| !line.is_empty()) {
        page.take(line);
    }
    page.end_of_keys();
    page.roff
}

/// What is written, and what waits for its keys.
#[derive(Default)]
struct Page {
    roff: String,
    explanation: String,
    keys: Vec<String>,
}

impl Page {
    fn take(&mut self, line: &str) {
        // Keys that only work together stand indented, with comments of their own.
        let in_group = line.strip_prefix("#   ");
        let plain = in_group.or_else(|| line.strip_prefix("# ")).unwrap_or(line);
        let comment = if in_group.is_some() || plain == line { plain.strip_prefix("# ") } else { Some(plain) };
        match plain {
            setting if is_setting(setting) => self.keys.push(setting.to_owned()),
            table if table.starts_with('[') => self.table(table),
            _ => {
                self.end_of_keys();
                self.explanation.extend(comment.map(|text| format!("{text}\n")));
            }
        }
    }

    /// A table, explained by what was said before it.
    fn table(&mut self, name: &str) {
        self.end_of_keys();
        self.roff.push_str(&format!(".SS {}\n", roff::verbatim(name)));
        self.explain();
    }

    /// The keys read last, explained by what was said before them.
    fn end_of_keys(&mut self) {
        let mut request = ".TP";
        for key in std::mem::take(&mut self.keys) {
            let (name, value) = key.split_once(" = ").unwrap_or((&key, ""));
            // Fingerprints may be broken between their octets, or the line would run off the page.
            let value = roff::verbatim(value).replace(':', ":\\:");
            self.roff.push_str(&format!("{request}\n\\fB{name}\\fR = {value}\n"));
            request = ".TQ";
        }
        if request == ".TQ" {
            self.explain();
        }
    }

    fn explain(&mut self) {
        for line in std::mem::take(&mut self.explanation).lines() {
            self.roff.push_str(&format!("{}\n", roff::prose(line)));
        }
    }
}

fn is_setting(line: &str) -> bool {
    line.split_once(" = ")
        .is_some_and(|(key, _)| !key.is_empty() && key.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_'))
}
