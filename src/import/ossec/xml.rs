//! The elements of ossec.conf that hold text, each with the section it is in.

use quick_xml::Reader;
use quick_xml::events::Event;

/// `<name>text</name>` in a section.
#[derive(Debug, Clone)]
pub struct Element {
    pub section: String,
    /// Which section of the file.
    pub section_number: usize,
    pub name: String,
    pub text: String,
    /// From 1.
    pub line: usize,
}

/// Elements in one another; more are no configuration.
const DEPTH: usize = 32;
/// Octets of a text, beyond which it is cut.
const TEXT: usize = 8192;
/// Names of the outermost element, which is no section.
const ROOTS: [&str; 3] = ["ossec_config", "agent_config", "wazuh_config"];

/// All of them; and the line where reading ended, if that was not the end.
pub fn elements(text: &str) -> (Vec<Element>, Option<usize>) {
    // The IDS takes `\<` for the sign itself.
    let text = text.replace("\\<", "&lt;");
    let lines = Lines::of(&text);
    let mut reader = Reader::from_str(&text);
    let config = reader.config_mut();
    config.check_end_names = false;
    config.allow_unmatched_ends = true;
    config.allow_dangling_amp = true;
    let mut walk = Walk::default();
    loop {
        let line = lines.at(reader.buffer_position());
        match reader.read_event() {
            Ok(Event::Start(start)) => walk.open(start.name().as_ref(), line),
            Ok(Event::Empty(start)) => {
                walk.open(start.name().as_ref(), line);
                walk.close(start.name().as_ref());
            }
            Ok(Event::End(end)) => walk.close(end.name().as_ref()),
            Ok(Event::Text(text)) => walk.text(&text),
            Ok(Event::CData(text)) => walk.text(&text),
            Ok(Event::GeneralRef(name)) => walk.text(&reference(&name)),
            Ok(Event::Eof) => return (walk.elements, None),
            Ok(_) => {}
            Err(_) => return (walk.elements, Some(lines.at(reader.error_position()))),
        }
    }
}

/// XML's own five; any other stays as it is written.
fn reference(name: &str) -> String {
    quick_xml::escape::resolve_predefined_entity(name).map_or_else(|| format!("&{name};"), str::to_owned)
}

/// Where lines begin.
struct Lines(Vec<u64>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().zip(1..).filter(|(octet, _)| *octet == b'\n').map(|(_, next)| next).collect())
    }

    fn at(&self, position: u64) -> usize {
        self.0.partition_point(|begin| *begin <= position) + 1
    }
}

/// The elements that are open, outermost first.
#[derive(Default)]
struct Walk {
    open: Vec<(String, usize, String)>,
    elements: Vec<Element>,
    sections: usize,
}

impl Walk {
    fn open(&mut self, name: &str, line: usize) {
        let name = name.trim().to_ascii_lowercase();
        if self.open.is_empty() && ROOTS.contains(&name.as_str()) {
            return;
        }
        if self.open.is_empty() {
            self.sections += 1;
        }
        if self.open.len() < DEPTH {
            self.open.push((name, line, String::new()));
        }
    }

    fn text(&mut self, text: &str) {
        if let Some((_, _, held)) = self.open.last_mut().filter(|(_, _, held)| held.len() < TEXT) {
            held.push_str(text);
        }
    }

    /// The innermost of that name, and all in it that nobody closed.
    fn close(&mut self, name: &str) {
        let name = name.trim().to_ascii_lowercase();
        if ROOTS.contains(&name.as_str()) {
            self.open.clear();
        }
        let Some(depth) = self.open.iter().rposition(|(open, _, _)| *open == name) else { return };
        self.open.truncate(depth + 1);
        let Some((name, line, text)) = self.open.pop() else { return };
        if let [(section, _, _)] = self.open.as_slice() {
            let text = text.trim().to_owned();
            self.elements.push(Element { section: section.clone(), section_number: self.sections, name, text, line });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(String, String)> {
        elements(text).0.into_iter().map(|e| (format!("{}/{}", e.section, e.name), e.text)).collect()
    }

    fn pair(name: &str, text: &str) -> (String, String) {
        (name.to_owned(), text.to_owned())
    }

    #[test]
    fn several_roots_comments_and_references_are_read() {
        let text = "<!-- <global><email_to>no</email_to></global> -->\n<ossec_config>\n<global><email_to>a&amp;b@x</email_to>\n\
                    </global></ossec_config>\n<ossec_config><alerts><email_alert_level>7</email_alert_level></alerts>";
        assert_eq!(found(text), [pair("global/email_to", "a&b@x"), pair("alerts/email_alert_level", "7")]);
        assert_eq!(elements(text).0[0].line, 3);
    }

    #[test]
    fn what_is_not_well_formed_does_not_hide_what_follows() {
        let text = "<ossec_config><a><b>x</a></c>\n<rule><match>\\<x & y\\></match></rule>\n<global><email_to>me@x</email_to></global>";
        assert_eq!(found(text).last(), Some(&pair("global/email_to", "me@x")));
    }

    #[test]
    fn deep_and_endless_input_is_bounded() {
        let (all, broken) = elements(&"<a>".repeat(100_000));
        assert!(all.is_empty() && broken.is_none());
        assert!(elements(&format!("<a><b>{}</b></a>", "x & ".repeat(100_000))).0[0].text.len() < 2 * TEXT);
    }
}
