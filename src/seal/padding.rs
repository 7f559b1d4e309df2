//! Size classes: a relay host sees one of a few sizes, not how long an alert was.
//!
//! A class is the size of the finished message, or the largest size a relay host takes, where that is less. The filler
//! is what no reader shows: in PGP/MIME blanks behind the last boundary of the protected entity (its epilogue), inline a
//! notation in the signature. Armor grows in steps of 3 octets to 4 characters, so all messages of one class to one
//! recipient have the same size: the largest that can be made within the class, at most 5 octets below it.
//!
//! OpenPGP integers drop leading zeros (RFC 9580 3.2), so one sealing in about 100 comes out an octet short: sealing is
//! repeated until the size is exact. If it never is, or if there is not room for so much filler, the message goes out
//! all the same: a size tells less than silence.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

const KIB: usize = 1024;
/// The classes below the multiples of the last one.
const CLASSES: [usize; 5] = [16 * KIB, 32 * KIB, 64 * KIB, 128 * KIB, 256 * KIB];
/// Sealings before an inexact size is let go. One in about 100 is short, so this many in a row never are.
const TRIES: usize = 24;

/// So many short sealings of one message are chance.
const CHANCE: usize = 3;

/// What was learnt about how much sealing adds, for one recipient, class by class.
#[derive(Default)]
pub struct Padding {
    /// No message is smaller than this, octets.
    floor: usize,
    learnt: Mutex<HashMap<usize, Growth>>,
}

/// How a text of a class grows.
#[derive(Clone, Copy)]
struct Growth {
    /// Octets OpenPGP adds to the text, no zeros dropped.
    openpgp: usize,
    /// Octets around the armored lines.
    around: usize,
}

/// A guess, corrected by the first sealing.
const GUESS: Growth = Growth { openpgp: 800, around: 900 };

/// A finished message, and its OpenPGP octets before armoring.
type Finished = (Vec<u8>, usize);

/// The smallest class that holds `size` octets.
pub fn class_of(size: usize) -> usize {
    let last = CLASSES[CLASSES.len() - 1];
    CLASSES.into_iter().find(|class| size <= *class).unwrap_or_else(|| size.div_ceil(last) * last)
}

/// The size a text of `bare` octets will have when it is sealed, as far as it can be told before; `None` if it cannot be
/// filled up to one.
pub fn expected(bare: usize, room: &RangeInclusive<usize>, ceiling: usize, floor: usize) -> Option<usize> {
    Padding::of(floor).plan(bare, room, ceiling).map(|plan| plan.size)
}

/// The size without filler, about: each further certificate adds some hundred octets.
pub fn unfilled(bare: usize) -> usize {
    armored(bare + GUESS.openpgp) + GUESS.around
}

/// What is sealed next: how much filler, for which size, as far as is known.
struct Plan {
    size: usize,
    known: bool,
    growth: Growth,
    /// Octets before armoring.
    target: usize,
    filler: usize,
}

impl Padding {
    /// For messages of at least `floor` octets.
    pub fn of(floor: usize) -> Self {
        Self { floor, learnt: Mutex::default() }
    }

    /// Calls `seal` with numbers of filler octets, within `room`, for a text of `bare` octets without filler, until the
    /// finished message has its class's size. It is never filled above `ceiling` octets.
    ///
    /// # Errors
    /// Those of `seal`.
    pub fn fill<E>(
        &self,
        bare: usize,
        room: &RangeInclusive<usize>,
        ceiling: usize,
        mut seal: impl FnMut(usize) -> Result<Finished, E>,
    ) -> Result<Vec<u8>, E> {
        let mut finished = Vec::new();
        let mut shorts = Vec::new();
        for _ in 0..TRIES {
            // A message that is not exact goes before the next one is made: large ones must not be in memory twice.
            finished.clear();
            finished.shrink_to_fit();
            let Some(plan) = self.plan(bare, room, ceiling) else {
                return seal(*room.start()).map(|(message, _)| message);
            };
            let (message, octets) = seal(plan.filler)?;
            let growth = Growth { openpgp: octets - bare - plan.filler, around: message.len() - armored(octets) };
            if octets == plan.target && growth.around == plan.growth.around {
                return Ok(message);
            }
            // Short of what is known by dropped zeros, which is chance; or what is known holds no longer: a certificate
            // is not used any more. Then it stays short.
            let is_short = plan.known && growth.openpgp < plan.growth.openpgp;
            shorts.extend(is_short.then_some(growth.openpgp));
            let openpgp = match shorts.iter().max() {
                Some(most) if is_short && shorts.len() > CHANCE => *most,
                _ if is_short => plan.growth.openpgp,
                _ => growth.openpgp,
            };
            self.learn(plan.size, Growth { openpgp, ..growth });
            finished = message;
        }
        Ok(finished)
    }

