//! What is generated, file by file: the hand-written pages (`deploy/man/*.in`) with the commands, options and keys put
//! in where they ask for them, and the completions.

use std::path::Path;
use std::{fs, io};

use clap_complete::Shell;

use super::{commands, keys, roff};

/// The man pages, by their names in `deploy/man`; `NAME.in` is the hand-written part.
pub const PAGES: [&str; 4] = ["sealrelay.8", "sealrelay.toml.5", "sealrelay-verify.1", "sealrelay-sendmail.1"];

/// The completions, by their names in `deploy/completions`.
const COMPLETIONS: [(Shell, &str); 3] =
    [(Shell::Bash, "sealrelay.bash"), (Shell::Zsh, "_sealrelay"), (Shell::Fish, "sealrelay.fish")];

/// Every generated file below `root`, with its text.
pub fn all(root: &Path) -> io::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for page in PAGES {
        let written = fs::read_to_string(root.join(format!("deploy/man/{page}.in")))?;
        files.push((format!("deploy/man/{page}"), filled(root, &format!("{page}.in"), &written)?));
    }
    for (shell, name) in COMPLETIONS {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut sealrelay::cli::command(), "sealrelay", &mut text);
        let text = String::from_utf8(text).map_err(io::Error::other)?;
        files.push((format!("deploy/completions/{name}"), text));
    }
    Ok(files)
}

/// A hand-written page with its `@PLACES@` filled. Examples stand between `.EX` and `.EE` as they are typed.
fn filled(root: &Path, source: &str, written: &str) -> io::Result<String> {
    let mut page = format!(".\\\" Generated from deploy/man/{source} by `cargo run --example manual`.\n");
    let mut in_example = false;
    for line in written.lines() {
        in_example = (in_example || line == ".EX") && line != ".EE";
        match line {
            "@COMMANDS@" => page.push_str(&commands::all()),
            "@VERIFY@" => page.push_str(&commands::one("verify")),
            "@KEYS@" => page.push_str(&keys::all(&fs::read_to_string(root.join("deploy/sealrelay.toml"))?)),
            ".EX" => page.push_str(".EX\n"),
            line if in_example => page.push_str(&format!("{}\n", roff::verbatim(line))),
            line => page.push_str(&format!("{}\n", line.replace("@VERSION@", env!("CARGO_PKG_VERSION")))),
        }
    }
    Ok(page)
}
