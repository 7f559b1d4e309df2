//! Where each value of the configuration comes from: a line of the file, a variable, or neither.
//!
//! Keys are named as in `recipient[0].address`: entries are counted from 0.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Value;
use toml::de::{DeArray, DeTable, DeValue};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The file, at a line where one can be named.
    File(PathBuf, Option<usize>),
    /// An environment variable.
    Variable(String),
    /// Nobody set it.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file, Some(line)) => write!(f, "{}:{line}", file.display()),
            Self::File(file, None) => write!(f, "{}", file.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The keys that were set.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// By the file: the line, and the value if it is no table.
    lines: BTreeMap<String, (usize, Option<Value>)>,
    /// By variables.
    variables: BTreeMap<String, String>,
}

impl Places {
    /// Of the file with this text, and of these variables.
    pub fn of<'v>(text: &str, variables: impl Iterator<Item = &'v String>) -> Self {
        let mut places = Self::default();
        if let Ok(table) = DeTable::parse(text) {
            places.table("", table.get_ref(), text);
        }
        let keys = variables.filter_map(|name| Some((name.strip_prefix("SEALRELAY_")?, name)));
        places.variables =
            keys.map(|(key, name)| (key.to_ascii_lowercase().replace("__", "."), name.clone())).collect();
        places
    }

    fn table(&mut self, path: &str, table: &DeTable<'_>, text: &str) {
        for (key, value) in table {
            let path = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
            let line = line(text, key.span().start);
            match value.get_ref() {
                DeValue::Table(inner) => {
                    self.lines.insert(path.clone(), (line, None));
                    self.table(&path, inner, text);
                }
                DeValue::Array(entries) if is_section(&path, entries) => {
                    for (nth, entry) in entries.iter().enumerate() {
                        let path = format!("{path}[{nth}]");
                        self.lines.insert(path.clone(), (line_of_entry(text, entry.span().start, line), None));
                        if let DeValue::Table(inner) = entry.get_ref() {
                            self.table(&path, inner, text);
                        }
                    }
                }
                other => drop(self.lines.insert(path, (line, plain(other)))),
            }
        }
    }

    /// Where `key` is set in `file`, or where the table is in which it is missing.
    pub fn find(&self, file: &Path, key: &str) -> Place {
        if let Some(name) = self.variables.get(key) {
            return Place::Variable(name.clone());
        }
        let mut key = key;
        loop {
            if let Some((line, _)) = self.lines.get(key) {
                return Place::File(file.to_owned(), Some(*line));
            }
            match key.rsplit_once('.') {
                Some((table, _)) => key = table,
                None => return Place::File(file.to_owned(), None),
            }
        }
    }

    /// Who set `key`.
    pub fn origin(&self, file: &Path, key: &str) -> Place {
        match (self.variables.get(key), self.lines.get(key)) {
            (Some(name), _) => Place::Variable(name.clone()),
            (None, Some((line, _))) => Place::File(file.to_owned(), Some(*line)),
            (None, None) => Place::Default,
        }
    }

    /// Every key that the file sets, with its value.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.lines.iter().filter_map(|(key, (_, value))| Some((key.as_str(), value.as_ref()?)))
    }
}

/// `[[recipient]]` and the like. What `accept` lists are values.
fn is_section(path: &str, entries: &DeArray<'_>) -> bool {
    !path.contains('[') && !entries.is_empty() && entries.iter().all(|entry| entry.get_ref().is_table())
}

/// From 1.
fn line(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|octet| **octet == b'\n').count() + 1
}

/// An entry's own line; that of its name if the parser knows none.
fn line_of_entry(text: &str, offset: usize, name: usize) -> usize {
    if offset == 0 { name } else { line(text, offset) }
}

fn plain(value: &DeValue<'_>) -> Option<Value> {
    match value {
        DeValue::String(text) => Some(Value::String(text.to_string())),
        DeValue::Boolean(is) => Some(Value::Boolean(*is)),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::Integer),
        DeValue::Array(parts) => {
            parts.iter().map(|part| plain(part.get_ref())).collect::<Option<Vec<_>>>().map(Value::Array)
        }
        DeValue::Table(table) => {
            let parts = table.iter().map(|(key, value)| Some((key.get_ref().to_string(), plain(value.get_ref())?)));
            parts.collect::<Option<toml::Table>>().map(Value::Table)
        }
        // Floats and dates: no key has such a value.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# x\n[spool]\nlifetime = \"1d\"\n\n[[relay]]\nhost = \"a\"\n\n[[relay]]\nhost = \"b\"\n[relay.oauth]\nclient_id = \"c\"\n";

    fn found(key: &str) -> String {
        let variables = ["SEALRELAY_SPOOL__DIRECTORY".to_owned()];
        Places::of(TEXT, variables.iter()).find(Path::new("f"), key).to_string()
    }

    #[test]
    fn a_key_is_found_where_it_is_set_or_where_it_is_missing() {
        assert_eq!(found("spool.lifetime"), "f:3");
        assert_eq!(found("relay[1].host"), "f:9");
        assert_eq!(found("relay[1].oauth.client_id"), "f:11");
        assert_eq!(found("relay[1].port"), "f:8");
        assert_eq!(found("spool.quota"), "f:2");
        assert_eq!(found("spool.directory"), "SEALRELAY_SPOOL__DIRECTORY");
        assert_eq!(found("recipient"), "f");
    }
}
