//! Which alerts of a log are sent: OSSEC's and Wazuh's own rules for mail (`email_alert_level`, `alert_by_email`,
//! `no_email_alert`).

use crate::alert::json::Weight;
use crate::config::Follow;

/// OSSEC's `email_alert_level`, where neither the configuration nor the line says anything.
const DEFAULT_LEVEL: u32 = 7;

/// Whether an alert is sent. What the operator says of a rule counts before what the IDS says of the alert, and the IDS's
/// yes before any level.
pub fn is_sent(follow: &Follow, alert: &Weight) -> bool {
    if follow.no_email_alert.contains(&alert.rule) {
        return false;
    }
    let by_level = match (follow.email_level, alert.mail) {
        (Some(level), _) => alert.level >= level,
        (None, Some(_)) => false,
        (None, None) => alert.level >= DEFAULT_LEVEL,
    };
    follow.alert_by_email.contains(&alert.rule) || alert.mail == Some(true) || by_level
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_rules_count_before_the_idss_and_its_yes_before_any_level() {
        let follow = |email_level| Follow {
            path: "/log".into(),
            from_start: false,
            email_level,
            alert_by_email: vec![1],
            no_email_alert: vec![2],
            secondary: false,
        };
        // Level configured, rule, level, rule.mail: sent.
        let table = [
            (None, 5, 7, None, true),
            (None, 5, 6, None, false),
            (None, 5, 12, Some(false), false),
            (None, 5, 3, Some(true), true),
            (Some(10), 5, 10, Some(false), true),
            (Some(10), 5, 9, None, false),
            (Some(10), 5, 3, Some(true), true),
            (Some(0), 5, 0, None, true),
            (None, 1, 0, Some(false), true),
            (Some(0), 2, 15, Some(true), false),
        ];
        for (configured, rule, level, mail, sent) in table {
            let weight = Weight { rule, level, mail };
            assert_eq!(is_sent(&follow(configured), &weight), sent, "{configured:?}, {weight:?}");
        }
    }
}
