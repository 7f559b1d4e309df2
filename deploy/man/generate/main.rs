//! Writes the man pages and the shells' completions into the source tree: `cargo run --example manual`. The test
//! `manual` fails when what is in the tree is not what this would write.

#![forbid(unsafe_code)]

use std::{fs, io, path};

mod commands;
mod keys;
mod pages;
mod roff;

fn main() -> io::Result<()> {
    let root = path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, text) in pages::all(root)? {
        if fs::read_to_string(root.join(&file)).ok().as_deref() != Some(&*text) {
            fs::write(root.join(&file), text)?;
            println!("{file}");
        }
    }
    Ok(())
}
