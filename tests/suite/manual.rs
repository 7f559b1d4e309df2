//! The manual: generated parts are those of this very program, every option and key is in it, its examples are accepted,
//! and man and mandoc have nothing to say against its form.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, str};

use crate::examples;
use crate::support::daemon::program;
use crate::support::have;

#[path = "../../deploy/man/generate/commands.rs"]
mod commands;
#[path = "../../deploy/man/generate/keys.rs"]
mod keys;
#[path = "../../deploy/man/generate/pages.rs"]
mod pages;
#[path = "../../deploy/man/generate/roff.rs"]
mod roff;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn page(name: &str) -> String {
    file(&format!("deploy/man/{name}"))
}

/// Roff's spellings of what is typed, as it is typed.
fn typed(roff: &str) -> String {
    let spellings = [("\\fB", ""), ("\\fI", ""), ("\\fR", ""), ("\\-", "-"), ("\\(aq", "'"), ("\\:", ""), ("\\&", "")];
    spellings.iter().fold(roff.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[test]
fn the_manual_and_the_completions_are_those_of_this_program() {
    let files = pages::all(root()).expect("generated");
    assert_eq!(files.len(), 7);
    for (name, text) in files {
        let there = fs::read_to_string(root().join(&name)).unwrap_or_default();
        assert!(there == text, "{name} is out of date: cargo run --example manual");
    }
}

/// By `--help` of the program itself, so that nothing is left out on the way.
#[test]
fn every_command_and_option_is_in_the_manual() {
    let pages = ["sealrelay.8", "sealrelay-verify.1"].map(|name| typed(&page(name))).concat();
    let (mut asked, mut waiting) = (0, vec![Vec::new()]);
    while let Some(command) = waiting.pop() {
        let output = program().args(&command).arg("--help").output().expect("runs");
        let help = String::from_utf8(output.stdout).expect("text");
        let title = format!(".SS sealrelay {}\n", command.join(" "));
        let is_group = help.contains("\nCommands:\n");
        assert!(is_group || pages.contains(&title), "no {title}");
        let section = pages.split(&title).nth(1).unwrap_or(&pages).split("\n.SS ").next().unwrap_or_default();
        for option in help.lines().filter_map(|line| line.trim_start().strip_prefix("--")) {
            let option = option.split([' ', ',', '=']).next().unwrap_or_default();
            // Those of every command, and those of a command with a page of its own, stand elsewhere in the pages.
            let place = if option == "config" || command == ["verify"] { &pages } else { section };
            assert!(place.contains(&format!("\n--{option}")), "--{option} of {command:?} is not in the manual");
            asked += 1;
        }
        let listed = help.split("\nCommands:\n").nth(1).into_iter().flat_map(|rest| rest.split("\n\n").next());
        let names = listed.flat_map(str::lines).filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
            waiting.push(command.iter().map(String::as_str).chain([name]).map(str::to_owned).collect());
        }
    }
    assert!(asked > 50, "only {asked} options were found");
}

#[test]
fn every_option_that_sendmail_tells_of_is_in_its_page() {
    let page = typed(&page("sealrelay-sendmail.1"));
    let output = program().args(["sendmail", "--help"]).output().expect("runs");
    let help = String::from_utf8(output.stdout).expect("text");
    let told = help.lines().filter(|line| line.starts_with("  -")).flat_map(|line| line[2..].split("  ").next());
    let options: Vec<&str> =
        told.flat_map(|names| names.split([' ', ','])).filter(|word| word.starts_with('-')).collect();
    assert!(options.len() > 7, "{options:?}");
    for option in options {
        assert!(page.contains(option), "{option}");
    }
}

/// The keys as the program reads them, by section.
fn keys_read() -> Vec<(String, String)> {
    let source = file("src/config/raw.rs");
    let (mut section, mut found) = (String::new(), Vec::new());
    for line in source.lines() {
        if let Some(named) = line.strip_prefix("/// `[").and_then(|rest| rest.split("]`").next()) {
            section = format!("[{named}]");
        } else if line.starts_with("/// ") {
            section.clear();
        }
        let field = line.strip_prefix("    pub ").and_then(|rest| rest.split_once(':'));
        found.extend(field.filter(|_| !section.is_empty()).map(|(key, _)| (section.clone(), key.to_owned())));
    }
    found
}

#[test]
fn every_key_of_the_configuration_is_in_the_manual() {
    let page = typed(&page("sealrelay.toml.5"));
    let keys = keys_read();
    assert!(keys.len() > 55, "{keys:?}");
    for (section, key) in keys {
        let told = page.split(&format!("\n.SS {section}\n")).nth(1).unwrap_or_else(|| panic!("no {section}"));
        let told = told.split("\n.S").next().unwrap_or_default();
        // A table within a table stands behind it.
        let is_told = told.contains(&format!("\n{key} = ")) || page.contains(&format!(".{key}]\n"));
        assert!(is_told, "{key} of {section} is not in the manual: explain it in deploy/sealrelay.toml");
    }
}

#[test]
fn every_key_has_an_explanation_below_it() {
    let page = page("sealrelay.toml.5");
    let keys = page.split("\n.SH KEYS\n").nth(1).and_then(|rest| rest.split("\n.SH ").next()).expect("KEYS");
    for (key, next) in keys.lines().zip(keys.lines().skip(1)).filter(|(key, _)| key.starts_with("\\fB")) {
        assert!(!next.starts_with(".TP") && !next.starts_with(".SS"), "{key} has none");
    }
}

#[test]
fn every_example_in_the_manual_is_accepted() {
    let mut tried = 0;
    for name in pages::PAGES {
        for example in typed(&page(name)).split("\n.EX\n").skip(1).filter_map(|rest| rest.split("\n.EE").next()) {
            let (good, said) = examples::checked(example);
            assert!(good, "{name}: {said}\n{example}");
            tried += 1;
        }
    }
    assert!(tried >= 4, "only {tried} examples");
}

#[test]
fn man_and_mandoc_find_no_fault_with_the_pages() {
    for name in pages::PAGES {
        let path = root().join("deploy/man").join(name);
        if have("mandoc") {
            assert_eq!(said(Command::new("mandoc").args(["-Tlint", "-Wwarning"]), &path), "", "{name}");
        }
        if have("groff") {
            let mut groff = Command::new("groff");
            assert_eq!(said(groff.args(["-man", "-Tutf8", "-ww", "-z", "-rCHECKSTYLE=3"]), &path), "", "{name}");
        }
    }
}

/// What a judge of a page says.
fn said(judge: &mut Command, page: &PathBuf) -> String {
    let output = judge.arg(page).output().expect("runs");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn bash_completes_a_command_and_an_option() {
    if !have("bash") {
        return;
    }
    let script = root().join("deploy/completions/sealrelay.bash");
    for (words, wanted) in [("sealrelay que", "queue"), ("sealrelay check --all-r", "--all-relays")] {
        let ask = format!(
            ". {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _sealrelay sealrelay \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let output = Command::new("bash").args(["--norc", "-c", &ask]).output().expect("runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), wanted, "{output:?}");
    }
}
