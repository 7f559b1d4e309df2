//! main.cf, or what `postconf -n` prints: logical lines, the last one of a name counts, `$name` stands for a value.
//!
//! Expansion is bounded in depth, in steps and in octets, because a value may name itself or double itself.

use std::cell::Cell;
use std::collections::BTreeMap;

/// What one parameter is set to.
pub struct Parameter {
    value: String,
    /// From 1.
    pub line: usize,
    taken: Cell<bool>,
}

/// All of them.
pub struct MainCf {
    parameters: BTreeMap<String, Parameter>,
    steps: Cell<usize>,
}

/// Values in one another.
const DEPTH: usize = 16;
/// Values looked up for one that is asked for.
const STEPS: usize = 1000;
/// Octets of a value, and of an expanded one.
const LENGTH: usize = 16 * 1024;

impl MainCf {
    /// Reads what it can: a line that is none of Postfix's is passed over, as Postfix warns and goes on.
    pub fn parse(text: &str) -> Self {
        let mut parameters = BTreeMap::new();
        let mut logical: Option<(usize, String)> = None;
        let mut finish = |logical: Option<(usize, String)>| {
            let Some((line, text)) = logical else { return };
            let Some((name, value)) = text.split_once('=') else { return };
            let value = value.trim().chars().take(LENGTH).collect();
            let parameter = Parameter { value, line, taken: Cell::new(false) };
            parameters.insert(name.trim().to_owned(), parameter);
        };
        for (line, physical) in text.lines().zip(1..).map(|(text, line)| (line, text)) {
            match physical.chars().next() {
                // postconf(5): comments and empty lines stand in logical lines too.
                _ if physical.trim().is_empty() || physical.trim_start().starts_with('#') => {}
                Some(c) if c.is_whitespace() => {
                    if let Some((_, text)) = logical.as_mut() {
                        text.push(' ');
                        text.push_str(physical.trim());
                    }
                }
                _ => finish(logical.replace((line, physical.trim_end().to_owned()))),
            }
        }
        finish(logical);
        Self { parameters, steps: Cell::new(0) }
    }

    /// The value of `name`, expanded; an empty one counts as not set.
    pub fn get(&self, name: &str) -> Option<String> {
        self.parameters.get(name)?.taken.set(true);
        self.peek(name)
    }

    /// The same for what has no place of its own in ours, and is to be remarked on all the same.
    pub fn peek(&self, name: &str) -> Option<String> {
        let parameter = self.parameters.get(name)?;
        self.steps.set(0);
        let value = self.expand(&parameter.value, 0);
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// Whether `name` is set to `yes`.
    pub fn is_yes(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("yes"))
    }

    /// The line of `name`.
    pub fn line(&self, name: &str) -> usize {
        self.parameters.get(name).map_or(0, |parameter| parameter.line)
    }

    /// What nobody asked for, in the order of the lines.
    pub fn untaken(&self) -> Vec<(&str, usize)> {
        let mut all: Vec<(&str, usize)> = self
            .parameters
            .iter()
            .filter(|(_, parameter)| !parameter.taken.get())
            .map(|(name, parameter)| (name.as_str(), parameter.line))
            .collect();
        all.sort_by_key(|(_, line)| *line);
        all
    }

    /// `$name`, `${name}`, `$(name)`, `${name?text}`, `${name:text}`; `$$` is the sign itself.
    fn expand(&self, text: &str, depth: usize) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('$') {
            out.push_str(before);
            self.steps.set(self.steps.get() + 1);
            if depth > DEPTH || self.steps.get() > STEPS || out.len() > LENGTH {
                return out;
            }
            rest = match reference(behind) {
                Some((inside, behind)) => {
                    out.push_str(&self.resolve(inside, depth));
                    behind
                }
                None => behind.strip_prefix('$').unwrap_or(behind),
            };
        }
        out.push_str(rest);
        if out.len() > LENGTH {
            out = out.chars().take(LENGTH / 4).collect();
        }
        out
    }

    fn resolve(&self, inside: &str, depth: usize) -> String {
        let end = inside.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inside.len());
        let (name, more) = inside.split_at(end);
        let value = match self.parameters.get(name) {
            Some(parameter) => self.expand(&parameter.value, depth + 1),
            None => self.built_in(name, depth),
        };
        let more = more.trim();
        let arm = |text: &str| self.expand(text.trim().trim_start_matches('{').trim_end_matches('}').trim(), depth + 1);
        match more.chars().next() {
            Some('?') if !value.is_empty() => arm(more[1..].split("}:").next().unwrap_or_default()),
            Some('?') => more.split_once("}:").map_or_else(String::new, |(_, other)| arm(other)),
            Some(':') if value.is_empty() => arm(&more[1..]),
            Some(':') | None => value,
            // A comparison, which nobody writes for what is read here.
            Some(_) => String::new(),
        }
    }

    fn built_in(&self, name: &str, depth: usize) -> String {
        match name {
            "config_directory" => "/etc/postfix".to_owned(),
            "data_directory" => "/var/lib/postfix".to_owned(),
            "mail_name" => "Postfix".to_owned(),
            "myorigin" => self.resolve("myhostname", depth + 1),
            "mydomain" => {
                let host = self.resolve("myhostname", depth + 1);
                host.split_once('.').map_or_else(|| "localdomain".to_owned(), |(_, domain)| domain.to_owned())
            }
            _ => String::new(),
        }
    }
}

/// What stands behind a `$`: the reference's inside, and what follows it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let close = match text.chars().next()? {
        '{' => '}',
        '(' => ')',
        c if c.is_ascii_alphanumeric() || c == '_' => {
            let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
            return Some(text.split_at(end));
        }
        _ => return None,
    };
    let open = text.chars().next()?;
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            c if c == open => depth += 1,
            c if c == close && depth == 1 => return Some((&text[1..at], &text[at + 1..])),
            c if c == close => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_continue_and_comments_stand_between_them() {
        let main = MainCf::parse("a = 1,\n# no\n\n   2\n  # nor this\n\t3\nb=\nc = x\nc = y\nnothing\n");
        assert_eq!(main.get("a").as_deref(), Some("1, 2 3"));
        assert_eq!((main.get("b"), main.get("c").as_deref(), main.line("c")), (None, Some("y"), 9));
    }

    #[test]
    fn values_stand_for_values() {
        let main = MainCf::parse(
            "myhostname = mon.example.org\nx = $mydomain ${myhostname} $(mail_name) $$1 ${none:{else}} ${myhostname?{yes}:{no}} ${none?{a}:{b}}",
        );
        assert_eq!(main.get("x").as_deref(), Some("example.org mon.example.org Postfix 1 else yes b"));
    }

    #[test]
    fn a_value_that_names_or_doubles_itself_ends() {
        let bomb: String = (0..40).map(|n| format!("v{n} = $v{} $v{}\n", n + 1, n + 1)).collect();
        for text in ["a = $b\nb = $a\nv0 = $a", &bomb, "v0 = ${v0:${v0:$v0}} $v0"] {
            assert!(MainCf::parse(text).get("v0").unwrap_or_default().len() <= LENGTH);
        }
    }
}
