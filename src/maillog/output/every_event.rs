//! Every event there is, told the worst by whoever can: no line of any form may fire a rule of the IDS.

use std::cell::RefCell;
use std::io::Error;
use std::time::SystemTime;

use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::super::quiet::{TRIGGERS, quiet};
use super::{LIMIT, Line};
use crate::envelope::QueueId;
use crate::maillog;

thread_local! {
    static CAUGHT: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

struct Catch;

impl<S: Subscriber> Layer<S> for Catch {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        CAUGHT.with_borrow_mut(|caught| caught.push(Line::of(event)));
    }
}

/// Calls every function of `maillog` once, with `text` for each word that comes from outside.
fn tell_all(text: &str) {
    let id = &QueueId::new(SystemTime::UNIX_EPOCH);
    let io = &Error::other(text.to_owned());
    maillog::started(text, text);
    maillog::reloaded(text);
    maillog::not_reloaded(text, text);
    maillog::stopping(text);
    maillog::stopped(7);
    maillog::listening(text);
    maillog::handed_over(text, text);
    maillog::not_listening(text, text);
    maillog::connected(text);
    maillog::disconnected(text, text);
    maillog::not_accepted(text, text, text);
    maillog::accepted(id, text, text, text, 7, text);
    maillog::noticed(text, text);
    maillog::unsealable(text, text);
    maillog::signer_made(text);
    maillog::expiring(text, text, text, text);
    maillog::sent(id, text, text, 0.5, text);
    maillog::deferred(id, text, text, 0.5, text, text);
    maillog::gathered(id, text, 7, text);
    maillog::larger_than_slot(id, text, 7);
    maillog::late(7, 7);
    maillog::late_no_more();
    maillog::undeliverable(id, text, text, 0.5, text, text, text);
    maillog::removed(id);
    maillog::removal_deferred(text, io);
    maillog::not_moved(id, text);
    maillog::relay_unavailable(text, text, text);
    maillog::relay_usable(text);
    maillog::classic_exchange(text, text);
    maillog::token_renewed(text, 7);
    maillog::token_not_kept(text, text);
    maillog::certificate_changed(text, text, text);
    maillog::chain_changed(text, text);
    maillog::certificate_expires(text, 7);
    maillog::damaged(text, text);
    maillog::unreadable(text, text);
    maillog::fragments_removed(7);
    maillog::state_file_lost(id);
    maillog::room_is_scarce(text);
    maillog::no_room(text);
    maillog::room_again();
    maillog::moved(id, text);
    maillog::removed_unsent(id, text, text);
    maillog::broke_off(text);
    maillog::foreign_file(text);
    maillog::foreign_files(text, 7);
    maillog::following(text, 7, 7);
    maillog::log_not_usable(text, text);
    maillog::log_usable(text);
    maillog::log_waits(text, text);
    maillog::left_out(text, 7);
    maillog::log_rotated(text, text);
    maillog::log_truncated(text, text);
    maillog::log_has_a_gap(text, text);
    maillog::log_holds_no_alerts(text);
    maillog::advice(text);
    maillog::hindered(text, text);
    maillog::confined(text, text, true);
    maillog::state_changed(text, text, text);
    maillog::alarm_unusable(text, text, text);
    maillog::alarm_usable(text, text);
    maillog::ping_withheld(text, text);
    maillog::ping_resumed(text);
    maillog::dialog(text, '<', text);
}

/// The lines of every event about `text`.
fn lines(text: &str) -> Vec<Line> {
    let subscriber = tracing_subscriber::registry().with(Catch);
    tracing::subscriber::with_default(subscriber, || tell_all(text));
    CAUGHT.take()
}

/// The names of the public functions of `maillog` that log.
fn events() -> Vec<&'static str> {
    let functions = include_str!("../mod.rs").split("\npub fn ").skip(1);
    functions.map(|function| function.split('(').next().expect("a name")).collect()
}

fn fires(line: &str) -> Option<&'static str> {
    let lower = line.to_ascii_lowercase();
    TRIGGERS.into_iter().chain(["@@"]).find(|trigger| lower.contains(trigger))
}

/// What relay hosts, clients, file names and the system may say.
fn hostile() -> Vec<String> {
    let mut texts = vec!["x".repeat(20_000), "\u{e9}".repeat(2_000), "\\".repeat(2_000), "\"".repeat(2_000)];
    for trigger in TRIGGERS.into_iter().chain(["@@"]) {
        texts.push(trigger.to_owned());
        texts.push(trigger.to_uppercase());
        texts.push(trigger.repeat(300));
        texts.push(format!("\r\n{trigger}\n\0\x1b[31m{}", TRIGGERS.concat()));
    }
    texts
}

#[test]
fn every_event_is_told_here() {
    let here = include_str!("every_event.rs");
    let missing: Vec<_> = events().into_iter().filter(|event| !here.contains(&format!("maillog::{event}("))).collect();
    assert!(events().len() > 40, "{} events: were they found?", events().len());
    assert!(missing.is_empty(), "not held against the rules: {missing:?}");
    assert_eq!(lines("x").len(), events().len());
}

#[test]
fn the_words_of_our_own_need_no_escape() {
    for line in lines("x") {
        assert!(!line.text.contains("\\x"), "choose another word: {}", line.text);
    }
}

#[test]
fn no_event_in_any_form_fires_a_rule_whatever_it_is_told() {
    let mut checked = 0;
    for text in hostile() {
        for line in lines(&text) {
            let journal = line.for_the_journal();
            let forms = [line.as_text(), line.as_json(), line.for_syslog()];
            for form in forms.iter().map(|form| form.trim_end_matches('\n')).chain(journal.lines()) {
                assert_eq!(fires(form), None, "{form}");
                assert!(form.len() < LIMIT, "{} octets: {form}", form.len());
                assert!(form.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{form:?}");
                checked += 1;
            }
        }
    }
    println!("{checked} lines of {} events hold none of {} patterns", events().len(), TRIGGERS.len() + 1);
}

#[test]
fn the_catalogue_is_not_blind() {
    assert_eq!(fires("550 Access DENIED"), Some("denied"));
    assert_eq!(fires(&quiet("550 Access DENIED")), None);
}

#[test]
fn the_rules_we_ship_name_events_that_exist() {
    let rules = include_str!("../../../deploy/ids/sealrelay_rules.xml");
    let matches = rules.split("<match>").skip(1).filter_map(|rest| rest.split("</match>").next());
    let told_by_others = ["not usable: ", "noticed=", "status="];
    let mut checked = 0;
    for text in matches.flat_map(|alternatives| alternatives.split('|')) {
        // What stands behind these is said by a delivery or a client: the suite's `vocabulary` brings it about.
        if told_by_others.iter().any(|prefix| text.starts_with(prefix)) {
            continue;
        }
        assert!(lines("x").iter().any(|line| line.text.contains(text)), "no event says {text:?}");
        checked += 1;
    }
    assert!(checked > 8, "only {checked} were found");
}
