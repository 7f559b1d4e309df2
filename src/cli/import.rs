//! `sealrelay import`.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::new_file::{self, Access};
use super::{EX_DATAERR, EX_NOINPUT, Failure, say};
use crate::import::{self, Draft, ImportError, Wishes};

#[derive(clap::Subcommand)]
pub enum Command {
    /// From Postfix
    Postfix {
        /// Its directory, such as /etc/postfix; or a file with main.cf or what `postconf -n` printed
        place: PathBuf,
        /// The ossec.conf of the IDS behind which it stands: it says who gets the alerts
        #[arg(long, value_name = "FILE")]
        ossec: Option<PathBuf>,
        #[command(flatten)]
        options: Options,
    },
    /// From the ossec.conf of OSSEC or Wazuh
    Ossec {
        /// Such as /var/ossec/etc/ossec.conf
        file: PathBuf,
        #[command(flatten)]
        options: Options,
    },
    /// From SecureDrop's site-specific
    Securedrop {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        options: Options,
    },
}

#[derive(clap::Args)]
pub struct Options {
    /// Who gets the alerts, in place of what was found
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// The file with the recipient's OpenPGP certificate
    #[arg(long, value_name = "FILE")]
    certificate: Option<String>,
    /// Its fingerprint
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Option<String>,
    /// Write the configuration to a new file, in place of printing it
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Write the password that was found to a new file of mode 0400
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        let code = if matches!(error, ImportError::Malformed { .. }) { EX_DATAERR } else { EX_NOINPUT };
        Self::new(&error, error.hint(), code)
    }
}

pub fn run(command: &Command) -> Result<u8, Failure> {
    let (draft, options) = match command {
        Command::Postfix { place, ossec, options } => (import::from_postfix(place, ossec.as_deref())?, options),
        Command::Ossec { file, options } => (import::from_ossec(file)?, options),
        Command::Securedrop { file, options } => (import::from_securedrop(file)?, options),
    };
    finish(draft, options)
}

/// Both files are written, or none.
fn finish(mut draft: Draft, options: &Options) -> Result<u8, Failure> {
    options.write.iter().chain(&options.password_file).try_for_each(|path| new_file::refuse_existing(path))?;
    draft.fulfil(Wishes {
        recipient: options.recipient.clone(),
        certificate: options.certificate.clone(),
        fingerprint: options.fingerprint.clone(),
        password_file: options.password_file.as_deref().map(|file| as_seen_from(options.write.as_deref(), file)),
    });
    if let Some(file) = &options.password_file {
        let password = draft.password.as_ref().ok_or_else(|| {
            let hint = "Without --password-file the configuration says where the password goes.";
            Failure::new("no password was found that could be written", hint, EX_NOINPUT)
        })?;
        new_file::write(file, format!("{}\n", password.reveal()).as_bytes(), Access::Secret)?;
    }
    match &options.write {
        Some(file) => new_file::write(file, draft.to_string().as_bytes(), Access::Public).inspect_err(|_| {
            // It was made above, so it can go.
            options.password_file.iter().for_each(|file| drop(std::fs::remove_file(file)));
        })?,
        None => say(draft.to_string().trim_end()),
    }
    for unknown in draft.unknown() {
        let _ = writeln!(std::io::stderr(), "left to fill in: {unknown}");
    }
    Ok(0)
}

/// The name of the password file as the configuration has it: alone if both are in one folder.
fn as_seen_from(configuration: Option<&Path>, file: &Path) -> String {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let file = absolute(file);
    let folder = configuration.map(absolute).and_then(|path| path.parent().map(Path::to_owned));
    match (folder.as_deref() == file.parent(), file.file_name()) {
        (true, Some(name)) => name.to_string_lossy().into_owned(),
        _ => file.display().to_string(),
    }
}