    /// The smallest class that holds the text; `None` if it cannot be reached.
    fn plan(&self, bare: usize, room: &RangeInclusive<usize>, ceiling: usize) -> Option<Plan> {
        let mut class = class_of(armored(bare)).max(self.floor);
        loop {
            let size = class.min(ceiling);
            let known = self.known(size);
            let growth = known.unwrap_or(GUESS);
            let target = longest(size.saturating_sub(growth.around));
            match target.checked_sub(bare + growth.openpgp) {
                Some(filler) if filler > *room.end() => return None,
                Some(filler) if room.contains(&filler) => {
                    return Some(Plan { size, known: known.is_some(), growth, target, filler });
                }
                _ if size < class => return None,
                _ => class = class_of(class + 1),
            }
        }
    }

    fn known(&self, class: usize) -> Option<Growth> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner).get(&class).copied()
    }

    fn learn(&self, class: usize, growth: Growth) {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner).insert(class, growth);
    }
}

/// The size of `octets` in armored lines of 64 characters and CRLF (RFC 9580 6.2).
fn armored(octets: usize) -> usize {
    let characters = octets.div_ceil(3) * 4;
    characters + characters.div_ceil(64) * 2
}

/// The most octets whose armored lines fit into `size`.
fn longest(size: usize) -> usize {
    let mut octets = size / 66 * 48;
    while armored(octets + 1) <= size {
        octets += 1;
    }
    octets
}

/// Fills `text` up to `length` octets with lines of blanks.
pub fn pad(text: &mut Vec<u8>, length: usize) {
    const LINE: usize = 76;
    text.reserve_exact(length.saturating_sub(text.len()));
    while text.len() < length {
        let room = length - text.len();
        // A line end needs two octets and must not be cut in half.
        let blanks = if room > LINE + 2 { LINE } else { room };
        text.resize(text.len() + blanks, b' ');
        if room > LINE + 2 {
            text.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn classes_are_those_of_the_design() {
        let class = |kib: usize| class_of(kib * KIB) / KIB;
        assert_eq!([1, 16, 17, 33, 65, 129, 256, 257, 600].map(class), [16, 16, 32, 64, 128, 256, 256, 512, 768]);
    }

    /// 400 octets of OpenPGP, 700 around, and a zero dropped in every seventh sealing.
    fn sealing(bare: usize) -> impl FnMut(usize) -> Result<Finished, ()> {
        let mut calls = bare;
        move |filler| {
            calls += 1;
            let octets = bare + filler + 400 - usize::from(calls.is_multiple_of(7));
            Ok((vec![b'x'; 700 + armored(octets)], octets))
        }
    }

    fn sizes(padding: &Padding, texts: impl Iterator<Item = usize>, ceiling: usize) -> BTreeSet<usize> {
        let size = |bare| padding.fill(bare, &(0..=usize::MAX), ceiling, sealing(bare)).expect("sealed").len();
        texts.map(size).collect()
    }

    #[test]
    fn every_text_of_a_class_comes_out_at_one_size() {
        let sizes = sizes(&Padding::default(), (0..10_000).step_by(50), usize::MAX);
        assert_eq!(sizes.len(), 1, "{sizes:?}");
        assert!(sizes.range(16 * KIB - 5..=16 * KIB).count() == 1, "{sizes:?}");
    }

    #[test]
    fn what_was_learnt_is_learnt_anew_when_it_holds_no_longer() {
        let padding = Padding::default();
        let with = |openpgp: usize| {
            let mut rounds = 0;
            let message = padding.fill(1000, &(0..=usize::MAX), usize::MAX, |filler| {
                rounds += 1;
                let octets = 1000 + filler + openpgp;
                Ok::<_, ()>((vec![b'x'; 700 + armored(octets)], octets))
            });
            (message.expect("sealed").len(), rounds)
        };
        assert_eq!([with(900), with(900)], [(16 * KIB, 2), (16 * KIB, 1)]);
        // A certificate less, by little and by much, and one more.
        assert_eq!([with(890), with(890)], [(16 * KIB, 5), (16 * KIB, 1)]);
        assert_eq!([with(400), with(400)], [(16 * KIB, 5), (16 * KIB, 1)]);
        assert_eq!([with(1500), with(1500)], [(16 * KIB, 2), (16 * KIB, 1)]);
    }

    #[test]
    fn nothing_is_filled_above_what_a_relay_host_takes() {
        let padding = Padding::default();
        let ceiling = 50_000;
        // What would be filled up to 64 KiB stays below; smaller ones have their class.
        let below = sizes(&padding, (25_000..35_000).step_by(50), ceiling);
        assert_eq!(below.len(), 1, "{below:?}");
        assert!(below.range(ceiling - 5..=ceiling).count() == 1, "{below:?}");
        assert!(sizes(&padding, [1000].into_iter(), ceiling).range(16 * KIB - 5..=16 * KIB).count() == 1);
        // What is larger by itself goes out as it is.
        assert!(sizes(&padding, [100_000].into_iter(), ceiling).first() < Some(&140_000));
    }

    #[test]
    fn a_class_that_the_filler_cannot_reach_is_left_alone() {
        let padding = Padding::default();
        let mut asked = Vec::new();
        let mut seal = sealing(40_000);
        let message = padding.fill(40_000, &(500..=5_000), usize::MAX, |filler| {
            asked.push(filler);
            seal(filler)
        });
        assert_eq!(asked, [500]);
        assert!(message.expect("sealed").len() < 60_000);
    }
}
