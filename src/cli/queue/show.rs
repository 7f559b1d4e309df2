//! What `queue` prints: Postfix's table, JSON lines, one entry. What relay hosts said, and whatever else the spool's files
//! say, is printed as printable ASCII.

use std::io::{BufRead, Read, Write};

use super::super::{EX_IOERR, EX_NOINPUT, Failure, say, say_json, time};
use super::holder::broken_off;
use crate::envelope::{QueueId, escaped};
use crate::spool::{Listed, Shown};

/// A listing, line by line as it comes: it is never in memory.
pub fn list(answer: Option<Box<dyn BufRead>>, json: bool) -> Result<(), Failure> {
    let (mut count, mut octets) = (0_usize, 0_u64);
    let Some(mut answer) = answer else {
        if !json {
            say("Mail queue is empty");
        }
        return Ok(());
    };
    loop {
        let mut line = String::new();
        answer.read_line(&mut line).map_err(broken_off)?;
        match line.trim_end_matches('\n') {
            "" if line.is_empty() => return Err(broken_off(std::io::ErrorKind::UnexpectedEof.into())),
            "" => break,
            line if json => say(line),
            line => {
                let listed: Listed = serde_json::from_str(line).map_err(|error| broken_off(error.into()))?;
                if count == 0 {
                    say("-Queue ID-          --Size-- ---Arrival Time----- -Sender/Recipient-------");
                }
                row(&listed);
                (count, octets) = (count + 1, octets + listed.message_size);
            }
        }
    }
    match (json, count) {
        (true, _) => {}
        (false, 0) => say("Mail queue is empty"),
        (false, 1) => say(format!("-- {} Kbytes in 1 Request.", octets.div_ceil(1024))),
        (false, _) => say(format!("-- {} Kbytes in {count} Requests.", octets.div_ceil(1024))),
    }
    Ok(())
}

/// Postfix's layout: monitoring plug-ins read the first column and the last line.
fn row(listed: &Listed) {
    let mark = match listed.queue_name.as_str() {
        "active" => "*",
        "held" => "!",
        "queue" | "parked" => " ",
        _ => "#",
    };
    let arrival = time(listed.arrival_time);
    say(format!("{}{mark} {:>7} {arrival} {}", listed.queue_id, listed.message_size, escaped(&listed.sender)));
    if mark == "#" || !listed.delay_reason.is_empty() {
        let place = if mark == "#" { format!("{}: ", listed.queue_name) } else { String::new() };
        say(format!("{:>76}", format!("({place}{})", escaped(&listed.delay_reason))));
    }
    say(format!("{:50} {}", "", escaped(&listed.recipient)));
    say("");
}

/// One entry; its message instead, as it is, if wanted.
pub fn entry(answer: Option<Box<dyn BufRead>>, id: &QueueId, json: bool, message: bool) -> Result<(), Failure> {
    let Some(mut answer) = answer else { return Err(not_there(id)) };
    let shown: Option<Shown> = value(&mut answer)?;
    let Some(shown) = shown else { return Err(not_there(id)) };
    if message {
        return copy(&mut answer, &shown);
    }
    if json {
        return say_json(&shown);
    }
    fields(&shown);
    Ok(())
}

/// One value of an answer.
pub fn value<T: for<'a> serde::Deserialize<'a>>(answer: &mut impl BufRead) -> Result<T, Failure> {
    let mut line = String::new();
    answer.read_line(&mut line).map_err(broken_off)?;
    serde_json::from_str(&line).map_err(|error| broken_off(error.into()))
}

/// There is no such entry.
pub fn not_there(id: &QueueId) -> Failure {
    let hint = "`sealrelay queue list` names what there is; what was sent is in the log.";
    Failure::new(format!("no message {id} lies where this command looks"), hint, EX_NOINPUT)
}

fn copy(answer: &mut impl BufRead, shown: &Shown) -> Result<(), Failure> {
    let length: Result<u64, String> = value(answer)?;
    let length = length.map_err(|why| {
        let hint = format!("Look at the file itself: {}", shown.file.display());
        Failure::new(format!("{}: its message {why}", shown.listed.queue_id), hint, EX_IOERR)
    })?;
    let mut out = std::io::stdout().lock();
    let copied = std::io::copy(&mut answer.take(length), &mut out).map_err(broken_off)?;
    out.flush().map_err(broken_off)?;
    if copied < length { Err(broken_off(std::io::ErrorKind::UnexpectedEof.into())) } else { Ok(()) }
}

fn fields(shown: &Shown) {
    let listed = &shown.listed;
    let place = match listed.queue_name.as_str() {
        "active" => "queue (being delivered)",
        "parked" => "queue (waits for its digest or slot)",
        "queue" => "queue (waiting)",
        "held" => "held (by the operator)",
        "failed" => "failed (refused for good, or expired)",
        _ => "damaged (never sent)",
    };
    let mut rows = vec![
        ("queue id", listed.queue_id.clone()),
        ("lies in", place.to_owned()),
        ("file", shown.file.display().to_string()),
        ("arrival", time(listed.arrival_time)),
        ("size", format!("{} octets, sealed", listed.message_size)),
        ("from", format!("<{}>", listed.sender)),
        ("to", format!("<{}>", listed.recipient)),
    ];
    if let Some(header) = &shown.header {
        let number = header.sequence.map_or_else(|| "none, a notice".to_owned(), |number| number.to_string());
        rows.push(("message-id", header.message_id.clone()));
        rows.push(("number", format!("{number} (epoch {})", header.epoch)));
        rows.extend(header.sealed_to.iter().map(|fingerprint| ("sealed to", fingerprint.clone())));
    }
    rows.push(("attempts", listed.attempts.to_string()));
    if listed.next_attempt > 0 {
        rows.push(("next", time(listed.next_attempt)));
    }
    if !listed.delay_reason.is_empty() {
        rows.push(("last reply", listed.delay_reason.clone()));
    }
    rows.iter().for_each(|(name, value)| say(format!("{name:<12}{}", escaped(value))));
}
