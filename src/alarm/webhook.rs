//! The webhook: one small JSON object for each state that has lasted, sent again until the newest one was taken.
//!
//! Its `text` is what Slack's and Mattermost's incoming webhooks show; ntfy (2.10 or later) puts it in place of
//! `{{.text}}` where the address of a topic ends in `?tpl=1&m={{.text}}`, and without that shows the object as it is. The
//! other fields are for programs.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::sight::Sight;
use super::{Alarm, client, judged};
use crate::config::{self, Endpoint};
use crate::shutdown::Shutdown;
use crate::status::{State, seconds_now};

/// The first delay after one that was not taken. Each further one is twice as long,
const FIRST_DELAY: Duration = Duration::from_secs(5);
/// up to this.
const LONGEST_DELAY: Duration = Duration::from_secs(15 * 60);

impl Alarm {
    /// Tells the webhook of each settled state until `shutdown`.
    pub(super) async fn tell(&self, mut shutdown: Shutdown) {
        let (mut config, mut settled) = (self.config.subscribe(), self.settled.subscribe());
        let (mut tries, mut due) = (0, Instant::now());
        loop {
            let current = config.borrow_and_update().clone();
            let state = *settled.borrow_and_update();
            // One that was named a moment ago has heard of nothing yet: it hears of what is not well.
            let told = current.webhook.as_ref().map(|webhook| self.record.told(&webhook.url));
            let news = state.filter(|state| told.is_some_and(|told| told != Some(*state)));
            tokio::select! {
                () = shutdown.wait() => return,
                // What was wrong may be repaired.
                Ok(()) = config.changed() => {
                    let url = |config: &config::Alarm| config.webhook.as_ref().map(|endpoint| endpoint.url.clone());
                    self.webhook.forget_if(url(&current) != url(&config.borrow()));
                    (tries, due) = (0, Instant::now());
                }
                Ok(()) = settled.changed() => {}
                () = sleep_until(due), if news.is_some() => tokio::select! {
                    () = shutdown.wait() => return,
                    taken = self.tell_once(&current, news) => {
                        tries = if taken { 0 } else { tries + 1 };
                        due = Instant::now() + delay(tries);
                    }
                },
            }
        }
    }

    /// Whether it was taken.
    async fn tell_once(&self, config: &config::Alarm, news: Option<State>) -> bool {
        let (Some(endpoint), Some(state)) = (&config.webhook, news) else { return false };
        let before = self.record.told(&endpoint.url);
        // From here on it may have been shown, whatever becomes of the answer or of us: then the next state is told, even if
        // it is the one before.
        self.record.tell(&endpoint.url, None);
        let outcome = post(endpoint, change(&config.name, &self.sight().with(state), before)).await;
        let taken = outcome.is_ok();
        self.record.tell(&endpoint.url, taken.then_some(state));
        self.webhook.note(&endpoint.url.host(), outcome);
        taken
    }
}

/// Posts `body`; the server has taken it when it answers 2xx.
pub async fn post(endpoint: &Endpoint, body: serde_json::Value) -> Result<(), String> {
    judged(client(endpoint).post_json(endpoint.url.reveal(), body.to_string()).await)
}

/// What is told of `sight`. `before` is what was taken before, if that is known.
fn change(name: &str, sight: &Sight, before: Option<State>) -> serde_json::Value {
    let (state, before) = (sight.state.to_string(), before.map(|state| state.to_string()));
    let came_after = before.as_ref().map_or_else(String::new, |before| format!(" (before: {before})"));
    let what_to_do = if sight.state == State::Ok { "" } else { ". Run `sealrelay status` there" };
    let text = format!("sealrelay on {name}: {}{came_after}. {}{what_to_do}.", state.to_uppercase(), sight.in_words());
    object(&text, name, &state, before.as_deref(), false)
}

/// What `sealrelay alarm test` sends.
pub fn test(name: &str) -> serde_json::Value {
    let text = format!("sealrelay on {name}: this is a TEST of the webhook; nothing has changed.");
    object(&text, name, "test", None, true)
}

fn object(text: &str, name: &str, state: &str, before: Option<&str>, test: bool) -> serde_json::Value {
    serde_json::json!({
        "text": text, "relay": name, "state": state, "before": before, "time": seconds_now(), "test": test,
    })
}

fn delay(tries: u32) -> Duration {
    let doubled = 1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_DELAY.saturating_mul(doubled).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_what_changed_and_holds_nothing_that_chats_or_json_would_take_for_markup() {
        let sight = Sight::default().with(State::Degraded);
        let body = change("mon", &sight, Some(State::Ok));
        assert_eq!(
            body["text"],
            "sealrelay on mon: DEGRADED (before: ok). 0 waiting; 0 held, 0 undeliverable; 0 of 0 relay host(s) in \
             trouble. Run `sealrelay status` there."
        );
        assert_eq!((&body["state"], &body["before"], &body["test"]), (&"degraded".into(), &"ok".into(), &false.into()));
        for body in [body, test("mon"), change("mon", &Sight::of_silence(), None)] {
            // Slack's three, Mattermost's mention and ntfy's template.
            assert!(!body["text"].as_str().expect("text").contains(['<', '>', '&', '@', '{', '*']), "{body}");
        }
    }

    #[test]
    fn delays_double_up_to_a_quarter_of_an_hour() {
        assert_eq!([1, 2, 3, 8, 9, 40].map(|tries| delay(tries).as_secs()), [5, 10, 20, 640, 900, 900]);
    }
}
