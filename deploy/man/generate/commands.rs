//! The commands and their options, as clap knows them.

use std::io;

use clap::Command;
use clap_mangen::Man;

use super::roff;

/// Commands with a page of their own, which sealrelay(8) names in place of their options.
const ELSEWHERE: [(&str, &str); 2] = [("verify", "sealrelay-verify"), ("sendmail", "sealrelay-sendmail")];

/// A subsection for every command.
pub fn all() -> String {
    let mut page = String::new();
    walk(&whole(), &mut page);
    page
}

/// The options of one command, for its own page.
pub fn one(name: &str) -> String {
    let whole = whole();
    whole.find_subcommand(name).map(options).unwrap_or_default()
}

fn whole() -> Command {
    let mut command = sealrelay::cli::command();
    command.build();
    command
}

fn walk(command: &Command, page: &mut String) {
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        let is_told = !command.has_subcommands() || command.get_long_about().is_some();
        if is_told {
            page.push_str(&format!(".SS {}\n", command.get_bin_name().unwrap_or(command.get_name())));
        }
        if command.has_subcommands() {
            if is_told {
                page.push_str(&section(command, Man::render_description_section));
            }
            walk(command, page);
            continue;
        }
        match ELSEWHERE.iter().find(|(name, _)| *name == command.get_name()) {
            Some((_, its_page)) => {
                let about = command.get_about().map(ToString::to_string).unwrap_or_default();
                page.push_str(&format!("{about}:\n.BR {its_page} (1).\n"));
            }
            None => {
                page.push_str(&section(command, Man::render_synopsis_section));
                page.push_str(".PP\n");
                page.push_str(&section(command, Man::render_description_section));
                page.push_str(&options(command));
            }
        }
    }
}

fn options(command: &Command) -> String {
    section(command, Man::render_options_section)
}

/// A section as clap_mangen writes it, without what belongs to a page: the preamble and the heading. `--config` and
/// `--help`, which every command has, are told once.
fn section(command: &Command, render: fn(&Man, &mut dyn io::Write) -> io::Result<()>) -> String {
    let told = |name| command.get_arguments().any(|argument| argument.get_id() == name);
    let mut own = command.clone();
    for name in ["config", "help"].into_iter().filter(|name| told(*name)) {
        own = own.mut_arg(name, |argument| argument.hide(true));
    }
    let mut text = Vec::new();
    // Writing into memory does not fail.
    let _ = render(&Man::new(own), &mut text);
    let text = String::from_utf8_lossy(&text).replace("\\*(Aq", "\\(aq").replace(".br\n\n.br\n", ".sp\n");
    let lines = text.lines().skip_while(|line| !line.starts_with(".SH")).skip(1);
    lines.map(|line| format!("{}\n", roff::bold(line))).collect()
}
