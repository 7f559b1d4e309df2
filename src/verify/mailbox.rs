//! Reads messages out of files, mboxes (mboxo, mboxrd), Maildirs and folders of `.eml` files, one at a time.
//!
//! Guarantees: at most one message is in memory, and none above [`LIMIT`]; a file that is no regular one is never opened,
//! but for what the user names. What an attacker can do is send mail; a line `From ` behind an empty one that the mail
//! system did not quote divides a message in two, of which neither can pass for the relay's.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::VerifyError;
use super::letter::Letter;

/// The largest message that is looked at, octets: the largest alert a relay can be set to take, sealed.
const LIMIT: usize = 128 * 1024 * 1024;
/// How much of a long line is read at once, octets.
const PIECE: u64 = 64 * 1024;

/// A mailbox that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MailboxError {
    /// The system does not allow it.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// What.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder of nothing.
    #[error("{0} is neither a Maildir nor a folder with .eml files")]
    NoMail(PathBuf),
}

/// Told the octets read so far and the octets there are.
pub type Progress<'a> = dyn FnMut(u64, u64) + 'a;

type Visit<'a> = dyn FnMut(Letter) -> Result<(), VerifyError> + 'a;

/// Calls `visit` with each message of all `paths`.
///
/// # Errors
/// One of them cannot be read, or `visit` says so.
pub fn each(paths: &[PathBuf], progress: &mut Progress<'_>, visit: &mut Visit<'_>) -> Result<(), VerifyError> {
    let mut files = Vec::new();
    for path in paths {
        files.extend(files_of(path)?);
    }
    let size = |file: &PathBuf| std::fs::metadata(file).map_or(0, |data| data.len());
    let all = files.iter().map(size).sum();
    let mut before = 0;
    for file in &files {
        let opened = File::open(file).map_err(unreadable(file))?;
        let mut so_far = |octets: u64| progress(before + octets, all);
        messages(file, BufReader::with_capacity(64 * 1024, opened), &mut so_far, visit)?;
        before += size(file);
    }
    progress(all, all);
    Ok(())
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> MailboxError {
    let path = path.to_owned();
    move |source| MailboxError::Unreadable { path, source }
}

/// The files with mail that `path` means, in the order of their names.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, MailboxError> {
    if !std::fs::metadata(path).map_err(unreadable(path))?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let maildir = ["cur", "new"].map(|name| path.join(name));
    if maildir.iter().any(|folder| folder.is_dir()) {
        let mut files = Vec::new();
        for folder in maildir.iter().filter(|folder| folder.is_dir()) {
            files.extend(regular_files(folder)?);
        }
        return Ok(files);
    }
    let mut files = regular_files(path)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("eml")));
    if files.is_empty() { Err(MailboxError::NoMail(path.to_owned())) } else { Ok(files) }
}

fn regular_files(folder: &Path) -> Result<Vec<PathBuf>, MailboxError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable(folder))? {
        let entry = entry.map_err(unreadable(folder))?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// The messages of one file. An mbox begins with `From `; everything else is one message.
fn messages(
    file: &Path,
    mut reader: impl BufRead,
    so_far: &mut dyn FnMut(u64),
    visit: &mut Visit<'_>,
) -> Result<(), VerifyError> {
    let is_mbox = reader.fill_buf().map_err(unreadable(file))?.starts_with(b"From ");
    let place = |nth: usize| if is_mbox { format!("{}:{nth}", file.display()) } else { file.display().to_string() };
    let mut letter = Letter::at(place(1));
    let (mut nth, mut read, mut piece) = (0, 0, Vec::new());
    let (mut behind_an_empty_line, mut at_line_start) = (true, true);
    loop {
        piece.clear();
        let count = (&mut reader).take(PIECE).read_until(b'\n', &mut piece).map_err(unreadable(file))?;
        read += count as u64;
        let begins = is_mbox && at_line_start && behind_an_empty_line && piece.starts_with(b"From ");
        if count == 0 || begins {
            if nth > 0 || (!is_mbox && !letter.octets.is_empty()) {
                visit(std::mem::take(&mut letter))?;
                so_far(read);
            }
            nth += 1;
            letter = Letter::at(place(nth));
        } else if letter.octets.len() + count > LIMIT {
            letter.too_large = true;
        } else {
            letter.octets.extend_from_slice(&piece);
        }
        if count == 0 {
            return Ok(());
        }
        behind_an_empty_line = at_line_start && matches!(piece.as_slice(), b"\n" | b"\r\n");
        at_line_start = piece.ends_with(b"\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &[u8]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut visit = |letter: Letter| {
            found.push((letter.place, String::from_utf8_lossy(&letter.octets).into_owned()));
            Ok(())
        };
        messages(Path::new("box"), text, &mut |_| {}, &mut visit).expect("read");
        found
    }

    #[test]
    fn an_mbox_is_divided_at_from_lines_behind_empty_ones_and_nowhere_else() {
        let text = b"From a@b Fri\nSubject: 1\n\nFrom here it is text? no, this line is behind an empty one\n";
        assert_eq!(found(text).len(), 2);
        let text = b"From a@b Fri\nSubject: 1\n\ntext\nFrom the middle\n>From quoted\n\nFrom c@d Fri\r\nSubject: 2\n\n";
        let messages = found(text);
        assert_eq!(messages.len(), 2);
        assert_eq!(
            messages[0],
            ("box:1".to_owned(), "Subject: 1\n\ntext\nFrom the middle\n>From quoted\n\n".to_owned())
        );
        assert_eq!(messages[1], ("box:2".to_owned(), "Subject: 2\n\n".to_owned()));
    }

    #[test]
    fn a_file_that_is_no_mbox_is_one_message_and_an_empty_one_is_none() {
        assert_eq!(found(b"Subject: 1\n\nFrom x\n\nFrom y\n").len(), 1);
        assert_eq!(found(b"").len(), 0);
        let long = [b"From a\n".as_slice(), &b"x".repeat(200_000), b"From \nFrom b\n"].concat();
        assert_eq!(found(&long).len(), 1);
    }
}
